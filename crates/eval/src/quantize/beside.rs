//! What stands beside the weights in every row: an adapter, and the memory that texts are read into.

use std::path::PathBuf;

use crayon_engine::adapters::Lora;
use crayon_engine::{Engine, EngineError, KvStorage, Session, Settings};
use crayon_quant::Quantised;

use crate::EvalError;

/// The same for the exact path and for every way to quantise.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// A PEFT folder: an adapter of the model as it is. Where scales are folded into the model, they are into the adapter too.
    pub adapter: Option<PathBuf>,
    /// How keys and values are stored; as the model's weights ask for when `None`.
    pub kv: Option<KvStorage>,
    /// Entries of InfiniPot's memory; everything is kept when `None`.
    pub pot: Option<usize>,
}

impl Beside {
    /// Settings of an engine.
    pub(super) fn settings(&self, exact: bool) -> Settings {
        Settings { exact, kv: self.kv, ..Settings::default() }
    }

    /// Reads the adapter, which was made for the model in `engine`.
    pub(super) fn read(&self, engine: &Engine) -> Result<Option<Lora>, EvalError> {
        Ok(self.adapter.as_deref().map(|path| engine.read_adapter(path)).transpose()?)
    }

    /// A session for `tokens` tokens.
    pub(super) fn session<'e>(&self, engine: &'e Engine, tokens: usize) -> Result<Session<'e>, EvalError> {
        Ok(match self.pot {
            Some(entries) => engine.pot_session(engine.pot_options(entries)?, 0)?,
            None => engine.session(tokens)?,
        })
    }
}

/// An engine on what was made, answering through the adapter of what it was made of.
pub(super) fn open(
    label: &str,
    made: Quantised,
    settings: &Settings,
    adapter: Option<&Lora>,
) -> Result<Engine, EvalError> {
    let mut engine = Engine::from_checkpoint(label.to_owned(), made.checkpoint, settings)?;
    if let Some(lora) = adapter {
        let mut own = lora.clone();
        own.fit(label, engine.checkpoint(), label).map_err(EngineError::from)?;
        engine.adapt_by(own)?;
    }
    Ok(engine)
}
