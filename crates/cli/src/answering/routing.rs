//! From arguments to who answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crayon_answer::{Calibrated, Customization, Routing, Server};
use crayon_engine::Engine;
use crayon_hybrid::{Endpoint, Key, Remote, RetryPolicy, Route, Router, Thresholds};

use super::folders::thresholds_folder;
use super::shown::note;
use crate::args::RouteArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;

/// Variable that holds the server's key.
pub(crate) const SERVER_KEY: &str = "CRAYON_SERVER_KEY";

/// Who may answer. Checks what was asked for, and reads the key if there is a use for it; opens no socket.
pub(crate) fn routing(args: &RouteArgs) -> Result<Routing> {
    let (router, remote) = parts(args)?;
    Ok(Routing::new(router, remote.map(|remote| Arc::new(remote) as Arc<dyn Server>), None))
}

/// The server that may be asked, for those who share it among many requests; `None` where nothing may leave.
pub(crate) fn remote(args: &RouteArgs) -> Result<Option<Remote>> {
    Ok(parts(args)?.1)
}

fn parts(args: &RouteArgs) -> Result<(Router, Option<Remote>)> {
    let server = args.server.as_deref().map(Endpoint::parse).transpose()?;
    let router = Router::new(
        route(args),
        server.is_some(),
        args.private,
        crayon_net::forbidden(),
        Thresholds::default(),
    )?;
    let remote = match (server, &args.server_model) {
        (Some(server), Some(model)) if router.may_send() => {
            let timeout = Duration::from_secs(u64::from(args.server_timeout));
            Some(open(server, model, args.server_key_file.as_deref(), timeout)?)
        }
        _ => None,
    };
    Ok((router, remote))
}

/// The route asked for.
pub(crate) fn route(args: &RouteArgs) -> Route {
    args.route.map_or(Route::Auto, Into::into)
}

/// What was calibrated for this model and what it is customized for, and `routing` with it.
pub(crate) fn calibrated(
    routing: Routing,
    args: &RouteArgs,
    engine: &Engine,
    custom: &Customization,
    output: &Output,
) -> Result<(Routing, Calibrated)> {
    let (model, custom) = (engine.checkpoint().fingerprint(), custom.fingerprint(engine));
    let (file, folder) = (args.thresholds.as_deref(), thresholds_folder()?);
    let calibrated = Calibrated::find(&model, custom.as_deref(), file, &folder)?;
    let (routing, told) = calibrated.routing(routing);
    if let Some(told) = told {
        note(&told, output);
    }
    match args.no_doubt {
        true => Ok((routing, Calibrated::default())),
        false => Ok((routing, calibrated)),
    }
}

/// The server at `endpoint`, with the key of the file or of the environment.
pub(crate) fn open(
    endpoint: Endpoint,
    model: &str,
    key_file: Option<&Path>,
    timeout: Duration,
) -> Result<Remote> {
    if model.trim().is_empty() {
        return Err(mistake("--server-model is empty", "name a model of the server"));
    }
    let key = Key::find(key_file, SERVER_KEY)?;
    Ok(Remote::new(endpoint, model, key, RetryPolicy::within(timeout)))
}
