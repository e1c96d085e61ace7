//! LoCoMo (arXiv 2402.17753): `locomo10.json`, conversations of two people over months, told in dated sessions, and
//! questions about them.
//!
//! Scores are the set's own but for one thing: its F1 takes words back to their stems and drops "and", this one
//! compares words as SQuAD does, and comes out a little lower.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{LongTask, Metric};
use crate::EvalError;
use crate::input::read_text;

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    sample_id: String,
    conversation: Map<String, Value>,
    qa: Vec<Qa>,
}

#[derive(Deserialize)]
struct Qa {
    question: String,
    answer: Option<Value>,
    category: Value,
    #[serde(default)]
    evidence: Value,
}

#[derive(Deserialize)]
struct Turn {
    speaker: String,
    #[serde(default)]
    dia_id: String,
    text: String,
    /// What a picture shows that was sent along.
    blip_caption: Option<String>,
}

/// Said of every question alike, so that it does not give away which ones have no answer.
const REQUEST: &str = "Answer in a few words; if the conversation does not say, answer \"not mentioned\".";

/// The questions of LoCoMo's file, named by their category: `locomo/multi-hop`, `locomo/temporal`,
/// `locomo/open-domain`, `locomo/single-hop`, and `locomo/adversarial`, which the conversation does not answer.
/// The [evidence](LongTask::evidence) is the lines of the turns that answer them; references to turns that are not
/// there, of which the published file has a few, are left out.
///
/// # Errors
/// When the file cannot be read, or is not as published; the error names the line, or the sample and the question.
pub fn locomo(path: &Path) -> Result<Vec<LongTask>, EvalError> {
    parse(&path.display().to_string(), &read_text(path)?)
}

fn parse(file: &str, text: &str) -> Result<Vec<LongTask>, EvalError> {
    let samples: Vec<Sample> = serde_json::from_str(text).map_err(|error| {
        EvalError::content(file, error.line(), format!("JSON: {error}"))
            .with_hint("LoCoMo is a JSON list of objects with \"conversation\" and \"qa\"")
    })?;
    let mut tasks = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        let place = match sample.sample_id.as_str() {
            "" => format!("sample {}", index + 1),
            id => format!("sample {} ({id})", index + 1),
        };
        let wrong = |what: String| EvalError::content(file, None, format!("{place}: {what}"));
        let (context, turns) = told(&sample.conversation).map_err(wrong)?;
        for (index, qa) in sample.qa.iter().enumerate() {
            let wrong = |what: String| wrong(format!("question {}: {what}", index + 1));
            let (name, metric, answers) = asked(qa).map_err(wrong)?;
            let evidence = references(&qa.evidence).iter().filter_map(|id| turns.get(id).cloned()).collect();
            let question = format!("{}\n{REQUEST}", qa.question.trim());
            let (name, context) = (name.to_owned(), Arc::clone(&context));
            tasks.push(LongTask { name, context, question, answers, metric, evidence });
        }
    }
    if tasks.is_empty() {
        return Err(EvalError::content(file, None, "holds no questions"));
    }
    Ok(tasks)
}

/// Where each turn stands in a conversation, by its id.
type Turns = HashMap<String, Range<usize>>;

/// The sessions in order, each under its date, a line for every turn.
fn told(conversation: &Map<String, Value>) -> Result<(Arc<str>, Turns), String> {
    let number = |key: &str| key.strip_prefix("session_")?.parse::<usize>().ok();
    let mut sessions: Vec<(usize, &Value)> =
        conversation.iter().filter_map(|(key, value)| Some((number(key)?, value))).collect();
    sessions.sort_by_key(|(number, _)| *number);
    let (mut text, mut lines) = (String::new(), HashMap::new());
    for (number, turns) in sessions {
        if !text.is_empty() {
            text.push('\n');
        }
        let date = conversation.get(&format!("session_{number}_date_time")).and_then(Value::as_str);
        text += &format!("Session {number}{}:\n", date.map(|date| format!(", {date}")).unwrap_or_default());
        let turns: Vec<Turn> =
            Vec::deserialize(turns).map_err(|error| format!("session {number}: {error}"))?;
        for turn in turns {
            let start = text.len();
            text += &format!("{}: {}", turn.speaker, turn.text.trim().replace('\n', " "));
            if let Some(caption) = turn.blip_caption {
                text += &format!(" [shows a picture: {}]", caption.trim());
            }
            lines.insert(turn.dia_id, start..text.len());
            text.push('\n');
        }
    }
    if lines.is_empty() {
        return Err("the conversation has no turns".to_owned());
    }
    Ok((text.into(), lines))
}

/// The name of a question's category, how it is scored, and its answers.
fn asked(qa: &Qa) -> Result<(&'static str, Metric, Vec<String>), String> {
    let category = qa.category.as_u64().or_else(|| qa.category.as_str()?.parse().ok());
    let (name, metric) = match category {
        Some(1) => ("locomo/multi-hop", Metric::ListF1),
        Some(2) => ("locomo/temporal", Metric::F1),
        Some(3) => ("locomo/open-domain", Metric::F1),
        Some(4) => ("locomo/single-hop", Metric::F1),
        Some(5) => {
            let refusals = ["not mentioned", "no information available"].map(str::to_owned).to_vec();
            return Ok(("locomo/adversarial", Metric::Refusal, refusals));
        }
        _ => return Err(format!("the category is {}, not 1 to 5", qa.category)),
    };
    let answer = match &qa.answer {
        Some(Value::String(answer)) => answer.clone(),
        Some(Value::Number(answer)) => answer.to_string(),
        _ => return Err("there is no answer".to_owned()),
    };
    // What follows a semicolon are the reasons for an open answer.
    let answer = if category == Some(3) { answer.split(';').next().unwrap_or_default() } else { &answer };
    Ok((name, metric, vec![answer.trim().to_owned()]))
}

/// The ids of turns in a list of them, some of which hold several.
fn references(evidence: &Value) -> Vec<String> {
    match evidence {
        Value::Array(parts) => parts.iter().flat_map(references).collect(),
        Value::String(ids) => {
            let ids = ids.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
            ids.filter(|id| id.starts_with('D')).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    const SAMPLE: &str = r#"[{
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ann", "speaker_b": "Bo",
            "session_10_date_time": "2 pm on 9 May, 2031",
            "session_10": [{"speaker": "Bo", "dia_id": "D10:1", "text": "Bye!"}],
            "session_2_date_time": "1 pm on 8 May, 2031",
            "session_2": [
                {"speaker": "Ann", "dia_id": "D2:1", "text": "I bought\na kayak. "},
                {"speaker": "Bo", "dia_id": "D2:2", "text": "Look!", "blip_caption": "a photo of a pond", "img_url": ["x"]}
            ],
            "session_11_date_time": "a day without a session"
        },
        "qa": [
            {"question": "What did Ann buy, and what did Bo show?", "answer": "a kayak, a pond", "evidence": ["D2:1; D2:2", "D9:9"], "category": 1},
            {"question": "In which year?", "answer": 2031, "evidence": ["D2:1"], "category": 2},
            {"question": "Does Ann like water?", "answer": "Likely yes; she owns a kayak", "evidence": [], "category": "3"},
            {"question": "Who said bye?", "answer": "Bo", "category": 4, "evidence": "['D10:1']"},
            {"question": "What did Bo buy?", "adversarial_answer": "a kayak", "evidence": ["D2:1"], "category": 5}
        ],
        "event_summary": {}
    }]"#;

    #[test]
    fn sessions_are_told_in_order_with_dates_and_pictures() {
        let tasks = parse("t", SAMPLE).unwrap();
        let expected = "Session 2, 1 pm on 8 May, 2031:\nAnn: I bought a kayak.\n\
                        Bo: Look! [shows a picture: a photo of a pond]\n\n\
                        Session 10, 2 pm on 9 May, 2031:\nBo: Bye!\n";
        assert_eq!(&*tasks[0].context, expected);
        assert!(tasks.iter().all(|task| Arc::ptr_eq(&task.context, &tasks[0].context)));
    }

    #[test]
    fn evidence_is_where_the_turns_stand() {
        let tasks = parse("t", SAMPLE).unwrap();
        let shown = |task: &LongTask| -> Vec<String> {
            task.evidence.iter().map(|range| task.context[range.clone()].to_owned()).collect()
        };
        let both = ["Ann: I bought a kayak.", "Bo: Look! [shows a picture: a photo of a pond]"];
        assert_eq!(shown(&tasks[0]), both);
        assert_eq!(shown(&tasks[2]), [""; 0]);
        assert_eq!(shown(&tasks[3]), ["Bo: Bye!"]);
    }

    #[test]
    fn categories_are_scored_in_their_own_way() {
        let tasks = parse("t", SAMPLE).unwrap();
        let names: Vec<&str> = tasks.iter().map(|task| task.name.trim_start_matches("locomo/")).collect();
        assert_eq!(names, ["multi-hop", "temporal", "open-domain", "single-hop", "adversarial"]);
        assert_eq!(tasks[0].score("pond, kayak"), 1.0);
        assert_eq!(tasks[1].score("2031"), 1.0);
        assert_eq!(tasks[2].score("likely yes"), 1.0);
        assert_eq!(tasks[3].score("Ann"), 0.0);
        assert_eq!(tasks[4].score("a kayak"), 0.0);
        assert_eq!(tasks[4].score("It is not mentioned."), 1.0);
        assert!(tasks.iter().all(|task| task.question.ends_with(REQUEST)));
    }

    #[test]
    fn damage_is_named() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(SAMPLE.contains(from));
            let error = parse("t", &SAMPLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with("t") && error.contains(expected), "{error}");
        };
        check(
            "\"category\": 4",
            "\"category\": 6",
            "sample 1 (conv-1): question 4: the category is 6, not 1 to 5",
        );
        check("\"answer\": 2031", "\"answer\": null", "question 2: there is no answer");
        check(
            "\"text\": \"Bye!\"",
            "\"say\": \"Bye!\"",
            "sample 1 (conv-1): session 10: missing field `text`",
        );
        check("\"qa\": [", "\"questions\": [", "missing field `qa`");
        check("\"Bo\", \"category\": 4", "\"Bo\" \"category\": 4", ", line 18: JSON");
        check("\"session_", "\"part_", "the conversation has no turns");
        assert_eq!(parse("t", "[]").unwrap_err().to_string(), "t: holds no questions");
        assert!(parse("t", "{}").is_err());
        assert!(locomo(Path::new("/no/such/file")).unwrap_err().is_mistake());
    }
}
