//! The key-value memory of one sequence, as the decoder sees it.
//!
//! Layout is `[layer][kv_head][slot][head_dim]`, so that each head owns its slots and may keep a set of its own.
//! Keys are stored after positions were applied. `crayon-pot` has the memories: one that keeps everything, and those of fixed size.

use crayon_kernels::KvSlice;

use crate::ModelError;

/// Keys and values of one head: `slots * head_dim` values each.
pub struct HeadView<'a> {
    /// `[slots, head_dim]`.
    pub keys: KvSlice<'a>,
    /// `[slots, head_dim]`.
    pub values: KvSlice<'a>,
    /// Filled slots, the newest tokens last.
    pub slots: usize,
    /// Added to the attention logit of each slot, `[slots]`.
    pub key_bias: Option<&'a [f32]>,
}

/// Keeps keys and values of one sequence. A forward pass calls, in this order: [`reserve`](Self::reserve), then
/// [`append`](Self::append) and [`head`](Self::head) for each layer, then [`advance`](Self::advance).
pub trait KvMemory: Send + Sync {
    /// Position that the next token takes.
    fn position(&self) -> usize;
    /// Length of the sequence this pass belongs to, as far as it is known; longrope chooses its frequencies by it.
    fn span(&self) -> usize;
    /// Makes sure that `rows` more tokens fit.
    fn reserve(&mut self, rows: usize) -> Result<(), ModelError>;
    /// Stores `rows` new tokens of `layer`; `keys` and `values` are `[rows, kv_heads, head_dim]`.
    fn append(&mut self, layer: usize, keys: &[f32], values: &[f32], rows: usize);
    /// What head `kv_head` of `layer` holds, the rows appended last included.
    fn head(&self, layer: usize, kv_head: usize) -> HeadView<'_>;
    /// The tokens of this pass are now part of the past.
    fn advance(&mut self, rows: usize);
}

/// Watches attention probabilities. Called from several threads at once, for different heads.
pub trait ScoreTap: Sync {
    /// `probabilities[i]` is the attention of row `row` (of this pass) in query head `head` on slot `first + i`.
    fn scores(&self, layer: usize, head: usize, row: usize, first: usize, probabilities: &[f32]);
}
