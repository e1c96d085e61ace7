//! A GGUF file's SentencePiece vocabulary as `tokenizer.model`, a protocol buffer (`sentencepiece_model.proto`), and as
//! `tokenizer_config.json`.

use std::collections::HashSet;

use crate::error::Result;
use crate::gguf::Metadata;

/// Kinds of pieces in that file; GGUF has the same numbers.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// `tokenizer.model` of the vocabulary in `metadata`; `None` for other kinds of vocabulary, and for one that this file cannot hold:
/// with an entry that is empty or there twice.
pub(super) fn tokenizer_model(metadata: &Metadata) -> Result<Option<Vec<u8>>> {
    if !matches!(metadata.str("tokenizer.ggml.model")?, Some("llama" | "gemma")) {
        return Ok(None);
    }
    let (Some(tokens), Some(scores)) =
        (metadata.strings("tokenizer.ggml.tokens")?, metadata.f32s("tokenizer.ggml.scores")?)
    else {
        return Ok(None);
    };
    let kinds = metadata.i32s("tokenizer.ggml.token_type")?;
    let kind = |id: usize| kinds.as_ref().and_then(|kinds| kinds.get(id)).copied().unwrap_or(NORMAL);
    // Converters write the spaces of user-defined tokens as they are.
    let pieces: Vec<String> = tokens
        .iter()
        .enumerate()
        .map(
            |(id, token)| {
                if kind(id) == USER_DEFINED { token.replace(' ', "\u{2581}") } else { token.to_string() }
            },
        )
        .collect();
    let mut seen = HashSet::new();
    if tokens.len() != scores.len()
        || !pieces.iter().all(|piece| !piece.is_empty() && seen.insert(piece.as_str()))
    {
        return Ok(None);
    }
    let mut file = Vec::new();
    for (id, (token, score)) in pieces.iter().zip(scores).enumerate() {
        let kind = kind(id);
        let mut piece = Vec::new();
        bytes(1, token.as_bytes(), &mut piece);
        varint(2 << 3 | 5, &mut piece);
        piece.extend(score.to_le_bytes());
        // Marks of pictures are listed as text of their own, but put nothing into a text.
        let mark =
            ["<start_of_", "<end_of_"].iter().any(|start| token.starts_with(start)) && token.ends_with('>');
        number(3, if kind == USER_DEFINED && mark { CONTROL } else { kind.max(NORMAL) }, &mut piece);
        bytes(1, &piece, &mut file);
    }
    let id = |name: &str| metadata.u32(&format!("tokenizer.ggml.{name}_token_id"));
    let mut trainer = Vec::new();
    // Pairs are merged by score, as BPE does.
    number(3, 2, &mut trainer);
    // Characters without a piece are spelled in bytes where there are such.
    number(35, i32::from((0..pieces.len()).any(|id| kind(id) == BYTE)), &mut trainer);
    for (field, of_piece, name) in
        [(40, 45, "unknown"), (41, 46, "bos"), (42, 47, "eos"), (43, 48, "padding")]
    {
        let found = id(name)?.and_then(|id| Some((id, tokens.get(id as usize)?.as_str())));
        number(field, found.map_or(-1, |(id, _)| id.cast_signed()), &mut trainer);
        if let Some((_, piece)) = found {
            bytes(of_piece, piece.as_bytes(), &mut trainer);
        }
    }
    bytes(2, &trainer, &mut file);
    let space = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let squeeze = metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false);
    let mut normalizer = Vec::new();
    bytes(1, b"identity", &mut normalizer);
    number(3, i32::from(space), &mut normalizer);
    number(4, i32::from(squeeze), &mut normalizer);
    number(5, 1, &mut normalizer);
    bytes(3, &normalizer, &mut file);
    Ok(Some(file))
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of a number; negative ones take ten bytes, as the format has it.
fn number(field: u64, value: i32, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(i64::from(value).cast_unsigned(), out);
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::super::protobuf;
    use super::*;

    fn metadata(tokens: &[&str]) -> Metadata {
        let mut metadata = Metadata::new("test");
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        metadata.insert("tokenizer.ggml.model", "llama".to_owned());
        metadata.insert("tokenizer.ggml.scores", vec![-1.5f32; tokens.len()]);
        metadata.insert("tokenizer.ggml.token_type", vec![3i32, 1, 4]);
        metadata.insert("tokenizer.ggml.tokens", tokens);
        metadata.insert("tokenizer.ggml.add_space_prefix", false);
        metadata.insert("tokenizer.ggml.bos_token_id", 0u32);
        metadata
    }

    #[test]
    fn pieces_and_flags_read_back() {
        let file = tokenizer_model(&metadata(&["<s>", "▁a", "  "])).unwrap().unwrap();
        let read = protobuf::read(&file).unwrap();
        let piece = |text: &str, kind| (text.to_owned(), -1.5, kind);
        assert_eq!(read.pieces, [piece("<s>", 3), piece("▁a", 1), piece("▁▁", 4)]);
        assert_eq!(
            (read.model_type, read.add_dummy_prefix, read.remove_extra_whitespaces),
            (2, false, false)
        );
        assert!(!read.has_other_rules);
    }

    #[test]
    fn what_the_file_cannot_hold_is_left() {
        assert_eq!(tokenizer_model(&metadata(&["a", "a", "b"])).unwrap(), None);
        assert_eq!(tokenizer_model(&metadata(&["a", "", "b"])).unwrap(), None);
    }
}
