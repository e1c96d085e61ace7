//! Adapters in the files of PEFT (huggingface.co/docs/peft): `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What changes the result and is not computed here (DoRA, biases, whole modules, bases changed by an initialisation)
//! is refused by name; dropout does not act outside training and is ignored.

mod config;
mod names;
mod read;
mod write;

pub use read::{from_bytes, read};
pub use write::{to_bytes, write};

/// File with the settings.
pub const CONFIG: &str = "adapter_config.json";
/// File with the factors.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// Key of the base's fingerprint in the metadata of the weights, which PEFT ignores.
const BASE: &str = "crayon.base";
/// Key of the settings in the metadata of an adapter in one piece.
pub const SETTINGS: &str = "adapter_config";
/// What stands before module names in PEFT's files.
const PREFIX: &str = "base_model.model.";
