//! CommonsenseQA (arXiv 1811.00937): JSON lines of `question`, `choices` {`label`, `text`} and `answerKey`; also
//! the older form with `question` {`stem`, `choices` [{`label`, `text`}]}.

use serde::Deserialize;

use super::{Question, lines};
use crate::EvalError;

#[derive(Deserialize)]
struct Entry {
    question: QuestionField,
    choices: Option<Columns>,
    #[serde(rename = "answerKey")]
    answer_key: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum QuestionField {
    Text(String),
    Nested { stem: String, choices: Vec<Labelled> },
}

#[derive(Deserialize)]
struct Columns {
    label: Vec<String>,
    text: Vec<String>,
}

#[derive(Deserialize)]
struct Labelled {
    label: String,
    text: String,
}

/// Questions of one split.
pub(super) fn questions(file: &str, text: &str) -> Result<Vec<Question>, EvalError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| question(file, index + 1, lines::json(file, index + 1, line)?)).collect()
}

fn question(file: &str, line: usize, entry: Entry) -> Result<Question, EvalError> {
    let wrong = |what: String| EvalError::content(file, line, what);
    let (stem, labels, choices) = match (entry.question, entry.choices) {
        (QuestionField::Text(stem), Some(Columns { label, text })) => (stem, label, text),
        (QuestionField::Nested { stem, choices }, _) => {
            let (labels, texts) = choices.into_iter().map(|choice| (choice.label, choice.text)).unzip();
            (stem, labels, texts)
        }
        (QuestionField::Text(_), None) => return Err(wrong("there are no choices".to_owned())),
    };
    if labels.len() != choices.len() {
        return Err(wrong(format!("{} labels for {} choices", labels.len(), choices.len())));
    }
    let answer = labels.iter().position(|label| *label == entry.answer_key);
    let answer = answer.ok_or_else(|| wrong(format!("no choice is labelled {:?}", entry.answer_key)))?;
    Ok(Question { prompt: format!("{stem}\nAnswer:"), choices, answer, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let text = concat!(
            r#"{"question": "Where is the moon?", "choices": {"label": ["A", "B"], "text": ["sky", "well"]}, "answerKey": "A"}"#,
            "\n",
            r#"{"question": {"stem": "Where do cows live?", "choices": [{"label": "A", "text": "sea"}, {"label": "B", "text": "farm"}]}, "answerKey": "B"}"#,
        );
        let questions = questions("t", text).unwrap();
        assert_eq!(questions[0].prompt, "Where is the moon?\nAnswer:");
        assert_eq!((questions[0].answer, questions[1].answer), (0, 1));
        assert_eq!(questions[1].choices, ["sea", "farm"]);
    }

    #[test]
    fn labels_must_fit() {
        let bad = r#"{"question": "q", "choices": {"label": ["A"], "text": ["x", "y"]}, "answerKey": "A"}"#;
        assert_eq!(questions("t", bad).unwrap_err().to_string(), "t, line 1: 1 labels for 2 choices");
        let bad = r#"{"question": "q", "choices": {"label": ["A"], "text": ["x"]}, "answerKey": "C"}"#;
        assert_eq!(questions("t", bad).unwrap_err().to_string(), "t, line 1: no choice is labelled \"C\"");
    }
}
