//! A pool of adapters on a server. The device fetches the keys, compares its examples with them on its own, and sends the
//! similarity scores: N numbers, and no request that leaves here could hold anything else. One adapter comes back.
//!
//! What a server sends is bytes here, bounded in size; what they hold is for the caller to check.

use std::ops::ControlFlow;

use crayon_net::RetryPolicy;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::http::{Call, Event, Http};
use crate::read::clean;
use crate::{Endpoint, Key, PoolError, RemoteError};

/// Largest description of a pool, or list of them, in bytes.
const LARGEST_OFFER: u64 = 1 << 20;
/// Largest file of keys: 4,096 keys of 4,096 values.
const LARGEST_KEYS: u64 = 64 << 20;
const BYTES: &str = "application/octet-stream";

/// A server and a pool it has.
#[derive(Clone, Debug)]
pub struct PoolServer {
    http: Http,
    endpoint: Endpoint,
    /// The only one the server has, when `None`.
    name: Option<String>,
}

/// What a server says of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name there.
    pub name: String,
    /// SHA-256 of the file with its keys, in hex: who has that file need not fetch it again.
    pub digest: String,
    /// Bytes of bodies received to learn this.
    pub received: u64,
}

/// One adapter made by a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blend {
    /// The adapter in one piece, not checked.
    pub adapter: Vec<u8>,
    /// Bytes of bodies sent, all tries counted.
    pub sent: u64,
}

/// A pool as the server describes it; what else it says is of no interest here.
#[derive(Deserialize)]
struct Description {
    id: String,
    digest: String,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Description>,
}

impl Offer {
    /// Whether `keys` are the file that was offered.
    pub fn describes(&self, keys: &[u8]) -> bool {
        digest(keys) == self.digest
    }
}

impl PoolServer {
    /// A pool on a server, from what [`Endpoint::parse_pool`] found. No connection is made yet.
    pub fn new(
        endpoint: Endpoint,
        name: Option<String>,
        key: Option<Key>,
        policy: RetryPolicy,
    ) -> PoolServer {
        PoolServer { http: Http::new(&endpoint, key, policy), endpoint, name }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks which pool there is. `on_event` hears of failed tries, and may stop it.
    ///
    /// # Errors
    /// When the server gives no answer, or does not have the pool.
    pub fn offer(&self, on_event: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<Offer, PoolError> {
        let url = match &self.name {
            Some(name) => self.endpoint.under(&["pools", name]),
            None => self.endpoint.under(&["pools"]),
        };
        let (bytes, _) = self.http.fetch(Call::Get(url), BYTES, LARGEST_OFFER, on_event)?;
        let broken = |error: serde_json::Error| self.broken(format!("no description of a pool ({error})"));
        let description = match &self.name {
            Some(_) => serde_json::from_slice::<Description>(&bytes).map_err(broken)?,
            None => {
                let mut list: List = serde_json::from_slice(&bytes).map_err(broken)?;
                match (list.data.pop(), list.data.is_empty()) {
                    (Some(only), true) => only,
                    (last, _) => {
                        let names = list.data.iter().chain(&last).map(|pool| clean(&pool.id)).collect();
                        return Err(PoolError::Which { host: self.endpoint.host().to_owned(), names });
                    }
                }
            }
        };
        let Description { id, digest } = description;
        let name = self.name.clone().unwrap_or(id);
        // The name becomes part of an address, the digest one of a file.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(self.broken("a pool with a name that is none".to_owned()));
        }
        if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(self.broken("a digest that is none".to_owned()));
        }
        Ok(Offer { name, digest, received: bytes.len() as u64 })
    }

    /// Fetches the file of keys, whose digest is the offered one.
    ///
    /// # Errors
    /// When the server gives no answer, or another file.
    pub fn keys(
        &self,
        offer: &Offer,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Vec<u8>, PoolError> {
        let url = self.endpoint.under(&["pools", &offer.name, "keys"]);
        let (bytes, _) = self.http.fetch(Call::Get(url), BYTES, LARGEST_KEYS, on_event)?;
        match offer.describes(&bytes) {
            true => Ok(bytes),
            false => Err(self.broken("keys that are not those it described".to_owned())),
        }
    }

    /// Sends scores, and nothing else, for one adapter of `most` bytes.
    ///
    /// # Errors
    /// When the server gives no answer, a larger one, or does not take the scores.
    pub fn blend(
        &self,
        offer: &Offer,
        scores: &[f32],
        form: &str,
        temperature: Option<f32>,
        most: u64,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Blend, PoolError> {
        let url = self.endpoint.under(&["pools", &offer.name, "blend"]);
        let body = body(scores, form, temperature);
        let length = body.len() as u64;
        let (adapter, tries) = self.http.fetch(Call::Post(url, body), BYTES, most, on_event)?;
        Ok(Blend { adapter, sent: length * u64::from(tries) })
    }

    fn broken(&self, what: String) -> PoolError {
        RemoteError::Answer { host: self.endpoint.host().to_owned(), what }.into()
    }
}

/// SHA-256 of a pool's keys, as both sides tell it.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A score as a server gets it: six decimals.
pub fn rounded(score: f32) -> f32 {
    (score * 1e6).round() / 1e6
}

/// The body of a request for a blend: six decimals of every score, all of the same width, so that its length tells the
/// number of scores and nothing more. Blank and minus stand in the same place.
pub fn body(scores: &[f32], form: &str, temperature: Option<f32>) -> String {
    let scores: Vec<String> = scores.iter().map(|score| format!("{score:>9.6}")).collect();
    let temperature = temperature.map(|value| format!(",\"temperature\":{value}")).unwrap_or_default();
    format!("{{\"scores\":[{}],\"form\":\"{form}\"{temperature}}}", scores.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_scores_and_as_long_whatever_they_are() {
        let text = body(&[0.25, -1.0, 0.123_456_7], "exact", Some(0.1));
        assert_eq!(text, r#"{"scores":[ 0.250000,-1.000000, 0.123457],"form":"exact","temperature":0.1}"#);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["scores"][1].as_f64(), Some(-1.0));
        let length = |scores: &[f32]| body(scores, "svd", None).len();
        assert_eq!(length(&[0.0, -0.000_000_1]), length(&[1.0, -0.999_999_9]));
    }
}
