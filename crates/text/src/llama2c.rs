//! llama2.c's tokenizer.bin: the longest token's length, then for each token its score, length and bytes,
//! little-endian, until the file ends. Spaces are plain; bytes outside the vocabulary follow three specials.

use crate::error::{Result, TextError};
use crate::spm::Spm;
use crate::tokenizer::{Algorithm, Leading, Parts, Tokenizer};
use crate::vocab::{Alphabet, Kind, Vocab, parse_byte_entry};

const FORMAT: &str = "llama2.c tokenizer";
const BOS: u32 = 1;
const EOS: u32 = 2;

impl Tokenizer {
    /// The tokenizer of llama2.c models. A start token and a space are put in front of texts.
    ///
    /// # Errors
    /// When the file is cut short or a token is not text.
    pub fn from_llama2c(file: &[u8]) -> Result<Tokenizer> {
        let bad = |problem: String| TextError::malformed(FORMAT, problem);
        let (longest, mut rest) =
            file.split_first_chunk::<4>().ok_or_else(|| bad("shorter than its header".to_owned()))?;
        let longest = i32::from_le_bytes(*longest);
        let mut vocab = Vocab::new(Alphabet::SentencePiece, rest.len() / 12);
        let mut scores = Vec::new();
        while !rest.is_empty() {
            let id = vocab.len();
            let (score, len, after) = header(rest).ok_or_else(|| bad(format!("token {id} is cut short")))?;
            if len > longest {
                return Err(bad(format!("token {id} has {len} bytes, more than the longest ({longest})")));
            }
            let len = usize::try_from(len).map_err(|_| bad(format!("token {id} has a length of {len}")))?;
            let (bytes, after) =
                after.split_at_checked(len).ok_or_else(|| bad(format!("token {id} is cut short")))?;
            let entry = std::str::from_utf8(bytes).map_err(|_| bad(format!("token {id} is not UTF-8")))?;
            if score.is_nan() {
                return Err(bad(format!("token {id} has no score")));
            }
            match (id as u32, parse_byte_entry(entry)) {
                (0, _) => vocab.push("<unk>", Kind::Unknown)?,
                (BOS, _) => vocab.push("<s>", Kind::Control)?,
                (EOS, _) => vocab.push("</s>", Kind::Control)?,
                (_, Some(_)) => vocab.push(entry, Kind::Byte)?,
                _ => vocab.push(entry, Kind::Normal)?,
            };
            scores.push(score);
            rest = after;
        }
        if vocab.len() <= EOS as usize {
            return Err(bad("no tokens".to_owned()));
        }
        Ok(Tokenizer::new(Parts {
            algorithm: Algorithm::Spm { spm: Spm::new(&vocab, scores.into_iter()), space_prefix: true },
            vocab,
            bos: Some(BOS),
            eos: Some(EOS),
            add_bos: true,
            leading: Leading::DropOne,
            swallow: Vec::new(),
        }))
    }
}

fn header(bytes: &[u8]) -> Option<(f32, i32, &[u8])> {
    let (score, bytes) = bytes.split_first_chunk::<4>()?;
    let (len, bytes) = bytes.split_first_chunk::<4>()?;
    Some((f32::from_le_bytes(*score), i32::from_le_bytes(*len), bytes))
}
