//! Where things are kept that speed later runs up, beside the models of the hub.

use std::path::PathBuf;

use crate::failure::Result;

/// Bytes of all documents that were read and are kept for later questions.
pub(crate) const CACHE_BYTES: u64 = 1 << 30;

/// Documents that were read.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    beside_models("cache")
}

/// Keys of servers' pools.
pub(crate) fn keys_folder() -> Result<PathBuf> {
    beside_models("pools")
}

/// Thresholds that were calibrated.
pub(crate) fn thresholds_folder() -> Result<PathBuf> {
    beside_models("routing")
}

/// Conversations that are kept by name.
pub(crate) fn sessions_folder() -> Result<PathBuf> {
    beside_models("sessions")
}

fn beside_models(name: &str) -> Result<PathBuf> {
    let models = crayon_hub::Settings::from_env()?.cache;
    Ok(models.parent().unwrap_or(&models).join(name))
}
