//! Adapters beside a model: read, blended by hand, answered through or merged into the weights.

use std::path::Path;
use std::sync::Arc;

use crayon_adapters::{AdapterError, Form, Lora, blend, peft};
use crayon_formats::Checkpoint;
use crayon_model::Adapter;

use crate::{Engine, EngineError, Settings};

impl Engine {
    /// Every session opened from now on answers through `adapter`.
    pub fn set_adapter(&mut self, adapter: Option<Arc<dyn Adapter>>) {
        self.adapter = adapter;
    }

    /// What new sessions answer through.
    pub fn adapter(&self) -> Option<&Arc<dyn Adapter>> {
        self.adapter.as_ref()
    }

    /// Reads a PEFT adapter for this model.
    ///
    /// # Errors
    /// When it is damaged, of a kind that is not supported, or was made for another model.
    pub fn read_adapter(&self, path: &Path) -> Result<Lora, EngineError> {
        Ok(read_adapter(self.checkpoint(), self.name(), path)?)
    }

    /// New sessions answer through the sum of `parts`, each an adapter and its weight.
    ///
    /// # Errors
    /// When one does not fit the model.
    pub fn adapt(&mut self, parts: &[(&Lora, f32)]) -> Result<(), EngineError> {
        let sum = blend(parts, Form::Exact, self.threads())?;
        self.adapt_by(sum)
    }

    /// New sessions answer through `lora`, which moves.
    ///
    /// # Errors
    /// When it does not fit the model.
    pub fn adapt_by(&mut self, lora: Lora) -> Result<(), EngineError> {
        let attached = lora.attach(self.spec())?;
        self.set_adapter(Some(Arc::new(attached)));
        Ok(())
    }

    /// This model with the sum of `parts` added into its weights, which become f32 where they are adapted.
    ///
    /// # Errors
    /// When one does not fit the model.
    pub fn merged(&self, parts: &[(&Lora, f32)], settings: &Settings) -> Result<Engine, EngineError> {
        let sum = blend(parts, Form::Exact, self.threads())?;
        let checkpoint = sum.merge(self.checkpoint())?;
        Engine::from_checkpoint(self.name().to_owned(), checkpoint, settings)
    }
}

/// Reads a PEFT adapter for the model in `checkpoint`, which messages call `name`.
///
/// # Errors
/// When it is damaged, of a kind that is not supported, or was made for another model.
pub fn read_adapter(checkpoint: &Checkpoint, name: &str, path: &Path) -> Result<Lora, AdapterError> {
    let mut lora = peft::read(path, &checkpoint.spec)?;
    lora.fit(&path.display().to_string(), checkpoint, name)?;
    Ok(lora)
}
