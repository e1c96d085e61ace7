//! The published sets as they are at hand: counts, and every entry a sound question.

mod common;

use std::path::{Path, PathBuf};

use crayon_eval::tasks::{Clinc150, Question, Source, Task, examples};

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[track_caller]
fn questions(path: &Path, source: Source) -> Vec<Question> {
    let task = Task::open(path).unwrap();
    assert_eq!(task.source, source, "{}", path.display());
    task.questions
}

#[test]
fn mmlu() {
    let Some(data) = common::data() else { return };
    for (split, expected) in [("test", 14_042), ("dev", 285)] {
        let subjects = files(&data.join("mmlu/data/mmlu").join(split), "csv");
        assert_eq!(subjects.len(), 57);
        let all: Vec<Question> = subjects.iter().flat_map(|path| questions(path, Source::Mmlu)).collect();
        assert_eq!(all.len(), expected);
        assert!(all.iter().all(|question| question.choices.len() == 4));
    }
}

#[test]
fn clinc150() {
    let Some(data) = common::data() else { return };
    let path = data.join("clinc150/data_full.json");
    let set = Clinc150::open(&path).unwrap();
    assert_eq!(set.domains.len(), 10);
    assert_eq!(["train", "val", "test"].map(|split| set.split(split).len()), [15_000, 3_000, 4_500]);
    assert_eq!(["train", "val", "test"].map(|split| set.out_of_scope(split).len()), [100, 100, 1_000]);
    let test = questions(&path, Source::Clinc150);
    assert_eq!(test.len(), 4_500);
    assert!(test.iter().all(|question| question.choices.len() == 15));
    let by_domain = set.domains.iter().map(|domain| set.domain_questions("test", domain).unwrap().len());
    assert_eq!(by_domain.collect::<Vec<_>>(), [450; 10]);
}

#[test]
fn llm_adapters() {
    let Some(data) = common::data() else { return };
    let folder = data.join("llm_adapters/dataset");
    for (name, split, count, choices) in [
        ("ARC-Easy", "train", 2251, 3..=5),
        ("ARC-Easy", "test", 2376, 3..=5),
        ("ARC-Challenge", "train", 1119, 3..=5),
        ("ARC-Challenge", "test", 1172, 3..=5),
        ("openbookqa", "train", 4957, 4..=4),
        ("openbookqa", "test", 500, 4..=4),
        ("boolq", "train", 9427, 2..=2),
        ("boolq", "test", 3270, 2..=2),
        ("piqa", "test", 1838, 2..=2),
        ("social_i_qa", "test", 1954, 3..=3),
        ("winogrande", "test", 1267, 2..=2),
        ("AQuA", "test", 254, 5..=5),
        ("mathqa", "test", 2985, 5..=5),
    ] {
        let path = folder.join(name).join(format!("{split}.json"));
        let all = questions(&path, Source::LlmAdapters);
        assert_eq!(all.len(), count, "{name}");
        for question in &all {
            assert!(choices.contains(&question.choices.len()), "{name}: {question:?}");
            assert!(!question.prompt.contains("Answer format"), "{name}: {question:?}");
        }
    }
    for (name, count) in
        [("AddSub", 395), ("MultiArith", 600), ("SVAMP", 1000), ("SingleEq", 508), ("gsm8k", 1319)]
    {
        let path = folder.join(name).join("test.json");
        assert!(Task::open(&path).unwrap_err().to_string().contains("no choices"));
        assert_eq!(examples(&path).unwrap().len(), count, "{name}");
    }
}

#[test]
fn commonsenseqa() {
    let Some(data) = common::data() else { return };
    let all = questions(&data.join("commonsenseqa/dev_rand_split.jsonl"), Source::Commonsenseqa);
    assert_eq!(all.len(), 1_221);
    assert!(all.iter().all(|question| question.choices.len() == 5));
}

#[test]
fn every_small_task_is_a_set_of_questions_or_of_examples() {
    let Some(data) = common::data() else { return };
    let mut files = files(&data.join("tasks"), "jsonl");
    // Folders called raw hold the sources' own forms.
    files.retain(|path| !path.components().any(|part| part.as_os_str() == "raw"));
    assert!(files.len() > 250, "{}", files.len());
    let mut with_choices = 0;
    for path in &files {
        assert!(!examples(path).unwrap().is_empty(), "{}", path.display());
        match Task::open(path) {
            Ok(_) => with_choices += 1,
            Err(error) => assert!(error.to_string().contains("no choices"), "{error}"),
        }
    }
    assert!(with_choices > 30, "{with_choices}");
}
