//! Measurements: how well a model predicts, how often it picks the right answer, how fast it runs.
//!
//! Every function returns a serialisable value whose keys are the ones `crayon eval … --json` and
//! `crayon bench … --json` print. Nothing here prints.
//!
//! - [`perplexity`]: mean negative log-likelihood of a text in independent windows;
//! - [`logits`]: what the network computes, for comparison with other implementations;
//! - [`choice`]: multiple choice by log-likelihood, on the files [`tasks`] reads;
//! - [`mod@customize`]: a pool's blend beside other ways to serve a person from a few examples;
//! - [`routing`]: what a server's share of the questions brings;
//! - [`long`]: questions about long texts, made or read; [`pots`]: their answers through memory of fixed size;
//! - [`images`]: whether word weights steer a search of pictures, beside other ways to stress a word;
//! - `quantize`: ways to quantise, on text like that of the calibration and on other text;
//! - [`mod@bench`]: speed and memory, beside the limits of the machine; servers under load, beside each other.

mod appended;
pub mod bench;
mod choice;
mod correlation;
pub mod customize;
mod error;
pub mod images;
mod input;
mod logits;
pub mod long;
mod perplexity;
pub mod pots;
#[cfg(feature = "train")]
pub mod quantize;
pub mod routing;
mod score;
pub mod tasks;

pub use choice::{Choice, ChoiceOptions, Framing, choice, log_likelihoods};
pub use crayon_draw as draw;
pub use error::EvalError;
pub use input::{read_text, read_token_ids};
pub use logits::{Logits, logits};
pub use perplexity::{Perplexity, perplexity, perplexity_of_text};

/// Told after every piece of work how much is done of how much; may stop it.
pub type Progress<'a> = dyn FnMut(usize, usize) -> std::ops::ControlFlow<()> + 'a;
