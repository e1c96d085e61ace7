//! The examples as they are judged and learned from, and what is wrong with them.

use std::collections::HashMap;

use crayon_adapters::{Example, Sample};
use crayon_engine::Engine;

use crate::error::CustomizeError;
use crate::note::Note;

/// Examples that are judged by and learned from, at most.
pub const MOST: usize = 200;

/// Fewer examples with answers than this cannot be judged by folds; nothing is learned from them.
pub(crate) const FEWEST: usize = 4;

/// Answers of other examples that an answer is compared with, at most.
const OTHERS: usize = 3;

/// An example with its answer, as token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Prompt and answer, with the answer's end.
    pub sample: Sample,
    /// Answers to choose from, with their ends; empty where there is no choice.
    pub choices: Vec<Vec<u32>>,
    /// The right one of them.
    pub right: usize,
    /// Where there is no choice, a few different answers of other examples, with their ends.
    pub others: Vec<Vec<u32>>,
    /// The prompt as text.
    pub prompt: String,
    /// The answer as text.
    pub answer: String,
}

/// A person's examples.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Those that have an answer and fit the model's window, each once.
    pub cases: Vec<Case>,
    /// What should be known about them.
    pub notes: Vec<Note>,
}

impl Given {
    /// Makes cases of examples. Those without an answer, repeated ones and those that do not fit the window are left out, which
    /// is noted; so are contradictions, which stay in.
    ///
    /// # Errors
    /// When the model has no tokenizer, or a tensor cannot be read.
    pub fn new(engine: &Engine, examples: &[Example]) -> Result<Given, CustomizeError> {
        let (encoder, window) = (engine.query_encoder()?, engine.spec().context);
        let (kept, mut notes) = sift(examples);
        let (mut cases, mut long) = (Vec::with_capacity(kept.len()), 0);
        for example in kept.into_iter().take(MOST) {
            let sample = engine.sample(&encoder, example, "examples", "examples")?;
            let mut choices = Vec::with_capacity(example.choices.len());
            for choice in &example.choices {
                let chosen = Example { answer: Some(choice.clone()), ..example.clone() };
                choices.push(engine.sample(&encoder, &chosen, "examples", "examples")?.answer);
            }
            let answers = choices.iter().chain([&sample.answer]);
            if sample.prompt.len() + answers.map(Vec::len).max().unwrap_or(0) > window {
                long += 1;
                continue;
            }
            let answer = example.answer.clone().unwrap_or_default();
            let right = example.choices.iter().position(|choice| *choice == answer);
            // An answer that is none of the choices is judged as text.
            let choices = if right.is_some() { choices } else { Vec::new() };
            let (prompt, right) = (example.prompt.clone(), right.unwrap_or(0));
            cases.push(Case { sample, choices, right, others: Vec::new(), prompt, answer });
        }
        compare(&mut cases, window);
        if long > 0 {
            notes.push(Note::TooLong(long, window));
        }
        let first = cases.first().map(|case| case.answer.clone());
        if cases.len() > 1 && cases.iter().all(|case| Some(&case.answer) == first.as_ref()) {
            notes.push(Note::OneAnswer);
        }
        match cases.len() {
            0 if notes.is_empty() || long == 0 => notes.push(Note::NotJudged),
            0 => {}
            few if few < FEWEST => notes.push(Note::Few(few)),
            _ => {}
        }
        Ok(Given { cases, notes })
    }
}

/// Gives each case without choices the next different answers after its own, the first ones behind the last.
fn compare(cases: &mut [Case], window: usize) {
    for at in 0..cases.len() {
        if !cases[at].choices.is_empty() {
            continue;
        }
        let room = window.saturating_sub(cases[at].sample.prompt.len());
        let mut others: Vec<Vec<u32>> = Vec::new();
        for other in (1..cases.len()).map(|step| &cases[(at + step) % cases.len()].sample.answer) {
            let new = *other != cases[at].sample.answer && !others.contains(other);
            if new && other.len() <= room && others.len() < OTHERS {
                others.push(other.clone());
            }
        }
        cases[at].others = others;
    }
}

/// Examples with an answer, each once, and what is to be said about the others.
fn sift(examples: &[Example]) -> (Vec<&Example>, Vec<Note>) {
    let (mut kept, mut notes): (Vec<&Example>, Vec<Note>) = (Vec::new(), Vec::new());
    let (mut unanswered, mut twice, mut contradictions) = (0, 0, 0);
    let mut lines = None;
    let mut known: HashMap<&str, Vec<&Example>> = HashMap::new();
    for example in examples {
        let Some(answer) = &example.answer else {
            unanswered += 1;
            continue;
        };
        let same = known.entry(example.prompt.trim()).or_default();
        let given = |other: &&&Example| {
            other.answer.as_deref().map(str::trim) == Some(answer.trim()) && other.choices == example.choices
        };
        if same.iter().find(given).is_some() {
            twice += 1;
            continue;
        }
        let other = same.iter().find(|other| other.answer.as_deref().map(str::trim) != Some(answer.trim()));
        if let Some(other) = other {
            contradictions += 1;
            lines.get_or_insert([other.line, example.line]);
        }
        same.push(example);
        kept.push(example);
    }
    if unanswered > 0 && unanswered < examples.len() {
        notes.push(Note::Unanswered(unanswered, examples.len()));
    }
    if twice > 0 {
        notes.push(Note::Twice(twice));
    }
    if let Some(lines) = lines {
        notes.push(Note::Contradiction(contradictions, lines));
    }
    if kept.len() > MOST {
        notes.push(Note::First(MOST));
    }
    (kept, notes)
}

#[cfg(test)]
mod tests {
    use crayon_engine::{ModelSource, Settings};

    use super::*;

    fn example(line: usize, prompt: &str, answer: Option<&str>) -> Example {
        let (prompt, answer) = (prompt.to_owned(), answer.map(str::to_owned));
        Example { prompt, answer, task: None, choices: Vec::new(), line }
    }

    #[test]
    fn what_is_wrong_is_said_and_the_rest_is_used() {
        let examples = [
            example(1, "a", Some("x")),
            example(2, "b", None),
            example(3, " a", Some("x ")),
            example(4, "a", Some("y")),
            example(5, "a", Some("z")),
        ];
        let (kept, notes) = sift(&examples);
        assert_eq!(kept.iter().map(|example| example.line).collect::<Vec<_>>(), [1, 4, 5]);
        assert_eq!(notes, [Note::Unanswered(1, 5), Note::Twice(1), Note::Contradiction(2, [1, 4])]);
        let many: Vec<Example> =
            (0..MOST + 1).map(|line| example(line, &format!("{line}"), Some("x"))).collect();
        assert_eq!(sift(&many).1, [Note::First(MOST)]);
    }

    #[test]
    fn without_choices_an_answer_stands_beside_those_of_other_examples() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let others = |answers: &[&str]| {
            let examples = answers
                .iter()
                .enumerate()
                .map(|(at, answer)| example(at + 1, &format!("{at}"), Some(answer)));
            let given = Given::new(&engine, &examples.collect::<Vec<_>>()).unwrap();
            let number =
                |tokens: &Vec<u32>| given.cases.iter().position(|case| case.sample.answer == *tokens);
            let numbers = |case: &Case| case.others.iter().filter_map(number).collect::<Vec<_>>();
            given.cases.iter().map(numbers).collect::<Vec<_>>()
        };
        let five = others(&["a", "b", "a", "c", "d", "e"]);
        assert_eq!(five, [[1, 3, 4], [0, 3, 4], [3, 4, 5], [4, 5, 0], [5, 0, 1], [0, 1, 3]]);
        assert_eq!(others(&["a", "a", "a", "a"]), vec![vec![0; 0]; 4]);
        let mut chosen = example(1, "x", Some("no"));
        chosen.choices = vec!["yes".to_owned(), "no".to_owned()];
        let given = Given::new(&engine, &[chosen, example(2, "y", Some("c"))]).unwrap();
        assert_eq!(given.cases.iter().map(|case| case.others.len()).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn cases_fit_the_window_and_know_their_choices() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let window = engine.spec().context;
        let mut chosen = example(1, "Is it day?", Some("no"));
        chosen.choices = vec!["yes".to_owned(), "no".to_owned()];
        let long = example(2, "Go on", Some(&"word ".repeat(window)));
        let given = Given::new(&engine, &[chosen, long.clone(), example(3, "b", Some("no"))]).unwrap();
        assert_eq!(given.notes, [Note::TooLong(1, window), Note::OneAnswer, Note::Few(2)]);
        let case = &given.cases[0];
        assert_eq!((case.right, &case.choices[1]), (1, &case.sample.answer));
        let given = Given::new(&engine, &[long]).unwrap();
        assert_eq!((given.cases.len(), given.notes), (0, vec![Note::TooLong(1, window)]));
        assert_eq!(Given::new(&engine, &[example(1, "a", None)]).unwrap().notes, [Note::NotJudged]);
    }
}
