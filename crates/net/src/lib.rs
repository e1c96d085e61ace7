//! HTTP out: the only crate that connects to other machines.
//!
//! - [`Client`] sends one request and gives its [`Response`], or says what went wrong ([`Fault`]). It follows no
//!   redirect, has a timeout for every step, and takes no body beyond the limit its caller names.
//! - [`RetryPolicy`] and [`Retries`] say whether and when to try again, the server's `Retry-After` included.
//! - [`in_background`] runs a request so that the caller can leave it at any time.
//! - With the feature `grpc`, `grpc::connect` gives generated stubs a connection that asks the same before every call.
//! - [`address`] reads and compares addresses.
//! - [`forbidden`] says whether the network is switched off. Every request asks it: with `CRAYON_OFFLINE=1` nothing
//!   here opens a socket, whoever forgot to ask before.
//!
//! Proxies come from the environment: the first of `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY` that is set, also in lower
//! case, serves http and https alike, through a tunnel (`CONNECT`). Hosts in `NO_PROXY` are reached directly: names,
//! `.suffixes` and `*`, separated by commas. So is this device, always.

pub mod address;
mod background;
mod client;
mod fault;
#[cfg(feature = "grpc")]
pub mod grpc;
mod offline;
mod retry;

pub use background::{Aborted, in_background};
pub use client::{Client, Response, status_words};
pub use fault::Fault;
pub use offline::{OFFLINE, forbidden, forbidden_by, is_on};
pub use retry::{Next, Retries, RetryPolicy, wait};
pub use url::Url;
