//! A pass over a batch of examples, on slices or on a device's tensors.

use crayon_adapters::Sample;
use crayon_formats::Checkpoint;
use crayon_kernels::Threads;

use super::TrainOptions;
use super::episodes::Drawn;
use super::soft::{Part, Soft};
use super::tensors::TensorModel;
use crate::frozen::{FrozenDecoder, Loss, Sequence, TrainableAdapter};
use crate::{Device, TrainError};

/// The frozen network, where it is computed.
pub(super) enum Model<'a> {
    Slices { decoder: Box<FrozenDecoder>, threads: &'a Threads },
    Tensors(Box<TensorModel>),
}

impl<'a> Model<'a> {
    pub(super) fn open(
        checkpoint: &Checkpoint,
        options: &TrainOptions,
        threads: &'a Threads,
    ) -> Result<Model<'a>, TrainError> {
        Ok(match options.device {
            Device::Cpu => {
                let decoder = FrozenDecoder::open(checkpoint, options.mode, threads)?;
                Model::Slices { decoder: Box::new(decoder), threads }
            }
            device => Model::Tensors(Box::new(TensorModel::open(checkpoint, device)?)),
        })
    }

    /// Loss of the answers' tokens in a batch, each example under its weights; with `learn`, `soft` gets the gradients of its
    /// mean.
    pub(super) fn pass(
        &self,
        soft: &mut Soft,
        batch: &[(&Drawn<'_>, Vec<f32>)],
        learn: bool,
    ) -> Result<Loss, TrainError> {
        let (decoder, threads) = match self {
            Model::Slices { decoder, threads } => (decoder, *threads),
            Model::Tensors(model) => return model.pass(soft, batch, learn),
        };
        // The last token is predicted, not read.
        let rows = |sample: &Sample| sample.prompt.len() + sample.answer.len() - 1;
        soft.set_parts(batch.iter().map(|(drawn, shares)| Part {
            shares,
            rows: rows(&drawn.sample),
            taught: drawn.taught,
        }));
        let samples: Vec<&Sample> = batch.iter().map(|(drawn, _)| &*drawn.sample).collect();
        pass(decoder, soft, &samples, learn, threads)
    }

    /// Mean loss over the tokens of all answers.
    pub(super) fn loss(
        &self,
        soft: &mut Soft,
        batch: &[(&Drawn<'_>, Vec<f32>)],
        size: usize,
    ) -> Result<f32, TrainError> {
        let mut all = Loss { sum: 0.0, tokens: 0 };
        for part in batch.chunks(size) {
            let loss = self.pass(soft, part, false)?;
            all = Loss { sum: all.sum + loss.sum, tokens: all.tokens + loss.tokens };
        }
        Ok(all.mean() as f32)
    }
}

/// Loss of the answers of `samples` with `adapter` taking part.
pub(super) fn pass(
    decoder: &FrozenDecoder,
    adapter: &mut dyn TrainableAdapter,
    samples: &[&Sample],
    learn: bool,
    threads: &Threads,
) -> Result<Loss, TrainError> {
    let texts: Vec<Vec<u32>> =
        samples.iter().map(|sample| [&sample.prompt[..], &sample.answer].concat()).collect();
    let sequences: Vec<Sequence<'_>> = samples
        .iter()
        .zip(&texts)
        .map(|(sample, tokens)| Sequence { tokens, answer: sample.prompt.len() })
        .collect();
    decoder.loss(&sequences, adapter, learn, threads)
}
