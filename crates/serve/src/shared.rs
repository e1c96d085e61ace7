//! What handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_engine::{Engine, PrefixCache};
use tokio::sync::Semaphore;

use crate::ServeOptions;
use crate::examples::Remembered;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::registry::Registry;
use crate::worker::Job;

/// Who is on the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) options: ServeOptions,
    /// Whether only this device reaches the port.
    pub(crate) loopback: bool,
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Arc<Queue<Job>>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) registry: Registry,
    /// Places of those who are blended for at once.
    pub(crate) blends: Semaphore,
    /// What was found for examples asked with before.
    pub(crate) examples: Remembered,
    /// Documents that were read, where they may be kept.
    pub(crate) cache: Option<PrefixCache>,
    pub(crate) log: Box<dyn Fn(&str) + Send + Sync>,
    /// When the server began, in Unix seconds.
    pub(crate) began: u64,
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
