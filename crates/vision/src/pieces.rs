//! A text cut into the pieces a tower reads, which know where in the text and in which word they stand.

use std::ops::Range;

use crayon_formats::TokenizerSource;
use crayon_formats::clip::{ClipCheckpoint, ClipTokenizer};
use crayon_text::{TextError, Tokenizer};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::VisionError;
use crate::text_tower::Ends;

/// One token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The token.
    pub id: u32,
    /// The bytes of the text it stands for.
    pub range: Range<usize>,
    /// Which word of the text it belongs to, from 0: words and signs as Unicode parts them (UAX 29), white space not counted.
    pub word: usize,
}

/// The tokenizer of a model.
pub(crate) struct Pieces {
    tokenizer: Tokenizer,
    /// Whether texts are lower-cased and lose their signs before anything else, as SigLIP's are.
    fold: Fold,
}

/// What is done to a text before the tokenizer's own files say what to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fold {
    Nothing,
    /// Lower case.
    Case,
    /// Lower case, and no signs of ASCII.
    CaseAndSigns,
}

impl Pieces {
    /// The tokenizer of `checkpoint`, and the tokens it puts around a text.
    pub(crate) fn open(checkpoint: &ClipCheckpoint) -> Result<(Pieces, Ends), VisionError> {
        let model = checkpoint.name.clone();
        let fail = |error: TextError| VisionError::Tokenizer { model: model.clone(), error };
        let config = checkpoint.tokenizer_config.as_ref();
        let bare = matches!(&checkpoint.tokenizer, ClipTokenizer::Files(TokenizerSource::SentencePiece(_)));
        let tokenizer = match &checkpoint.tokenizer {
            ClipTokenizer::Merges(merges) => Tokenizer::from_clip_merges(merges),
            ClipTokenizer::Files(TokenizerSource::Gpt2 { vocab, merges }) => {
                Tokenizer::from_clip(vocab, merges)
            }
            ClipTokenizer::Files(source) => Tokenizer::from_source(source, config),
        };
        let tokenizer = tokenizer.map_err(fail)?;
        let spec = &checkpoint.spec;
        let usable = |id: Option<u32>, which: &'static str| {
            id.filter(|&id| (id as usize) < spec.text.vocab)
                .ok_or_else(|| VisionError::Ends { model: checkpoint.name.clone(), which })
        };
        let end = usable(spec.text.end.or(tokenizer.eos()), "end")?;
        let ends = match spec.text.padded {
            true => {
                let pad = tokenizer.named_tokens().iter().find(|(name, _)| name == "pad_token");
                let pad = pad.and_then(|(_, token)| tokenizer.id(token)).unwrap_or(end);
                Ends { start: None, end, pad: Some(usable(Some(pad), "pad")?) }
            }
            false => Ends { start: Some(usable(tokenizer.bos(), "start")?), end, pad: None },
        };
        let fold = match spec.sigmoid {
            true if bare => Fold::CaseAndSigns,
            true => Fold::Case,
            false => Fold::Nothing,
        };
        Ok((Pieces { tokenizer, fold }, ends))
    }

    /// Cuts `text` up.
    pub(crate) fn cut(&self, text: &str) -> Result<Vec<Piece>, VisionError> {
        let (folded, places) = self.fold.apply(text);
        let words: Vec<usize> = text
            .split_word_bound_indices()
            .filter(|(_, word)| !word.trim().is_empty())
            .map(|(start, _)| start)
            .collect();
        let pieces = self.tokenizer.encode_ranges(&folded)?;
        Ok(pieces
            .into_iter()
            .map(|(id, range)| {
                let range = match &places {
                    Some(places) => original(text, places, range),
                    None => range,
                };
                // A piece may begin with the space before its word.
                let shown = &text[range.clone()];
                let start = range.start + (shown.len() - shown.trim_start().len());
                let word = words.partition_point(|&first| first <= start).saturating_sub(1);
                Piece { id, range, word }
            })
            .collect())
    }

    /// The vocabulary entry of a token.
    pub(crate) fn text(&self, id: u32) -> Option<String> {
        self.tokenizer.text(id)
    }
}

/// The bytes of `text` that a range of the folded text was made of.
fn original(text: &str, places: &[usize], range: Range<usize>) -> Range<usize> {
    let start = places[range.start];
    let last = range.end.checked_sub(1).filter(|last| *last >= range.start);
    let end = last
        .map_or(start, |last| places[last] + text[places[last]..].chars().next().map_or(0, char::len_utf8));
    start..end
}

impl Fold {
    /// The folded text and, where it differs, for each of its bytes the place of the character it was made of, and the end.
    fn apply(self, text: &str) -> (String, Option<Vec<usize>>) {
        if self == Fold::Nothing {
            return (text.to_owned(), None);
        }
        let (mut out, mut places) = (String::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        for (at, c) in text.char_indices() {
            if self == Fold::CaseAndSigns && c.is_ascii_punctuation() {
                continue;
            }
            for lower in c.to_lowercase() {
                out.push(lower);
                places.resize(out.len(), at);
            }
        }
        places.push(text.len());
        (out, Some(places))
    }
}
