//! All blocks together, by the language model's loss.

use candle_core::{Device, Tensor};
use crayon_formats::Checkpoint;
use crayon_model::Place;

use super::setup::BlockSetup;
use crate::plain::{PlainDecoder, PlainPass, Train, cross_entropy};
use crate::{TrainError, Trainable, Variable};

/// A network with every block rounded.
pub struct QuantisedDecoder {
    network: PlainDecoder,
    /// How its blocks are rounded and what learns, from the first to the last.
    pub setups: Vec<BlockSetup>,
}

impl QuantisedDecoder {
    /// Reads the whole network.
    ///
    /// # Errors
    /// When a tensor is missing or damaged.
    pub fn open(checkpoint: &Checkpoint, setups: Vec<BlockSetup>) -> Result<QuantisedDecoder, TrainError> {
        let network = PlainDecoder::open(checkpoint, &Device::Cpu, Train::Nothing)?;
        Ok(QuantisedDecoder { network, setups })
    }

    /// Lets the parameters of all blocks learn.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn learn_weights(&mut self) -> Result<(), TrainError> {
        self.setups.iter_mut().try_for_each(|setup| setup.learn_weights(&self.network))
    }

    /// Mean cross-entropy in nats of every token but the first of sequences of `rows` tokens. With `learn`, gradients go to the
    /// setups.
    ///
    /// # Errors
    /// When the tensor library fails, a token is not in the vocabulary, or a static range was not observed.
    pub fn loss(&mut self, tokens: &[u32], rows: usize, learn: bool) -> Result<f32, TrainError> {
        let batch = tokens.len() / rows;
        let tokens = Tensor::from_slice(tokens, (batch, rows), &Device::Cpu)?;
        let graphs = self
            .setups
            .iter()
            .map(|setup| setup.graph(&self.network, learn))
            .collect::<Result<Vec<_>, TrainError>>()?;
        let parameters = graphs.iter().flat_map(|graph| graph.parameters.clone()).collect();
        let network = self.network.with(parameters);
        let inputs =
            |layer: usize, place: Place, x: &Tensor| self.setups[layer].input(&graphs[layer], place, x);
        let pass = PlainPass { inputs: Some(&inputs), ..PlainPass::default() };
        let logits = network.forward(&tokens.narrow(1, 0, rows - 1)?.contiguous()?, pass)?;
        let targets = tokens.narrow(1, 1, rows - 1)?.contiguous()?;
        let weights = targets.ones_like()?;
        let loss = cross_entropy(&logits, &targets, &weights)?;
        let value = loss.to_scalar::<f32>()?;
        if learn && value.is_finite() {
            let gradients = loss.backward()?;
            for (setup, graph) in self.setups.iter_mut().zip(&graphs) {
                setup.take(graph, &gradients)?;
            }
        }
        Ok(value)
    }
}

impl Trainable for QuantisedDecoder {
    fn variables(&self) -> Vec<&Variable> {
        self.setups.iter().flat_map(|setup| setup.variables()).collect()
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        self.setups.iter_mut().flat_map(|setup| setup.variables_mut()).collect()
    }
}
