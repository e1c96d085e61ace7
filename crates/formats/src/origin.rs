//! Which model a stored form was made from, so that what was made beside that model still fits: adapters, pools, scopes.

use std::collections::BTreeMap;

use crate::error::{DAMAGED, Error, Result};
use crate::gguf::{Array, Metadata, Value};
use crate::huggingface::Weights;
use crate::tensor::Tensor;

/// Key of the origin's fingerprints, with spaces between: safetensors keep it under `__metadata__`, GGUF among its keys.
pub(crate) const KEY: &str = "crayon.origin";
/// What stands before the names of scales, which are tensors of a safetensors file and arrays among GGUF's keys.
const SCALES: &str = "crayon.origin.scales.";
/// The word beside the fingerprints that says that channels were mixed.
const ROTATED: &str = "rotated";

/// The model that another one computes as, but for rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Fingerprints of its forms so far, the first one first.
    pub fingerprints: Vec<String>,
    /// Scales of channels that were folded into its parameters, by block and place (`blk.0.qkv`); none where numbers were stored in
    /// another type and nothing else.
    pub scales: BTreeMap<String, Vec<f32>>,
    /// Whether channels were mixed before the first of these forms: then nothing fits that was made beside a model before.
    pub rotated: bool,
}

impl Origin {
    /// The origin that `weights` tell of.
    pub(crate) fn read(weights: &Weights) -> Result<Option<Origin>> {
        let Some(text) = weights.files().iter().find_map(|file| file.metadata.get(KEY)) else {
            return Ok(None);
        };
        let mut origin = Origin::from_text(text);
        for file in weights.files() {
            for name in file.names() {
                if let (Some(place), Some(tensor)) = (name.strip_prefix(SCALES), file.tensor(name)?) {
                    origin.insert(&file.file, place, tensor.to_f32())?;
                }
            }
        }
        Ok(Some(origin))
    }

    /// The origin that a GGUF file's keys tell of; messages call the file `file`.
    pub(crate) fn of_gguf(file: &str, metadata: &Metadata) -> Result<Option<Origin>> {
        let Some(text) = metadata.str(KEY)? else { return Ok(None) };
        let mut origin = Origin::from_text(text);
        for (key, value) in metadata.iter() {
            if let (Some(place), Value::Array(Array::F32(values))) = (key.strip_prefix(SCALES), value) {
                origin.insert(file, place, values.clone())?;
            }
        }
        Ok(Some(origin))
    }

    /// Writes it among a GGUF file's keys.
    pub(crate) fn to_gguf(&self, metadata: &mut Metadata) {
        metadata.insert(KEY, self.to_text());
        for (place, values) in &self.scales {
            metadata.insert(&format!("{SCALES}{place}"), Value::Array(Array::F32(values.clone())));
        }
    }

    fn insert(&mut self, file: &str, place: &str, values: Vec<f32>) -> Result<()> {
        if values.iter().any(|value| !value.is_normal() || *value < 0.0) {
            let name = format!("{SCALES}{place}");
            return Err(Error::tensor(file, &name, "is not a list of positive scales").with_hint(DAMAGED));
        }
        self.scales.insert(place.to_owned(), values);
        Ok(())
    }

    /// The origin of a model whose channels were mixed: nothing that was made beside a model before fits it.
    pub fn mixed() -> Origin {
        Origin { rotated: true, ..Origin::from_text("") }
    }

    /// The origin whose fingerprints stand in `text`, without scales.
    pub(crate) fn from_text(text: &str) -> Origin {
        let words = text.split_whitespace();
        Origin {
            fingerprints: words.clone().filter(|word| *word != ROTATED).map(str::to_owned).collect(),
            scales: BTreeMap::new(),
            rotated: words.clone().any(|word| word == ROTATED),
        }
    }

    /// The fingerprints as [`from_text`](Self::from_text) reads them.
    pub(crate) fn to_text(&self) -> String {
        let mark = self.rotated.then_some(ROTATED);
        let words: Vec<&str> = mark.into_iter().chain(self.fingerprints.iter().map(String::as_str)).collect();
        words.join(" ")
    }

    /// The scales as tensors of a safetensors file.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let tensor = |(place, values): (&String, &Vec<f32>)| {
            Tensor::from_f32(&format!("{SCALES}{place}"), vec![values.len()], values)
        };
        self.scales.iter().map(tensor).collect()
    }

    /// Whether `name` is that of scales.
    pub(crate) fn is_scales(name: &str) -> bool {
        name.starts_with(SCALES)
    }
}
