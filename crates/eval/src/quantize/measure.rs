//! How well a model predicts windows of a text, and how far its distributions lie from the exact ones.

use std::ops::ControlFlow;

use crayon_engine::Engine;

use super::beside::Beside;
use super::texts::Windows;
use crate::EvalError;
use crate::score::{feed_rows, log_likelihood, log_sum, not_finite};

/// What the exact path says at some rows of each window.
pub(super) struct Exact {
    /// Logits `[rows looked at, vocab]` of every window.
    logits: Vec<Vec<f32>>,
}

/// Rows of a window at which distributions are compared: this many, at equal distances. Each keeps as many logits as there are tokens.
pub(super) const COMPARED: usize = 8;

/// How well a text is predicted.
pub(super) struct Measured {
    /// Mean negative log-likelihood of each window's tokens, in nats.
    pub(super) nll: Vec<f64>,
    /// Mean divergence from the exact path, in nats; 0 where nothing is compared.
    pub(super) kl: f64,
}

impl Measured {
    /// Over all tokens: windows are equally long.
    pub(super) fn mean(&self) -> f64 {
        self.nll.iter().sum::<f64>() / self.nll.len().max(1) as f64
    }
}

fn compared(row: usize, rows: usize) -> bool {
    row.is_multiple_of((rows / COMPARED).max(1))
}

/// Measures `engine` on the windows of `text`, and its divergence from `exact` where that is given. With `keep`, the logits of the rows
/// that are compared are taken.
pub(super) fn measure(
    engine: &Engine,
    beside: &Beside,
    text: &Windows,
    exact: Option<&Exact>,
    mut keep: Option<&mut Exact>,
    tick: &mut dyn FnMut() -> Result<(), EvalError>,
) -> Result<Measured, EvalError> {
    let (mut nll, mut divergence, mut rows) = (Vec::new(), 0.0, 0usize);
    for (number, window) in text.windows.iter().enumerate() {
        let mut session = beside.session(engine, window.len())?;
        let (mut kept, mut at) = (Vec::new(), 0);
        let inputs = &window[..window.len() - 1];
        let mut sum = 0.0;
        let mut take = |row: usize, logits: &[f32]| {
            let own = log_likelihood(logits, window[row + 1]).ok_or_else(|| not_finite(engine))?;
            sum -= own;
            if compared(row, window.len() - 1) {
                if keep.is_some() {
                    kept.extend_from_slice(logits);
                }
                if let Some(exact) = exact {
                    let theirs = &exact.logits[number][at * logits.len()..(at + 1) * logits.len()];
                    divergence += kullback(theirs, logits).ok_or_else(|| not_finite(engine))?;
                    rows += 1;
                    at += 1;
                }
            }
            Ok(())
        };
        if beside.pot.is_some() {
            // A pot has logits of the last token alone.
            for (row, token) in inputs.iter().enumerate() {
                session.feed(&[*token], &mut |_| ControlFlow::Continue(()))?;
                take(row, session.logits())?;
            }
        } else {
            feed_rows(&mut session, inputs, take)?;
        }
        if let Some(keep) = keep.as_mut() {
            keep.logits.push(kept);
        }
        nll.push(sum / inputs.len() as f64);
        tick()?;
    }
    Ok(Measured { nll, kl: divergence / rows.max(1) as f64 })
}

impl Exact {
    pub(super) fn new() -> Exact {
        Exact { logits: Vec::new() }
    }
}

/// Divergence of the distribution of logits `q` from that of `p`, in nats.
fn kullback(p: &[f32], q: &[f32]) -> Option<f64> {
    let (p_sum, q_sum) = (log_sum(p)?, log_sum(q)?);
    let terms = p.iter().zip(q).map(|(p, q)| {
        let p = f64::from(*p) - p_sum;
        let weight = p.exp();
        if weight > 0.0 { weight * (p - (f64::from(*q) - q_sum)) } else { 0.0 }
    });
    Some(terms.sum())
}

#[cfg(test)]
mod tests {
    use super::kullback;

    #[test]
    fn divergence_is_zero_from_oneself_and_known_elsewhere() {
        let p = [0.0f32, 1.0, -3.0];
        assert!(kullback(&p, &p.map(|v| v + 7.0)).unwrap().abs() < 1e-6);
        // One half each against one and three quarters.
        let found = kullback(&[0.0, 0.0], &[0.0, 3f32.ln()]).unwrap();
        assert!((found - 0.5 * (0.5f64 / 0.25).ln() - 0.5 * (0.5f64 / 0.75).ln()).abs() < 1e-6);
        assert_eq!(kullback(&p, &[f32::NAN, 0.0, 0.0]), None);
    }
}
