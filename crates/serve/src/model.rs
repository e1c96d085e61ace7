//! A model as it is given to a server: open, or with the means to open it.

use std::fmt;

use crayon_engine::{Batch, Engine, Shortage};

use crate::{Offers, ServeError, ServeOptions};

/// An open model, and what its requests may ask for.
pub struct Opened {
    /// The model.
    pub engine: Engine,
    /// What is offered beside it.
    pub offers: Offers,
}

/// Opens a model. `None` where that fails; whoever made it tells the operator why, because clients are told no paths.
pub type Opener = Box<dyn Fn() -> Option<Opened> + Send + Sync>;

/// A model that requests may ask for.
pub struct Model {
    /// Its name in requests.
    pub name: String,
    /// Bytes of its weights.
    pub bytes: usize,
    /// Names of the pools it offers, by which it is found while it is not open.
    pub pools: Vec<String>,
    /// The model, where it is open from the start.
    pub opened: Option<Opened>,
    /// How it is opened when it is asked for. One that cannot be opened again is never closed.
    pub open: Option<Opener>,
}

impl Model {
    /// A model that is open and stays so.
    pub fn new(name: &str, engine: Engine, offers: Offers) -> Model {
        Model {
            name: name.to_owned(),
            bytes: engine.checkpoint().bytes(),
            pools: offers.pools.iter().map(|(name, _)| name.clone()).collect(),
            opened: Some(Opened { engine, offers }),
            open: None,
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Model { name, bytes, pools, opened, .. } = self;
        let open = opened.is_some();
        out.debug_struct("Model")
            .field("name", name)
            .field("bytes", bytes)
            .field("pools", pools)
            .field("open", &open)
            .finish_non_exhaustive()
    }
}

/// Whether all models have names of their own, and all that they offer from the start.
pub(crate) fn check(models: &[Model]) -> Result<(), ServeError> {
    for (at, model) in models.iter().enumerate() {
        let problem = match &model.name {
            name if name.is_empty() => "is not a name",
            name if models[..at].iter().any(|other| other.name == *name) => "is given twice",
            _ => continue,
        };
        return Err(ServeError::Name { what: "model", name: model.name.clone(), problem });
    }
    models.iter().filter_map(|model| model.opened.as_ref()).try_for_each(|opened| opened.offers.check())
}

/// Whether the memory allowed is enough for the models that are open from the start, before anybody is told that they answer.
pub(crate) fn fit(models: &[Model], options: &ServeOptions) -> Result<(), ServeError> {
    let Some(limit) = options.memory else { return Ok(()) };
    let mut free = limit.saturating_sub(options.program);
    for model in models {
        let Some(Opened { engine, .. }) = &model.opened else { continue };
        let needed = engine.checkpoint().bytes() + Batch::scratch_for(engine, options.limits.parallel);
        let what = || format!("the weights and buffers of {}", model.name);
        free = free
            .checked_sub(needed)
            .ok_or_else(|| ServeError::Memory(Shortage { needed, free, limit }.error(what())))?;
    }
    Ok(())
}
