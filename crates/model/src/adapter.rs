//! Where adapters attach: every linear layer has a [`Site`], and an [`Adapter`] may add to its output.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use crayon_formats::spec::Spec;
use crayon_kernels::{Activations, Matrix, Mode, Product, Threads, matmul};
use sha2::{Digest, Sha256};

use crate::ModelError;

/// The linear layers of a block, and the output layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Projection after attention.
    O,
    /// Gate of the MLP.
    Gate,
    /// First layer of the MLP.
    Up,
    /// Last layer of the MLP.
    Down,
}

impl Projection {
    /// All of them, in the order a block runs them.
    pub const ALL: [Projection; 7] = [
        Projection::Q,
        Projection::K,
        Projection::V,
        Projection::O,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];

    /// The canonical (GGUF) tensor stem.
    pub const fn stem(self) -> &'static str {
        match self {
            Projection::Q => "attn_q",
            Projection::K => "attn_k",
            Projection::V => "attn_v",
            Projection::O => "attn_output",
            Projection::Gate => "ffn_gate",
            Projection::Up => "ffn_up",
            Projection::Down => "ffn_down",
        }
    }

    /// Whether a network of `spec` has it: only gated MLPs have a gate.
    pub fn exists(self, spec: &Spec) -> bool {
        self != Projection::Gate || spec.gated
    }

    /// Whether it adds a bias.
    pub fn has_bias(self, spec: &Spec) -> bool {
        match self {
            Projection::Q | Projection::K | Projection::V => spec.biases.qkv,
            Projection::O => spec.biases.attention_output,
            Projection::Gate | Projection::Up | Projection::Down => spec.biases.mlp,
        }
    }

    /// Values in and out, `(in, out)`.
    pub fn size(self, spec: &Spec) -> (usize, usize) {
        let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        match self {
            Projection::Q => (spec.hidden, q),
            Projection::K | Projection::V => (spec.hidden, kv),
            Projection::O => (q, spec.hidden),
            Projection::Gate | Projection::Up => (spec.hidden, spec.intermediate),
            Projection::Down => (spec.intermediate, spec.hidden),
        }
    }
}

/// One linear layer of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// Block index, from 0.
    pub layer: usize,
    /// Which of the block's linear layers.
    pub projection: Projection,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blk.{}.{}", self.layer, self.projection.stem())
    }
}

/// Something that adds to the output of linear layers beside their weights.
pub trait Adapter: Send + Sync {
    /// Adds this adapter's contribution for `site` to `out`: `x` is `[rows, in]`, `out` is `[rows, out]`. Sites it
    /// does not adapt are left as they are.
    fn add(&self, site: Site, x: &[f32], rows: usize, out: &mut [f32], pool: &Threads);

    /// Where this adapter is others under weights: those, and its gains on their inner values at `site`, `[rank]`, appended to `gains`.
    /// Sequences whose adapters weigh the same ones are run through them together, each row with its own gains
    /// ([`LowRank::add_weighted`]); to the bit what [`add`](Adapter::add) gives each alone.
    fn weighs(&self, _site: Site, _gains: &mut Vec<f32>) -> Option<&LowRank> {
        None
    }

    /// Text that differs between adapters that answer differently: keys and values computed through one are never
    /// used with another.
    fn fingerprint(&self) -> String;

    /// Bytes it takes; of what it shares with others, all of it.
    fn bytes(&self) -> usize;
}

/// `scale * B A` for one layer: `a` is `[rank, in]`, `b` is `[out, rank]`.
#[derive(Clone, Debug)]
pub struct LowRankPair {
    /// Down projection, `[rank, in]`.
    pub a: Vec<f32>,
    /// Up projection, `[out, rank]`.
    pub b: Vec<f32>,
    /// Inner width.
    pub rank: usize,
    /// Factor on the product, `alpha / rank` for plain LoRA.
    pub scale: f32,
}

/// Low-rank adapters (LoRA, arXiv 2106.09685) on any set of layers, mixed ranks allowed.
#[derive(Clone, Debug, Default)]
pub struct LowRank {
    pairs: HashMap<Site, LowRankPair>,
}

impl LowRank {
    /// Attaches `pair` at `site` after checking its shape against the network. Nothing is copied.
    pub fn insert(&mut self, spec: &Spec, site: Site, pair: LowRankPair) -> Result<(), ModelError> {
        let (input, output) = site.projection.size(spec);
        let fail = |reason: String| ModelError::Adapter { site: site.to_string(), reason };
        if site.layer >= spec.layers {
            return Err(fail(format!("the network has {} layers", spec.layers)));
        }
        if pair.rank == 0 || pair.a.len() != pair.rank * input || pair.b.len() != output * pair.rank {
            return Err(fail(format!(
                "expected A [{0}, {input}] and B [{output}, {0}], found {1} and {2} values",
                pair.rank,
                pair.a.len(),
                pair.b.len()
            )));
        }
        self.pairs.insert(site, pair);
        Ok(())
    }

    /// Bytes its values take.
    pub fn bytes(&self) -> usize {
        self.pairs.values().map(|pair| size_of::<f32>() * (pair.a.len() + pair.b.len())).sum()
    }

    /// The adapted sites, in no particular order.
    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.pairs.keys().copied()
    }
}

impl LowRank {
    /// Like [`Adapter::add`], with the inner values `A x` multiplied by `gains` on their way: `[rank]` for all rows, or
    /// `[rows, rank]`; none stands for ones.
    pub fn add_weighted(
        &self,
        site: Site,
        x: &[f32],
        rows: usize,
        out: &mut [f32],
        pool: &Threads,
        gains: &[f32],
    ) {
        let Some(pair) = self.pairs.get(&site) else { return };
        let matrix = |rows: usize, cols: usize, values| Matrix::from_f32(rows, cols, values);
        // `insert` checked the shapes.
        let (Ok(a), Ok(b)) = (
            matrix(pair.rank, pair.a.len() / pair.rank, &pair.a),
            matrix(pair.b.len() / pair.rank, pair.rank, &pair.b),
        ) else {
            return;
        };
        BUFFERS.with_borrow_mut(|Buffers { activations, inner, delta }| {
            product(pool, x, rows, a, activations, inner);
            if !gains.is_empty() {
                let gains = gains.iter().cycle();
                inner.iter_mut().zip(gains).for_each(|(value, gain)| *value *= gain);
            }
            product(pool, inner, rows, b, activations, delta);
            for (out, delta) in out.iter_mut().zip(delta) {
                *out += pair.scale * *delta;
            }
        });
    }
}

impl Adapter for LowRank {
    fn add(&self, site: Site, x: &[f32], rows: usize, out: &mut [f32], pool: &Threads) {
        self.add_weighted(site, x, rows, out, pool, &[]);
    }

    fn fingerprint(&self) -> String {
        let mut sites: Vec<&Site> = self.pairs.keys().collect();
        sites.sort_unstable_by_key(|site| site.to_string());
        let mut hash = Sha256::new();
        for site in sites {
            let pair = &self.pairs[site];
            let (input, output) = (pair.a.len() / pair.rank, pair.b.len() / pair.rank);
            hash.update(format!("{site} {} {input} {output} {} ", pair.rank, pair.scale));
            for values in [&pair.a, &pair.b] {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        hex::encode(hash.finalize())
    }

    fn bytes(&self) -> usize {
        LowRank::bytes(self)
    }
}

/// Adds to `out` `[rows, out]` what the adapter of each sequence makes of its rows of `x` `[rows, in]`. Neighbours that weigh the same
/// adapters are run through them together.
pub(crate) fn add_each<'a>(
    site: Site,
    x: &[f32],
    rows: usize,
    out: &mut [f32],
    sequences: impl Iterator<Item = (Option<&'a dyn Adapter>, Range<usize>)>,
    pool: &Threads,
) {
    let (cols, width) = (x.len() / rows.max(1), out.len() / rows.max(1));
    let mut sequences = sequences.peekable();
    let mut gains = GAINS.take();
    while let Some((adapter, mut span)) = sequences.next() {
        let Some(adapter) = adapter else { continue };
        gains.clear();
        let weighed = adapter.weighs(site, &mut gains);
        if let Some(weighed) = weighed {
            let rank = gains.len();
            repeat_last(&mut gains, rank, span.len());
            while let Some((Some(next), more)) = sequences.peek() {
                let before = gains.len();
                if next.weighs(site, &mut gains).is_none_or(|same| !std::ptr::eq(same, weighed)) {
                    gains.truncate(before);
                    break;
                }
                repeat_last(&mut gains, rank, more.len());
                span.end = more.end;
                sequences.next();
            }
        }
        let (x, out) =
            (&x[span.start * cols..span.end * cols], &mut out[span.start * width..span.end * width]);
        match weighed {
            Some(weighed) => weighed.add_weighted(site, x, span.len(), out, pool, &gains),
            None => adapter.add(site, x, span.len(), out, pool),
        }
    }
    GAINS.set(gains);
}

/// Makes of the last `len` values, which are there once, `times` copies.
fn repeat_last(values: &mut Vec<f32>, len: usize, times: usize) {
    let first = values.len() - len;
    for _ in 1..times {
        values.extend_from_within(first..first + len);
    }
}

/// What lies between the two products, kept from call to call.
#[derive(Default)]
struct Buffers {
    activations: Activations,
    inner: Vec<f32>,
    delta: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
    /// Gains of the rows whose adapters weigh the same others, `[rows, rank]`.
    static GAINS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

fn product(
    pool: &Threads,
    x: &[f32],
    rows: usize,
    weight: Matrix<'_>,
    activations: &mut Activations,
    out: &mut Vec<f32>,
) {
    out.resize(rows * weight.rows, 0.0);
    activations.set(x, rows, weight.cols);
    activations.prepare(pool, [weight.format].into_iter(), Mode::Exact);
    matmul(pool, activations, &mut [Product { weight, out }], Mode::Exact);
}
