//! Examples as token ids, ready to learn from.

/// One example, ready to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Token ids up to where the answer begins.
    pub prompt: Vec<u32>,
    /// Token ids of the answer with its end.
    pub answer: Vec<u32>,
    /// Its query as [`QueryEncoder::query`](crate::QueryEncoder::query) gives it, `[width]`.
    pub query: Vec<f32>,
    /// The task it belongs to; adapters are named after the tasks they hold.
    pub task: String,
}
