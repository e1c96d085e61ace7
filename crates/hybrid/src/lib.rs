//! Hybrid inference (Crayon, arXiv 2406.07007): the device answers what it can, a bigger model on a server the rest.
//!
//! - [`confidence`]: how sure the device's model is of what it says;
//! - [`Thresholds`]: which confidence, and which closeness to the customized task, is enough; calibrated from held-out
//!   queries for a wanted share of the server;
//! - [`Doubt`]: below which confidence answers are mostly wrong;
//! - [`Router`]: who answers, and why, before the device has begun and after;
//! - [`Remote`]: any server with OpenAI's chat interface, asked again where a failure may pass;
//! - [`PoolServer`]: a pool of adapters on a server, which is told similarity scores and nothing else;
//! - [`Cluster`]: a server of many adapters, which is told of another one;
//! - [`Events`]: server-sent events, for those who read a stream of their own.
//!
//! Nothing here asks the network but [`Remote::ask`] and the requests of [`PoolServer`] and [`Cluster`].

mod cluster;
pub mod confidence;
mod decide;
mod doubt;
mod endpoint;
mod error;
mod http;
mod key;
mod pools;
mod read;
mod remote;
mod reply;
mod sse;
mod thresholds;

/// What the targets in `fuzz` call.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use crate::sse::{Events, ServerEvent};

    fn read<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Result<Vec<ServerEvent>, String> {
        let (mut events, mut all) = (Events::default(), Vec::new());
        for piece in pieces {
            all.extend(events.push(piece)?);
        }
        all.extend(events.rest()?);
        Ok(all)
    }

    /// Reads `stream` whole and byte by byte, which must make no difference.
    pub fn events(stream: &[u8]) {
        let whole = read(std::iter::once(stream));
        assert_eq!(read(stream.chunks(1)), whole);
        assert_eq!(read(stream.chunks(7)), whole);
    }
}

pub use cluster::{Cluster, Software};
pub use crayon_net::RetryPolicy;
pub use decide::{Decision, Place, Route, Router};
pub use doubt::{Doubt, Judged, doubt};
pub use endpoint::Endpoint;
pub use error::{ClusterError, HybridError, PoolError, RemoteError};
pub use http::Event;
pub use key::Key;
pub use pools::{Blend, Offer, PoolServer, body, digest, rounded};
pub use remote::{Question, Remote, RemoteAnswer};
pub use sse::{Events, ServerEvent};
pub use thresholds::{Calibration, Signals, Thresholds, calibrate};
