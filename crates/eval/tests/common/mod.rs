//! A tiny network with a byte-level vocabulary and random weights.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use crayon_engine::{Engine, Frame, Settings};
use crayon_formats::gguf::{Array, Metadata, TensorInfo, Value, to_bytes};
use crayon_formats::{Checkpoint, Format};
use crayon_train::plain::{PlainDecoder, PlainPass, Train};

pub(crate) const CONTEXT: usize = 64;
const HIDDEN: usize = 32;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const MLP: usize = 48;

const TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// GPT-2's alphabet: a printable character for every byte.
fn alphabet() -> Vec<String> {
    let mut next = 256u32;
    let character = |byte: u8| {
        let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable {
            u32::from(byte)
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap().to_string()
    };
    (0..=255u8).map(character).collect()
}

/// The network in f32; `seed` decides the weights.
pub(crate) fn checkpoint(seed: u64, with_template: bool) -> Checkpoint {
    made(seed, with_template, CONTEXT)
}

fn made(seed: u64, with_template: bool, context: usize) -> Checkpoint {
    let mut tokens = alphabet();
    tokens.extend(["th", "the", "Ġa"].map(str::to_owned));
    let normal = tokens.len();
    tokens.extend(["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"].map(str::to_owned));
    let types = (0..tokens.len()).map(|id| if id < normal { 1 } else { 3 }).collect();
    let (vocab, end) = (tokens.len(), tokens.len() - 1);

    let mut metadata = Metadata::new("tiny");
    metadata.insert("general.architecture", "llama");
    for (key, value) in [
        ("block_count", LAYERS),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", MLP),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("context_length", context),
    ] {
        metadata.insert(&format!("llama.{key}"), value as u32);
    }
    metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "gpt-2");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    metadata.insert("tokenizer.ggml.merges", ["t h", "th e", "Ġ a"].map(str::to_owned).to_vec());
    metadata.insert("tokenizer.ggml.eos_token_id", end as u32);
    if with_template {
        metadata.insert("tokenizer.chat_template", TEMPLATE);
    }

    let kv = HIDDEN / HEADS * KV_HEADS;
    let mut shapes = vec![("token_embd.weight".to_owned(), vec![vocab, HIDDEN])];
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("attn_norm", vec![HIDDEN]),
            ("attn_q", vec![HIDDEN, HIDDEN]),
            ("attn_k", vec![kv, HIDDEN]),
            ("attn_v", vec![kv, HIDDEN]),
            ("attn_output", vec![HIDDEN, HIDDEN]),
            ("ffn_norm", vec![HIDDEN]),
            ("ffn_gate", vec![MLP, HIDDEN]),
            ("ffn_up", vec![MLP, HIDDEN]),
            ("ffn_down", vec![HIDDEN, MLP]),
        ] {
            shapes.push((format!("blk.{layer}.{part}.weight"), shape));
        }
    }
    shapes.push(("output_norm.weight".to_owned(), vec![HIDDEN]));

    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.8
    };
    let tensors: Vec<(TensorInfo, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product::<usize>();
            let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
            let data = (0..count).flat_map(|_| (centre + random()).to_le_bytes()).collect();
            (TensorInfo { name, format: Format::F32, shape }, data)
        })
        .collect();
    Checkpoint::from_gguf("tiny", to_bytes("tiny", &metadata, &tensors).unwrap().into()).unwrap()
}

pub(crate) fn engine(seed: u64, with_template: bool) -> Engine {
    framed(seed, with_template, None)
}

/// The same, with conversations in a frame of this name.
pub(crate) fn framed(seed: u64, with_template: bool, frame: Option<&str>) -> Engine {
    let frame = frame.and_then(Frame::named);
    let settings = Settings { threads: Some(2), exact: true, kv: None, frame, no_guess: false };
    Engine::from_checkpoint("tiny".to_owned(), checkpoint(seed, with_template), &settings).unwrap()
}

/// The same with room for 1,024 tokens. One thread: a second would take its own memory
/// whenever its first task comes.
pub(crate) fn long_engine() -> Engine {
    let settings = Settings { threads: Some(1), exact: true, kv: None, frame: None, no_guess: false };
    Engine::from_checkpoint("tiny".to_owned(), made(1, false, 1024), &settings).unwrap()
}

/// Logits of every position by the network's plain form, `[position][vocab]`.
pub(crate) fn plain_logits(checkpoint: &Checkpoint, ids: &[u32]) -> Vec<Vec<f32>> {
    let decoder = PlainDecoder::open(checkpoint, &Device::Cpu, Train::Nothing).unwrap();
    let tokens = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits = decoder.forward(&tokens, PlainPass::default()).unwrap();
    logits.squeeze(0).unwrap().to_vec2::<f32>().unwrap()
}

/// `ln softmax(logits)[target]`, written out.
pub(crate) fn log_softmax(logits: &[f32], target: u32) -> f64 {
    let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    f64::from(logits[target as usize]) - total.ln()
}

/// Ids that repeat nothing for a while.
pub(crate) fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 37 + i * i * 5 + 11) % 250).collect()
}

pub(crate) fn go_on(_: usize, _: usize) -> std::ops::ControlFlow<()> {
    std::ops::ControlFlow::Continue(())
}

/// The folder of public data, or `None` with a note on stderr.
pub(crate) fn data() -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("CRAYON_DATA").map_or(default, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: no data at {}; set CRAYON_DATA", folder.display());
    }
    None
}
