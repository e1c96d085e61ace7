//! CLIP's byte pairs: lower-cased words whose last piece ends in `</w>`.
//!
//! OpenAI publishes the merges alone, from which the vocabulary follows; Hugging Face a pair of files. Both become the
//! tokenizer.json that describes them, so that there is one way to read one.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::bytelevel;
use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;

/// What starts and what ends a text.
const ENDS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];
/// Merges that OpenAI's tokenizer reads of its file, whose rest is left over from a larger vocabulary.
const MERGES: usize = 49152 - 256 - 2;
/// The most that a packed file may unpack to.
const LARGEST: u64 = 1 << 26;
/// Where words part.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

impl Tokenizer {
    /// CLIP's tokenizer from the texts of `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// When a file is not what it should be, or names no tokens that start and end a text.
    pub fn from_clip(vocab: &[u8], merges: &[u8]) -> Result<Tokenizer> {
        let vocab: Value =
            serde_json::from_slice(vocab).map_err(|e| TextError::malformed("vocab.json", e.to_string()))?;
        let merges = lines(merges, "merges.txt")?;
        described(vocab, merges, "vocab.json")
    }

    /// CLIP's tokenizer from OpenAI's `bpe_simple_vocab_16e6.txt`, packed by gzip or not.
    ///
    /// # Errors
    /// When the file is not what it should be.
    pub fn from_clip_merges(file: &[u8]) -> Result<Tokenizer> {
        const FORMAT: &str = "CLIP's merges";
        let mut unpacked = Vec::new();
        let text = if file.starts_with(&[0x1f, 0x8b]) {
            flate2::read::GzDecoder::new(file)
                .take(LARGEST)
                .read_to_end(&mut unpacked)
                .map_err(|e| TextError::malformed(FORMAT, e.to_string()))?;
            &unpacked[..]
        } else {
            file
        };
        let mut merges = lines(text, FORMAT)?;
        merges.truncate(MERGES);
        // The bytes in the order of OpenAI's table: printable ones first.
        let bytes: Vec<String> = bytelevel::printable_first().map(|byte| bytelevel::entry(&[byte])).collect();
        let plain = bytes.iter().cloned();
        let last = bytes.iter().map(|byte| format!("{byte}</w>"));
        let merged = merges.iter().map(|merge| merge.replace(' ', ""));
        let entries = plain.chain(last).chain(merged).chain(ENDS.map(str::to_owned));
        let vocab = entries.enumerate().map(|(id, entry)| (entry, json!(id))).collect();
        described(Value::Object(vocab), merges, FORMAT)
    }
}

fn lines(text: &[u8], format: &'static str) -> Result<Vec<String>> {
    let text = std::str::from_utf8(text)
        .map_err(|e| TextError::malformed(format, format!("not UTF-8 at byte {}", e.valid_up_to())))?;
    // OpenAI's file begins with its name and version, behind a quotation mark.
    let lines = text.lines().filter(|line| !line.is_empty() && !line.contains("#version:"));
    Ok(lines.map(str::to_owned).collect())
}

fn described(vocab: Value, merges: Vec<String>, format: &'static str) -> Result<Tokenizer> {
    let id = |name: &str| {
        vocab
            .get(name)
            .and_then(Value::as_u64)
            .ok_or_else(|| TextError::malformed(format, format!("lacks {name}")))
    };
    let (start, end) = (id(ENDS[0])?, id(ENDS[1])?);
    let added = |id: u64, name: &str| {
        json!({"id": id, "content": name, "special": true, "normalized": false,
               "single_word": false, "lstrip": false, "rstrip": false})
    };
    let file = json!({
        "version": "1.0",
        "added_tokens": [added(start, ENDS[0]), added(end, ENDS[1])],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": {"type": "RobertaProcessing", "sep": [ENDS[1], end], "cls": [ENDS[0], start],
                           "trim_offsets": false, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": ENDS[1], "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": false, "vocab": vocab, "merges": merges},
    });
    Tokenizer::from_json(file.to_string().as_bytes())
}
