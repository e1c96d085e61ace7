//! Rounding to integers and back on tensors, with straight-through gradients.
//!
//! Forward gives what integer arithmetic sees. Backward takes rounding for the identity: a value inside the range passes its gradient
//! on, a clipped one passes it to the end of the range it was clipped to; and a step is as wide as the range, so that the range
//! learns from the rounding error of what lies inside it (as in LSQ, arXiv 1902.08153).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::grid::{Cut, Ends, Grid, GridKind, WeightRounding};

/// Rounds all of `x` by one range, `range` `[2]` being its low and high end; both are widened to hold 0.
///
/// # Errors
/// When the tensors are not on the CPU.
pub fn by_range(x: &Tensor, range: &Tensor, bits: u8) -> Result<Tensor> {
    x.contiguous()?.apply_op2(range, ByRange { bits })
}

/// Rounds `x` in groups, each by the range of its own values times its share in `shares` `[groups]`.
///
/// # Errors
/// When `x` is not so many groups, or the tensors are not on the CPU.
pub fn by_group(x: &Tensor, shares: &Tensor, rounding: WeightRounding, cut: Cut) -> Result<Tensor> {
    x.contiguous()?.apply_op2(shares, ByGroup { rounding, cut })
}

struct ByRange {
    bits: u8,
}

struct ByGroup {
    rounding: WeightRounding,
    cut: Cut,
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
        let grid = Grid::asymmetric(self.bits, range[0], range[1]);
        let inverse = 1.0 / grid.scale();
        let out = x.iter().map(|x| grid.round(*x, inverse).0).collect();
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
        let grid = Grid::asymmetric(self.bits, ends[0], ends[1]);
        let inverse = 1.0 / grid.scale();
        let count = grid.count(GridKind::Asymmetric);
        let mut of_range = [0.0f64; 2];
        let mut of_x = gradients;
        for (gradient, x) in of_x.iter_mut().zip(values) {
            let (rounded, side) = grid.round(x, inverse);
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
        if self.cut.count(x.len()) != shares.len() {
            bail!("{} values in {:?} with {} shares", x.len(), self.cut, shares.len());
        }
        let mut out = x.to_vec();
        let grids = self.rounding.grids(x, self.cut, shares);
        self.cut.groups_mut(&mut out).zip(grids).for_each(|(group, grid)| grid.apply(group));
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
        let symmetric = self.rounding.kind == GridKind::Symmetric;
        let (mut given, mut of_groups) = (given.into_iter(), self.cut.groups_mut(&mut of_x));
        for (piece, groups) in self.cut.pieces(&values) {
            let unit = self.rounding.unit(piece);
            for ((values, share), gradients) in groups.zip(&mut given).zip(&mut of_groups) {
                let ends = Ends::of(values);
                let grid = self.rounding.grid(ends, unit, share);
                let (inverse, count) = (1.0 / grid.scale(), grid.count(self.rounding.kind));
                // Gradients by the low and the high end of the range; symmetric ones have a high end alone.
                let (mut low, mut high) = (0.0f32, 0.0f32);
                for (gradient, x) in gradients.iter_mut().zip(values) {
                    let (rounded, side) = grid.round(*x, inverse);
                    if side == 0 {
                        let of_scale = *gradient * (rounded - x) * inverse / count;
                        high += of_scale;
                        low -= of_scale;
                        continue;
                    }
                    match side {
                        side if symmetric => high += f32::from(side) * *gradient,
                        1 => high += *gradient,
                        _ => low += *gradient,
                    }
                    *gradient = 0.0;
                }
                if symmetric {
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
        }
        drop(of_groups);
        let of_x = Tensor::from_vec(of_x, x.shape(), x.device())?;
        Ok((Some(of_x), Some(Tensor::from_vec(of_shares, shares.shape(), x.device())?)))
    }
}
