//! A GGUF file of a known shape with made-up weights, on disk as long as it is needed.

use std::path::{Path, PathBuf};

use crayon_adapters::Random;
use crayon_formats::gguf::Writer;
use crayon_formats::{Format, stored_bytes};

use super::blocks::fill;
use super::shape::{Scheme, Shape};
use crate::EvalError;

/// The file; removed when this value is dropped.
#[derive(Debug)]
pub struct MadeUp {
    path: PathBuf,
    keep: bool,
}

impl MadeUp {
    /// Writes `shape` with weights stored by `scheme` into `folder`. The same arguments give the same bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(folder: &Path, shape: &Shape, scheme: Scheme) -> Result<MadeUp, EvalError> {
        let name = format!("crayon-{}-{}-{}.gguf", shape.name, scheme.name(), std::process::id());
        // Removed on drop also when writing fails halfway.
        let file = MadeUp { path: folder.join(name), keep: false };
        let tensors = shape.tensors(scheme);
        let mut writer = Writer::create(&file.path, &shape.metadata(), &tensors)?;
        let mut random = Random::seeded(1);
        let mut data = Vec::new();
        for tensor in &tensors {
            // Shapes are constants of this program and fit their formats.
            let bytes = stored_bytes(tensor.format, &tensor.shape).unwrap_or(0);
            data.resize(bytes, 0);
            match tensor.shape.len() {
                1 if tensor.name.ends_with("norm.weight") => ones(&mut data),
                _ => fill(tensor.format, tensor.shape.last().copied().unwrap_or(1), &mut random, &mut data),
            }
            writer.tensor(&data)?;
        }
        writer.finish()?;
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file where it is.
    pub fn keep(mut self) -> PathBuf {
        self.keep = true;
        self.path.clone()
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done about a file that does not go, and nothing depends on it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn ones(data: &mut [u8]) {
    debug_assert!(data.len().is_multiple_of(Format::F32.block_bytes()));
    data.as_chunks_mut::<4>().0.fill(1f32.to_le_bytes());
}
