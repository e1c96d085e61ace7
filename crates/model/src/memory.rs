//! The key-value memory of one sequence, as the decoder sees it.
//!
//! Layout is `[layer][kv_head][slot][head_dim]`, so that each head owns its slots and may keep a set of its own.
//! Keys are stored after positions were applied.

use crayon_formats::spec::Spec;
use crayon_kernels::KvSlice;
use half::f16;

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

/// Storage type of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Exact.
    F32,
    /// Half the memory; rounding of 2^-11.
    F16,
}

impl KvType {
    /// Bytes of one value.
    pub const fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
        }
    }
}

enum Store {
    F32 { keys: Vec<f32>, values: Vec<f32> },
    F16 { keys: Vec<f16>, values: Vec<f16> },
}

/// Keeps every token up to a capacity taken once.
pub struct FullMemory {
    store: Store,
    kv_heads: usize,
    head_dim: usize,
    capacity: usize,
    filled: usize,
    /// Filled slots including the rows of the pass under way.
    pending: usize,
}

impl FullMemory {
    /// Room for `capacity` tokens of `spec`'s network. Pages are touched only as slots fill.
    pub fn new(spec: &Spec, capacity: usize, kv: KvType) -> FullMemory {
        let values = spec.layers * spec.kv_heads * capacity * spec.head_dim;
        let store = match kv {
            KvType::F32 => Store::F32 { keys: vec![0.0; values], values: vec![0.0; values] },
            KvType::F16 => Store::F16 { keys: vec![f16::ZERO; values], values: vec![f16::ZERO; values] },
        };
        FullMemory {
            store,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            capacity,
            filled: 0,
            pending: 0,
        }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets everything after the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
        self.pending = self.filled;
    }

    /// Bytes of keys and values taken.
    pub fn bytes(&self) -> usize {
        match &self.store {
            Store::F32 { keys, .. } => keys.len() * 8,
            Store::F16 { keys, .. } => keys.len() * 4,
        }
    }

    fn offset(&self, layer: usize, kv_head: usize, slot: usize) -> usize {
        ((layer * self.kv_heads + kv_head) * self.capacity + slot) * self.head_dim
    }
}

impl KvMemory for FullMemory {
    fn position(&self) -> usize {
        self.filled
    }

    fn span(&self) -> usize {
        self.capacity
    }

    fn reserve(&mut self, rows: usize) -> Result<(), ModelError> {
        let needed = self.filled + rows;
        if needed > self.capacity {
            return Err(ModelError::MemoryFull { needed, capacity: self.capacity });
        }
        self.pending = needed;
        Ok(())
    }

    fn append(&mut self, layer: usize, keys: &[f32], values: &[f32], rows: usize) {
        let dim = self.head_dim;
        for head in 0..self.kv_heads {
            let start = self.offset(layer, head, self.filled);
            for row in 0..rows {
                let from = (row * self.kv_heads + head) * dim..(row * self.kv_heads + head + 1) * dim;
                let to = start + row * dim..start + (row + 1) * dim;
                match &mut self.store {
                    Store::F32 { keys: k, values: v } => {
                        k[to.clone()].copy_from_slice(&keys[from.clone()]);
                        v[to].copy_from_slice(&values[from]);
                    }
                    Store::F16 { keys: k, values: v } => {
                        round_to_f16(&keys[from.clone()], &mut k[to.clone()]);
                        round_to_f16(&values[from], &mut v[to]);
                    }
                }
            }
        }
    }

    fn head(&self, layer: usize, kv_head: usize) -> HeadView<'_> {
        let start = self.offset(layer, kv_head, 0);
        let range = start..start + self.pending * self.head_dim;
        let (keys, values) = match &self.store {
            Store::F32 { keys, values } => (KvSlice::F32(&keys[range.clone()]), KvSlice::F32(&values[range])),
            Store::F16 { keys, values } => (KvSlice::F16(&keys[range.clone()]), KvSlice::F16(&values[range])),
        };
        HeadView { keys, values, slots: self.pending, key_bias: None }
    }

    fn advance(&mut self, rows: usize) {
        self.filled += rows;
        self.pending = self.filled;
    }
}

fn round_to_f16(from: &[f32], to: &mut [f16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f16::from_f32(*from);
    }
}
