//! Rotations that fold away (QuaRot, arXiv 2404.00456, as far as it costs nothing at run time; SpinQuant's R1 and R2, arXiv 2405.16406).
//!
//! An orthogonal matrix spreads what stands out in one channel over all of them. Two of them vanish into the weights:
//!
//! - of the residual stream, read by q, k, v and by gate, up. The norms' gains go into the matrices behind them first, because a gain
//!   for each channel does not pass a rotation. The output layer is a matrix of its own then, even where it was the embedding.
//! - of each head's values, between v and o: attention sums values with weights that know no channel.
//!
//! What stands before down is the product of two activations, and no rotation passes that: its rotation would be work at run time.

use crayon_adapters::Random;
use crayon_formats::spec::{Norm, Spec};
use crayon_formats::{Checkpoint, Tensor};
use crayon_model::Projection;

use crate::{Places, QuantError};

/// An orthogonal matrix R `[width, width]`: random signs, then a Hadamard matrix as large as the power of two in `width`, and across
/// its copies an orthonormal cosine transform, because few other widths have a Hadamard matrix.
#[derive(Clone, Debug)]
pub struct Rotation {
    signs: Vec<f32>,
    /// `[copies, copies]`.
    cosines: Vec<f32>,
    /// Width of the Hadamard matrix.
    power: usize,
}

impl Rotation {
    /// The rotation of `width` channels that follows from `seed` for a `purpose`.
    pub fn new(width: usize, seed: u64, purpose: u64) -> Rotation {
        let mut random = Random::new(seed, purpose);
        let signs = (0..width).map(|_| if random.bits() & 1 == 0 { 1.0 } else { -1.0 }).collect();
        let power = 1usize << width.trailing_zeros();
        let copies = width / power;
        let cosine = |(row, column): (usize, usize)| {
            let angle = std::f64::consts::PI * (2 * column + 1) as f64 * row as f64 / (2 * copies) as f64;
            let norm = if row == 0 { 1.0 } else { 2.0f64 } / copies as f64;
            (norm.sqrt() * angle.cos()) as f32
        };
        let places = (0..copies).flat_map(|row| (0..copies).map(move |column| (row, column)));
        Rotation { signs, cosines: places.map(cosine).collect(), power }
    }

    /// Each row x of `values` `[rows, width]` becomes x R.
    pub fn rows(&self, values: &mut [f32]) {
        let (width, power) = (self.signs.len(), self.power);
        let copies = width / power;
        let norm = 1.0 / (power as f32).sqrt();
        let mut mixed = vec![0.0f32; copies];
        for row in values.chunks_exact_mut(width) {
            row.iter_mut().zip(&self.signs).for_each(|(value, sign)| *value *= sign);
            row.chunks_exact_mut(power).for_each(hadamard);
            for at in 0..power {
                for (to, mixed) in mixed.iter_mut().enumerate() {
                    let sum: f32 = (0..copies)
                        .map(|from| row[from * power + at] * self.cosines[from * copies + to])
                        .sum();
                    *mixed = norm * sum;
                }
                mixed.iter().enumerate().for_each(|(to, value)| row[to * power + at] = *value);
            }
        }
    }

    /// `values` `[width, columns]` becomes Rᵀ times them.
    pub fn columns(&self, values: &mut [f32], columns: usize) {
        let width = self.signs.len();
        let mut column = vec![0.0f32; width];
        for at in 0..columns {
            for (row, value) in column.iter_mut().enumerate() {
                *value = values[row * columns + at];
            }
            self.rows(&mut column);
            for (row, value) in column.iter().enumerate() {
                values[row * columns + at] = *value;
            }
        }
    }
}

/// The Walsh-Hadamard transform of a power of two of values, without its norm.
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// The same network, rotated at `places`: what it computes stays. The whole of it is in memory as f32.
///
/// # Errors
/// When the residual stream is to be rotated and does not let a rotation pass, or a tensor cannot be read.
pub fn rotated(checkpoint: &Checkpoint, places: Places, seed: u64) -> Result<Checkpoint, QuantError> {
    let mut out = checkpoint.clone();
    if places != Places::Output {
        out = stream(&out, seed)?;
    }
    if places != Places::Paper {
        out = heads(&out, seed)?;
    }
    Ok(out)
}

/// Why the residual stream of a network lets no rotation pass; `None` where it does.
fn stays(spec: &Spec) -> Option<&'static str> {
    if matches!(spec.norm, Norm::Layer { .. }) {
        return Some("its norms take the mean of the channels off");
    }
    // Their gain would have to go into a matrix behind them, and the residual sum is what follows.
    spec.post_norms.then_some("its norms behind attention and MLP have a gain for each channel")
}

/// The residual stream h becomes h R.
fn stream(checkpoint: &Checkpoint, seed: u64) -> Result<Checkpoint, QuantError> {
    /// Purpose of the signs.
    const SIGNS: u64 = 0x55;
    let spec = &checkpoint.spec;
    if let Some(why) = stays(spec) {
        return Err(QuantError::DoesNotRotate { family: format!("{:?}", spec.family), why });
    }
    let rotation = Rotation::new(spec.hidden, seed, SIGNS);
    let mut tensors = Vec::new();
    let mut tied = None;
    if spec.tied {
        tied = Some(Tensor { name: "output.weight".to_owned(), ..checkpoint.tensor("token_embd.weight")? });
    }
    let ones = |name: &str| Tensor::from_f32(name, vec![spec.hidden], &vec![1.0; spec.hidden]);
    let reads = |tensor: &Tensor, norm: &str| -> Result<Tensor, QuantError> {
        let (gains, mut values) = (checkpoint.tensor(norm)?.to_f32(), tensor.to_f32());
        for row in values.chunks_exact_mut(spec.hidden) {
            row.iter_mut().zip(&gains).for_each(|(value, gain)| *value *= gain);
        }
        rotation.rows(&mut values);
        Ok(Tensor::from_f32(&tensor.name, tensor.shape.clone(), &values))
    };
    for (name, shape) in spec.tensors() {
        let (block, part) =
            name.rsplit_once('.').map_or(("", ""), |(stem, _)| stem.rsplit_once('.').unwrap_or(("", stem)));
        let own = |norm: &str| {
            if block.is_empty() { format!("{norm}.weight") } else { format!("{block}.{norm}.weight") }
        };
        let is_weight = name.ends_with(".weight");
        tensors.push(match part {
            "attn_norm" | "ffn_norm" | "output_norm" => ones(&name),
            "attn_q" | "attn_k" | "attn_v" if is_weight => {
                reads(&checkpoint.tensor(&name)?, &own("attn_norm"))?
            }
            "ffn_gate" | "ffn_up" if is_weight => reads(&checkpoint.tensor(&name)?, &own("ffn_norm"))?,
            "output" => reads(&checkpoint.tensor(&name)?, &own("output_norm"))?,
            "token_embd" | "position_embd" => {
                let mut values = checkpoint.tensor(&name)?.to_f32();
                rotation.rows(&mut values);
                Tensor::from_f32(&name, shape, &values)
            }
            // Weights and biases alike are columns here.
            "attn_output" | "ffn_down" => {
                let mut values = checkpoint.tensor(&name)?.to_f32();
                let columns = values.len() / spec.hidden;
                rotation.columns(&mut values, columns);
                Tensor::from_f32(&name, shape, &values)
            }
            _ => continue,
        });
    }
    if let Some(output) = tied {
        tensors.push(reads(&output, "output_norm.weight")?);
    }
    let mut out = checkpoint.clone();
    out.spec.tied = false;
    Ok(out.with_tensors(tensors)?)
}

/// The values v of every key-value head become v R, each block with a rotation of its own.
fn heads(checkpoint: &Checkpoint, seed: u64) -> Result<Checkpoint, QuantError> {
    /// Purpose of the signs.
    const SIGNS: u64 = 0x56;
    let spec = &checkpoint.spec;
    let mut tensors = Vec::new();
    for layer in 0..spec.layers {
        let rotation = Rotation::new(spec.head_dim, seed, SIGNS ^ (layer as u64) << 8);
        let name = |projection: Projection, kind: &str| format!("blk.{layer}.{}.{kind}", projection.stem());
        for kind in ["weight", "bias"] {
            let name = name(Projection::V, kind);
            if !checkpoint.has(&name) {
                continue;
            }
            let tensor = checkpoint.tensor(&name)?;
            let mut values = tensor.to_f32();
            let columns = values.len() / (spec.kv_heads * spec.head_dim);
            for head in values.chunks_exact_mut(spec.head_dim * columns) {
                rotation.columns(head, columns);
            }
            tensors.push(Tensor::from_f32(&name, tensor.shape.clone(), &values));
        }
        let tensor = checkpoint.tensor(&name(Projection::O, "weight"))?;
        let mut values = tensor.to_f32();
        rotation.rows(&mut values);
        tensors.push(Tensor::from_f32(&tensor.name, tensor.shape.clone(), &values));
    }
    Ok(checkpoint.clone().with_tensors(tensors)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_angles_stay_and_what_stands_out_is_spread() {
        for width in [1, 2, 8, 12, 40, 63] {
            let rotation = Rotation::new(width, 7, 1);
            // The rows of the identity become those of R.
            let mut matrix: Vec<f32> =
                (0..width * width).map(|at| f32::from(u8::from(at / width == at % width))).collect();
            rotation.rows(&mut matrix);
            for i in 0..width {
                for j in 0..width {
                    let product: f32 =
                        (0..width).map(|k| matrix[i * width + k] * matrix[j * width + k]).sum();
                    let wanted = f32::from(u8::from(i == j));
                    assert!((product - wanted).abs() < 1e-5, "{width}: {i} {j}: {product}");
                }
            }
            let largest = matrix.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            assert!(largest <= (2.0 / width as f32).sqrt() + 1e-6, "{width}: {largest}");

            // Rᵀ R = 1.
            let mut back = matrix.clone();
            rotation.columns(&mut back, width);
            for (at, value) in back.iter().enumerate() {
                let wanted = f32::from(u8::from(at / width == at % width));
                assert!((value - wanted).abs() < 1e-5, "{width}: {at}: {value}");
            }
        }
    }
}
