//! Rotary positions (arXiv 2104.09864) and the scalings that stretch them.

use crayon_formats::spec::{Rope, RopeFrequencies, RopeLayout, RopeScaling};
use crayon_kernels::{Threads, ops};

use crate::linear::some_rows;

/// Inverse frequencies of one kind of layer, ready to turn positions into angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Radians per position of each pair, `[dims / 2]`.
    pub inverse_frequencies: Vec<f32>,
    /// Factor on cos and sin (YaRN and longrope stretch attention this way), normally 1.
    pub magnitude: f32,
}

impl Rotation {
    /// Frequencies of a sequence of `span` positions; only longrope looks at `span`.
    pub fn new(dims: usize, frequencies: &RopeFrequencies, span: usize) -> Rotation {
        let theta = frequencies.theta;
        let plain: Vec<f32> = (0..dims / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / dims as f32)).collect();
        let scaled = |inverse_frequencies| Rotation { inverse_frequencies, magnitude: 1.0 };
        match &frequencies.scaling {
            RopeScaling::None => scaled(plain),
            RopeScaling::Linear { factor } => scaled(plain.iter().map(|f| f / factor).collect()),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let ramp = |f: f32| {
                    llama3(f, *factor, *low_freq_factor, *high_freq_factor, *original_context as f32)
                };
                scaled(plain.into_iter().map(ramp).collect())
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor } => {
                let inverse_frequencies =
                    yarn(&plain, theta, *factor, *beta_fast, *beta_slow, *original_context);
                Rotation { inverse_frequencies, magnitude: *attention_factor }
            }
            RopeScaling::Factors { short, long, original_context, attention_factor } => {
                let divisors = if span > *original_context { long } else { short };
                let inverse_frequencies = plain.iter().zip(divisors).map(|(f, d)| f / d).collect();
                Rotation { inverse_frequencies, magnitude: *attention_factor }
            }
        }
    }

    /// Appends cos and sin of every pair at `position` to the tables.
    pub fn push_angles(&self, position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        for frequency in &self.inverse_frequencies {
            let (s, c) = (position as f32 * frequency).sin_cos();
            cos.push(c * self.magnitude);
            sin.push(s * self.magnitude);
        }
    }
}

/// The rotations of a network: one for layers that see everything, one for sliding-window layers.
#[derive(Clone, Debug)]
pub struct Rotations {
    /// Layers without a window.
    pub global: Rotation,
    /// Layers with a window, where they differ.
    pub local: Option<Rotation>,
    /// How rotated values pair up.
    pub interleaved: bool,
    /// Leading values of a head that rotate.
    pub dims: usize,
}

impl Rotations {
    /// The longest sequence that turns by the short of two lists of factors (longrope); a longer one turns by the long
    /// ones from its first token on. `None` where all lengths turn alike.
    pub fn longest_short(rope: &Rope) -> Option<usize> {
        let switch = |kind: &RopeFrequencies| match &kind.scaling {
            RopeScaling::Factors { short, long, original_context, .. } if short != long => {
                Some(*original_context)
            }
            _ => None,
        };
        switch(&rope.global).or_else(|| rope.local.as_ref().and_then(switch))
    }

    /// Rotations of a sequence of `span` positions.
    pub fn new(rope: &Rope, span: usize) -> Rotations {
        Rotations {
            global: Rotation::new(rope.dims, &rope.global, span),
            local: rope.local.as_ref().map(|local| Rotation::new(rope.dims, local, span)),
            interleaved: rope.layout == RopeLayout::Interleaved,
            dims: rope.dims,
        }
    }

    /// Rotates every head of `x` `[rows, heads, dim]` by the tables `[rows, dims / 2]`.
    pub fn rotate(
        &self,
        threads: &Threads,
        x: &mut [f32],
        heads: usize,
        dim: usize,
        cos: &[f32],
        sin: &[f32],
    ) {
        let (half, width) = (self.dims / 2, heads * dim);
        let each = some_rows(width);
        threads.for_each_chunk(x, each, |i, x| {
            for (row, x) in (i * each / width..).zip(x.chunks_exact_mut(width)) {
                let (cos, sin) = (&cos[row * half..(row + 1) * half], &sin[row * half..(row + 1) * half]);
                for head in x.chunks_exact_mut(dim) {
                    ops::rope(&mut head[..self.dims], cos, sin, self.interleaved);
                }
            }
        });
    }
}

/// Llama 3.1: wavelengths longer than the original context are divided by `factor`, short ones kept, with a
/// linear ramp in between.
fn llama3(frequency: f32, factor: f32, low: f32, high: f32, original: f32) -> f32 {
    let wavelength = 2.0 * std::f32::consts::PI / frequency;
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// YaRN: pairs that turn more than `beta_fast` times over the original context are kept, those under `beta_slow`
/// are divided by `factor`, with a linear ramp over the pair index in between.
fn yarn(plain: &[f32], theta: f32, factor: f32, beta_fast: f32, beta_slow: f32, original: usize) -> Vec<f32> {
    let dims = (2 * plain.len()) as f32;
    let pair_turning = |turns: f32| {
        dims * (original as f32 / (turns * 2.0 * std::f32::consts::PI)).ln() / (2.0 * theta.ln())
    };
    let low = pair_turning(beta_fast).floor().max(0.0);
    let mut high = pair_turning(beta_slow).ceil().min(dims - 1.0);
    if high == low {
        high += 0.001;
    }
    let blend = |(i, f): (usize, &f32)| {
        let interpolated = ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
        f / factor * interpolated + f * (1.0 - interpolated)
    };
    plain.iter().enumerate().map(blend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling) -> RopeFrequencies {
        RopeFrequencies { theta: 10_000.0, scaling }
    }

    #[test]
    fn plain_frequencies_fall_from_one() {
        let rotation = Rotation::new(8, &frequencies(RopeScaling::None), 16);
        assert_eq!(rotation.inverse_frequencies.len(), 4);
        for (found, expected) in rotation.inverse_frequencies.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((found - expected).abs() < 1e-6 * expected.max(1e-3), "{found} {expected}");
        }
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_divides_slow_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 64,
        };
        let plain = Rotation::new(16, &frequencies(RopeScaling::None), 16).inverse_frequencies;
        let scaled = Rotation::new(16, &frequencies(scaling), 16).inverse_frequencies;
        assert_eq!(plain[0], scaled[0]);
        assert_eq!(plain[7] / 8.0, scaled[7]);
    }

    #[test]
    fn longrope_switches_lists_beyond_the_original_context() {
        let scaling = RopeScaling::Factors {
            short: vec![1.0, 1.0],
            long: vec![2.0, 4.0],
            original_context: 32,
            attention_factor: 1.5,
        };
        let within = Rotation::new(4, &frequencies(scaling.clone()), 32);
        let beyond = Rotation::new(4, &frequencies(scaling), 33);
        assert_eq!(within.inverse_frequencies[1], 4.0 * beyond.inverse_frequencies[1]);
        assert_eq!(within.magnitude, 1.5);
    }
}
