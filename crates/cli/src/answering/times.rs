//! Times of one answer, as they are printed.

use std::time::Duration;

use crayon_answer::{By, Outcome};
use serde::Serialize;

use crate::show;

/// Times of one answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    /// Opening the model.
    pub(crate) load_ms: f64,
    /// From the beginning of reading to the first token.
    pub(crate) ttft_ms: f64,
    /// Tokens read a second.
    pub(crate) prefill_tok_s: Option<f64>,
    /// Tokens written a second.
    pub(crate) decode_tok_s: Option<f64>,
}

impl Times {
    /// Of an answer of a model that took `loading` to open.
    pub(crate) fn new(outcome: &Outcome, loading: Duration) -> Times {
        let load_ms = show::millis(loading);
        match &outcome.by {
            By::Device(written) => Times {
                load_ms,
                ttft_ms: show::millis(written.reading + written.answer.timing.first),
                prefill_tok_s: show::rate(written.read, written.reading),
                decode_tok_s: show::rate(written.answer.tokens.len(), written.answer.timing.total),
            },
            By::Server(answer) => {
                let writing = answer.total.saturating_sub(answer.first);
                Times {
                    load_ms,
                    ttft_ms: show::millis(answer.first),
                    prefill_tok_s: None,
                    decode_tok_s: answer.written.and_then(|written| show::rate(written, writing)),
                }
            }
        }
    }

    /// One line for people, of `read` tokens read and `written` written.
    pub(crate) fn line(&self, read: usize, written: usize) -> String {
        let speed = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        format!(
            "read {} tokens at {} a second, wrote {} at {} a second, first after {} ms, peak memory {}",
            show::count(read),
            speed(self.prefill_tok_s),
            show::count(written),
            speed(self.decode_tok_s),
            self.ttft_ms,
            show::peak_rss_mb().map_or_else(|| "unknown".to_owned(), |mb| format!("{mb} MB")),
        )
    }
}
