//! Tasks: multiple-choice questions and examples, from this project's JSON lines or in the form published sets
//! come in. One file for each source.
//!
//! Prompts end in a cue (`Answer:`, `Intent:`), so that the same question works as the user's turn of a
//! conversation and as a text to continue.

mod clinc150;
mod commonsenseqa;
mod csv;
mod lines;
mod llm_adapters;
mod mmlu;

use std::path::Path;

use crayon_adapters::Random;
use serde::Serialize;

use crate::EvalError;
use crate::input::read_text;

pub(crate) use lines::objects;

pub use clinc150::{Clinc150, Domain, Utterance};

/// A question with its choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub prompt: String,
    /// Possible answers, at least one, none empty.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub answer: usize,
    /// Where it stands: line of the file, or number of the entry, from 1.
    pub line: usize,
}

/// A prompt with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is asked.
    pub prompt: String,
    /// The answer.
    pub answer: String,
}

/// The form a task file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `{"prompt", "choices", "answer"}` on every line.
    Lines,
    /// MMLU's CSV files.
    Mmlu,
    /// CLINC150's `data_full.json`, the test split, with `domains.json` beside it.
    Clinc150,
    /// LLM-Adapters' JSON lists.
    LlmAdapters,
    /// CommonsenseQA's JSON lines.
    Commonsenseqa,
}

/// The questions of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The form it was in.
    pub source: Source,
    /// Its questions.
    pub questions: Vec<Question>,
}

impl Task {
    /// Reads the questions of `path`, whichever of the known forms it has.
    ///
    /// # Errors
    /// When it cannot be read, has no known form, or an entry is damaged; the error names the line.
    pub fn open(path: &Path) -> Result<Task, EvalError> {
        let (file, text) = (path.display().to_string(), read_text(path)?);
        let source = detect(&file, &text)?;
        let questions = match source {
            Source::Lines => lines::questions(&file, &text)?,
            Source::Mmlu => mmlu::questions(&file, &text)?,
            Source::LlmAdapters => llm_adapters::questions(&file, &text)?,
            Source::Commonsenseqa => commonsenseqa::questions(&file, &text)?,
            Source::Clinc150 => Clinc150::parse(path, &text)?.questions("test")?,
        };
        if questions.is_empty() {
            return Err(EvalError::content(&file, None, "holds no questions"));
        }
        for question in &questions {
            question.check(&file)?;
        }
        Ok(Task { source, questions })
    }

    /// Keeps `limit` questions, drawn by `seed`, in the order of the file; all when there are no more.
    pub fn sample(&mut self, limit: usize, seed: u64) {
        self.questions = sampled(std::mem::take(&mut self.questions), limit, seed).collect();
    }
}

/// `limit` of `all`, drawn by `seed`, in their order; all when there are no more.
pub(crate) fn sampled<T>(all: Vec<T>, limit: usize, seed: u64) -> impl Iterator<Item = T> {
    let total = all.len();
    let (mut seen, mut kept, mut random) = (0, 0, Random::seeded(seed));
    // Selection sampling (Knuth, volume 2, 3.4.2, algorithm S): every subset is equally likely.
    all.into_iter().filter(move |_| {
        let take = (random.uniform() * (total - seen) as f64) < limit.saturating_sub(kept) as f64;
        seen += 1;
        kept += usize::from(take);
        take
    })
}

impl Question {
    /// Whether the parts belong together.
    fn check(&self, file: &str) -> Result<(), EvalError> {
        let wrong = |what: String| Err(EvalError::content(file, self.line, what));
        if self.choices.is_empty() {
            return wrong("there are no choices".to_owned());
        }
        if let Some(index) = self.choices.iter().position(|choice| choice.trim().is_empty()) {
            return wrong(format!("choice {index} is empty"));
        }
        if self.answer >= self.choices.len() {
            return wrong(format!(
                "the answer is choice {}, but there are {} (the first is 0)",
                self.answer,
                self.choices.len()
            ));
        }
        if self.prompt.trim().is_empty() {
            return wrong("the prompt is empty".to_owned());
        }
        Ok(())
    }
}

/// Reads examples: `{"prompt", "answer"}` lines, or the questions of any task file with their right choices.
///
/// # Errors
/// As [`Task::open`].
pub fn examples(path: &Path) -> Result<Vec<Example>, EvalError> {
    let (file, text) = (path.display().to_string(), read_text(path)?);
    let examples = match detect(&file, &text)? {
        Source::Lines => lines::examples(&file, &text)?,
        Source::LlmAdapters => llm_adapters::examples(&file, &text)?,
        _ => Task::open(path)?.questions.into_iter().map(Example::from).collect(),
    };
    if examples.is_empty() {
        return Err(EvalError::content(&file, None, "holds no examples"));
    }
    Ok(examples)
}

impl From<Question> for Example {
    fn from(mut question: Question) -> Example {
        let answer = question.choices.swap_remove(question.answer);
        Example { prompt: question.prompt, answer }
    }
}

/// Tells the form of a file from its beginning.
fn detect(file: &str, text: &str) -> Result<Source, EvalError> {
    let start = text.trim_start();
    if start.is_empty() {
        return Err(EvalError::content(file, None, "is empty"));
    }
    if start.starts_with('[') {
        return Ok(Source::LlmAdapters);
    }
    let first_line = start.lines().next().unwrap_or_default();
    if start.starts_with('{') {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(first_line) else {
            // An object over several lines is not a JSON-lines file; of the known forms only one looks like this.
            let is_whole = first_line.trim() == "{" || first_line.contains("\"oos_");
            return Ok(if is_whole { Source::Clinc150 } else { Source::Lines });
        };
        if value.get("answerKey").is_some() && value.get("question").is_some() {
            return Ok(Source::Commonsenseqa);
        }
        if value.get("prompt").is_none() && value.get("test").is_some_and(|test| test.is_array()) {
            return Ok(Source::Clinc150);
        }
        return Ok(Source::Lines);
    }
    let is_csv = Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if is_csv || mmlu::is_header(first_line) {
        return Ok(Source::Mmlu);
    }
    Err(EvalError::content(file, 1, "is not a task file").with_hint(FORMS))
}

/// What to give as a task.
const FORMS: &str = "a task is JSON lines of {\"prompt\", \"choices\", \"answer\"}; MMLU's csv, CLINC150's \
                     data_full.json, LLM-Adapters' json and CommonsenseQA's jsonl are read too";

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(name: &str, text: &str) -> Result<Task, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let folder = format!("{}{}", folder.path().display(), std::path::MAIN_SEPARATOR);
        Task::open(&path).map_err(|error| error.to_string().replace(&folder, ""))
    }

    fn made(count: usize) -> Task {
        let question = |line| Question { prompt: "p".into(), choices: vec!["a".into()], answer: 0, line };
        Task { source: Source::Lines, questions: (1..=count).map(question).collect() }
    }

    #[test]
    fn samples_are_of_the_size_asked_in_order_and_fixed_by_the_seed() {
        let lines = |limit, seed| {
            let mut task = made(100);
            task.sample(limit, seed);
            task.questions.iter().map(|question| question.line).collect::<Vec<_>>()
        };
        assert_eq!(lines(10, 1).len(), 10);
        assert!(lines(10, 1).is_sorted());
        assert_eq!(lines(10, 1), lines(10, 1));
        assert_ne!(lines(10, 1), lines(10, 2));
        assert_eq!(lines(1000, 1).len(), 100);
        assert_eq!(lines(100, 3).len(), 100);
        assert_eq!(lines(0, 3).len(), 0);
    }

    #[test]
    fn forms_are_told_apart() {
        let line = r#"{"prompt": "p", "choices": ["a", "b"], "answer": 1}"#;
        assert_eq!(opened("t.jsonl", line).unwrap().source, Source::Lines);
        let csqa = r#"{"id": "1", "question": "q", "question_concept": "c", "choices": {"label": ["A"], "text": ["x"]}, "answerKey": "A"}"#;
        assert_eq!(opened("t.jsonl", csqa).unwrap().source, Source::Commonsenseqa);
        let mmlu = "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,2\n";
        assert_eq!(opened("t", mmlu).unwrap().source, Source::Mmlu);
        assert_eq!(opened("t.csv", "q,a,b,c,d,B\n").unwrap().questions[0].answer, 1);
        assert!(opened("t.txt", "some prose").unwrap_err().contains("is not a task file"));
        assert!(opened("t.jsonl", " \n").unwrap_err().contains("is empty"));
    }

    #[test]
    fn damaged_entries_name_their_line() {
        let good = r#"{"prompt": "p", "choices": ["a", "b"], "answer": 1}"#;
        let check = |bad: &str, expected: &str| {
            let error = opened("t.jsonl", &format!("{good}\n\n{bad}\n")).unwrap_err();
            assert!(error.contains(expected) && error.contains("line 3"), "{error}");
        };
        check(
            r#"{"prompt": "p", "choices": ["a", "b"], "answer": 2}"#,
            "the answer is choice 2, but there are 2",
        );
        check(r#"{"prompt": "p", "choices": [], "answer": 0}"#, "no choices");
        check(r#"{"prompt": "p", "choices": ["a", " "], "answer": 0}"#, "choice 1 is empty");
        check(r#"{"prompt": "p", "choices": ["a", "b"], "answer": -1}"#, "answer");
        check(r#"{"prompt": "p", "choices": ["a", "b"], "answer": "b"}"#, "answer");
        check(r#"{"prompt": "p", "answer": "b"}"#, "choices");
        check(r#"{"prompt": "", "choices": ["a", "b"], "answer": 0}"#, "prompt is empty");
        check(r#"{"prompt": "p", "choices": ["a", "b"]"#, "JSON");
        check("[1]", "JSON");
    }
}
