//! Published sets of questions about long texts, read from a file of the user's.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use crayon_answer::{AnswerError, MemoryRequest};
use crayon_engine::{Engine, EngineError};
use serde::Serialize;

use super::planned;
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
    memory: &MemoryRequest,
    progress: &mut Progress<'_>,
) -> Result<PublishedTable, EvalError> {
    let started = Instant::now();
    let (mut scores, mut skipped) = (BTreeMap::<&str, Vec<f64>>::new(), 0);
    for (done, task) in tasks.iter().enumerate() {
        match planned(engine, &task.context, &task.question, LONGEST, memory) {
            Ok(plan) => {
                let mut session = plan.session(engine)?;
                session.feed(&plan.prompt, &mut |_| ControlFlow::Continue(()))?;
                let answer = session.generate(&plan.generate, &mut |_| ControlFlow::Continue(()))?;
                scores.entry(&task.name).or_default().push(task.score(&answer.text));
            }
            Err(EvalError::Engine(EngineError::Pot(_))) => skipped += 1,
            Err(EvalError::Answer(error)) if matches!(*error, AnswerError::NoRoom(_)) => skipped += 1,
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
