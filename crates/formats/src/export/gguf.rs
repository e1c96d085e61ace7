//! A checkpoint as one GGUF file.

use std::path::Path;

use crayon_kernels::Format;

use super::gguf_keys::{architecture, network_metadata};
use super::pieces::{Piece, assemble, pieces};
use super::vocabulary::tokenizer_metadata;
use super::{ExportOptions, Notice, Notify, embedding_format, fitting};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::gguf::{Metadata, TensorInfo, Writer};
use crate::locate::{Location, locate_fused};
use crate::spec::{Family, RopeLayout, Spec};

/// Writes `checkpoint` as GGUF version 3, with its tokenizer and chat template.
///
/// Matrices take the format of `options`; where a row is not whole blocks of it, the closest one that fits, told
/// as [`Notice::Fallback`]. Token embedding and output layer are as
/// [`embedding_format`] says unless `options` say otherwise. Norms, biases and GPT-2's position embedding are f32. The file appears at `path`
/// only when it is complete.
///
/// # Errors
/// If a tensor cannot be read, the network cannot be said in GGUF's keys, the tokenizer is of a kind GGUF does
/// not have, or the disk does not take the file.
pub fn write_gguf(
    checkpoint: &Checkpoint,
    path: &Path,
    options: ExportOptions,
    notify: Notify<'_>,
) -> Result<()> {
    let spec = &checkpoint.spec;
    let mut metadata = Metadata::new(&path.display().to_string());
    let extra = network_metadata(checkpoint, &mut metadata, notify)?;
    tokenizer_metadata(checkpoint, &mut metadata, notify)?;

    if !checkpoint.roundings().is_empty() {
        notify(Notice::Warning(
            "how activations are rounded is left out: GGUF has no word for it".to_owned(),
        ));
    }
    if let Some(origin) = checkpoint.as_origin() {
        origin.to_gguf(&mut metadata);
    }
    let pieces = pieces(spec, |canonical| place(spec, canonical));
    let mut infos = Vec::with_capacity(pieces.len() + extra.len());
    for tensor in &extra {
        infos.push(TensorInfo {
            name: tensor.name.clone(),
            format: tensor.format,
            shape: tensor.shape.clone(),
        });
    }
    for piece in &pieces {
        let format = format_of(checkpoint, piece, options, notify)?;
        infos.push(TensorInfo { name: piece.name.clone(), format, shape: piece.shape.clone() });
    }
    file_type(&infos, &mut metadata);

    let layout = match architecture(spec.family) {
        "llama" => RopeLayout::Interleaved,
        _ => RopeLayout::Half,
    };
    let total = infos.len();
    let mut writer = Writer::create(path, &metadata, &infos)?;
    for tensor in &extra {
        writer.tensor(&tensor.data)?;
    }
    for (number, (piece, info)) in pieces.iter().zip(infos.iter().skip(extra.len())).enumerate() {
        writer.tensor(&assemble(checkpoint, piece, info.format, layout)?)?;
        notify(Notice::Written { tensor: piece.name.clone(), done: extra.len() + number + 1, total });
    }
    writer.finish()
}

/// GPT-2 and Phi-3 are fused in GGUF as they are in their first home.
fn place(spec: &Spec, canonical: &str) -> Location {
    let is_fused = matches!(spec.family, Family::Gpt2 | Family::Phi3);
    let fused = if is_fused { locate_fused(spec, canonical) } else { None };
    fused.unwrap_or_else(|| Location::whole(canonical.to_owned()))
}

fn format_of(
    checkpoint: &Checkpoint,
    piece: &Piece,
    options: ExportOptions,
    notify: Notify<'_>,
) -> Result<Format> {
    let &[_, cols] = piece.shape.as_slice() else { return Ok(Format::F32) };
    if piece.name == "position_embd.weight" {
        return Ok(Format::F32);
    }
    let asked = match piece.is_embedding() {
        true => options.embeddings.or(options.weights.map(embedding_format)),
        false => options.weights,
    };
    let wanted = match asked {
        Some(format) => format,
        None => {
            let mut formats = Vec::new();
            for part in &piece.parts {
                formats.push(checkpoint.tensor(part)?.format);
            }
            // Parts of one matrix that are stored differently meet in the largest of their formats.
            formats.into_iter().max_by_key(|format| format.row_bytes(256)).unwrap_or(Format::F32)
        }
    };
    let used = fitting(wanted, cols);
    if used != wanted {
        notify(Notice::Fallback { tensor: piece.name.clone(), cols, wanted, used });
    }
    Ok(used)
}

/// `general.file_type`: llama.cpp's number for the format most matrices have.
fn file_type(infos: &[TensorInfo], metadata: &mut Metadata) {
    let values = |format: Format| -> usize {
        let of_format = infos.iter().filter(|info| info.format == format && info.shape.len() == 2);
        of_format.map(|info| info.shape.iter().product::<usize>()).sum()
    };
    let Some(main) = Format::ALL.into_iter().max_by_key(|format| values(*format)) else { return };
    let number = match main {
        Format::F32 => 0u32,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q8_0 => 7,
        Format::Q5_0 => 8,
        Format::Q5_1 => 9,
        Format::Q4K => 14,
        Format::Q5K => 16,
        Format::Q6K => 18,
        Format::BF16 => 32,
        // llama.cpp has no number for what it cannot read.
        Format::W8A8 | Format::W4A8 => return,
    };
    metadata.insert("general.file_type", number);
    if !main.is_float() {
        metadata.insert("general.quantization_version", 2u32);
    }
}
