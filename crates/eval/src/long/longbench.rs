//! LongBench (arXiv 2308.14508): JSON lines of a context, an input and its answers, one file for each of its 21 data
//! sets; LongBench-E has the same form.

use std::path::Path;

use serde::Deserialize;

use super::{LongTask, Metric};
use crate::EvalError;
use crate::input::read_text;

#[derive(Deserialize)]
struct Entry {
    input: String,
    context: String,
    answers: Vec<String>,
    dataset: Option<String>,
    all_classes: Option<Vec<String>>,
}

/// The questions of a data set's file. One that names no data set within is taken for the one its file is named
/// after.
///
/// # Errors
/// When it cannot be read, a line is no such entry, or the data set is none of LongBench's; the error names the line.
pub fn longbench(path: &Path) -> Result<Vec<LongTask>, EvalError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    parse(&path.display().to_string(), stem, &read_text(path)?)
}

fn parse(file: &str, stem: &str, text: &str) -> Result<Vec<LongTask>, EvalError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let tasks: Vec<LongTask> =
        lines.map(|(index, line)| task(file, index + 1, stem, line)).collect::<Result<_, _>>()?;
    if tasks.is_empty() {
        return Err(EvalError::content(file, None, "holds no questions"));
    }
    Ok(tasks)
}

fn task(file: &str, line: usize, stem: &str, text: &str) -> Result<LongTask, EvalError> {
    let wrong = |what: String| Err(EvalError::content(file, line, what));
    if !text.trim_start().starts_with('{') {
        // A list would be taken for an entry's fields in order.
        return wrong("is not a JSON object".to_owned());
    }
    let entry: Entry = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        EvalError::content(file, line, format!("JSON, column {}: {message}", error.column()))
            .with_hint("LongBench's lines have \"input\", \"context\", \"answers\" and \"dataset\"")
    })?;
    let name = entry.dataset.as_deref().unwrap_or(stem);
    let Some((kind, form)) = known(name.strip_suffix("_e").unwrap_or(name)) else {
        return Err(EvalError::content(file, line, format!("{name:?} is none of LongBench's data sets"))
            .with_hint("\"dataset\", or else the file's name, says which: hotpotqa, gov_report, trec, …"));
    };
    if entry.answers.is_empty() {
        return wrong("there are no answers".to_owned());
    }
    if entry.context.trim().is_empty() {
        return wrong("the context is empty".to_owned());
    }
    let metric = match (kind, entry.all_classes) {
        (Metric::Classification { .. }, Some(classes)) if !classes.is_empty() => {
            Metric::Classification { classes }
        }
        (Metric::Classification { .. }, _) => return wrong("there are no classes".to_owned()),
        (kind, _) => kind,
    };
    Ok(LongTask {
        name: name.to_owned(),
        context: entry.context.into(),
        question: form.replace("{}", entry.input.trim_end()),
        answers: entry.answers,
        metric,
        evidence: Vec::new(),
    })
}

/// How a data set is scored, and how its input is asked; `{}` stands for it. Sets with examples in their context
/// bring their own form, which the input continues.
fn known(dataset: &str) -> Option<(Metric, &'static str)> {
    const SHORT: &str = "{}\nAnswer in a few words.";
    const SUMMARY: &str = "Write a summary of the text, about a page long.";
    const CODE: &str = "{}\nNext line of code:";
    Some(match dataset {
        "narrativeqa" | "multifieldqa_en" | "hotpotqa" | "2wikimqa" | "musique" => (Metric::F1, SHORT),
        "qasper" => (
            Metric::F1,
            "{}\nAnswer in a few words, with \"yes\" or \"no\" where that is enough, and with \"unanswerable\" if \
             the text does not say.",
        ),
        "multifieldqa_zh" => (Metric::F1, "{}\n请用几个词回答。"),
        "dureader" => (Metric::RougeL, "{}\n请根据文章回答。"),
        "gov_report" | "multi_news" => (Metric::RougeL, SUMMARY),
        "qmsum" => (Metric::RougeL, "{}\nAnswer in a few sentences."),
        "vcsum" => (Metric::RougeL, "请为这段会议记录写一份总结。"),
        "trec" | "lsht" => (Metric::Classification { classes: Vec::new() }, "{}"),
        "triviaqa" => (Metric::FirstLineF1, "{}"),
        "samsum" => (Metric::FirstLineRougeL, "{}"),
        "passage_retrieval_en" => (
            Metric::Number,
            "Which paragraph does this summary belong to?\n{}\nAnswer with the word \"Paragraph\" and its number.",
        ),
        "passage_retrieval_zh" => (Metric::Number, "下面的摘要来自哪一段？\n{}\n请回答“段落”和它的编号。"),
        "passage_count" => (
            Metric::Number,
            "Some of the paragraphs occur more than once. How many different ones are there? Answer with the \
             number alone.",
        ),
        "lcc" | "repobench-p" => (Metric::CodeSimilarity, CODE),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<LongTask, String> {
        parse("t", "hotpotqa", text).map(|mut tasks| tasks.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn entries_become_tasks() {
        let line = r#"{"input": "Who built it?", "context": "Ida built a hut.", "answers": ["Ida", "Ida Holm"], "length": 4, "dataset": "qasper", "language": "en", "all_classes": null, "_id": "7"}"#;
        let tasks = parse("t", "x", &format!("{line}\n\n{line}\n")).unwrap();
        assert_eq!(tasks.len(), 2);
        let task = &tasks[0];
        assert_eq!((task.name.as_str(), &*task.context), ("qasper", "Ida built a hut."));
        assert!(task.question.starts_with("Who built it?\n") && task.question.contains("unanswerable"));
        assert_eq!(task.metric, Metric::F1);
        assert_eq!(task.score("Ida Holm"), 1.0);
    }

    #[test]
    fn the_file_names_the_set_when_no_entry_does() {
        let line = r#"{"input": "i", "context": "c", "answers": ["a"]}"#;
        assert_eq!(one(line).unwrap().name, "hotpotqa");
        assert_eq!(parse("t", "lcc_e", line).unwrap()[0].metric, Metric::CodeSimilarity);
        assert_eq!(
            parse("t", "notes", line).unwrap_err().to_string(),
            "t, line 1: \"notes\" is none of LongBench's data sets"
        );
    }

    #[test]
    fn classes_come_from_the_entry() {
        let line = r#"{"input": "Question: q\nType:", "context": "c", "answers": ["Place"], "dataset": "trec", "all_classes": ["Place", "Date"]}"#;
        let task = one(line).unwrap();
        assert_eq!(task.question, "Question: q\nType:");
        assert_eq!((task.score("Place"), task.score("Date, Place")), (1.0, 0.5));
        let without = line.replace(r#"["Place", "Date"]"#, "null");
        assert_eq!(one(&without).unwrap_err(), "t, line 1: there are no classes");
    }

    #[test]
    fn all_sets_are_known_and_ask_their_input() {
        let sets = "narrativeqa qasper multifieldqa_en multifieldqa_zh hotpotqa 2wikimqa musique dureader gov_report \
                    qmsum multi_news vcsum trec triviaqa samsum lsht passage_count passage_retrieval_en \
                    passage_retrieval_zh lcc repobench-p";
        assert_eq!(sets.split_whitespace().count(), 21);
        for set in sets.split_whitespace() {
            let (_, form) = known(set).unwrap();
            // Only these have an empty input.
            let has_none = ["gov_report", "multi_news", "vcsum", "passage_count"].contains(&set);
            assert_eq!(form.contains("{}"), !has_none, "{set}");
        }
    }

    #[test]
    fn damaged_lines_are_named() {
        let good = r#"{"input": "i", "context": "c", "answers": ["a"]}"#;
        for (bad, expected) in [
            (r#"{"input": "i", "context": "c"}"#, "missing field `answers`"),
            (r#"{"input": "i", "context": "c", "answers": []}"#, "there are no answers"),
            (r#"{"input": "i", "context": " ", "answers": ["a"]}"#, "the context is empty"),
            (r#"{"input": "i", "context": "c", "answers": "a"}"#, "JSON, column"),
            (r#"["i", "c", ["a"], "qasper", null]"#, "is not a JSON object"),
        ] {
            let error = parse("t", "qasper", &format!("{good}\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("t, line 2: ") && error.contains(expected), "{error}");
        }
        assert_eq!(one(" \n").unwrap_err(), "t: holds no questions");
    }

    #[test]
    fn files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("musique.jsonl");
        std::fs::write(&path, r#"{"input": "i", "context": "c", "answers": ["a"]}"#).unwrap();
        assert_eq!(longbench(&path).unwrap()[0].name, "musique");
        assert!(longbench(&folder.path().join("none.jsonl")).is_err());
    }
}
