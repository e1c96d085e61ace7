//! Examples as token ids, ready to learn from.

use crate::Query;

/// One example, ready to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Token ids up to where the answer begins.
    pub prompt: Vec<u32>,
    /// Token ids of the answer with its end.
    pub answer: Vec<u32>,
    /// What its prompt and its answer ask, as [`QueryEncoder::query`](crate::QueryEncoder::query) gives it.
    pub query: Query,
    /// The task it belongs to; adapters are named after the tasks they hold.
    pub task: String,
}
