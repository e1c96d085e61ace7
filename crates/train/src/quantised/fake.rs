//! Rounding to integers and back on tensors, with straight-through gradients.
//!
//! Forward gives what integer arithmetic sees. Backward takes rounding for the identity: a value inside the range passes its gradient
//! on, a clipped one passes it to the end of the range it was clipped to; and a step is as wide as the range, so that the range
//! learns from the rounding error of what lies inside it (as in LSQ, arXiv 1902.08153).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use crayon_kernels::Rounding;

/// Rounds all of `x` by one range, `range` `[2]` being its low and high end; both are widened to hold 0.
///
/// # Errors
/// When the tensors are not on the CPU.
pub fn by_range(x: &Tensor, range: &Tensor, bits: u8) -> Result<Tensor> {
    x.contiguous()?.apply_op2(range, ByRange { bits })
}

/// Rounds `x` in groups of `group` neighbouring values, each by the range of its own values times its share in `shares` `[groups]`.
/// Symmetric ranges have their zero point in the middle and reach as far as the largest magnitude.
///
/// # Errors
/// When groups do not divide `x`, or the tensors are not on the CPU.
pub fn by_group(x: &Tensor, shares: &Tensor, bits: u8, group: usize, symmetric: bool) -> Result<Tensor> {
    x.contiguous()?.apply_op2(shares, ByGroup { bits, group, symmetric })
}

struct ByRange {
    bits: u8,
}

struct ByGroup {
    bits: u8,
    group: usize,
    symmetric: bool,
}

/// A range in numbers.
#[derive(Clone, Copy)]
struct Steps {
    scale: f32,
    zero: f32,
    /// The least and the greatest code.
    codes: [f32; 2],
}

impl Steps {
    fn of_range(bits: u8, low: f32, high: f32) -> Steps {
        let half = (1u32 << (bits - 1)) as f32;
        let (scale, zero) = match Rounding::fixed(bits, low, high) {
            Rounding::Fixed { scale, zero, .. } => (scale, f32::from(zero)),
            Rounding::Row { .. } => (1.0, 0.0),
        };
        Steps { scale, zero, codes: [-half, half - 1.0] }
    }

    fn symmetric(bits: u8, largest: f32) -> Steps {
        let half = (1u32 << (bits - 1)) as f32;
        let scale = largest / (half - 1.0);
        Steps { scale: if scale > 0.0 { scale } else { 1.0 }, zero: 0.0, codes: [-half, half - 1.0] }
    }

    /// The value that stands for `x`, and where it lies: below the range, inside, above.
    #[inline(always)]
    fn round(self, x: f32, inverse: f32) -> (f32, i8) {
        /// Adding and taking it away again rounds to integers, ties to even, on every processor.
        const ROUND: f32 = 12_582_912.0;
        let code = (x * inverse).clamp(-1e6, 1e6) + ROUND - ROUND + self.zero;
        let side = i8::from(code > self.codes[1]) - i8::from(code < self.codes[0]);
        (self.scale * (code.max(self.codes[0]).min(self.codes[1]) - self.zero), side)
    }
}

/// The values of a tensor that lies in one piece.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("rounding takes f32 in one piece"),
    }
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

impl CustomOp2 for ByRange {
    fn name(&self) -> &'static str {
        "round by a range"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        range: &CpuStorage,
        range_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, range) = (values(x, layout)?, values(range, range_layout)?);
        let steps = Steps::of_range(self.bits, range[0], range[1]);
        let inverse = 1.0 / steps.scale;
        let out = x.iter().map(|x| steps.round(*x, inverse).0).collect();
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        range: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (values, ends, gradients) = (flat(x)?, flat(range)?, flat(gradient)?);
        let steps = Steps::of_range(self.bits, ends[0], ends[1]);
        let inverse = 1.0 / steps.scale;
        let count = steps.codes[1] - steps.codes[0];
        let mut of_range = [0.0f64; 2];
        let mut of_x = gradients;
        for (gradient, x) in of_x.iter_mut().zip(values) {
            let (rounded, side) = steps.round(x, inverse);
            match side {
                0 => {
                    let of_scale = f64::from(*gradient * (rounded - x) * inverse / count);
                    of_range[1] += of_scale;
                    of_range[0] -= of_scale;
                }
                side => {
                    of_range[usize::from(side > 0)] += f64::from(*gradient);
                    *gradient = 0.0;
                }
            }
        }
        let of_x = Tensor::from_vec(of_x, x.shape(), x.device())?;
        let of_range =
            Tensor::new(&of_range.map(|value| value as f32), x.device())?.reshape(range.shape())?;
        Ok((Some(of_x), Some(of_range)))
    }
}

/// The ends of a group's own range, and where they lie.
#[derive(Clone, Copy)]
struct Ends {
    low: (f32, usize),
    high: (f32, usize),
}

impl ByGroup {
    fn ends(&self, values: &[f32]) -> Ends {
        let mut ends = Ends { low: (0.0, 0), high: (0.0, 0) };
        for (at, &value) in values.iter().enumerate() {
            if value < ends.low.0 {
                ends.low = (value, at);
            }
            if value > ends.high.0 {
                ends.high = (value, at);
            }
        }
        ends
    }

    fn steps(&self, ends: Ends, share: f32) -> Steps {
        match self.symmetric {
            true => Steps::symmetric(self.bits, share * ends.high.0.max(-ends.low.0)),
            false => Steps::of_range(self.bits, share * ends.low.0, share * ends.high.0),
        }
    }
}

impl CustomOp2 for ByGroup {
    fn name(&self) -> &'static str {
        "round in groups"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        shares: &CpuStorage,
        shares_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, shares) = (values(x, layout)?, values(shares, shares_layout)?);
        if x.len() != shares.len() * self.group {
            bail!("{} values in groups of {} with {} shares", x.len(), self.group, shares.len());
        }
        let mut out = Vec::with_capacity(x.len());
        for (values, share) in x.chunks_exact(self.group).zip(shares) {
            let steps = self.steps(self.ends(values), *share);
            let inverse = 1.0 / steps.scale;
            out.extend(values.iter().map(|x| steps.round(*x, inverse).0));
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        shares: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (values, given, mut of_x) = (flat(x)?, flat(shares)?, flat(gradient)?);
        let mut of_shares = Vec::with_capacity(given.len());
        let groups = values.chunks_exact(self.group).zip(of_x.chunks_exact_mut(self.group));
        for ((values, gradients), share) in groups.zip(given) {
            let ends = self.ends(values);
            let steps = self.steps(ends, share);
            let inverse = 1.0 / steps.scale;
            // Gradients by the low and the high end of the range; symmetric ones have a high end alone.
            let (mut low, mut high) = (0.0f32, 0.0f32);
            let count = if self.symmetric { steps.codes[1] } else { steps.codes[1] - steps.codes[0] };
            for (gradient, x) in gradients.iter_mut().zip(values) {
                let (rounded, side) = steps.round(*x, inverse);
                match side {
                    0 => high += *gradient * (rounded - x) * inverse / count,
                    side if self.symmetric => {
                        high += f32::from(side) * *gradient;
                        *gradient = 0.0;
                    }
                    1 => {
                        high += *gradient;
                        *gradient = 0.0;
                    }
                    _ => {
                        low += *gradient;
                        *gradient = 0.0;
                    }
                }
                if side == 0 && !self.symmetric {
                    low -= *gradient * (rounded - x) * inverse / count;
                }
            }
            if self.symmetric {
                let at_low = -ends.low.0 > ends.high.0;
                let (largest, at) = if at_low { (-ends.low.0, ends.low.1) } else { ends.high };
                gradients[at] += if at_low { -share * high } else { share * high };
                of_shares.push(high * largest);
            } else {
                gradients[ends.low.1] += share * low;
                gradients[ends.high.1] += share * high;
                of_shares.push(low * ends.low.0 + high * ends.high.0);
            }
        }
        let of_x = Tensor::from_vec(of_x, x.shape(), x.device())?;
        Ok((Some(of_x), Some(Tensor::from_vec(of_shares, shares.shape(), x.device())?)))
    }
}
