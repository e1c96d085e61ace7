//! One block by itself, beside its exact form.

use std::cell::RefCell;

use candle_core::{Device, Tensor};
use crayon_formats::Checkpoint;
use crayon_model::Place;

use super::setup::BlockSetup;
use crate::TrainError;
use crate::plain::{PlainDecoder, PlainPass};

/// A block of a network and how it is rounded. Only this block is in memory.
pub struct QuantisedBlock {
    network: PlainDecoder,
    width: usize,
    /// How it is rounded and what learns.
    pub setup: BlockSetup,
}

/// Told a place and its input `[rows, channels]`, before any scale.
pub type See<'a> = dyn FnMut(Place, &[f32]) + 'a;

impl QuantisedBlock {
    /// Reads the block that `setup` is about.
    ///
    /// # Errors
    /// When a tensor is missing or damaged.
    pub fn open(checkpoint: &Checkpoint, setup: BlockSetup) -> Result<QuantisedBlock, TrainError> {
        let network = PlainDecoder::open_block(checkpoint, setup.layer, &Device::Cpu)?;
        Ok(QuantisedBlock { width: network.spec().hidden, network, setup })
    }

    /// The block as a network of its own parameters.
    pub fn network(&self) -> &PlainDecoder {
        &self.network
    }

    fn tensor(&self, hidden: &[f32], rows: usize) -> Result<Tensor, TrainError> {
        let batch = hidden.len() / (rows * self.width);
        Ok(Tensor::from_slice(hidden, (batch, rows, self.width), &Device::Cpu)?)
    }

    /// One sequence after another through `run`.
    fn each(
        &self,
        hidden: &[f32],
        rows: usize,
        mut run: impl FnMut(Tensor) -> Result<Tensor, TrainError>,
    ) -> Result<Vec<f32>, TrainError> {
        let mut out = Vec::with_capacity(hidden.len());
        for sequence in hidden.chunks(rows * self.width) {
            out.extend(run(self.tensor(sequence, rows)?)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(out)
    }

    /// What the exact block makes of sequences of `rows` rows; `see` is told the input of every place.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn exact(&self, hidden: &[f32], rows: usize, see: &mut See<'_>) -> Result<Vec<f32>, TrainError> {
        let see = RefCell::new(see);
        let inputs = |_: usize, place: Place, x: &Tensor| {
            (see.borrow_mut())(place, &x.flatten_all()?.to_vec1::<f32>()?);
            Ok(x.clone())
        };
        self.each(hidden, rows, |hidden| {
            let pass = PlainPass { inputs: Some(&inputs), ..PlainPass::default() };
            self.network.block(self.setup.layer, hidden, pass)
        })
    }

    /// What the rounded block makes of sequences of `rows` rows.
    ///
    /// # Errors
    /// When the tensor library fails, or a static range was not observed.
    pub fn rounded(&self, hidden: &[f32], rows: usize) -> Result<Vec<f32>, TrainError> {
        let graph = self.setup.graph(&self.network, false)?;
        self.each(hidden, rows, |hidden| self.setup.run(&self.network, &graph, hidden))
    }

    /// Distance of the rounded block's output from `target`, what the exact one makes of the same rows, as a share of what the block
    /// changes, row by row: the mean of `|rounded - target|² / |target - hidden|²`. Taken over all rows at once, a few with enormous
    /// values would decide alone. The first row of a sequence does not count: models let such values gather there. With `learn`,
    /// gradients go to the setup.
    ///
    /// # Errors
    /// When the tensor library fails, or a static range was not observed.
    pub fn loss(
        &mut self,
        hidden: &[f32],
        target: &[f32],
        rows: usize,
        learn: bool,
    ) -> Result<f32, TrainError> {
        /// Of the mean change, what is added to every row's.
        const LEAST: f32 = 1e-3;
        let (hidden, target) = (self.tensor(hidden, rows)?, self.tensor(target, rows)?);
        let graph = self.setup.graph(&self.network, learn)?;
        let out = self.setup.run(&self.network, &graph, hidden.clone())?;
        let (from, count) = if rows > 1 { (1, rows - 1) } else { (0, 1) };
        let counted = |x: &Tensor| x.narrow(1, from, count);
        let squares = |a: &Tensor, b: &Tensor| (counted(a)? - counted(b)?)?.sqr()?.sum(2);
        let change = squares(&target, &hidden)?;
        // A row that changes next to nothing is no measure.
        let least = (change.mean_all()?.to_scalar::<f32>()? * LEAST).max(f32::MIN_POSITIVE);
        let loss = (squares(&out, &target)? / (change + f64::from(least))?)?.mean_all()?;
        let value = loss.to_scalar::<f32>()?;
        if learn && value.is_finite() {
            let gradients = loss.backward()?;
            self.setup.take(&graph, &gradients)?;
        }
        Ok(value)
    }
}
