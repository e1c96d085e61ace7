//! In place of what learns from a user's examples, where this program was built without training.

use crayon_adapters::{Lora, Pool, Sample};
use crayon_engine::Engine;

use super::{CustomizeOptions, Method};
use crate::EvalError;

/// Refuses.
#[derive(Default)]
pub(super) struct Trainer {}

impl Trainer {
    pub(super) fn lorahub(&mut self, _: &Engine, _: &Pool, _: &[Sample], _: u64) -> Result<Lora, EvalError> {
        Err(EvalError::NoTraining { method: Method::LoraHub.name() })
    }

    pub(super) fn oracle(
        &mut self,
        _: &Engine,
        _: &[Sample],
        _: &CustomizeOptions,
    ) -> Result<Lora, EvalError> {
        Err(EvalError::NoTraining { method: Method::Oracle.name() })
    }
}
