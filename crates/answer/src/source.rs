//! Where a pool is: in a folder here, or on a server that gets scores and gives one adapter.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crayon_engine::Engine;
use crayon_engine::adapters::{AdapterError, Catalogue, Form, Lora, Pool, peft};
use crayon_files::{create_folder, write_file};
use crayon_formats::Bytes;
use crayon_formats::spec::Spec;
use crayon_hybrid::{
    Endpoint, Event as ServerEvent, Key, Offer, PoolError, PoolServer, RemoteError, RetryPolicy,
};
use crayon_model::Projection;

use crate::AnswerError;
use crate::event::{Event, Note, Sink};

/// How a pool on a server may be asked.
#[derive(Clone, Debug)]
pub struct PoolAccess {
    /// Why it may not be asked at all, in words that end a sentence, if it may not.
    pub forbidden: Option<String>,
    /// The key.
    pub key: Option<Key>,
    /// How often and how long it is tried.
    pub retry: RetryPolicy,
    /// Folder where its keys are kept for the next time.
    pub folder: PathBuf,
}

/// A pool, opened.
pub enum Source {
    /// In a folder, in a packed file or in the program.
    Here(Box<Pool>),
    /// On a server.
    There(Box<ServerPool>),
}

/// A pool on a server.
pub struct ServerPool {
    server: PoolServer,
    offer: Offer,
    /// Bytes of bodies received for its description and keys.
    received: u64,
}

/// An adapter, and what it took to get it.
pub struct Made {
    /// The adapter.
    pub lora: Lora,
    /// What went over the network.
    pub traffic: Traffic,
}

/// Bytes of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// Whether `pool` names a server rather than a folder.
pub fn is_address(pool: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| pool.starts_with(scheme))
}

impl Source {
    /// Opens a pool for a model, with what has to be known to score examples. A server is asked only because its address
    /// was given.
    ///
    /// # Errors
    /// When there is no pool, it does not fit the model, or its server may not be asked or fails.
    pub fn open(
        pool: &str,
        access: &PoolAccess,
        engine: &Engine,
        sink: &mut Sink<'_>,
    ) -> Result<(Source, Catalogue), AnswerError> {
        if !is_address(pool) {
            let pool = engine.open_pool(pool.as_ref())?;
            let catalogue = pool.catalogue();
            return Ok((Source::Here(Box::new(pool)), catalogue));
        }
        let (there, catalogue) = ServerPool::open(pool, access, engine, sink)?;
        Ok((Source::There(Box::new(there)), catalogue))
    }

    /// The host that gets the scores, if one does.
    pub fn host(&self) -> Option<&str> {
        match self {
            Source::Here(_) => None,
            Source::There(there) => Some(there.server.endpoint().host()),
        }
    }

    /// Bytes received so far.
    pub fn traffic(&self) -> Traffic {
        match self {
            Source::Here(_) => Traffic::default(),
            Source::There(there) => Traffic { sent: 0, received: there.received },
        }
    }

    /// One adapter for these scores.
    ///
    /// # Errors
    /// When the scores are not the pool's, or its server fails.
    pub fn blend(
        &self,
        scores: &[f32],
        temperature: Option<f32>,
        form: Form,
        engine: &Engine,
        sink: &mut Sink<'_>,
    ) -> Result<Made, AnswerError> {
        match self {
            Source::Here(pool) => {
                let temperature = temperature.unwrap_or(pool.temperature);
                let lora = pool.blend(scores, temperature, form, engine.threads())?.lora;
                Ok(Made { lora, traffic: Traffic::default() })
            }
            Source::There(there) => there.blend(scores, temperature, form, engine, sink),
        }
    }
}

impl ServerPool {
    fn open(
        address: &str,
        access: &PoolAccess,
        engine: &Engine,
        sink: &mut Sink<'_>,
    ) -> Result<(ServerPool, Catalogue), AnswerError> {
        let (endpoint, name) = Endpoint::parse_pool(address)?;
        if let Some(reason) = &access.forbidden {
            return Err(AnswerError::PoolForbidden { reason: reason.clone() });
        }
        if endpoint.is_readable_by_others() {
            let _ = sink(Event::Note(Note::OpenPool));
        }
        let server = PoolServer::new(endpoint, name, access.key.clone(), access.retry.clone());
        let offer = stopped(server.offer(&mut |event| hear(event, sink)))?;
        let (keys, fetched) = match kept(&access.folder, &offer) {
            Some(keys) => (keys, 0),
            None => {
                let keys = stopped(server.keys(&offer, &mut |event| hear(event, sink)))?;
                let length = keys.len() as u64;
                (keys, length)
            }
        };
        let host = server.endpoint().host();
        let what = format!("{host}/pools/{}", offer.name);
        let parsed =
            Catalogue::from_bytes(&what, Bytes::from(keys.clone()), engine.checkpoint(), engine.name());
        let catalogue = checked(host, parsed)?;
        keep(&access.folder, host, &offer, &keys, sink)?;
        let received = offer.received + fetched;
        Ok((ServerPool { server, offer, received }, catalogue))
    }

    fn blend(
        &self,
        scores: &[f32],
        temperature: Option<f32>,
        form: Form,
        engine: &Engine,
        sink: &mut Sink<'_>,
    ) -> Result<Made, AnswerError> {
        let hear = &mut |event| hear(event, sink);
        let most = largest(engine.spec());
        let blend = stopped(self.server.blend(&self.offer, scores, form.name(), temperature, most, hear))?;
        let traffic = Traffic { sent: blend.sent, received: self.received + blend.adapter.len() as u64 };
        let host = self.server.endpoint().host();
        let what = format!("{host}/pools/{}", self.offer.name);
        let mut lora = checked(host, peft::from_bytes(&what, Bytes::from(blend.adapter), engine.spec()))?;
        if lora.base.is_none() {
            let what = "an adapter that does not say which model it is for".to_owned();
            return Err(PoolError::from(RemoteError::Answer { host: host.to_owned(), what }).into());
        }
        lora.fit(&what, engine.checkpoint(), engine.name())?;
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
fn checked<T>(host: &str, read: Result<T, AdapterError>) -> Result<T, AnswerError> {
    use AdapterError::{Module, OtherBase};
    read.map_err(|error| match error {
        error @ (OtherBase { .. } | Module { .. }) => error.into(),
        error => {
            PoolError::from(RemoteError::Answer { host: host.to_owned(), what: error.to_string() }).into()
        }
    })
}

fn hear(event: ServerEvent, sink: &mut Sink<'_>) -> ControlFlow<()> {
    match event {
        ServerEvent::Retry { reason, .. } => sink(Event::Note(Note::Again(reason))),
        _ => sink(Event::Waiting),
    }
}

fn stopped<T>(result: Result<T, PoolError>) -> Result<T, AnswerError> {
    result.map_err(|error| match error {
        PoolError::Remote(RemoteError::Cancelled) => AnswerError::Cancelled,
        error => error.into(),
    })
}

/// The keys, if they were fetched before.
fn kept(folder: &Path, offer: &Offer) -> Option<Vec<u8>> {
    let path = folder.join(format!("{}.safetensors", offer.digest));
    // A file that cannot be read, or is not what its name says, is fetched again.
    std::fs::read(path).ok().filter(|bytes| offer.describes(bytes))
}

/// Keeps the keys, and says when they are others than last time: every set of keys asks something else about the examples.
fn keep(
    folder: &Path,
    host: &str,
    offer: &Offer,
    keys: &[u8],
    sink: &mut Sink<'_>,
) -> Result<(), AnswerError> {
    create_folder(folder)?;
    let file: String = format!("{host}-{}.digest", offer.name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    let last = folder.join(file);
    match std::fs::read_to_string(&last) {
        Ok(before) if before.trim() == offer.digest => return Ok(()),
        Ok(_) => {
            let _ = sink(Event::Note(Note::OtherKeys(format!("{host}/pools/{}", offer.name))));
        }
        Err(_) => {}
    }
    write_file(&folder.join(format!("{}.safetensors", offer.digest)), keys)?;
    Ok(write_file(&last, offer.digest.as_bytes())?)
}
