//! What is asked of the ladder.

use std::path::Path;
use std::time::Duration;

use crayon_adapters::Lora;

use crate::rung::Effort;

/// The adapters of a pool that is here.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// Each of them.
    pub loras: &'a [&'a Lora],
    /// Their weights in the blend.
    pub weights: &'a [f32],
}

/// What the ladder is built of, and how far it is climbed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The pool's blend for these examples, where there is one.
    pub blend: Option<&'a Lora>,
    /// The pool's adapters, where they are here.
    pub members: Option<Members<'a>>,
    /// How far it is climbed.
    pub effort: Effort,
    /// Time for all of it. What would not be done in it is not begun.
    pub budget: Duration,
    /// Everything random follows from it.
    pub seed: u64,
    /// Where what learns is kept, so that a climb that was stopped goes on; it is removed in the end.
    pub folder: Option<&'a Path>,
}
