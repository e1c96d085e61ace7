//! Where a pool is: in a folder here, or on a server that gets scores and gives one adapter.

use std::path::PathBuf;
use std::time::Duration;

use crayon_engine::Engine;
use crayon_engine::adapters::{Catalogue, Form, Lora, Pool, peft};
use crayon_formats::spec::Spec;
use crayon_formats::{Bytes, atomic};
use crayon_hybrid::{Endpoint, Event, Key, Offer, Patience, PoolError, PoolServer, RemoteError};
use crayon_model::Projection;

use super::routing;
use crate::args::PoolServerArgs;
use crate::failure::{Context, Interrupted, Result, mistake};
use crate::interrupt;
use crate::output::Output;

/// Variable that holds the key of a pool's server. It is not the one of a server that answers: the two may be strangers.
const KEY: &str = "CRAYON_POOL_KEY";

/// A pool, opened.
pub(crate) enum Source {
    Here(Box<Pool>),
    There(Box<There>),
}

/// A pool on a server.
pub(crate) struct There {
    server: PoolServer,
    offer: Offer,
    /// Bytes of bodies received for its description and keys.
    received: u64,
}

/// An adapter, and what it took to get it.
pub(crate) struct Made {
    pub(crate) lora: Lora,
    pub(crate) traffic: Traffic,
}

/// Bytes of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Whether `pool` names a server rather than a folder.
pub(crate) fn is_address(pool: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| pool.starts_with(scheme))
}

impl Source {
    /// Opens a pool for a model, with what has to be known to score examples. A server is asked only because its address
    /// was given.
    pub(crate) fn open(
        pool: &str,
        args: &PoolServerArgs,
        engine: &Engine,
        output: &Output,
    ) -> Result<(Source, Catalogue)> {
        if !is_address(pool) {
            let pool = engine.open_pool(pool.as_ref())?;
            let catalogue = pool.catalogue();
            return Ok((Source::Here(Box::new(pool)), catalogue));
        }
        let (there, catalogue) = There::open(pool, args, engine, output)?;
        Ok((Source::There(Box::new(there)), catalogue))
    }

    /// The host that gets the scores, if one does.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Source::Here(_) => None,
            Source::There(there) => Some(there.server.endpoint().host()),
        }
    }

    /// Bytes received so far.
    pub(crate) fn traffic(&self) -> Traffic {
        match self {
            Source::Here(_) => Traffic::default(),
            Source::There(there) => Traffic { sent: 0, received: there.received },
        }
    }

    /// One adapter for these scores.
    pub(crate) fn blend(
        &self,
        scores: &[f32],
        temperature: Option<f32>,
        form: Form,
        engine: &Engine,
        output: &Output,
    ) -> Result<Made> {
        match self {
            Source::Here(pool) => {
                let temperature = temperature.unwrap_or(pool.temperature);
                let lora = pool.blend(scores, temperature, form, engine.pool())?.lora;
                Ok(Made { lora, traffic: Traffic::default() })
            }
            Source::There(there) => there.blend(scores, temperature, form, engine, output),
        }
    }
}

impl There {
    fn open(
        address: &str,
        args: &PoolServerArgs,
        engine: &Engine,
        output: &Output,
    ) -> Result<(There, Catalogue)> {
        let (endpoint, name) = Endpoint::parse_pool(address)?;
        if let Some(setting) = routing::offline()? {
            return Err(mistake(
                format!("the pool is on a server, and {setting} forbids the network"),
                "a pool in a folder works without a network, and so does an adapter made before (-a)",
            ));
        }
        if endpoint.is_readable_by_others() {
            output.note("the pool's address is http: others on the way can read the scores");
        }
        let key = Key::find(args.pool_key_file.as_deref(), KEY)?;
        let patience = Patience::within(Duration::from_secs(u64::from(args.pool_timeout)));
        let server = PoolServer::new(endpoint, name, key, patience);
        interrupt::watch();
        let offer = stopped(server.offer(&mut |event| hear(&event, output)))?;
        let (keys, fetched) = match kept(&offer)? {
            Some(keys) => (keys, 0),
            None => {
                let keys = stopped(server.keys(&offer, &mut |event| hear(&event, output)))?;
                let length = keys.len() as u64;
                (keys, length)
            }
        };
        let host = server.endpoint().host();
        let what = format!("{host}/pools/{}", offer.name);
        let parsed =
            Catalogue::from_bytes(&what, Bytes::from(keys.clone()), engine.checkpoint(), engine.name());
        let catalogue = checked(host, parsed)?;
        keep(host, &offer, &keys, output)?;
        let received = offer.received + fetched;
        Ok((There { server, offer, received }, catalogue))
    }

    fn blend(
        &self,
        scores: &[f32],
        temperature: Option<f32>,
        form: Form,
        engine: &Engine,
        output: &Output,
    ) -> Result<Made> {
        let hear = &mut |event| hear(&event, output);
        let most = largest(engine.spec());
        let blend = stopped(self.server.blend(&self.offer, scores, form.name(), temperature, most, hear))?;
        let traffic = Traffic { sent: blend.sent, received: self.received + blend.adapter.len() as u64 };
        let host = self.server.endpoint().host();
        let what = format!("{host}/pools/{}", self.offer.name);
        let lora = checked(host, peft::from_bytes(&what, Bytes::from(blend.adapter), engine.spec()))?;
        if lora.base.is_none() {
            let what = "an adapter that does not say which model it is for".to_owned();
            return Err(PoolError::from(RemoteError::Answer { host: host.to_owned(), what }).into());
        }
        lora.check_base(&what, &engine.checkpoint().fingerprint(), engine.name())?;
        Ok(Made { lora, traffic })
    }
}

/// Bytes of an adapter beyond which it is none: twice those of full rank on every layer, and its table.
fn largest(spec: &Spec) -> u64 {
    let full = Projection::ALL.into_iter().map(|projection| {
        let (input, output) = projection.size(spec);
        (input + output) as u64 * input.min(output) as u64
    });
    2 * 4 * spec.layers as u64 * full.sum::<u64>() + (1 << 20)
}

/// What a server sent, read; another model's stays the user's to settle, anything else is the server's fault.
fn checked<T>(host: &str, read: Result<T, crayon_engine::adapters::AdapterError>) -> Result<T> {
    use crayon_engine::adapters::AdapterError::{Module, OtherBase};
    read.map_err(|error| match error {
        error @ (OtherBase { .. } | Module { .. }) => error.into(),
        error => {
            PoolError::from(RemoteError::Answer { host: host.to_owned(), what: error.to_string() }).into()
        }
    })
}

fn hear(event: &Event, output: &Output) -> std::ops::ControlFlow<()> {
    if let Event::Retry { reason, .. } = event {
        output.note(&format!("{reason}; trying again"));
    }
    interrupt::flow()
}

fn stopped<T>(result: Result<T, PoolError>) -> Result<T> {
    result.map_err(|error| match error {
        PoolError::Remote(RemoteError::Cancelled) => Interrupted.into(),
        error => error.into(),
    })
}

/// Where keys of servers' pools are kept.
fn folder() -> Result<PathBuf> {
    let models = crayon_hub::Settings::from_env()?.cache;
    Ok(models.parent().unwrap_or(&models).join("pools"))
}

/// The keys, if they were fetched before.
fn kept(offer: &Offer) -> Result<Option<Vec<u8>>> {
    let path = folder()?.join(format!("{}.safetensors", offer.digest));
    // A file that cannot be read, or is not what its name says, is fetched again.
    Ok(std::fs::read(path).ok().filter(|bytes| offer.describes(bytes)))
}

/// Keeps the keys, and says when they are others than last time: every set of keys asks something else about the examples.
fn keep(host: &str, offer: &Offer, keys: &[u8], output: &Output) -> Result {
    let folder = folder()?;
    std::fs::create_dir_all(&folder).context(format!("cannot create {}", folder.display()))?;
    let file: String = format!("{host}-{}.digest", offer.name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    let last = folder.join(file);
    match std::fs::read_to_string(&last) {
        Ok(before) if before.trim() == offer.digest => return Ok(()),
        Ok(_) => output.note(&format!(
            "the keys of {host}/pools/{} have changed since they were last used: the scores say something else about the \
             examples than before",
            offer.name
        )),
        Err(_) => {}
    }
    atomic::write_file(&folder.join(format!("{}.safetensors", offer.digest)), keys)?;
    Ok(atomic::write_file(&last, offer.digest.as_bytes())?)
}
