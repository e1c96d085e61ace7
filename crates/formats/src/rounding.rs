//! What a quantised model says of the inputs of its linear layers, as safetensors keep it under `__metadata__`.

use std::collections::BTreeMap;

use crayon_kernels::Rounding;

use crate::error::{DAMAGED, Error, Result, shown};
use crate::huggingface::Weights;
use crate::spec::Spec;

/// Key under which stands how the input of the linear layer stored as `tensor` is rounded.
pub(crate) fn key_of(tensor: &str) -> String {
    format!("crayon.input.{tensor}")
}

/// `row 6` or `fixed 8 0.0123 -5`: the bits, and for a fixed range scale and zero point.
pub(crate) fn to_text(rounding: Rounding) -> String {
    match rounding {
        Rounding::Row { bits } => format!("row {bits}"),
        Rounding::Fixed { bits, scale, zero } => format!("fixed {bits} {scale:e} {zero}"),
    }
}

fn from_text(text: &str) -> Option<Rounding> {
    let words: Vec<&str> = text.split(' ').collect();
    let rounding = match words[..] {
        ["row", bits] => Rounding::Row { bits: bits.parse().ok()? },
        ["fixed", bits, scale, zero] => {
            Rounding::Fixed { bits: bits.parse().ok()?, scale: scale.parse().ok()?, zero: zero.parse().ok()? }
        }
        _ => return None,
    };
    rounding.is_valid().then_some(rounding)
}

/// The roundings that `weights` tell, by the canonical stems of the layers.
pub(crate) fn read(weights: &Weights, spec: &Spec) -> Result<BTreeMap<String, Rounding>> {
    let mut found = BTreeMap::new();
    if weights.files().iter().all(|file| !file.metadata.keys().any(|key| key.starts_with("crayon.input."))) {
        return Ok(found);
    }
    for (canonical, shape) in spec.tensors() {
        let Some(stem) = canonical.strip_suffix(".weight").filter(|stem| stem.starts_with("blk.")) else {
            continue;
        };
        if shape.len() != 2 {
            continue;
        }
        let name = weights.locate(spec, &canonical).name;
        let key = key_of(&name);
        let Some((file, text)) =
            weights.files().iter().find_map(|file| Some((&file.file, file.metadata.get(&key)?)))
        else {
            continue;
        };
        let Some(rounding) = from_text(text) else {
            let what = format!("its input is said to be rounded `{}`, which cannot be read", shown(text));
            return Err(Error::tensor(file, &name, what).with_hint(DAMAGED));
        };
        found.insert(stem.to_owned(), rounding);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roundings_read_back() {
        for rounding in
            [Rounding::Row { bits: 6 }, Rounding::fixed(8, -0.123, 7.7), Rounding::fixed(6, 0.0, 1e-30)]
        {
            assert_eq!(from_text(&to_text(rounding)), Some(rounding));
        }
        for bad in ["", "row", "row 9", "row x", "fixed 8 NaN 0", "fixed 8 -1 0", "fixed 4 1 99", "fixed 8 1"]
        {
            assert_eq!(from_text(bad), None, "{bad}");
        }
    }
}
