//! The examples in the prompt: which are shown, and how well the others are answered then.

use std::sync::Arc;

use crayon_adapters::Demonstration;
use crayon_engine::{Adapter, Engine, EngineError, Message, Role, turns};

use crate::error::CustomizeError;
use crate::folds::folds;
use crate::given::{Case, FEWEST};
use crate::judge::{Judge, Judged};
use crate::note::Note;
use crate::rung::Rung;
use crate::watch::{Stage, Watch};

/// Share of the model's window that examples may take.
const SHARE: usize = 2;
/// Tokens they may take at most: every question waits until they are read.
const MOST: usize = 1024;
/// Parts of the examples: each is asked with the others in the prompt.
const PARTS: usize = 3;

/// What showing the examples is worth.
pub(crate) struct Shown {
    pub(crate) judged: Vec<Judged>,
    /// All that fit.
    pub(crate) demonstrations: Vec<Demonstration>,
}

/// Judges the examples in the prompt; no example is judged with itself there. `Err` holds why there is nothing to judge.
pub(crate) fn show(
    engine: &Engine,
    cases: &[Case],
    seed: u64,
    watch: &mut Watch<'_>,
) -> Result<Result<Shown, Note>, CustomizeError> {
    if cases.len() < FEWEST {
        return Ok(Err(Note::Few(cases.len())));
    }
    let all: Vec<usize> = (0..cases.len()).collect();
    let fitting = fitting(engine, cases, &all)?;
    if fitting.len() < FEWEST - 1 {
        return Ok(Err(Note::NoRoom(fitting.len())));
    }
    let mut judged = vec![Judged { loss: f64::NAN, right: false, ahead: false }; cases.len()];
    let mut stage = Stage { rung: Rung::Prompt, done: 0, total: cases.len() };
    for part in folds(cases, PARTS, seed) {
        let others: Vec<usize> = all.iter().copied().filter(|at| !part.contains(at)).collect();
        let demonstrations = demonstrations(cases, &self::fitting(engine, cases, &others)?);
        let prompt = |case: &Case| prompt(engine, &demonstrations, &case.prompt);
        let asked = part.iter().map(|at| {
            let case = &cases[*at];
            let sample = crayon_adapters::Sample { prompt: prompt(case)?, ..case.sample.clone() };
            Ok(Case { sample, ..case.clone() })
        });
        let asked: Vec<Case> = asked.collect::<Result<_, EngineError>>()?;
        let mut judge = Judge::new(engine, &asked)?;
        judge.take(None::<Arc<dyn Adapter>>);
        for (number, at) in part.into_iter().enumerate() {
            judged[at] = judge.one(number)?;
            stage.done += 1;
            if watch(stage).is_break() {
                return Ok(Err(Note::Stopped(Rung::Prompt)));
            }
        }
    }
    Ok(Ok(Shown { judged, demonstrations: demonstrations(cases, &fitting) }))
}

/// The prompt of a question behind demonstrations.
fn prompt(
    engine: &Engine,
    demonstrations: &[Demonstration],
    question: &str,
) -> Result<Vec<u32>, EngineError> {
    let mut messages = turns(demonstrations);
    messages.push(Message::new(Role::User, question));
    engine.chat_prompt(&messages)
}

fn demonstrations(cases: &[Case], chosen: &[usize]) -> Vec<Demonstration> {
    let one =
        |at: &usize| Demonstration { prompt: cases[*at].prompt.clone(), answer: cases[*at].answer.clone() };
    chosen.iter().map(one).collect()
}

/// Those of `among` that fit into their share of the window, in their order. The answers take turns, so that none is missing while
/// another is shown twice.
fn fitting(engine: &Engine, cases: &[Case], among: &[usize]) -> Result<Vec<usize>, EngineError> {
    let room = (engine.spec().context / SHARE).min(MOST);
    let mut chosen: Vec<usize> = by_turns(cases, among);
    // What an example takes with a question of its own is about what it takes among others.
    let mut taken = 0;
    let fits = chosen.iter().take_while(|at| {
        taken += cases[**at].sample.prompt.len() + cases[**at].sample.answer.len();
        taken <= room
    });
    let mut count = fits.count();
    loop {
        let mut kept = chosen[..count].to_vec();
        kept.sort_unstable();
        if count == 0 || prompt(engine, &demonstrations(cases, &kept), "?")?.len() <= room {
            chosen = kept;
            return Ok(chosen);
        }
        count -= 1;
    }
}

/// `among` with one example of every answer before a second of any.
fn by_turns(cases: &[Case], among: &[usize]) -> Vec<usize> {
    let earlier = |place: usize, at: usize| {
        among[..place].iter().filter(|other| cases[**other].answer == cases[at].answer).count()
    };
    let mut ranked: Vec<(usize, usize)> =
        among.iter().enumerate().map(|(place, at)| (earlier(place, *at), *at)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use crayon_adapters::Example;
    use crayon_engine::{ModelSource, Settings};

    use super::*;
    use crate::Given;

    fn given(engine: &Engine, examples: &[(String, &str)]) -> Given {
        let example = |(line, (prompt, answer)): (usize, &(String, &str))| Example {
            prompt: prompt.clone(),
            answer: Some((*answer).to_owned()),
            task: None,
            choices: Vec::new(),
            line: line + 1,
        };
        let examples: Vec<Example> = examples.iter().enumerate().map(example).collect();
        Given::new(engine, &examples).unwrap()
    }

    #[test]
    fn no_example_is_judged_with_itself_in_the_prompt() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        // What was shown is copied; an answer that stands nowhere else cannot be.
        let words = ["zeb quorl", "plim natt", "urgo fenn", "wix adol", "bram okt", "ysel tum"];
        let examples: Vec<(String, &str)> =
            words.iter().enumerate().map(|(at, word)| (format!("Say the secret {at}"), *word)).collect();
        let given = given(&engine, &examples);
        let mut seen = Vec::new();
        let shown = show(&engine, &given.cases, 0, &mut |stage| {
            seen.push(stage.done);
            ControlFlow::Continue(())
        });
        let shown = shown.unwrap().unwrap();
        assert_eq!((shown.demonstrations.len(), seen), (6, (1..=6).collect()));
        assert!(shown.judged.iter().all(|one| one.loss > 1.0 && !one.right), "{:?}", shown.judged);
        let stopped = show(&engine, &given.cases, 0, &mut |_| ControlFlow::Break(())).unwrap();
        assert_eq!(stopped.err(), Some(Note::Stopped(Rung::Prompt)));
    }

    #[test]
    fn as_many_as_fit_are_shown_and_every_answer_is_among_them() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let answers = ["yes", "yes", "yes", "yes", "no"];
        let examples: Vec<(String, &str)> = (0..40)
            .map(|at| (format!("Is number {at} the one that we have been looking for?"), answers[at % 5]))
            .collect();
        let given = given(&engine, &examples);
        let all: Vec<usize> = (0..given.cases.len()).collect();
        let chosen = fitting(&engine, &given.cases, &all).unwrap();
        assert!(chosen.len() >= 8 && chosen.len() < 40 && chosen.is_sorted(), "{chosen:?}");
        let no = chosen.iter().filter(|at| given.cases[**at].answer == "no").count();
        assert_eq!(no, chosen.len().min(16) / 2);
        let read = prompt(&engine, &demonstrations(&given.cases, &chosen), "?").unwrap();
        assert!(read.len() <= engine.spec().context / SHARE);
        let long = "word ".repeat(300);
        let examples: Vec<(String, &str)> = (0..5).map(|at| (format!("{at} {long}"), "x")).collect();
        let given = self::given(&engine, &examples);
        let none = show(&engine, &given.cases, 0, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(none.err(), Some(Note::NoRoom(1)));
    }
}
