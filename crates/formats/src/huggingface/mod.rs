//! Models in Hugging Face layout: a folder with `config.json`, safetensors and tokenizer files.

mod config;
pub(crate) mod json;
mod naming;
mod rope;
mod sidecar;
mod weights;

pub use config::spec_from_config;
pub(crate) use naming::Naming;

pub(crate) use sidecar::{chat_template, generation, tokenizer, tokenizer_config};
pub use weights::Weights;
