//! The network's logits as they are, for comparison with other implementations.

use crayon_engine::{Engine, EngineError};
use serde::Serialize;

use crate::EvalError;
use crate::score::{feed_rows, not_finite};

/// Logits of some positions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logits {
    /// `[position][vocab]`: every position, or the last alone.
    pub logits: Vec<Vec<f32>>,
}

/// Logits after every one of `ids` (`all`), or after the last.
///
/// # Errors
/// When there are no ids or more than the context holds, one is outside the vocabulary, or a logit is not
/// finite.
pub fn logits(engine: &Engine, ids: &[u32], all: bool) -> Result<Logits, EvalError> {
    let Some((&last, before)) = ids.split_last() else {
        return Err(EngineError::EmptyPrompt.into());
    };
    let mut session = engine.session(ids.len())?;
    let mut rows = Vec::with_capacity(if all { ids.len() } else { 1 });
    let mut keep = |_: usize, row: &[f32]| {
        if !row.iter().all(|value| value.is_finite()) {
            return Err(not_finite(engine));
        }
        rows.push(row.to_vec());
        Ok(())
    };
    if all {
        feed_rows(&mut session, ids, &mut keep)?;
    } else {
        session.feed(before, &mut |_| std::ops::ControlFlow::Continue(()))?;
        feed_rows(&mut session, &[last], &mut keep)?;
    }
    Ok(Logits { logits: rows })
}
