//! Multiple choice against full forward passes.

mod common;

use std::path::{Path, PathBuf};

use common::{checkpoint, engine, go_on, ids, log_softmax, plain_logits};
use crayon_engine::Message;
use crayon_errors::Explain as _;
use crayon_eval::tasks::examples as examples_of;
use crayon_eval::{Choice, ChoiceOptions, EvalError, Framing, choice, log_likelihoods};
use crayon_text::{Role, Special};

/// `ln p(choice | prompt)` from one pass over both.
fn direct(prompt: &[u32], choice: &[u32]) -> f64 {
    let logits = plain_logits(&checkpoint(1, true), &[prompt, choice].concat());
    let rows = logits[prompt.len() - 1..].iter();
    rows.zip(choice).map(|(row, &id)| log_softmax(row, id)).sum()
}

fn choices() -> Vec<Vec<u32>> {
    vec![vec![4], vec![90, 17, 200], vec![90, 18], ids(12)]
}

#[test]
fn likelihoods_equal_full_passes() {
    let engine = engine(1, true);
    let mut session = engine.session(40).unwrap();
    // The second prompt shares its beginning with the first, the third is a part of it.
    for prompt in [ids(9), [ids(6), vec![1, 2]].concat(), ids(6)] {
        let scores = log_likelihoods(&mut session, &prompt, &choices()).unwrap();
        for (score, choice) in scores.iter().zip(choices()) {
            let expected = direct(&prompt, &choice);
            assert!((score - expected).abs() < 1e-4, "{score} {expected}");
        }
        assert_eq!(session.tokens(), prompt);
    }
}

#[test]
fn choices_together_score_as_alone() {
    let engine = engine(1, true);
    let prompt = ids(9);
    let together = log_likelihoods(&mut engine.session(40).unwrap(), &prompt, &choices()).unwrap();
    for (score, choice) in together.iter().zip(choices()) {
        let alone = log_likelihoods(&mut engine.session(40).unwrap(), &prompt, &[choice]).unwrap();
        assert_eq!(alone, [*score]);
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn ask(task: &Path, examples: Option<&Path>, options: &ChoiceOptions) -> Result<Choice, EvalError> {
    let examples = examples.map(examples_of).transpose()?.unwrap_or_default();
    choice(&engine(1, true), task, &examples, options, &mut go_on)
}

fn line(prompt: &str, choices: &[&str], answer: usize) -> String {
    serde_json::json!({ "prompt": prompt, "choices": choices, "answer": answer }).to_string() + "\n"
}

const WORDS: [&str; 4] = ["a", "the thing", "of", "none at all"];

/// Index of the likeliest of [`WORDS`], by score and by score a byte.
fn expected(prompt: &[u32], before: &str) -> (usize, usize) {
    let engine = engine(1, true);
    let tokenizer = engine.tokenizer().unwrap();
    let scores: Vec<f64> = WORDS
        .iter()
        .map(|word| direct(prompt, &tokenizer.encode(&format!("{before}{word}"), Special::Plain).unwrap()))
        .collect();
    let best = |value: &dyn Fn(usize) -> f64| (0..4).max_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap();
    (best(&|i| scores[i]), best(&|i| scores[i] / WORDS[i].len() as f64))
}

#[test]
fn both_framings_ask_what_they_say() {
    let engine = engine(1, true);
    let folder = Folder::new();
    let question = "what is it?";
    let chat = engine.chat_prompt(&[Message::new(Role::User, question)]).unwrap();
    let plain = engine.text_prompt(question).unwrap();
    for (framing, prompt, before) in [(Framing::Chat, chat, ""), (Framing::Plain, plain, " ")] {
        let (best, best_norm) = expected(&prompt, before);
        for answer in 0..4 {
            let task = folder.file("task.jsonl", &line(question, &WORDS, answer));
            let options = ChoiceOptions { framing, ..ChoiceOptions::default() };
            let result = ask(&task, None, &options).unwrap();
            assert_eq!(result.accuracy, f64::from(answer == best), "{framing} {answer}");
            assert_eq!(result.accuracy_norm, f64::from(answer == best_norm), "{framing} {answer}");
            assert_eq!((result.n, result.chance, result.framing), (1, 0.25, framing));
        }
    }
    let task = folder.file("task.jsonl", &line(question, &WORDS, 0));
    assert_eq!(ask(&task, None, &ChoiceOptions::default()).unwrap().framing, Framing::Chat);
    let bare = common::framed(1, false, Some("plain"));
    let result = choice(&bare, &task, &[], &ChoiceOptions::default(), &mut go_on).unwrap();
    assert_eq!(result.framing, Framing::Plain);
    let options = ChoiceOptions { framing: Framing::Chat, ..ChoiceOptions::default() };
    let error = choice(&bare, &task, &[], &options, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("framing") && error.hint().is_some(), "{error}");
}

#[test]
fn a_model_without_a_template_is_asked_in_its_frame() {
    let bare = common::engine(1, false);
    let folder = Folder::new();
    let examples = folder.file("examples.jsonl", "{\"prompt\": \"1?\", \"answer\": \"2\"}\n");
    let text = "Question: 1?\nAnswer: 2\n\nQuestion: it?\nAnswer:";
    let (best, best_norm) = expected(&bare.text_prompt(text).unwrap(), " ");
    let task = folder.file("task.jsonl", &line("it?", &WORDS, best));
    let result =
        choice(&bare, &task, &examples_of(&examples).unwrap(), &ChoiceOptions::default(), &mut go_on)
            .unwrap();
    let norm = f64::from(best == best_norm);
    assert_eq!((result.framing, result.accuracy, result.accuracy_norm), (Framing::Chat, 1.0, norm));
    // A template gives way to a frame that is asked for.
    let asked = common::framed(1, true, Some("qa"));
    let prompt = [Message::new(Role::User, "it?")];
    assert_eq!(asked.chat_prompt(&prompt).unwrap(), asked.text_prompt("Question: it?\nAnswer:").unwrap());
}

#[test]
fn examples_stand_in_front() {
    let folder = Folder::new();
    let examples = folder.file("examples.jsonl", "{\"prompt\": \"1?\", \"answer\": \"2\"}\n");
    let prompt = engine(1, true).text_prompt("1? 2\n\nwhat?").unwrap();
    let (best, _) = expected(&prompt, " ");
    let task = folder.file("task.jsonl", &line("what? ", &WORDS, best));
    let options = ChoiceOptions { framing: Framing::Plain, ..ChoiceOptions::default() };
    let result = ask(&task, Some(&examples), &options).unwrap();
    assert_eq!((result.accuracy, result.examples), (1.0, 1));
}

#[test]
fn averages_and_errors_are_over_the_questions_asked() {
    let folder = Folder::new();
    let prompts = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    let text: String = prompts.iter().map(|prompt| line(prompt, &WORDS[..2], 0)).collect();
    let task = folder.file("task.jsonl", &text);
    let all = ask(&task, None, &ChoiceOptions::default()).unwrap();
    assert_eq!((all.n, all.chance, all.skipped), (8, 0.5, 0));
    let right = (all.accuracy * 8.0).round();
    assert!((all.accuracy - right / 8.0).abs() < 1e-12);
    let expected = (all.accuracy * (1.0 - all.accuracy) / 8.0).sqrt();
    assert!((all.accuracy_stderr - expected).abs() < 1e-12);
    let some =
        ask(&task, None, &ChoiceOptions { limit: Some(3), seed: 5, ..ChoiceOptions::default() }).unwrap();
    assert_eq!(some.n, 3);
    assert!(ask(&task, None, &ChoiceOptions { limit: Some(0), ..ChoiceOptions::default() }).is_err());
}

#[test]
fn questions_that_do_not_fit_are_counted() {
    let folder = Folder::new();
    let long = "x".repeat(100);
    let text = line("short", &WORDS, 0) + &line(&long, &WORDS, 0) + &line("short too", &WORDS, 1);
    let result = ask(&folder.file("task.jsonl", &text), None, &ChoiceOptions::default()).unwrap();
    assert_eq!((result.n, result.skipped, result.skipped_lines), (2, 1, vec![2]));
    let task = folder.file("long.jsonl", &line(&long, &WORDS, 0));
    let error = ask(&task, None, &ChoiceOptions::default()).unwrap_err();
    assert!(matches!(error, EvalError::AllTooLong { questions: 1, .. }), "{error}");
}

#[test]
fn json_keys_are_those_of_the_contract() {
    let folder = Folder::new();
    let task = folder.file("task.jsonl", &line("what?", &WORDS, 0));
    let result = serde_json::to_value(ask(&task, None, &ChoiceOptions::default()).unwrap()).unwrap();
    for key in ["accuracy", "accuracy_norm", "n", "chance", "skipped"] {
        assert!(result[key].is_number(), "{key}: {result}");
    }
    assert_eq!(result["framing"], "chat");
    assert_eq!(result["source"], "lines");
}
