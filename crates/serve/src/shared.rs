//! What handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_engine::{Engine, PrefixCache};
use tokio::sync::Semaphore;

use crate::ServeOptions;
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
    /// Documents that were read, where they may be kept.
    pub(crate) cache: Option<PrefixCache>,
    pub(crate) log: Box<dyn Fn(&str) + Send + Sync>,
    /// When the server began, in Unix seconds.
    pub(crate) began: u64,
}

/// What handlers ask the worker's state for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Milliseconds the last request took.
    pub(crate) last: AtomicU64,
    /// The server has no more patience: what is being written ends.
    pub(crate) cut: AtomicBool,
}

impl Pace {
    /// Seconds until a place among `waiting` requests is likely to be free.
    pub(crate) fn seconds(&self, waiting: usize) -> u64 {
        let millis = self.last.load(Ordering::Relaxed).saturating_mul(waiting as u64 / 2 + 1);
        millis.div_ceil(1000).clamp(1, 60)
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
