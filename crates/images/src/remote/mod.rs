//! An index in a Qdrant server, for those who outgrow one machine: the vectors of an index of this machine are brought there, and searches are
//! asked of it. The protocol is that of Qdrant's own client.
//!
//! The collection says in its metadata which model made the vectors (Qdrant keeps such notes since 1.16). Each point says from which index it
//! came, so that several machines can fill one collection, each its own part.

mod address;
mod points;
mod push;
mod search;

use std::fmt::Display;
use std::future::Future;

use crayon_net::grpc::{Code, Connection, Response, Status, connect};
use crayon_net::{RetryPolicy, address::is_loopback};
use qdrant_client::qdrant::collections_client::CollectionsClient;
use qdrant_client::qdrant::points_client::PointsClient;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{CollectionInfo, GetCollectionInfoRequest, Value, VectorParams};
use tokio::runtime::{Builder, Runtime};

pub use self::address::RemoteAddress;
pub use self::push::Pushed;
use crate::{ImageError, MadeWith};

/// Version of what points and metadata hold.
const VERSION: &str = "1";
/// The largest answer that is taken, in bytes.
const LARGEST: usize = 256 << 20;

/// A collection of a Qdrant server.
pub struct Remote {
    runtime: Runtime,
    collections: CollectionsClient<Connection>,
    points: PointsClient<Connection>,
    address: RemoteAddress,
}

impl Remote {
    /// Connects to a server. Its key, if it wants one, is sent only over connections that nobody else can read.
    ///
    /// # Errors
    /// If the network is forbidden, nobody answers there, or the key would be readable on its way.
    pub fn connect(address: &RemoteAddress, key: Option<&str>) -> Result<Remote, ImageError> {
        if key.is_some() && address.url.scheme() == "http" && !is_loopback(&address.url) {
            return Err(ImageError::unusable(
                format!("the key for {address} would be readable on its way"),
                "name the server as qdrants://, which is safe, or take the key away",
            ));
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| remote(address, &error))?;
        let headers: Vec<(&'static str, &str)> = key.into_iter().map(|key| ("api-key", key)).collect();
        let connection = runtime.block_on(connect(&address.url, &headers, &RetryPolicy::default()));
        let connection = connection.map_err(|fault| remote(address, &fault))?;
        let collections = CollectionsClient::new(connection.clone()).max_decoding_message_size(LARGEST);
        let points = PointsClient::new(connection).max_decoding_message_size(LARGEST);
        Ok(Remote { runtime, collections, points, address: address.clone() })
    }

    /// The answer to a call.
    fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, ImageError> {
        let answer = self.runtime.block_on(call).map(Response::into_inner);
        answer.map_err(|status| match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => ImageError::unusable(
                format!("{} refuses: {}", self.address, status.message()),
                "give the server's key in QDRANT_API_KEY",
            ),
            _ => remote(&self.address, &status.message()),
        })
    }

    /// What the server says of the collection, if it is there.
    fn info(&self) -> Result<Option<CollectionInfo>, ImageError> {
        let request = GetCollectionInfoRequest { collection_name: self.address.collection.clone() };
        let mut collections = self.collections.clone();
        let answer = self.runtime.block_on(collections.get(request));
        match answer {
            Err(status) if status.code() == Code::NotFound => Ok(None),
            answer => Ok(self.call(async { answer })?.result),
        }
    }

    /// Which model made the vectors of a collection.
    ///
    /// # Errors
    /// If the collection does not say so.
    fn made_with(&self, info: &CollectionInfo) -> Result<MadeWith, ImageError> {
        let refuse = |what: &str| {
            ImageError::unusable(
                format!("the collection {} {what}", self.address),
                "name a collection that this program made, in Qdrant 1.16 or later",
            )
        };
        let config = info.config.as_ref();
        let metadata = config.map(|config| &config.metadata);
        let text = |name: &str| {
            let value = metadata.and_then(|metadata| metadata.get(name)).and_then(Value::as_str);
            value.cloned().ok_or_else(|| refuse("does not say which model made its vectors"))
        };
        if text("crayon")? != VERSION {
            return Err(refuse("is of another version of this program"));
        }
        let vectors =
            config.and_then(|config| config.params.as_ref()?.vectors_config.as_ref()?.config.as_ref());
        let Some(Config::Params(VectorParams { size, .. })) = vectors else {
            return Err(refuse("has no plain vectors"));
        };
        Ok(MadeWith { name: text("model")?, fingerprint: text("fingerprint")?, dim: *size as usize })
    }
}

fn remote(address: &RemoteAddress, what: &dyn Display) -> ImageError {
    ImageError::Remote { server: address.to_string(), what: what.to_string() }
}
