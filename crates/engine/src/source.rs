//! Where a model comes from, once names are resolved: built into the program, or a path.

use std::path::{Path, PathBuf};

use crayon_formats::{Bytes, Checkpoint};

use crate::{EMBEDDED, Embedded, EngineError};

/// A model that can be opened without network.
#[derive(Clone, Debug)]
pub enum ModelSource {
    /// Part of this program.
    Embedded(&'static Embedded),
    /// A folder, a `.gguf` file or a llama2.c `.bin` file.
    Path(PathBuf),
}

impl ModelSource {
    /// The embedded model called `name`.
    pub fn embedded(name: &str) -> Result<ModelSource, EngineError> {
        let found = EMBEDDED.iter().find(|model| model.name == name);
        found.map(ModelSource::Embedded).ok_or_else(|| EngineError::NotEmbedded { name: name.to_string() })
    }

    /// A model on disk.
    pub fn path(path: &Path) -> Result<ModelSource, EngineError> {
        if path.exists() {
            Ok(ModelSource::Path(path.to_path_buf()))
        } else {
            Err(EngineError::NotFound { path: path.display().to_string() })
        }
    }

    /// The checkpoint alone, its weights mapped and not read.
    ///
    /// # Errors
    /// When it is damaged or of a kind that is not known.
    pub fn checkpoint(&self) -> Result<Checkpoint, EngineError> {
        Ok(match self {
            ModelSource::Embedded(model) => {
                Checkpoint::from_gguf(model.name, Bytes::from_static(model.bytes))?
            }
            ModelSource::Path(path) => Checkpoint::open(path)?,
        })
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelSource::Embedded(model) => f.write_str(model.name),
            ModelSource::Path(path) => write!(f, "{}", path.display()),
        }
    }
}
