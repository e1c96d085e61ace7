//! SentencePiece's tokenizer.model: pieces, scores and normalisation rules in one Protocol Buffers message
//! (`sentencepiece_model.proto`), of type BPE or unigram.

use crate::added::Added;
use crate::charsmap::Charsmap;
use crate::error::{Result, TextError};
use crate::merge::Merger;
use crate::prefixes::Prefixes;
use crate::protobuf::{Field, Fields};
use crate::spm::Spm;
use crate::tokenizer::{Algorithm, Leading, Parts, Tokenizer};
use crate::unigram::Unigram;
use crate::vocab::{Alphabet, Kind, Vocab};

const FORMAT: &str = "tokenizer.model";

fn bad(problem: impl Into<String>) -> TextError {
    TextError::malformed(FORMAT, problem)
}

/// A SentencePiece model: normalisation, then segmentation.
pub(crate) struct SentencePiece {
    normalizer: Normalizer,
    model: Model,
}

enum Model {
    Bpe(Spm),
    Unigram(Unigram),
}

impl SentencePiece {
    /// Appends the ids of `text`.
    pub(crate) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let text = self.normalizer.normalize(text);
        match &self.model {
            Model::Bpe(spm) => spm.encode(vocab, &text, merger, out),
            Model::Unigram(unigram) => unigram.encode(vocab, &text, out),
        }
    }
}

struct Normalizer {
    rules: Option<Charsmap>,
    /// User-defined pieces, which no rule touches.
    protected: Prefixes,
    dummy_prefix: bool,
    /// The dummy space goes behind the text.
    space_as_suffix: bool,
    /// Spaces at the ends go, runs of spaces become one.
    trim_spaces: bool,
}

impl Normalizer {
    /// What `rest`, not empty, starts with: how many bytes are read, and what is written for them.
    fn step<'a>(&'a self, rest: &'a str) -> (usize, &'a str) {
        if let Some((len, _)) = self.protected.longest(rest.as_bytes()) {
            return (len, &rest[..len]);
        }
        if let Some((len, replacement)) = self.rules.as_ref().and_then(|rules| rules.longest(rest)) {
            return (len, replacement);
        }
        let len = rest.chars().next().map_or(1, char::len_utf8);
        (len, &rest[..len])
    }

    fn normalize(&self, text: &str) -> String {
        let mut rest = text;
        if self.trim_spaces {
            while !rest.is_empty() {
                match self.step(rest) {
                    (len, " ") => rest = &rest[len..],
                    _ => break,
                }
            }
        }
        let mut out = String::with_capacity(rest.len() + 1);
        if rest.is_empty() {
            return out;
        }
        if self.dummy_prefix && !self.space_as_suffix {
            out.push(' ');
        }
        let mut after_space = self.trim_spaces;
        while !rest.is_empty() {
            let (len, mut piece) = self.step(rest);
            rest = &rest[len..];
            if after_space {
                piece = piece.trim_start_matches(' ');
            }
            if !piece.is_empty() {
                out.push_str(piece);
                after_space = self.trim_spaces && piece.ends_with(' ');
            }
        }
        // The vocabulary keeps `▁` as the space it stands for.
        if out.contains('▁') {
            out = out.replace('▁', " ");
        }
        if self.trim_spaces {
            out.truncate(out.trim_end_matches(' ').len());
        }
        if self.dummy_prefix && self.space_as_suffix {
            out.push(' ');
        }
        out
    }
}

/// The fields of the file that matter.
struct File<'a> {
    pieces: Vec<(&'a str, f32, i64)>,
    model_type: i64,
    bos: i64,
    eos: i64,
    unk_piece: &'a str,
    bos_piece: &'a str,
    eos_piece: &'a str,
    space_as_suffix: bool,
    rules: &'a [u8],
    dummy_prefix: bool,
    trim_spaces: bool,
}

const UNIGRAM: i64 = 1;
const BPE: i64 = 2;
/// Types of pieces.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Result<File<'a>> {
        // What the format says where a field is absent.
        let mut file = File {
            pieces: Vec::new(),
            model_type: UNIGRAM,
            bos: 1,
            eos: 2,
            unk_piece: "<unk>",
            bos_piece: "<s>",
            eos_piece: "</s>",
            space_as_suffix: false,
            rules: &[],
            dummy_prefix: true,
            trim_spaces: true,
        };
        for field in Fields::new(FORMAT, bytes) {
            let (number, field) = field?;
            match number {
                1 => {
                    let piece = file.piece(field)?;
                    file.pieces.push(piece);
                }
                2 => file.trainer(field)?,
                3 => file.normalizer(field)?,
                _ => {}
            }
        }
        if file.pieces.is_empty() {
            return Err(bad("no pieces: this is not a SentencePiece model"));
        }
        Ok(file)
    }

    /// Adds tokens of another file, at the ids it gives them; ids between them and the file's own stay empty.
    fn add(&mut self, added: &'a [Added]) -> Result<()> {
        let most = 2 * (self.pieces.len() + added.len()) + 4096;
        for token in added {
            let (id, kind) =
                (token.id as usize, if token.kind() == Kind::Control { CONTROL } else { USER_DEFINED });
            if id >= most {
                return Err(bad(format!("{} pieces, but an added token has the id {id}", self.pieces.len())));
            }
            // What has the name under another id loses it.
            for (other, piece) in self.pieces.iter_mut().enumerate() {
                if other != id && piece.0 == token.content {
                    *piece = ("", 0.0, UNUSED);
                }
            }
            if self.pieces.len() <= id {
                self.pieces.resize(id + 1, ("", 0.0, UNUSED));
            }
            if let Some(piece) = self.pieces.get_mut(id) {
                let same = piece.0 == token.content;
                // A name in a second file does not take the unknown token's part from it.
                let kind = if same && piece.2 == UNKNOWN { UNKNOWN } else { kind };
                let score = if same { piece.1 } else { 0.0 };
                *piece = (&token.content, score, kind);
            }
        }
        Ok(())
    }

    fn piece(&self, field: Field<'a>) -> Result<(&'a str, f32, i64)> {
        let id = self.pieces.len();
        let message = field.bytes().ok_or_else(|| bad(format!("piece {id} is not a message")))?;
        let (mut piece, mut score, mut kind) = ("", 0.0, 1);
        for field in Fields::new(FORMAT, message) {
            let (number, field) = field?;
            match number {
                1 => piece = field.text().ok_or_else(|| bad(format!("piece {id} is not UTF-8")))?,
                2 => {
                    score =
                        field.float().ok_or_else(|| bad(format!("the score of piece {id} is not a float")))?
                }
                3 => {
                    kind =
                        field.int().ok_or_else(|| bad(format!("the type of piece {id} is not a number")))?
                }
                _ => {}
            }
        }
        if piece.is_empty() {
            return Err(bad(format!("piece {id} is empty")));
        }
        if score.is_nan() {
            return Err(bad(format!("the score of piece {id}, {piece:?}, is not a number")));
        }
        Ok((piece, score, kind))
    }

    fn trainer(&mut self, field: Field<'a>) -> Result<()> {
        for field in Fields::new(FORMAT, field.bytes().ok_or_else(|| bad("trainer_spec is not a message"))?) {
            let (number, field) = field?;
            match number {
                3 => self.model_type = field.int().unwrap_or(UNIGRAM),
                24 => self.space_as_suffix = field.bool().unwrap_or(false),
                41 => self.bos = field.int().unwrap_or(-1),
                42 => self.eos = field.int().unwrap_or(-1),
                45 => self.unk_piece = field.text().unwrap_or(self.unk_piece),
                46 => self.bos_piece = field.text().unwrap_or(self.bos_piece),
                47 => self.eos_piece = field.text().unwrap_or(self.eos_piece),
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, field: Field<'a>) -> Result<()> {
        for field in
            Fields::new(FORMAT, field.bytes().ok_or_else(|| bad("normalizer_spec is not a message"))?)
        {
            let (number, field) = field?;
            match number {
                2 => self.rules = field.bytes().unwrap_or(&[]),
                3 => self.dummy_prefix = field.bool().unwrap_or(true),
                4 => self.trim_spaces = field.bool().unwrap_or(true),
                _ => {}
            }
        }
        Ok(())
    }

    fn vocab(&self) -> Result<Vocab> {
        let mut vocab = Vocab::new(Alphabet::SentencePiece, self.pieces.len());
        let mut seen = std::collections::HashSet::with_capacity(self.pieces.len());
        for (id, &(piece, _, kind)) in self.pieces.iter().enumerate() {
            if piece.is_empty() {
                vocab.push_unfindable(&[])?;
                continue;
            }
            if !seen.insert(piece) {
                return Err(bad(format!("piece {id}, {piece:?}, is there twice")));
            }
            let kind = match kind {
                1 => Kind::Normal,
                2 => Kind::Unknown,
                CONTROL => Kind::Control,
                USER_DEFINED => Kind::UserDefined,
                UNUSED => Kind::Unused,
                6 => Kind::Byte,
                other => return Err(bad(format!("piece {id}, {piece:?}, has the unknown type {other}"))),
            };
            if piece.contains(' ') && matches!(kind, Kind::Normal | Kind::UserDefined) {
                // Texts are matched with `▁` for every space, so a piece with a real one is never found.
                vocab.push_unfindable(piece.replace('▁', " ").as_bytes())?;
            } else {
                vocab.push(piece, kind)?;
            }
        }
        Ok(vocab)
    }
}

impl Tokenizer {
    /// A SentencePiece model of type BPE or unigram, from the bytes of its `tokenizer.model`.
    ///
    /// A start token is expected in front of texts where the model has one.
    ///
    /// # Errors
    /// When the file is damaged, has pieces twice, or is of another type.
    pub fn from_sentencepiece(bytes: &[u8]) -> Result<Tokenizer> {
        Tokenizer::from_sentencepiece_and(bytes, &[])
    }

    /// The same with the tokens `added` by another file.
    pub(crate) fn from_sentencepiece_and(bytes: &[u8], added: &[Added]) -> Result<Tokenizer> {
        let mut file = File::parse(bytes)?;
        file.add(added)?;
        let vocab = file.vocab()?;
        let pieces_of = |kind| vocab.of_kind(kind).filter_map(|id| Some((vocab.bytes(id)?, id)));
        let scores = file.pieces.iter().map(|&(_, score, _)| score);
        let model = match file.model_type {
            UNIGRAM => Model::Unigram(Unigram::new(&vocab, scores.collect())),
            BPE => {
                let defined = Some(Prefixes::new(pieces_of(Kind::UserDefined)))
                    .filter(|_| vocab.of_kind(Kind::UserDefined).next().is_some());
                Model::Bpe(Spm::new(&vocab, scores).with_sentencepiece_rules(defined))
            }
            other => {
                return Err(TextError::Unsupported {
                    format: FORMAT,
                    what: format!("model_type {other}"),
                    hint: "types BPE and unigram are read; language models use no other".to_owned(),
                });
            }
        };
        let defined = file.pieces.iter().filter(|&&(_, _, kind)| kind == USER_DEFINED);
        let protected = defined.zip(0..).map(|(&(piece, ..), index)| (piece.as_bytes(), index));
        let normalizer = Normalizer {
            rules: if file.rules.is_empty() { None } else { Some(Charsmap::parse(file.rules)?) },
            protected: Prefixes::new(protected),
            dummy_prefix: file.dummy_prefix,
            space_as_suffix: file.space_as_suffix,
            trim_spaces: file.trim_spaces,
        };
        let id = |id: i64, piece| {
            // A negative id says that the model has no such token.
            let id = if id < 0 { None } else { vocab.special(piece).or(u32::try_from(id).ok()) };
            id.filter(|&id| vocab.kind(id) == Some(Kind::Control))
        };
        let (bos, eos) = (id(file.bos, file.bos_piece), id(file.eos, file.eos_piece));
        let leading = match (file.trim_spaces, file.dummy_prefix) {
            _ if file.space_as_suffix => Leading::Keep,
            (true, _) => Leading::DropAll,
            (false, true) => Leading::DropOne,
            (false, false) => Leading::Keep,
        };
        Ok(Tokenizer::new(Parts {
            algorithm: Algorithm::SentencePiece(SentencePiece { normalizer, model }),
            vocab,
            bos,
            eos,
            add_bos: bos.is_some(),
            leading,
            swallow: added.iter().filter_map(Added::swallow).collect(),
        }))
    }
}
