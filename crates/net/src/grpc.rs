//! Calls by gRPC, for clients whose stubs somebody else generated: a connection that asks whether the network is allowed before every call.
//!
//! Proxies of the environment are not used here.

use std::error::Error as _;
use std::fmt::Display;

use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
pub use tonic::{Code, Request, Response, Status};
use url::Url;

use crate::{Fault, RetryPolicy, forbidden};

/// What stubs call through.
pub type Connection = InterceptedService<Channel, Gate>;

/// Lets calls through, with headers, where the network is allowed.
#[derive(Clone)]
pub struct Gate {
    headers: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(variable) = forbidden() {
            return Err(Status::failed_precondition(Fault::Forbidden { variable }.to_string()));
        }
        for (name, value) in &self.headers {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

/// Connects to `url`, which is http or https. Every call has the headers, whose values are never shown, and `policy.silence` to be answered.
///
/// # Errors
/// If the network is forbidden, nobody answers there, or a header cannot be sent.
pub async fn connect(
    url: &Url,
    headers: &[(&'static str, &str)],
    policy: &RetryPolicy,
) -> Result<Connection, Fault> {
    if let Some(variable) = forbidden() {
        return Err(Fault::Forbidden { variable });
    }
    let request = |error: &dyn Display| Fault::Request { reason: error.to_string() };
    let headers = headers.iter().copied().map(|(name, value)| {
        let mut value: MetadataValue<Ascii> =
            value.parse().map_err(|_| request(&format!("the value of {name}")))?;
        value.set_sensitive(true);
        Ok::<_, Fault>((MetadataKey::from_static(name), value))
    });
    let headers = headers.collect::<Result<Vec<_>, Fault>>()?;
    let endpoint = Endpoint::from_shared(url.to_string()).map_err(|error| request(&error))?;
    let mut endpoint = endpoint.connect_timeout(policy.connecting).timeout(policy.silence);
    if url.scheme() == "https" {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).map_err(|error| Fault::NotSafe { reason: error.to_string() })?;
    }
    let channel = endpoint.connect().await.map_err(|error| {
        // The outermost words are "transport error"; the reason is inside.
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        Fault::NoConnection { reason }
    })?;
    Ok(InterceptedService::new(channel, Gate { headers }))
}
