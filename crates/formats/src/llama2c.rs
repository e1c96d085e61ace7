//! Checkpoints and tokenizers of llama2.c, version 0: a header of seven integers and f32 weights in a fixed
//! order, as `legacy_export` of that project writes them.

use std::path::{Path, PathBuf};

use crayon_kernels::Format;

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::names::split_block;
use crate::spec::{
    Activation, Biases, Family, Norm, Positions, Rope, RopeFrequencies, RopeLayout, RopeScaling, Spec,
};
use crate::tensor::Tensor;

/// Bytes of the header.
const HEADER: usize = 7 * 4;
/// First integer of versions 1 and 2.
const VERSIONED: u32 = 0x616b_3432;

/// A version 0 checkpoint.
#[derive(Clone, Debug)]
pub struct Llama2c {
    /// Path or name, for messages.
    pub file: String,
    /// The network.
    pub spec: Spec,
    bytes: Bytes,
}

impl Llama2c {
    /// Maps and reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened or its size is not what its header asks for.
    pub fn open(path: &Path) -> Result<Llama2c> {
        Llama2c::from_bytes(&path.display().to_string(), Bytes::map(path)?)
    }

    /// Reads a file that is already in memory; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Llama2c::open`].
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Llama2c> {
        const HINT: &str = "a `.bin` file is read as a llama2.c checkpoint of version 0; for PyTorch weights, convert \
                            them to safetensors and give the folder";
        let bad = |what: String| Error::file(name, what).with_hint(HINT);
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(bad(format!("has {} bytes, too few for a llama2.c checkpoint", bytes.len())));
        };
        let mut fields = [0i32; 7];
        for (field, word) in fields.iter_mut().zip(header.as_chunks::<4>().0) {
            *field = i32::from_le_bytes(*word);
        }
        let [dim, hidden_dim, layers, heads, kv_heads, vocab, seq_len] = fields;
        if dim as u32 == VERSIONED {
            return Err(bad("is a llama2.c checkpoint of version 1 or 2; only version 0 is read".to_owned()));
        }
        let size = |name: &str, value: i32| {
            usize::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| {
                bad(format!("is not a llama2.c checkpoint: its header gives {name} as {value}"))
            })
        };
        let (hidden, heads) = (size("dim", dim)?, size("n_heads", heads)?);
        let layers = size("n_layers", layers)?;
        if layers > crate::names::limits::LAYERS || !hidden.is_multiple_of(heads) {
            let what =
                format!("is not a llama2.c checkpoint: {layers} layers, {heads} heads of {hidden} values");
            return Err(bad(what));
        }
        let frequencies = RopeFrequencies { theta: 10_000.0, scaling: RopeScaling::None };
        let rope =
            Rope { layout: RopeLayout::Interleaved, dims: hidden / heads, global: frequencies, local: None };
        let spec = Spec {
            family: Family::Llama,
            vocab: vocab.unsigned_abs() as usize,
            hidden,
            layers,
            heads,
            kv_heads: size("n_kv_heads", kv_heads)?,
            head_dim: hidden / heads,
            intermediate: size("hidden_dim", hidden_dim)?,
            context: size("seq_len", seq_len)?,
            norm: Norm::Rms { eps: 1e-5 },
            post_norms: false,
            qk_norm: false,
            activation: Activation::Silu,
            gated: true,
            biases: Biases::default(),
            positions: Positions::Rope(rope),
            attention_scale: 1.0 / ((hidden / heads) as f32).sqrt(),
            attention_softcap: None,
            logit_softcap: None,
            windows: vec![None; layers],
            embedding_scale: 1.0,
            tied: vocab > 0,
        };
        spec.check().map_err(|what| bad(format!("is not a llama2.c checkpoint: {what}")))?;
        let found = Llama2c { file: name.to_owned(), spec, bytes };
        match found.expected_bytes() {
            Some(expected) if expected == found.bytes.len() => Ok(found),
            Some(expected) => {
                Err(bad(format!("has {} bytes, its header asks for {expected}", found.bytes.len())))
            }
            None => Err(bad("is not a llama2.c checkpoint: its sizes overflow".to_owned())),
        }
    }

    /// The tensor called `canonical`, sharing the file's bytes.
    pub fn tensor(&self, canonical: &str) -> Option<Tensor> {
        let shape = self.spec.shape_of(canonical)?;
        let (layer, part) = match split_block(canonical) {
            Some((layer, part)) => (layer, part),
            None => (0, canonical),
        };
        let mut offset = HEADER;
        for (name, layers, values) in self.order() {
            if name == part {
                let size = values.checked_mul(4)?;
                let start = offset.checked_add(layer.checked_mul(size)?)?;
                let data = self.bytes.get(start..start.checked_add(size)?)?;
                return Some(Tensor { name: canonical.to_owned(), format: Format::F32, shape, data });
            }
            offset = offset.checked_add(layers.checked_mul(values)?.checked_mul(4)?)?;
        }
        None
    }

    /// Arrays of the file in order: canonical name (of a block's part where there is one per layer), how many,
    /// values in each. The rotation tables near the end are skipped over: they follow from the sizes.
    fn order(&self) -> [(&'static str, usize, usize); 14] {
        let spec = &self.spec;
        let (hidden, layers) = (spec.hidden, spec.layers);
        let wide = |rows: usize| rows.saturating_mul(hidden);
        let (q, kv) = (wide(spec.heads * spec.head_dim), wide(spec.kv_heads * spec.head_dim));
        let mlp = wide(spec.intermediate);
        [
            ("token_embd.weight", 1, wide(spec.vocab)),
            ("attn_norm.weight", layers, hidden),
            ("attn_q.weight", layers, q),
            ("attn_k.weight", layers, kv),
            ("attn_v.weight", layers, kv),
            ("attn_output.weight", layers, q),
            ("ffn_norm.weight", layers, hidden),
            ("ffn_gate.weight", layers, mlp),
            ("ffn_down.weight", layers, mlp),
            ("ffn_up.weight", layers, mlp),
            ("output_norm.weight", 1, hidden),
            ("(cosines)", 1, spec.context.saturating_mul(spec.head_dim / 2)),
            ("(sines)", 1, spec.context.saturating_mul(spec.head_dim / 2)),
            ("output.weight", usize::from(!spec.tied), wide(spec.vocab)),
        ]
    }

    fn expected_bytes(&self) -> Option<usize> {
        let values = self
            .order()
            .into_iter()
            .try_fold(0usize, |sum, (_, count, values)| sum.checked_add(count.checked_mul(values)?))?;
        values.checked_mul(4)?.checked_add(HEADER)
    }
}

/// A `tokenizer.bin`: SentencePiece pieces with their scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenizer {
    /// Bytes of the longest piece, as the file states it.
    pub max_token_length: usize,
    /// Score of every piece; higher merges first.
    pub scores: Vec<f32>,
    /// Bytes of every piece, in id order. Ids 3 to 258 of a Llama vocabulary are `<0x00>` to `<0xFF>`.
    pub pieces: Vec<Vec<u8>>,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.bin`; `file` is what messages call it.
    ///
    /// # Errors
    /// If it ends within a piece, or a length is absurd.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Tokenizer> {
        let bad = |what: String| {
            Error::file(file, format!("is not a llama2.c tokenizer: {what}"))
                .with_hint("give the tokenizer.bin or tokN.bin that belongs to the checkpoint")
        };
        let Some((longest, mut rest)) = bytes.split_first_chunk::<4>() else {
            return Err(bad(format!("it has {} bytes", bytes.len())));
        };
        let longest = u32::from_le_bytes(*longest);
        let mut tokenizer =
            Tokenizer { max_token_length: longest as usize, scores: Vec::new(), pieces: Vec::new() };
        while !rest.is_empty() {
            let id = tokenizer.pieces.len();
            let cut = || bad(format!("it ends within piece {id}"));
            let (score, tail) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let (length, tail) = tail.split_first_chunk::<4>().ok_or_else(cut)?;
            let length = u32::from_le_bytes(*length);
            if length > longest {
                return Err(bad(format!("piece {id} has {length} bytes, the longest should have {longest}")));
            }
            let (piece, tail) = tail.split_at_checked(length as usize).ok_or_else(cut)?;
            tokenizer.scores.push(f32::from_le_bytes(*score));
            tokenizer.pieces.push(piece.to_vec());
            rest = tail;
        }
        if tokenizer.pieces.is_empty() {
            return Err(bad("it holds no pieces".to_owned()));
        }
        Ok(tokenizer)
    }
}

/// The tokenizer beside a checkpoint: `tok<vocab>.bin`, else `tokenizer.bin`.
pub fn tokenizer_beside(checkpoint: &Path, vocab: usize) -> Option<PathBuf> {
    let folder = checkpoint.parent()?;
    [format!("tok{vocab}.bin"), "tokenizer.bin".to_owned()]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}
