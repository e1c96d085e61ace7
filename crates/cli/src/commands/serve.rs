//! `crayon serve`: the model behind OpenAI's HTTP interface, for other programs on this device.

use std::path::Path;
use std::time::Duration;

use crayon_answer::Customization;
use crayon_engine::adapters::{Pool, Scope, read_demonstrations};
use crayon_engine::{BUILT_IN, Engine, PrefixCache};
use crayon_serve::{Bigger, Keys, Limits, Offered, OfferedAdapter, Offers, People, ServeOptions, Server};
use serde::Serialize;

use crate::answering;
use crate::args::{AdapterRef, ModelArgs, ServeArgs};
use crate::failure::Result;
use crate::output::Output;
use crate::spelling::spell;
use crate::{interrupt, model};

/// What `--json` prints once the server listens.
#[derive(Serialize)]
struct Listening<'a> {
    url: &'a str,
    model: &'a str,
    #[serde(flatten)]
    names: &'a Names,
}

/// What requests may name.
#[derive(Serialize)]
struct Names {
    adapters: Vec<String>,
    pools: Vec<String>,
}

impl Names {
    fn of(offers: &Offers) -> Names {
        Names {
            adapters: offers.adapters.iter().map(|adapter| adapter.name.clone()).collect(),
            pools: offers.pools.iter().map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// Runs the command until Ctrl-C.
pub(crate) fn run(args: &ServeArgs, output: &Output) -> Result {
    let keys = args.api_key_file.as_deref().map(Keys::open).transpose()?;
    let (routing, remote) = (answering::routing(&args.route)?, answering::remote(&args.route)?);
    // Adapters with a name are for the requests that name them; others are for all.
    let (named, mut common) = (named(args), args.model.clone());
    common.adapter.retain(|adapter| offered(adapter).is_none());
    let engine = model::open_to_answer(&common, output)?;
    // Without a tokenizer every request would fail.
    engine.tokenizer()?;
    // Customizations differ from request to request, and nothing was measured of them.
    let alone = Customization::default();
    let (routing, calibrated) = answering::calibrated(routing, &args.route, &engine, &alone, output)?;
    let bigger = match remote {
        None => None,
        Some(remote) => {
            let (thresholds, after) = (routing.router().thresholds(), routing.after());
            Some(Bigger { remote, route: answering::route(&args.route), thresholds, after })
        }
    };
    let offers = Offers {
        adapters: adapters(&engine, named, output)?,
        pools: pools(&engine, &args.pool)?,
        bigger,
        calibrated,
        common: scopes(&engine, &common)?,
        demonstrations: model::demonstrations(&common)?.unwrap_or_default(),
    };
    let cache = match args.cache {
        true => Some(PrefixCache::new(answering::cache_folder()?, answering::CACHE_BYTES)),
        false => None,
    };
    let people = args.people.as_deref().map(People::open).transpose()?;
    let (names, host) = (Names::of(&offers), args.route.server.clone().filter(|_| offers.bigger.is_some()));
    let (model, limits) = (name(&args.model.model), limits(args));
    let (host_name, port) = (args.host.clone(), args.port);
    let server = Server::bind(ServeOptions {
        host: host_name,
        port,
        keys,
        model: model.clone(),
        limits,
        offers,
        cache,
        people,
        origins: args.cors.clone(),
        hosts: args.allow_host.clone(),
        spell,
    })?;
    let url = format!("http://{}/v1", server.address());
    interrupt::watch();
    match output.json {
        true => output.object(&Listening { url: &url, model: &model, names: &names })?,
        false => output.line(&format!("{url} serves {model}; Ctrl-C ends it"))?,
    }
    if host.is_some() {
        output.note(
            "what the model is unsure of goes to --server, unless a request says \"route\": \"device\"",
        );
    }
    let log = output.clone();
    server.run(engine, interrupt::requested, move |line| log.detail(line))?;
    output.note("stopped");
    Ok(())
}

/// The name and the folder of `NAME=FOLDER`; a path that has an equals sign of its own is no name.
fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| !name.contains(['/', '\\']) && !Path::new(text).exists())
}

/// The name of an adapter that is offered rather than answered through by all.
fn offered(adapter: &AdapterRef) -> Option<(String, AdapterRef)> {
    let (name, path) = pair(adapter.path.to_str()?)?;
    Some((name.to_owned(), AdapterRef { path: path.into(), weight: adapter.weight }))
}

fn named(args: &ServeArgs) -> Vec<(String, AdapterRef)> {
    args.model.adapter.iter().filter_map(offered).collect()
}

/// What the adapters that all requests are answered through were made for; empty where one of them acts always.
fn scopes(engine: &Engine, common: &ModelArgs) -> Result<Vec<Scope>> {
    if common.merge {
        return Ok(Vec::new());
    }
    let base = engine.checkpoint().fingerprint();
    let read = common.adapter.iter().map(|adapter| Scope::read(&adapter.path, engine.spec(), &base));
    let scopes: Option<Vec<Scope>> = read.collect::<Result<_, _>>()?;
    Ok(scopes.unwrap_or_default())
}

fn adapters(
    engine: &Engine,
    named: Vec<(String, AdapterRef)>,
    output: &Output,
) -> Result<Vec<OfferedAdapter>> {
    let base = engine.checkpoint().fingerprint();
    let read = |(name, AdapterRef { path, weight }): (String, AdapterRef)| {
        let scope = Scope::read(&path, engine.spec(), &base)?;
        if let Some(demonstrations) = read_demonstrations(&path)? {
            let what = Offered::Demonstrations(demonstrations);
            return Ok(OfferedAdapter { name, what, weight, scope });
        }
        let lora = engine.read_adapter(&path)?;
        model::left_out(&lora, &name, output);
        Ok(OfferedAdapter { name, what: Offered::Adapter(lora), weight, scope })
    };
    named.into_iter().map(read).collect()
}

/// The pools that are offered: those that were named, else the one that the program holds for this model.
fn pools(engine: &Engine, wanted: &[String]) -> Result<Vec<(String, Pool)>> {
    if wanted.is_empty() {
        return Ok(engine.built_in_pool()?.map(|pool| (BUILT_IN.to_owned(), pool)).into_iter().collect());
    }
    let open = |text: &String| {
        let (name, folder) = match pair(text) {
            Some((name, folder)) => (name.to_owned(), Path::new(folder)),
            None if text == BUILT_IN => (BUILT_IN.to_owned(), Path::new(text)),
            None => (folder_name(Path::new(text)), Path::new(text)),
        };
        Ok((name, engine.open_pool(folder)?))
    };
    wanted.iter().map(open).collect()
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

fn limits(args: &ServeArgs) -> Limits {
    let usual = Limits::default();
    Limits {
        body: args.max_body.map_or(usual.body, |size| size as usize),
        prompt: args.max_prompt.map_or(usual.prompt, |tokens| tokens as usize),
        answer: args.max_tokens.map_or(usual.answer, |tokens| tokens as usize),
        time: args.time_limit.map_or(usual.time, |seconds| Duration::from_secs(u64::from(seconds))),
        parallel: args.parallel.map_or(usual.parallel, usize::from),
        queue: args.queue.map_or(usual.queue, usize::from),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_equals_sign() {
        assert_eq!(pair("letters=some/folder"), Some(("letters", "some/folder")));
        assert_eq!(pair("some/folder"), None);
        assert_eq!(pair("./odd=name"), None);
        assert_eq!(folder_name(Path::new("no/such/pool")), "pool");
    }

    #[test]
    fn a_models_name_tells_no_path() {
        assert_eq!(name("mini"), "mini");
        assert_eq!(name("org/name"), "org/name");
        assert_eq!(name("/no/such/model.gguf"), "model.gguf");
        assert_eq!(name("src/main.rs"), "main.rs");
    }
}
