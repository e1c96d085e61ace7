//! What learns from a user's examples, but for the ladder.

use crayon_adapters::{Lora, Pool, Sample};
use crayon_engine::Engine;
use crayon_model::Projection;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool::{TrainOptions, fit};

use super::{CustomizeOptions, lorahub};
use crate::EvalError;

/// The network for training, read when first needed.
#[derive(Default)]
pub(super) struct Trainer {
    decoder: Option<FrozenDecoder>,
}

impl Trainer {
    fn decoder(&mut self, engine: &Engine) -> Result<&FrozenDecoder, EvalError> {
        match &mut self.decoder {
            Some(decoder) => Ok(decoder),
            held => {
                Ok(held.insert(FrozenDecoder::open(engine.checkpoint(), engine.mode(), engine.threads())?))
            }
        }
    }

    /// The pool's adapters under weights that were searched for.
    pub(super) fn lorahub(
        &mut self,
        engine: &Engine,
        pool: &Pool,
        samples: &[Sample],
        seed: u64,
    ) -> Result<Lora, EvalError> {
        lorahub::fit(self.decoder(engine)?, pool, samples, seed, engine.threads())
    }

    /// An adapter of its own, on every linear layer.
    pub(super) fn oracle(
        &mut self,
        engine: &Engine,
        samples: &[Sample],
        options: &CustomizeOptions,
    ) -> Result<Lora, EvalError> {
        let training = TrainOptions {
            targets: Projection::ALL.to_vec(),
            rate: options.oracle_rate,
            ..TrainOptions::default()
        };
        let steps = options.oracle_epochs.max(1) * samples.len().div_ceil(training.batch);
        Ok(fit(self.decoder(engine)?, samples, &training, steps, engine.threads())?)
    }
}
