//! What handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use crate::ServeOptions;
use crate::hosted::Hosted;
use crate::metrics::Metrics;
use crate::people::People;
use crate::refusal::Refusal;

/// Who is on the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) options: ServeOptions,
    /// Whether only this device reaches the port.
    pub(crate) loopback: bool,
    pub(crate) hosted: Arc<Hosted>,
    /// Places of those who are blended for at once.
    pub(crate) blends: Semaphore,
    /// Places of those whose examples are judged and learned from at once.
    pub(crate) customizing: Semaphore,
    /// Places of those whose texts are embedded at once.
    pub(crate) embedding: Semaphore,
    pub(crate) people: People,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Box<dyn Fn(&str) + Send + Sync>,
    /// When the server began, in Unix seconds.
    pub(crate) began: u64,
}

impl Shared {
    /// The model called `name`, or known by it.
    pub(crate) fn model(&self, name: &str) -> Result<Arc<Hosted>, Refusal> {
        match self.hosted.is_called(name) {
            true => Ok(self.hosted.clone()),
            false => Err(Refusal::no_model(name, &[&self.hosted.name])),
        }
    }
}

/// The model and, where it is named behind a colon, the person of a request.
pub(crate) struct Asked {
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) person: Option<String>,
}

impl Asked {
    /// Its name in answers.
    pub(crate) fn name(&self) -> String {
        match &self.person {
            Some(person) => format!("{}:{person}", self.hosted.name),
            None => self.hosted.name.clone(),
        }
    }
}

impl Shared {
    /// What a request asks for by `name`: a model, or somebody's (`mini:anna`).
    pub(crate) fn asked(&self, name: &str) -> Result<Asked, Refusal> {
        match self.model(name) {
            Ok(hosted) => Ok(Asked { hosted, person: None }),
            Err(refusal) => match name.rsplit_once(':') {
                Some((model, person)) => {
                    Ok(Asked { hosted: self.model(model)?, person: Some(person.to_owned()) })
                }
                None => Err(refusal),
            },
        }
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
