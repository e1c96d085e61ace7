//! The project's own form: one JSON object a line.

use serde::Deserialize;

use super::{Example, Question};
use crate::EvalError;

#[derive(Deserialize)]
struct Entry {
    prompt: String,
    choices: Option<Vec<String>>,
    answer: Answer,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Index(i64),
    Text(String),
}

/// Questions: `{"prompt", "choices", "answer": index}`.
pub(super) fn questions(file: &str, text: &str) -> Result<Vec<Question>, EvalError> {
    objects::<Entry>(file, text)
        .map(|entry| {
            let (line, entry) = entry?;
            let wrong = |what: &str| EvalError::content(file, line, what);
            let choices = entry.choices.ok_or_else(|| {
                wrong("there are no choices")
                    .with_hint("a question has \"prompt\", \"choices\" and the index of the right \"answer\"")
            })?;
            let answer = match entry.answer {
                Answer::Index(index) => usize::try_from(index)
                    .map_err(|_| wrong(&format!("the answer is choice {index}; the first is 0")))?,
                Answer::Text(_) => {
                    return Err(wrong("the answer is a text")
                        .with_hint("give the index of the right choice; the first is 0"));
                }
            };
            Ok(Question { prompt: entry.prompt, choices, answer, line })
        })
        .collect()
}

/// Examples: `{"prompt", "answer": text}`, or questions with their right choices.
pub(super) fn examples(file: &str, text: &str) -> Result<Vec<Example>, EvalError> {
    objects::<Entry>(file, text)
        .map(|entry| {
            let (line, entry) = entry?;
            match (entry.answer, entry.choices) {
                (Answer::Text(answer), _) => Ok(Example { prompt: entry.prompt, answer }),
                (Answer::Index(index), Some(choices)) => {
                    let right = usize::try_from(index).ok().and_then(|index| choices.get(index));
                    let answer = right.cloned().ok_or_else(|| {
                        let what = format!(
                            "the answer is choice {index}, but there are {} (the first is 0)",
                            choices.len()
                        );
                        EvalError::content(file, line, what)
                    })?;
                    Ok(Example { prompt: entry.prompt, answer })
                }
                (Answer::Index(_), None) => {
                    Err(EvalError::content(file, line, "the answer is a number, but there are no choices"))
                }
            }
        })
        .collect()
}

/// Every line that is not blank, with its number.
pub(crate) fn objects<'a, T: Deserialize<'a> + 'a>(
    file: &'a str,
    text: &'a str,
) -> impl Iterator<Item = Result<(usize, T), EvalError>> + 'a {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(move |(index, line)| Ok((index + 1, json(file, index + 1, line)?)))
}

/// The JSON object on one line.
pub(super) fn json<'a, T: Deserialize<'a>>(file: &str, line: usize, text: &'a str) -> Result<T, EvalError> {
    // A list would be taken for a struct's fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(EvalError::content(file, line, "is not a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // serde counts lines of this one line; its column still helps.
        let message = message.split(" at line ").next().unwrap_or_default();
        let message = message
            .strip_prefix("data did not match any variant of untagged enum Answer")
            .map_or(message, |_| "the answer is neither an index nor a text");
        EvalError::content(file, line, format!("JSON, column {}: {message}", error.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_take_both_forms() {
        let text = "{\"prompt\": \"2+2\", \"answer\": \"4\"}\n{\"prompt\": \"p\", \"choices\": [\"a\", \"b\"], \"answer\": 1}\n";
        let examples = examples("t", text).unwrap();
        assert_eq!(examples[0], Example { prompt: "2+2".into(), answer: "4".into() });
        assert_eq!(examples[1].answer, "b");
    }

    #[test]
    fn examples_refuse_what_has_no_answer() {
        for bad in [
            r#"{"prompt": "p", "answer": 4}"#,
            r#"{"prompt": "p", "choices": ["a"], "answer": 1}"#,
            r#"{"prompt": "p"}"#,
            r#"{"prompt": 3, "answer": "a"}"#,
            r#"{"prompt": "p", "answer": null}"#,
        ] {
            let error = examples("t", bad).unwrap_err().to_string();
            assert!(error.starts_with("t, line 1: "), "{error}");
        }
    }

    #[test]
    fn other_keys_are_ignored_and_text_is_unescaped() {
        let text = r#"{"id": 7, "prompt": "a\nb \u00e9", "choices": ["x", "y"], "answer": 0}"#;
        let questions = questions("t", text).unwrap();
        assert_eq!(questions[0].prompt, "a\nb é");
        assert_eq!(questions[0].line, 1);
    }
}
