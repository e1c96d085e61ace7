//! The passes of a training with candle's tensors, for a GPU; on a CPU the slices of
//! [`FrozenDecoder`](crate::frozen::FrozenDecoder) are several times faster.
//!
//! The frozen weights stay on the device. A and B go there anew for every pass and their gradients come back: a few
//! megabytes, so that one optimiser and one kept state serve every device.

use std::collections::BTreeMap;

use candle_core::{Device as Candle, Result as CandleResult, Tensor, Var};
use crayon_adapters::Sample;
use crayon_formats::Checkpoint;
use crayon_model::Site;

use super::episodes::Drawn;
use super::soft::{Part, Soft};
use crate::frozen::Loss;
use crate::plain::{PlainAdapter, PlainDecoder, PlainPass, Train, cross_entropy, flat_matmul};
use crate::{Device, TrainError};

/// The frozen network on a device.
pub(super) struct TensorModel {
    decoder: PlainDecoder,
    device: Candle,
}

/// A `[adapters * rank, in]` and B `[out, adapters * rank]` of every place, for one pass.
struct DevicePairs {
    pairs: BTreeMap<Site, (Var, Var)>,
    /// Weights and scale of the inner values, `[batch, 1, adapters * rank]`.
    gains: Var,
    /// 1 where A and B learn from an example, else 0, `[batch, 1, 1]`; `None` where they learn from all.
    taught: Option<Tensor>,
}

impl TensorModel {
    /// Reads the network into f32 tensors on `device`.
    ///
    /// # Errors
    /// When a tensor is damaged, or this program or machine has no such device.
    pub(super) fn open(checkpoint: &Checkpoint, device: Device) -> Result<TensorModel, TrainError> {
        let device = device.open()?;
        Ok(TensorModel { decoder: PlainDecoder::open(checkpoint, &device, Train::Nothing)?, device })
    }

    /// Loss of the answers' tokens in a batch; with `learn`, `soft` gets the gradients of its mean.
    pub(super) fn pass(
        &self,
        soft: &mut Soft,
        batch: &[(&Drawn<'_>, Vec<f32>)],
        learn: bool,
    ) -> Result<Loss, TrainError> {
        let samples: Vec<&Sample> = batch.iter().map(|(drawn, _)| &*drawn.sample).collect();
        let count: usize = samples.iter().map(|sample| sample.answer.len()).sum();
        if samples.is_empty() {
            return Ok(Loss { sum: 0.0, tokens: 0 });
        }
        soft.set_parts(batch.iter().map(|(drawn, shares)| Part { shares, rows: 1, taught: drawn.taught }));
        let [tokens, targets, weights] = self.batch(&samples)?;
        let adapter = self.pairs(soft, samples.len())?;
        let logits =
            self.decoder.forward(&tokens, PlainPass { adapter: Some(&adapter), ..PlainPass::default() })?;
        let mean = cross_entropy(&logits, &targets, &weights)?;
        let sum = f64::from(mean.to_scalar::<f32>()?) * count as f64;
        if learn {
            let gradients = mean.backward()?;
            let of = |variable: &Var| match gradients.get(variable) {
                Some(gradient) => gradient.flatten_all()?.to_vec1(),
                None => Ok(vec![0.0; variable.elem_count()]),
            };
            for (site, (a, b)) in &adapter.pairs {
                soft.set_gradients(*site, of(a)?, of(b)?);
            }
            soft.set_by_gains(&of(&adapter.gains)?);
        }
        Ok(Loss { sum, tokens: count })
    }

    /// Tokens, targets and their weights, `[batch, rows]`: padded behind, where nothing is predicted.
    fn batch(&self, samples: &[&Sample]) -> CandleResult<[Tensor; 3]> {
        // The last token is predicted, not read.
        let length = |sample: &Sample| sample.prompt.len() + sample.answer.len() - 1;
        let rows = samples.iter().map(|sample| length(sample)).max().unwrap_or(0);
        let size = samples.len() * rows;
        let (mut tokens, mut targets, mut weights) = (vec![0u32; size], vec![0u32; size], vec![0f32; size]);
        for (at, sample) in samples.iter().enumerate() {
            let start = at * rows;
            let all = sample.prompt.iter().chain(&sample.answer).copied();
            for (place, token) in tokens[start..start + length(sample)].iter_mut().zip(all) {
                *place = token;
            }
            let answer = start + sample.prompt.len() - 1;
            targets[answer..answer + sample.answer.len()].copy_from_slice(&sample.answer);
            weights[answer..answer + sample.answer.len()].fill(1.0);
        }
        let shape = (samples.len(), rows);
        Ok([
            Tensor::from_vec(tokens, shape, &self.device)?,
            Tensor::from_vec(targets, shape, &self.device)?,
            Tensor::from_vec(weights, shape, &self.device)?,
        ])
    }

    fn pairs(&self, soft: &Soft, batch: usize) -> CandleResult<DevicePairs> {
        let (inner, gains, taught) = soft.gains();
        let gains = Var::from_slice(gains, (batch, 1, inner), &self.device)?;
        let taught = match taught.contains(&0.0) {
            true => Some(Tensor::from_vec(taught, (batch, 1, 1), &self.device)?),
            false => None,
        };
        let mut pairs = BTreeMap::new();
        for (site, a, b) in soft.pairs() {
            let variable = |values: &[f32], rows: usize, columns: usize| {
                Var::from_slice(values, (rows, columns), &self.device)
            };
            let pair = (variable(a, inner, a.len() / inner)?, variable(b, b.len() / inner, inner)?);
            pairs.insert(site, pair);
        }
        Ok(DevicePairs { pairs, gains, taught })
    }
}

impl DevicePairs {
    /// `x` times what learns. Where an example teaches it nothing, gradients go through it and not into it.
    fn product(&self, x: &Tensor, learned: &Var) -> CandleResult<Tensor> {
        let taught = flat_matmul(x, learned)?;
        let Some(mask) = &self.taught else { return Ok(taught) };
        let untaught = flat_matmul(x, &learned.detach())?;
        taught.broadcast_mul(mask)? + untaught.broadcast_mul(&(1.0 - mask)?)?
    }
}

impl PlainAdapter for DevicePairs {
    fn delta(&self, site: Site, x: &Tensor) -> CandleResult<Option<Tensor>> {
        let Some((a, b)) = self.pairs.get(&site) else { return Ok(None) };
        let inner = self.product(x, a)?.broadcast_mul(&self.gains)?;
        Ok(Some(self.product(&inner, b)?))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::path::Path;

    use crayon_adapters::Query;
    use crayon_kernels::{Mode, Threads};
    use crayon_model::Projection;

    use super::super::TrainOptions;
    use super::super::network::Model;
    use super::*;
    use crate::Trainable as _;
    use crate::frozen::FrozenDecoder;

    fn difference(a: &[f32], b: &[f32]) -> f32 {
        let scale = b.iter().fold(1e-6f32, |largest, value| largest.max(value.abs()));
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
    }

    #[test]
    fn tensors_and_slices_give_the_same_loss_and_gradients() {
        for name in ["llama", "gemma2"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name);
            let checkpoint = Checkpoint::open(&folder).unwrap();
            let options = TrainOptions {
                adapters: 2,
                rank: 3,
                targets: Projection::ALL.to_vec(),
                ..TrainOptions::default()
            };
            let sample = |seed: u32, prompt: u32, answer: u32| Sample {
                prompt: (0..prompt).map(|i| 1 + (seed * 7 + i * 5) % 50).collect(),
                answer: (0..answer).map(|i| 2 + (seed * 3 + i) % 40).collect(),
                query: Query::default(),
                task: String::new(),
            };
            let samples = [sample(1, 5, 2), sample(2, 9, 1), sample(3, 3, 4)];
            let drawn = samples.each_ref().map(|sample| Drawn {
                sample: Cow::Borrowed(sample),
                query: Query::default(),
                taught: sample.prompt.len() != 9,
            });
            let batch: Vec<(&Drawn<'_>, Vec<f32>)> =
                drawn.iter().zip([[0.3, 0.7], [1.0, 0.0], [0.5, 0.4]].map(Vec::from)).collect();

            let learned = |model: &Model<'_>| {
                let mut soft = Soft::new(&checkpoint.spec, &options);
                // B is zero at first, and with it the gradient of A.
                for (at, variable) in soft.variables_mut().into_iter().enumerate() {
                    let wave = |(i, value): (usize, &mut f32)| *value += 0.02 * ((i * 13 + at) as f32).sin();
                    variable.values.iter_mut().enumerate().for_each(wave);
                }
                let loss = model.pass(&mut soft, &batch, true).unwrap();
                let gradients = soft.variables().into_iter().map(|variable| variable.gradient.clone());
                (loss, gradients.chain([soft.by_shares().to_vec()]).collect::<Vec<_>>())
            };
            let threads = Threads::new(1);
            let slices = FrozenDecoder::open(&checkpoint, Mode::Exact, &threads).unwrap();
            let (loss, gradients) = learned(&Model::Slices { decoder: Box::new(slices), threads: &threads });
            let tensors = TensorModel::open(&checkpoint, Device::Cpu).unwrap();
            let (same_loss, same) = learned(&Model::Tensors(Box::new(tensors)));
            assert_eq!(loss.tokens, same_loss.tokens);
            assert!((loss.mean() - same_loss.mean()).abs() < 1e-4 * loss.mean(), "{name}");
            for (a, b) in gradients.iter().zip(&same) {
                assert!(a.iter().any(|value| *value != 0.0));
                assert!(difference(a, b) < 1e-3, "{name}: {}", difference(a, b));
            }
        }
    }
}
