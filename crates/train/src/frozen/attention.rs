//! Attention within parts of texts that stand one behind another, forward and backward.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crayon_formats::spec::Spec;
use crayon_kernels::{Threads, ops};
use crayon_model::rope::Rotation;

use super::pieces::sum_of;
use super::rows::Part;

/// Rotary positions of whole rows: cos and sin `[rows, dims / 2]`; a part's go on from those before it.
pub(super) struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Angles {
    pub(super) fn new(rotation: &Rotation, parts: &[Part]) -> Angles {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for part in parts {
            let positions = part.before.len()..part.seen();
            positions.for_each(|position| rotation.push_angles(position, &mut cos, &mut sin));
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
    pub(super) parts: &'a [Part],
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
    /// Probabilities of each query head of each part, `[rows, rows seen]` with zeros where a row does not look, and the mix
    /// `[rows, heads, dim]`.
    pub(super) fn forward(&self, threads: &Threads) -> (Vec<Vec<f32>>, Vec<f32>) {
        let (spec, dim) = (self.spec, self.spec.head_dim);
        let made = self.each(spec.heads, threads, |part, head| {
            let (q, k, v) = self.heads(part, head);
            let (rows, all) = (part.rows.len(), part.seen());
            let mut probabilities = vec![0.0; rows * all];
            let mut mixed = vec![0.0; rows * dim];
            for row in 0..rows {
                let seen = self.seen(part.before.len() + row);
                let line = &mut probabilities[row * all..][seen.clone()];
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
            let rows = self.parts[at / spec.heads].rows.clone();
            scatter(&part, rows, at % spec.heads, [spec.heads, dim], &mut mixed);
            probabilities.push(own);
        }
        (probabilities, mixed)
    }

    /// Gradient of the mix `[rows, heads, dim]` to those of q, k and v, with the probabilities that `forward` gave.
    pub(super) fn backward(&self, probabilities: &[Vec<f32>], mixed: &[f32], threads: &Threads) -> Gradients {
        let (spec, dim) = (self.spec, self.spec.head_dim);
        let made = self.each(spec.heads, threads, |part, head| {
            let (q, k, v) = self.heads(part, head);
            let (rows, all) = (part.rows.len(), part.seen());
            let number = self.parts.iter().position(|other| other.rows.start == part.rows.start);
            let probabilities = &probabilities[number.unwrap_or(0) * spec.heads + head];
            let mixed = gather(mixed, part.rows.clone(), head, spec.heads, dim);
            let mut gradients = [vec![0.0; rows * dim], vec![0.0; all * dim], vec![0.0; all * dim]];
            let mut scores = vec![0.0; all];
            for row in 0..rows {
                let seen = self.seen(part.before.len() + row);
                let line = &probabilities[row * all..][seen.clone()];
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
            let (part, head) = (&self.parts[at / spec.heads], at % spec.heads);
            scatter(&q, part.rows.clone(), head, [spec.heads, dim], &mut all.q);
            for (own, all) in [(k, &mut all.k), (v, &mut all.v)] {
                scatter(&own, part.all(), head / group, [spec.kv_heads, dim], all);
            }
        }
        all
    }

    /// Rows that the one at position `row` looks at.
    fn seen(&self, row: usize) -> Range<usize> {
        self.window.map_or(0, |window| (row + 1).saturating_sub(window))..row + 1
    }

    /// q of one query head of a part, `[rows, dim]`, and k and v of all rows that it sees.
    fn heads(&self, part: &Part, head: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let spec = self.spec;
        let kv = head / (spec.heads / spec.kv_heads);
        (
            gather(self.q, part.rows.clone(), head, spec.heads, spec.head_dim),
            gather(self.k, part.all(), kv, spec.kv_heads, spec.head_dim),
            gather(self.v, part.all(), kv, spec.kv_heads, spec.head_dim),
        )
    }

    /// `f` of every head of every part, in that order.
    fn each<T: Send>(&self, heads: usize, threads: &Threads, f: impl Fn(&Part, usize) -> T + Sync) -> Vec<T> {
        let made: Vec<Mutex<Option<T>>> = (0..self.parts.len() * heads).map(|_| Mutex::new(None)).collect();
        threads.run(made.len(), |at| {
            let value = f(&self.parts[at / heads], at % heads);
            *made[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        made.into_iter()
            .filter_map(|cell| cell.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }
}

/// Adds `[rows, dim]` of one head to those rows of `[all rows, heads, dim]`.
fn scatter(
    own: &[f32],
    rows: impl Iterator<Item = usize>,
    head: usize,
    [heads, dim]: [usize; 2],
    all: &mut [f32],
) {
    for (row, own) in rows.zip(own.chunks_exact(dim)) {
        ops::add(&mut all[(row * heads + head) * dim..][..dim], own);
    }
}

/// `[rows, dim]` of one head out of `[all rows, heads, dim]`.
fn gather(x: &[f32], rows: impl Iterator<Item = usize>, head: usize, heads: usize, dim: usize) -> Vec<f32> {
    let mut out = Vec::new();
    rows.for_each(|row| out.extend_from_slice(&x[(row * heads + head) * dim..][..dim]));
    out
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

fn add_scaled(out: &mut [f32], x: &[f32], factor: f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}
