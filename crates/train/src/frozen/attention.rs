//! Attention within sequences that stand one behind another, forward and backward.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crayon_formats::spec::Spec;
use crayon_kernels::{Threads, ops};
use crayon_model::rope::Rotation;

/// Rotary positions of whole rows: cos and sin `[rows, dims / 2]`; positions start at 0 in every sequence.
pub(super) struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Angles {
    pub(super) fn new(rotation: &Rotation, sequences: &[Range<usize>]) -> Angles {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for sequence in sequences {
            (0..sequence.len()).for_each(|position| rotation.push_angles(position, &mut cos, &mut sin));
        }
        Angles { cos, sin, half: rotation.inverse_frequencies.len() }
    }

    /// Rotates every head of `x` `[rows, heads, dim]`; `back` turns the other way, as gradients do.
    pub(super) fn rotate(&self, x: &mut [f32], heads: usize, dim: usize, back: bool) {
        for (row, x) in x.chunks_exact_mut(heads * dim).enumerate() {
            let at = row * self.half..(row + 1) * self.half;
            let (cos, sin) = (&self.cos[at.clone()], &self.sin[at]);
            for head in x.chunks_exact_mut(dim) {
                let (first, second) = head[..2 * self.half].split_at_mut(self.half);
                for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    let sin = if back { -sin } else { *sin };
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

/// What one layer's attention needs: rotated `q` `[rows, heads, dim]`, rotated `k` and `v` `[rows, kv_heads, dim]`.
pub(super) struct Attention<'a> {
    pub(super) spec: &'a Spec,
    pub(super) sequences: &'a [Range<usize>],
    pub(super) window: Option<usize>,
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

/// Gradients of q, k and v.
pub(super) struct Gradients {
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl Attention<'_> {
    /// Probabilities of each query head of each sequence, `[rows, rows]` of the sequence with zeros where a row does not look,
    /// and the mix `[rows, heads, dim]`.
    pub(super) fn forward(&self, threads: &Threads) -> (Vec<Vec<f32>>, Vec<f32>) {
        let (spec, dim) = (self.spec, self.spec.head_dim);
        let made = self.each(spec.heads, threads, |sequence, head| {
            let (q, k, v) = self.heads(sequence, head);
            let rows = sequence.len();
            let mut probabilities = vec![0.0; rows * rows];
            let mut mixed = vec![0.0; rows * dim];
            for row in 0..rows {
                let seen = self.seen(row);
                let line = &mut probabilities[row * rows..][seen.clone()];
                for (value, key) in line.iter_mut().zip(k[seen.start * dim..].chunks_exact(dim)) {
                    *value = dot(&q[row * dim..(row + 1) * dim], key) * spec.attention_scale;
                }
                if let Some(cap) = spec.attention_softcap {
                    ops::softcap(line, cap);
                }
                ops::softmax(line);
                let out = &mut mixed[row * dim..(row + 1) * dim];
                for (share, v) in line.iter().zip(v[seen.start * dim..].chunks_exact(dim)) {
                    add_scaled(out, v, *share);
                }
            }
            (probabilities, mixed)
        });
        let mut mixed = vec![0.0; self.q.len()];
        let mut probabilities = Vec::with_capacity(made.len());
        for (at, (own, part)) in made.into_iter().enumerate() {
            self.scatter(&part, at, spec.heads, &mut mixed);
            probabilities.push(own);
        }
        (probabilities, mixed)
    }

    /// Gradient of the mix `[rows, heads, dim]` to those of q, k and v, with the probabilities that `forward` gave.
    pub(super) fn backward(&self, probabilities: &[Vec<f32>], mixed: &[f32], threads: &Threads) -> Gradients {
        let (spec, dim) = (self.spec, self.spec.head_dim);
        let made = self.each(spec.heads, threads, |sequence, head| {
            let (q, k, v) = self.heads(sequence, head);
            let rows = sequence.len();
            let number = self.sequences.iter().position(|other| other.start == sequence.start);
            let probabilities = &probabilities[number.unwrap_or(0) * spec.heads + head];
            let mixed = gather(mixed, sequence, head, spec.heads, dim);
            let mut gradients = [vec![0.0; rows * dim], vec![0.0; rows * dim], vec![0.0; rows * dim]];
            let mut scores = vec![0.0; rows];
            for row in 0..rows {
                let seen = self.seen(row);
                let line = &probabilities[row * rows..][seen.clone()];
                let out = &mixed[row * dim..(row + 1) * dim];
                let scores = &mut scores[..line.len()];
                let mut sum = 0.0;
                for ((slot, score), share) in seen.clone().zip(&mut *scores).zip(line) {
                    *score = dot(out, &v[slot * dim..(slot + 1) * dim]);
                    sum += *score * share;
                    add_scaled(&mut gradients[2][slot * dim..(slot + 1) * dim], out, *share);
                }
                for ((slot, score), share) in seen.zip(&*scores).zip(line) {
                    let (own, key) = (&q[row * dim..(row + 1) * dim], &k[slot * dim..(slot + 1) * dim]);
                    let mut factor = (score - sum) * share * spec.attention_scale;
                    if let Some(cap) = spec.attention_softcap {
                        let tanh = (dot(own, key) * spec.attention_scale / cap).tanh();
                        factor *= 1.0 - tanh * tanh;
                    }
                    add_scaled(&mut gradients[0][row * dim..(row + 1) * dim], key, factor);
                    add_scaled(&mut gradients[1][slot * dim..(slot + 1) * dim], own, factor);
                }
            }
            gradients
        });
        let group = spec.heads / spec.kv_heads;
        let mut all =
            Gradients { q: vec![0.0; self.q.len()], k: vec![0.0; self.k.len()], v: vec![0.0; self.v.len()] };
        for (at, [q, k, v]) in made.into_iter().enumerate() {
            self.scatter(&q, at, spec.heads, &mut all.q);
            let (number, head) = (at / spec.heads, at % spec.heads);
            let at = number * spec.kv_heads + head / group;
            self.scatter(&k, at, spec.kv_heads, &mut all.k);
            self.scatter(&v, at, spec.kv_heads, &mut all.v);
        }
        all
    }

    /// Slots that row `row` of a sequence looks at.
    fn seen(&self, row: usize) -> Range<usize> {
        self.window.map_or(0, |window| (row + 1).saturating_sub(window))..row + 1
    }

    /// q, k and v of one query head of a sequence, `[rows, dim]` each.
    fn heads(&self, sequence: &Range<usize>, head: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let spec = self.spec;
        let kv = head / (spec.heads / spec.kv_heads);
        (
            gather(self.q, sequence, head, spec.heads, spec.head_dim),
            gather(self.k, sequence, kv, spec.kv_heads, spec.head_dim),
            gather(self.v, sequence, kv, spec.kv_heads, spec.head_dim),
        )
    }

    /// `f` of every head of every sequence, in that order.
    fn each<T: Send>(
        &self,
        heads: usize,
        threads: &Threads,
        f: impl Fn(&Range<usize>, usize) -> T + Sync,
    ) -> Vec<T> {
        let made: Vec<Mutex<Option<T>>> =
            (0..self.sequences.len() * heads).map(|_| Mutex::new(None)).collect();
        threads.run(made.len(), |at| {
            let value = f(&self.sequences[at / heads], at % heads);
            *made[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        made.into_iter()
            .filter_map(|cell| cell.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Adds `[rows, dim]` of head `at % heads` of sequence `at / heads` to `[all rows, heads, dim]`.
    fn scatter(&self, part: &[f32], at: usize, heads: usize, all: &mut [f32]) {
        let dim = self.spec.head_dim;
        let rows = self.sequences[at / heads].clone();
        for (row, part) in rows.zip(part.chunks_exact(dim)) {
            ops::add(&mut all[(row * heads + at % heads) * dim..][..dim], part);
        }
    }
}

/// `[rows, dim]` of one head out of `[all rows, heads, dim]`.
fn gather(x: &[f32], rows: &Range<usize>, head: usize, heads: usize, dim: usize) -> Vec<f32> {
    rows.clone().flat_map(|row| &x[(row * heads + head) * dim..][..dim]).copied().collect()
}

/// Eight sums side by side, so that the compiler may use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum::<f32>()
}

fn add_scaled(out: &mut [f32], x: &[f32], factor: f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}
