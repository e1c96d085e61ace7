//! Attention within parts of texts that stand one behind another, forward and backward.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crayon_formats::spec::Spec;
use crayon_kernels::{Factors, Threads, accumulate, ops};
use crayon_model::rope::Rotation;

use super::linear::transpose;
use super::memory::{Buffer, Memory};
use super::rows::Part;

/// Rows that a task rotates.
const EACH: usize = 16;

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
    pub(super) fn rotate(&self, x: &mut [f32], heads: usize, dim: usize, back: bool, threads: &Threads) {
        threads.for_each_chunk(x, EACH * heads * dim, |at, x| {
            for (row, x) in x.chunks_exact_mut(heads * dim).enumerate() {
                let row = at * EACH + row;
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
        });
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
    pub(super) q: Buffer,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
}

impl Attention<'_> {
    /// Probabilities of each query head of each part, `[rows, rows seen]` with zeros where a row does not look, and the mix
    /// `[rows, heads, dim]`.
    pub(super) fn forward(&self, memory: &Memory, threads: &Threads) -> (Vec<Vec<f32>>, Buffer) {
        let (spec, dim) = (self.spec, self.spec.head_dim);
        let made = self.each(spec.heads, threads, |part, head| {
            let (q, k, v) = self.heads(part, head);
            let (rows, all) = (part.rows.len(), part.seen());
            let mut probabilities = product(&q, &k, [rows, dim, all], threads);
            for (row, line) in probabilities.chunks_exact_mut(all.max(1)).enumerate() {
                let seen = self.seen(part.before.len() + row);
                line[..seen.start].fill(0.0);
                line[seen.end..].fill(0.0);
                let line = &mut line[seen];
                ops::scale(line, spec.attention_scale);
                if let Some(cap) = spec.attention_softcap {
                    ops::softcap(line, cap);
                }
                ops::softmax(line);
            }
            let mut mixed = vec![0.0; rows * dim];
            accumulate(threads, Factors::new(&probabilities, rows, all), &v, dim, &mut mixed);
            (probabilities, mixed)
        });
        let mut mixed = memory.buffer(self.q.len());
        let (probabilities, made): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        self.add_up(&mut mixed, spec.heads, Part::own, |at| &made[at], threads);
        (probabilities, mixed)
    }

    /// Gradient of the mix `[rows, heads, dim]` to those of q, k and v, with the probabilities that `forward` gave.
    pub(super) fn backward(
        &self,
        probabilities: &[Vec<f32>],
        mixed: &[f32],
        memory: &Memory,
        threads: &Threads,
    ) -> Gradients {
        let (spec, dim) = (self.spec, self.spec.head_dim);
        let made = self.each(spec.heads, threads, |part, head| {
            let (q, k, v) = self.heads(part, head);
            let (rows, all) = (part.rows.len(), part.seen());
            let number = self.parts.iter().position(|other| other.rows.start == part.rows.start);
            let probabilities = &probabilities[number.unwrap_or(0) * spec.heads + head];
            let mixed = gather(mixed, part.rows.clone(), head, spec.heads, dim);
            let mut scores = product(&mixed, &v, [rows, dim, all], threads);
            let capped = spec.attention_softcap.map(|cap| (cap, product(&q, &k, [rows, dim, all], threads)));
            for row in 0..rows {
                let at = row * all..(row + 1) * all;
                let (line, shares) = (&mut scores[at.clone()], &probabilities[at.clone()]);
                let sum: f32 = line.iter().zip(shares).map(|(score, share)| score * share).sum();
                for (score, share) in line.iter_mut().zip(shares) {
                    *score = (*score - sum) * share * spec.attention_scale;
                }
                if let Some((cap, raw)) = &capped {
                    for (score, raw) in line.iter_mut().zip(&raw[at]) {
                        let tanh = (raw * spec.attention_scale / cap).tanh();
                        *score *= 1.0 - tanh * tanh;
                    }
                }
            }
            let mut gradients = [vec![0.0; rows * dim], vec![0.0; all * dim], vec![0.0; all * dim]];
            accumulate(threads, Factors::new(&scores, rows, all), &k, dim, &mut gradients[0]);
            accumulate(threads, Factors::transposed(&scores, all, rows), &q, dim, &mut gradients[1]);
            accumulate(
                threads,
                Factors::transposed(probabilities, all, rows),
                &mixed,
                dim,
                &mut gradients[2],
            );
            gradients
        });
        let mut all = Gradients {
            q: memory.buffer(self.q.len()),
            k: memory.buffer(self.k.len()),
            v: memory.buffer(self.v.len()),
        };
        self.add_up(&mut all.q, spec.heads, Part::own, |at| &made[at][0], threads);
        self.add_up(&mut all.k, spec.kv_heads, Part::place, |at| &made[at][1], threads);
        self.add_up(&mut all.v, spec.kv_heads, Part::place, |at| &made[at][2], threads);
        all
    }

    /// The sum of what all query heads of all parts made, in the order of [`each`](Self::each), in rows of `out` `[rows, heads, dim]`,
    /// of which each head stands for a group of these; `place` says which of a part's a row is.
    fn add_up<'a>(
        &self,
        out: &mut [f32],
        heads: usize,
        place: fn(&Part, usize) -> Option<usize>,
        made: impl Fn(usize) -> &'a [f32] + Sync,
        threads: &Threads,
    ) {
        let (dim, group) = (self.spec.head_dim, self.spec.heads / heads);
        threads.for_each_chunk(out, heads * dim, |row, out| {
            let parts = self.parts.iter().enumerate();
            let places = parts.filter_map(|(number, part)| Some((number, place(part, row)?)));
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                let mut first = true;
                for (number, at) in places.clone() {
                    for own in 0..group {
                        let made = &made((number * heads + head) * group + own)[at * dim..(at + 1) * dim];
                        if std::mem::take(&mut first) {
                            out.copy_from_slice(made)
                        } else {
                            ops::add(out, made)
                        }
                    }
                }
            }
        });
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

/// `[rows, dim]` of one head out of `[all rows, heads, dim]`.
fn gather(x: &[f32], rows: impl Iterator<Item = usize>, head: usize, heads: usize, dim: usize) -> Vec<f32> {
    let mut out = Vec::new();
    rows.for_each(|row| out.extend_from_slice(&x[(row * heads + head) * dim..][..dim]));
    out
}

/// `a bᵀ` for a `[rows, dim]` and b `[all, dim]`.
fn product(a: &[f32], b: &[f32], [rows, dim, all]: [usize; 3], threads: &Threads) -> Vec<f32> {
    let mut out = vec![0.0; rows * all];
    accumulate(threads, Factors::new(a, rows, dim), &transpose(b, all, dim), all, &mut out);
    out
}
