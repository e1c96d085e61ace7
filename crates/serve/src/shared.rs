//! What handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use crate::ServeOptions;
use crate::hosted::Hosted;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::people::People;
use crate::refusal::Refusal;

/// Who is on the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Where lines about the work go.
pub(crate) type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) options: ServeOptions,
    /// Whether only this device reaches the port.
    pub(crate) loopback: bool,
    pub(crate) models: Models,
    /// Places of those who are blended for at once.
    pub(crate) blends: Semaphore,
    /// Places of those whose examples are judged and learned from at once.
    pub(crate) customizing: Semaphore,
    /// Places of those whose texts are embedded at once.
    pub(crate) embedding: Semaphore,
    pub(crate) people: People,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Log,
    /// When the server began, in Unix seconds.
    pub(crate) began: u64,
}

impl Shared {
    /// The model called `name`, or known by it, else the first; it is opened where it is not, which may take its time.
    pub(crate) fn model(&self, name: Option<&str>) -> Result<Arc<Hosted>, Refusal> {
        self.models.open(self.models.find(name)?)
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
    /// What a request asks for by `name`: a model, or somebody's (`mini:anna`). The model is opened where it is not, which may take
    /// its time.
    pub(crate) fn asked(&self, name: &str) -> Result<Asked, Refusal> {
        let (entry, person) = match (self.models.find(Some(name)), name.rsplit_once(':')) {
            (Err(_), Some((model, person))) => (self.models.find(Some(model))?, Some(person.to_owned())),
            (found, _) => (found?, None),
        };
        Ok(Asked { hosted: self.models.open(entry)?, person })
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
