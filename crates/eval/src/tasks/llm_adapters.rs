//! The sets of LLM-Adapters (arXiv 2304.01933): a JSON list of `instruction`, `output` and `answer`, where the
//! choices are spelled out inside the instruction.
//!
//! | wording | sets | becomes |
//! |---|---|---|
//! | `… question: Q Answer1: a Answer2: b … Answer format: answer1/answer2` | ARC, OpenBookQA, SIQA (Solution: PIQA, Option: WinoGrande) | question, texts of the choices |
//! | `… with true or false, question: Q Answer format: true/false` | BoolQ | question, yes and no |
//! | `Q Answer Choices: (A) a (B) b` | AQuA | question, texts of the choices |
//! | `Q The options: A ) a , B ) b` | MathQA | question, texts of the choices |
//! | anything else | arithmetic | no choices: examples only |

use serde::Deserialize;

use super::{Example, Question};
use crate::EvalError;

#[derive(Deserialize)]
struct Entry {
    instruction: String,
    #[serde(default)]
    input: String,
    answer: String,
}

/// A question found in an instruction.
struct Found {
    question: String,
    choices: Vec<String>,
    answer: Option<usize>,
}

/// Multiple-choice questions.
pub(super) fn questions(file: &str, text: &str) -> Result<Vec<Question>, EvalError> {
    let entries = entries(file, text)?.into_iter().enumerate();
    let questions = entries.map(|(index, entry)| {
        let wrong = |what: String| EvalError::content(file, None, format!("entry {}: {what}", index + 1));
        let Some(found) = find(&entry) else {
            return Err(wrong("no choices in the instruction".to_owned())
                .with_hint("sets with free answers, such as the arithmetic ones, serve as examples only"));
        };
        let answer = found
            .answer
            .ok_or_else(|| wrong(format!("the answer {:?} is none of the choices", entry.answer)))?;
        let prompt = format!("{}\nAnswer:", found.question);
        Ok(Question { prompt, choices: found.choices, answer, line: index + 1 })
    });
    questions.collect()
}

/// Examples: the right choice's text, or the free answer.
pub(super) fn examples(file: &str, text: &str) -> Result<Vec<Example>, EvalError> {
    let has_choices = entries(file, text)?.iter().all(|entry| find(entry).is_some());
    if has_choices {
        return Ok(questions(file, text)?.into_iter().map(Example::from).collect());
    }
    let entries = entries(file, text)?.into_iter();
    let example = |entry: Entry| {
        // Numbers are written as floats: 9.0 apples.
        let answer = entry.answer.strip_suffix(".0").unwrap_or(&entry.answer).to_owned();
        Example { prompt: format!("{}\nAnswer:", whole(&entry)), answer }
    };
    Ok(entries.map(example).collect())
}

fn entries(file: &str, text: &str) -> Result<Vec<Entry>, EvalError> {
    serde_json::from_str(text).map_err(|error| {
        EvalError::content(file, error.line(), format!("JSON: {error}")).with_hint(
            "a JSON list is read as LLM-Adapters write it: objects of instruction, output and answer",
        )
    })
}

fn whole(entry: &Entry) -> String {
    match entry.input.trim() {
        "" => entry.instruction.trim().to_owned(),
        input => format!("{}\n{input}", entry.instruction.trim()),
    }
}

fn find(entry: &Entry) -> Option<Found> {
    let text = whole(entry);
    numbered(&text, &entry.answer)
        .or_else(|| yes_or_no(&text, &entry.answer))
        .or_else(|| lettered(&text, "Answer Choices:", |letter| format!("({letter})"), &entry.answer))
        .or_else(|| lettered(&text, "The options:", |letter| format!("{letter} )"), &entry.answer))
}

/// `Answer1: a Answer2: b`, for three words.
fn numbered(text: &str, answer: &str) -> Option<Found> {
    let (body, _) = text.rsplit_once("Answer format:")?;
    for word in ["Answer", "Solution", "Option"] {
        let marks: Vec<String> = (1..=9).map(|number| format!("{word}{number}:")).collect();
        let Some((head, choices)) = cut(body, &marks) else { continue };
        let index = answer.to_lowercase().strip_prefix(&word.to_lowercase())?.parse::<usize>().ok();
        let answer = index.and_then(|index| index.checked_sub(1)).filter(|index| *index < choices.len());
        return Some(Found { question: after_lead(head), choices, answer });
    }
    None
}

fn yes_or_no(text: &str, answer: &str) -> Option<Found> {
    let (body, format) = text.rsplit_once("Answer format:")?;
    if format.trim() != "true/false" {
        return None;
    }
    let answer = ["true", "false"].iter().position(|word| *word == answer);
    Some(Found { question: after_lead(body), choices: vec!["yes".to_owned(), "no".to_owned()], answer })
}

fn lettered(text: &str, lead: &str, mark: impl Fn(char) -> String, answer: &str) -> Option<Found> {
    let (head, listed) = text.rsplit_once(lead)?;
    let marks: Vec<String> = ('A'..='H').map(mark).collect();
    let (_, choices) = cut(listed, &marks)?;
    let choices: Vec<String> =
        choices.into_iter().map(|choice| choice.trim_end_matches([',', ' ']).to_owned()).collect();
    let index = match answer.trim().as_bytes() {
        [letter @ b'A'..=b'H'] => Some(usize::from(letter - b'A')),
        [letter @ b'a'..=b'h'] => Some(usize::from(letter - b'a')),
        _ => None,
    };
    let answer = index.filter(|index| *index < choices.len());
    Some(Found { question: head.trim().to_owned(), choices, answer })
}

/// Cuts `text` at `marks`, which must come one after another, at least two of them: what stands before the
/// first, and what stands after each.
fn cut<'a>(text: &'a str, marks: &[String]) -> Option<(&'a str, Vec<String>)> {
    let mut marks = marks.iter();
    let (head, mut rest) = text.split_once(marks.next()?.as_str())?;
    let mut choices = Vec::new();
    for mark in marks {
        let Some((choice, after)) = rest.split_once(mark.as_str()) else { break };
        choices.push(choice.trim().to_owned());
        rest = after;
    }
    choices.push(rest.trim().to_owned());
    (choices.len() > 1).then_some((head, choices))
}

/// The question without the sentence in front that says what to do.
fn after_lead(text: &str) -> String {
    const LEADS: [&str; 3] = ["question: ", "complete the given sentence: ", "the goal: "];
    let found = LEADS.iter().filter_map(|lead| Some((text.find(lead)?, lead.len()))).min();
    found.map_or(text, |(at, len)| &text[at + len..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(instruction: &str, answer: &str) -> Result<Question, String> {
        let entry =
            serde_json::json!([{"instruction": instruction, "input": "", "output": "", "answer": answer}]);
        questions("t", &entry.to_string()).map(|mut all| all.remove(0)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(instruction: &str, answer: &str, prompt: &str, choices: &[&str], right: usize) {
        let question = one(instruction, answer).unwrap();
        assert_eq!(question.prompt, format!("{prompt}\nAnswer:"));
        assert_eq!(question.choices, choices);
        assert_eq!(question.answer, right);
    }

    #[test]
    fn every_wording() {
        check(
            "Please choose the correct answer to the question: What falls?\n\nAnswer1: Rain. Answer2: A hill\n\nAnswer format: answer1/answer2",
            "answer2",
            "What falls?",
            &["Rain.", "A hill"],
            1,
        );
        check(
            "Please choose the correct solution to the question: How to cool tea?\n\nSolution1: Wait.\n\nSolution2: Boil it.\n\nAnswer format: solution1/solution2",
            "solution1",
            "How to cool tea?",
            &["Wait.", "Boil it."],
            0,
        );
        check(
            "Please choose the correct answer to fill in the blank to complete the given sentence: Tom thanked Ann, so _ smiled.\n\nOption1: Tom Option2: Ann Answer format: option1/option2",
            "option2",
            "Tom thanked Ann, so _ smiled.",
            &["Tom", "Ann"],
            1,
        );
        check(
            "Please answer the following question with true or false, question: is snow cold?\n\nAnswer format: true/false",
            "true",
            "is snow cold?",
            &["yes", "no"],
            0,
        );
        check("Two and two? Answer Choices: (A) 3 (B) 4 (C) 5", "B", "Two and two?", &["3", "4", "5"], 1);
        check(
            "one and one ? The options: A ) 1 , B ) 2 , C ) none",
            "C",
            "one and one ?",
            &["1", "2", "none"],
            2,
        );
    }

    #[test]
    fn answers_outside_the_choices_are_refused() {
        let text = "question: What falls?\n\nAnswer1: Rain Answer2: Hills\n\nAnswer format: answer1/answer2";
        assert_eq!(
            one(text, "answer3").unwrap_err(),
            "t: entry 1: the answer \"answer3\" is none of the choices"
        );
        assert!(one(text, "answer0").is_err());
        assert!(one("Two and two? Answer Choices: (A) 3 (B) 4", "E").is_err());
        assert!(one("How many?", "4").unwrap_err().contains("no choices"));
        assert!(questions("t", "[{\"instruction\": 3}]").is_err());
    }

    #[test]
    fn free_answers_are_examples() {
        let entry = r#"[{"instruction": " Three and four? ", "input": "", "output": "x", "answer": "7.0"}]"#;
        let examples = examples("t", entry).unwrap();
        assert_eq!(examples, [Example { prompt: "Three and four?\nAnswer:".into(), answer: "7".into() }]);
    }
}
