//! What several tests share.
#![allow(dead_code)] // each test program uses a part

use std::path::{Path, PathBuf};

use crayon_formats::gguf::{Gguf, Metadata};

/// A file of the data folder (`CRAYON_DATA`, else `../shared/data` beside the workspace), if it is there.
pub(crate) fn data(name: &str) -> Option<Vec<u8>> {
    let path = data_path(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("skipped: {} is not there", path.display());
    }
    bytes
}

fn data_path(name: &str) -> PathBuf {
    let root = match std::env::var_os("CRAYON_DATA") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    root.join(name)
}

/// The metadata of a GGUF file of the data folder, if it is there.
pub(crate) fn gguf(name: &str) -> Option<Metadata> {
    data(name)?;
    Some(Gguf::open(&data_path(name)).unwrap().metadata)
}
