//! The models of a server, each with the adapters and pools that belong to it.

use std::path::{Path, PathBuf};

use crayon_answer::Customization;
use crayon_engine::adapters::{AdapterError, Pool, Scope, read_demonstrations};
use crayon_engine::{BUILT_IN, Engine, EngineError, built_in_pool, read_adapter};
use crayon_formats::{Checkpoint, TokenizerSource};
use crayon_serve::{Bigger, Offered, OfferedAdapter, Offers, Opened};

use crate::answering;
use crate::args::{AdapterRef, ModelArgs, RouteArgs, ServeArgs};
use crate::failure::Result;
use crate::model;
use crate::output::Output;

/// A model and what is offered beside it, as they are opened.
pub(super) struct Served {
    /// Its name in requests.
    pub(super) name: String,
    /// Bytes of its weights, where it was looked at.
    pub(super) bytes: usize,
    /// The model, with the adapters that all requests are answered through.
    model: ModelArgs,
    /// Adapters for the requests that name them.
    named: Vec<(String, AdapterRef)>,
    pools: Vec<(String, PathBuf)>,
    route: RouteArgs,
}

impl Served {
    /// All of them. Where there are several, each is looked at without being opened, to tell what belongs to which.
    ///
    /// # Errors
    /// When one is not there or cannot be used, or something belongs to none of them.
    pub(super) fn of(args: &ServeArgs) -> Result<Vec<Served>> {
        let common: Vec<&AdapterRef> =
            args.adapter.iter().filter(|adapter| offered(adapter).is_none()).collect();
        let named: Vec<(String, AdapterRef)> = args.adapter.iter().filter_map(offered).collect();
        let pools: Vec<(String, PathBuf)> = args.pool.iter().map(|text| pool(text)).collect();
        let mut all = Vec::with_capacity(args.model.len());
        for text in &args.model {
            let (name, source) = match pair(text) {
                Some((name, source)) => (name.to_owned(), source),
                None => (name(text), text.as_str()),
            };
            all.push(Served {
                name,
                bytes: 0,
                model: ModelArgs {
                    model: source.to_owned(),
                    adapter: Vec::new(),
                    merge: args.merge && !common.is_empty(),
                    run: args.run.clone(),
                },
                named: Vec::new(),
                pools: Vec::new(),
                route: args.route.clone(),
            });
        }
        if let [only] = &mut all[..] {
            only.model.adapter = common.into_iter().cloned().collect();
            (only.named, only.pools) = (named, pools);
            return Ok(all);
        }
        let checkpoints: Vec<Checkpoint> = all.iter().map(Served::look).collect::<Result<_>>()?;
        for adapter in common {
            let fits = |checkpoint: &Checkpoint, name: &str| fits(&adapter.path, checkpoint, name);
            each(&mut all, &checkpoints, fits, |one| one.model.adapter.push(adapter.clone()))?;
        }
        for adapter in named {
            let fits = |checkpoint: &Checkpoint, name: &str| fits(&adapter.1.path, checkpoint, name);
            each(&mut all, &checkpoints, fits, |one| one.named.push(adapter.clone()))?;
        }
        for pool in pools {
            let fits = |checkpoint: &Checkpoint, name: &str| match pool.1 == Path::new(BUILT_IN) {
                true if built_in_pool(checkpoint, name)?.is_some() => Ok(()),
                _ => Pool::open(&pool.1, checkpoint, name).map(|_| ()),
            };
            each(&mut all, &checkpoints, fits, |one| one.pools.push(pool.clone()))?;
        }
        for (one, checkpoint) in all.iter_mut().zip(&checkpoints) {
            one.bytes = checkpoint.bytes();
            one.model.merge &= !one.model.adapter.is_empty();
            if args.pool.is_empty() && built_in_pool(checkpoint, &one.name)?.is_some() {
                one.pools.push(pool(BUILT_IN));
            }
        }
        Ok(all)
    }

    /// The checkpoint, whose weights stay where they are.
    fn look(&self) -> Result<Checkpoint> {
        let checkpoint = model::resolve(&self.model.model)?.checkpoint()?;
        match checkpoint.tokenizer {
            // Every request would fail.
            TokenizerSource::None => Err(EngineError::NoTokenizer { model: self.name.clone() }.into()),
            _ => Ok(checkpoint),
        }
    }

    /// Names of its pools.
    pub(super) fn pool_names(&self) -> Vec<String> {
        self.pools.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Opens it with everything beside it.
    pub(super) fn open(&self, output: &Output) -> Result<Opened> {
        let Served { model, route, .. } = self;
        let engine = model::open_to_answer(model, output)?;
        // Without a tokenizer every request would fail.
        engine.tokenizer()?;
        // Customizations differ from request to request, and nothing was measured of them.
        let alone = Customization::default();
        let routing = answering::routing(route)?;
        let (routing, calibrated) = answering::calibrated(routing, route, &engine, &alone, output)?;
        let bigger = answering::remote(route)?.map(|remote| Bigger {
            remote,
            route: answering::route(route),
            thresholds: routing.router().thresholds(),
            after: routing.after(),
        });
        let offers = Offers {
            adapters: self.adapters(&engine, output)?,
            pools: self.open_pools(&engine)?,
            bigger,
            calibrated,
            common: scopes(&engine, model)?,
            demonstrations: model::demonstrations(model)?.unwrap_or_default(),
        };
        Ok(Opened { engine, offers })
    }

    fn adapters(&self, engine: &Engine, output: &Output) -> Result<Vec<OfferedAdapter>> {
        let read = |(name, AdapterRef { path, weight }): &(String, AdapterRef)| {
            let (name, weight, scope) = (name.clone(), *weight, Scope::read(path, engine.checkpoint())?);
            if let Some(demonstrations) = read_demonstrations(path)? {
                let what = Offered::Demonstrations(demonstrations);
                return Ok(OfferedAdapter { name, what, weight, scope });
            }
            let lora = engine.read_adapter(path)?;
            model::left_out(&lora, &name, output);
            Ok(OfferedAdapter { name, what: Offered::Adapter(lora), weight, scope })
        };
        self.named.iter().map(read).collect()
    }

    /// The pools that are offered: those that were named, else the one that the program holds for this model.
    fn open_pools(&self, engine: &Engine) -> Result<Vec<(String, Pool)>> {
        if self.pools.is_empty() {
            return Ok(engine.built_in_pool()?.map(|pool| (BUILT_IN.to_owned(), pool)).into_iter().collect());
        }
        let open = |(name, folder): &(String, PathBuf)| Ok((name.clone(), engine.open_pool(folder)?));
        self.pools.iter().map(open).collect()
    }
}

/// Gives something to each of the models that it fits.
///
/// # Errors
/// Why it does not fit the first one, when it fits none.
fn each(
    all: &mut [Served],
    checkpoints: &[Checkpoint],
    fits: impl Fn(&Checkpoint, &str) -> Result<(), AdapterError>,
    mut give: impl FnMut(&mut Served),
) -> Result {
    let mut wrong = None;
    let mut found = false;
    for (one, checkpoint) in all.iter_mut().zip(checkpoints) {
        match fits(checkpoint, &one.name) {
            Ok(()) => {
                found = true;
                give(one);
            }
            Err(error) => {
                wrong.get_or_insert(error);
            }
        }
    }
    match wrong.filter(|_| !found) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Whether the adapter or the examples in a folder can be used beside a model.
fn fits(path: &Path, checkpoint: &Checkpoint, name: &str) -> Result<(), AdapterError> {
    Scope::read(path, checkpoint)?;
    if read_demonstrations(path)?.is_none() {
        read_adapter(checkpoint, name, path)?.attach(&checkpoint.spec)?;
    }
    Ok(())
}

/// The name and what stands behind it in `NAME=FOLDER`; a path that has an equals sign of its own is not a name.
fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| !name.contains(['/', '\\']) && !Path::new(text).exists())
}

/// The name of an adapter that is offered rather than answered through by all.
fn offered(adapter: &AdapterRef) -> Option<(String, AdapterRef)> {
    let (name, path) = pair(adapter.path.to_str()?)?;
    Some((name.to_owned(), AdapterRef { path: path.into(), weight: adapter.weight }))
}

/// Names of the adapters that are offered to those who name them.
pub(super) fn names(adapters: &[AdapterRef]) -> Vec<&str> {
    adapters.iter().filter_map(|adapter| Some(pair(adapter.path.to_str()?)?.0)).collect()
}

/// The name and the folder of a pool.
fn pool(text: &str) -> (String, PathBuf) {
    match pair(text) {
        Some((name, folder)) => (name.to_owned(), folder.into()),
        None if text == BUILT_IN => (BUILT_IN.to_owned(), text.into()),
        None => (folder_name(Path::new(text)), text.into()),
    }
}

/// What the adapters that all requests are answered through were made for; empty where one of them acts always.
fn scopes(engine: &Engine, common: &ModelArgs) -> Result<Vec<Scope>> {
    if common.merge {
        return Ok(Vec::new());
    }
    let read = common.adapter.iter().map(|adapter| Scope::read(&adapter.path, engine.checkpoint()));
    let scopes: Option<Vec<Scope>> = read.collect::<Result<_, _>>()?;
    Ok(scopes.unwrap_or_default())
}

/// The last part of a path, also of one like `.`.
fn folder_name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The model's name in requests: as given, but for paths, which are nobody's business: their last part.
fn name(model: &str) -> String {
    let path = Path::new(model);
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    file.filter(|_| path.exists() || path.is_absolute()).unwrap_or_else(|| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_equals_sign() {
        assert_eq!(pair("letters=some/folder"), Some(("letters", "some/folder")));
        assert_eq!(pair("some/folder"), None);
        assert_eq!(pair("./odd=name"), None);
        assert_eq!(pool("no/such/pool").0, "pool");
    }

    #[test]
    fn a_models_name_tells_no_path() {
        assert_eq!(name("mini"), "mini");
        assert_eq!(name("org/name"), "org/name");
        assert_eq!(name("/no/such/model.gguf"), "model.gguf");
        assert_eq!(name("src/main.rs"), "main.rs");
    }
}
