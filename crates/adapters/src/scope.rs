//! What an adapter was customized for: how near a query is to its examples (Crayon, arXiv 2406.07007). A router sends
//! queries from elsewhere to a bigger model.
//!
//! It is kept beside the adapter, in a file that PEFT does not look at: `scope.safetensors` with `query` `[1, width]`, the
//! mean of the examples' centred queries, and `mean` `[1, width]`, the pool's. The adapter itself does not hold them, so it can
//! be given away without telling what it was customized for.

use std::collections::BTreeMap;
use std::path::Path;

use crayon_formats::Tensor;
use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::spec::Spec;
use sha2::{Digest, Sha256};

use crate::AdapterError;
use crate::catalogue::matrix;
use crate::keys::{centre, cosine};

/// The file beside an adapter.
const FILE: &str = "scope.safetensors";
/// Key of the model's fingerprint in its metadata.
const BASE: &str = "crayon.base";
const OTHERS: &str = "take the file away, or customize again";

/// The examples an adapter was customized for, as one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// `q_c`: the mean of the examples' centred queries, `[width]`.
    pub query: Vec<f32>,
    /// The pool's mean query, `[width]`.
    pub mean: Vec<f32>,
}

impl Scope {
    /// `g(x)`: the cosine between `query` `[width]`, as [`QueryEncoder::query`](crate::QueryEncoder::query) gives it, and the
    /// examples.
    pub fn of(&self, query: &[f32]) -> f32 {
        cosine(&centre(query, &self.mean), &self.query)
    }

    /// The largest [`of`](Self::of) several: a query belongs where it belongs to one of them.
    pub fn nearest<'a>(scopes: impl IntoIterator<Item = &'a Scope>, query: &[f32]) -> Option<f32> {
        scopes.into_iter().map(|scope| scope.of(query)).max_by(f32::total_cmp)
    }

    /// Text that differs between scopes.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        self.query.iter().chain(&self.mean).for_each(|value| hash.update(value.to_le_bytes()));
        hex::encode(hash.finalize())
    }

    /// Writes it beside the adapter in `folder`, for the model with the fingerprint `base`.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, folder: &Path, base: &str) -> Result<(), AdapterError> {
        let row = |name: &str, values: &[f32]| Tensor::from_f32(name, vec![1, values.len()], values);
        let tensors = [row("query", &self.query), row("mean", &self.mean)];
        let metadata = BTreeMap::from([(BASE.to_owned(), base.to_owned())]);
        Ok(safetensors::write(&folder.join(FILE), &tensors, &metadata)?)
    }

    /// Reads what stands beside the adapter at `path`, its folder or a file in it, for a network of `spec` in the model with the
    /// fingerprint `base`; `None` where nothing does.
    ///
    /// # Errors
    /// When the file is damaged or belongs to another model.
    pub fn read(path: &Path, spec: &Spec, base: &str) -> Result<Option<Scope>, AdapterError> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let file = SafeTensors::open(&path)?;
        if file.metadata.get(BASE).map(String::as_str) != Some(base) {
            return Err(AdapterError::file(&path, "belongs to another model", OTHERS));
        }
        let width = spec.heads * spec.head_dim;
        let row = |name: &str| match matrix(&file, name)?.as_slice() {
            [row] if row.len() == width => Ok(row.clone()),
            _ => {
                let what = format!("is no query of {width} values");
                Err(AdapterError::tensor(&file.file, name, what, OTHERS))
            }
        };
        Ok(Some(Scope { query: row("query")?, mean: row("mean")? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_cosine_of_what_differs_from_the_mean() {
        let scope = Scope { query: vec![0.0, 0.5], mean: vec![3.0, 3.0] };
        assert_eq!(scope.of(&[3.0, 7.0]), 1.0);
        assert_eq!(scope.of(&[3.0, 1.0]), -1.0);
        assert_eq!(scope.of(&[9.0, 3.0]), 0.0);
        assert_eq!(scope.of(&[3.0, 3.0]), 0.0);
        let other = Scope { query: vec![0.25, 0.0], ..scope.clone() };
        assert_eq!(Scope::nearest([&scope, &other], &[9.0, 3.0]), Some(1.0));
        assert_eq!(Scope::nearest([], &[9.0, 3.0]), None);
        assert_ne!(scope.fingerprint(), other.fingerprint());
    }
}
