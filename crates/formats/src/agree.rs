//! Whether the description of a network and the tensors beside it agree: no tensor of a block may go unused, because the
//! network it belongs to computes something else than what is described.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::note::Note;

/// Buffers that older files keep and no network reads.
const BUFFERS: [&str; 5] = [
    "attn.bias",
    "attn.masked_bias",
    "self_attn.rotary_emb.inv_freq",
    "attn.rotary_emb.inv_freq",
    "rope_freqs.weight",
];

/// Looks at every tensor of a model's files that the network did not ask for. `block` gives a tensor of a block as its
/// layer and the rest of its name.
///
/// # Errors
/// If one belongs to a block; others become notes.
pub(crate) fn no_tensor_unused<'a>(
    file: &str,
    names: impl Iterator<Item = &'a str>,
    used: &HashSet<String>,
    layers: usize,
    block: impl Fn(&'a str) -> Option<(usize, &'a str)>,
    known: impl Fn(&str) -> bool,
    notes: &mut Vec<Note>,
) -> Result<()> {
    for name in names.filter(|name| !used.contains(*name)) {
        match block(name) {
            Some((_, part)) if BUFFERS.contains(&part) => {}
            Some((layer, _)) if layer >= layers => {
                let what =
                    format!("belongs to layer {layer} of a network that is described with {layers} layers");
                return Err(Error::tensor(file, name, what)
                    .with_hint("weights and configuration belong to different models"));
            }
            Some(_) => {
                let what = "has no place in the network that is described, which would compute without it";
                return Err(Error::tensor(file, name, what)
                    .with_hint("weights and configuration belong to different models, or the model is of a kind that is not supported"));
            }
            None if known(name) => {}
            None => notes.push(Note::new(file, name, "is not part of the network and is not read")),
        }
    }
    Ok(())
}
