//! Models in Hugging Face layout: a folder with `config.json`, safetensors and tokenizer files.

mod config;
mod generation;
pub(crate) mod json;
mod naming;
mod rope;
mod sidecar;
mod weights;

pub use config::spec_from_config;
pub(crate) use config::{activation, refuse_quantised};
pub(crate) use naming::Naming;

pub(crate) use generation::generation;
pub(crate) use sidecar::{chat_template, tokenizer, tokenizer_config};
pub use weights::Weights;
