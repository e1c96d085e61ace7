//! Published sets of questions about long texts, read from a file of the user's.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use crayon_engine::{Engine, EngineError, GenerateOptions, Message, Role};
use serde::Serialize;

use super::{Reading, open};
use crate::long::LongTask;
use crate::long::metrics::Mean;
use crate::{EvalError, Progress};

/// One data set or category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedRow {
    /// Name of the set.
    pub task: String,
    /// Mean of its metric, 0 to 1.
    pub score: f64,
    /// Of the score, over questions.
    pub standard_error: Option<f64>,
    /// Questions.
    pub n: usize,
}

/// Scores of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedTable {
    /// By name.
    pub rows: Vec<PublishedRow>,
    /// Mean over rows.
    pub score: f64,
    /// Questions left out: without a pot the text does not fit the window, or the question does not fit the pot.
    pub skipped: usize,
    /// Time taken.
    pub seconds: f64,
}

/// Longest answer in tokens.
const LONGEST: usize = 64;

/// Answers every question of `tasks`.
///
/// # Errors
/// When the network fails, or `progress` stops the measurement.
pub fn published(
    engine: &Engine,
    tasks: &[LongTask],
    reading: &Reading,
    progress: &mut Progress<'_>,
) -> Result<PublishedTable, EvalError> {
    let started = Instant::now();
    let (mut scores, mut skipped) = (BTreeMap::<&str, Vec<f64>>::new(), 0);
    for (done, task) in tasks.iter().enumerate() {
        let put = |text: String| engine.chat_prompt(&[Message::new(Role::User, text)]);
        let prompt = put(format!("{}\n\n{}", task.context, task.question))?;
        match open(engine, reading, &prompt, &put(task.question.clone())?, &task.question, LONGEST) {
            Ok(mut session) => {
                session.feed(&prompt, &mut |_| ControlFlow::Continue(()))?;
                let options = GenerateOptions { max_tokens: LONGEST, ..GenerateOptions::default() };
                let answer = session.generate(&options, &mut |_| ControlFlow::Continue(()))?;
                scores.entry(&task.name).or_default().push(task.score(&answer.text));
            }
            Err(EvalError::Engine(EngineError::TooLong { .. } | EngineError::Pot(_))) => skipped += 1,
            Err(error) => return Err(error),
        }
        if progress(done + 1, tasks.len()).is_break() {
            return Err(EngineError::Cancelled.into());
        }
    }
    let rows: Vec<PublishedRow> = scores
        .into_iter()
        .map(|(name, scores)| {
            let mean = Mean::of(&scores);
            let (score, standard_error, n) = (mean.mean, mean.standard_error, mean.count);
            PublishedRow { task: name.to_owned(), score, standard_error, n }
        })
        .collect();
    let score = rows.iter().map(|row| row.score).sum::<f64>() / rows.len().max(1) as f64;
    Ok(PublishedTable { rows, score, skipped, seconds: started.elapsed().as_secs_f64() })
}
