//! A network that always says the same token after the same token.

use crayon_engine::{Engine, Settings};
use crayon_formats::gguf::{Array, Metadata, TensorInfo, Value, to_bytes};
use crayon_formats::{Checkpoint, Format};

/// Rows of the embedding, more than there are tokens.
const HIDDEN: usize = 272;

/// GPT-2's alphabet: a printable character for every byte.
fn alphabet() -> Vec<String> {
    let mut others = 256u32..;
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut code = |byte: u8| if printable(byte) { u32::from(byte) } else { others.next().unwrap() };
    (0..=255u8).map(|byte| char::from_u32(code(byte)).unwrap().to_string()).collect()
}

/// An engine without a chat template whose vocabulary is every byte, then `more` tokens of these kinds (as GGUF numbers them). Behind
/// the first of each pair of tokens comes the second.
pub(crate) fn chain(more: &[(&str, i32)], pairs: &[(u32, u32)], settings: &Settings) -> Engine {
    let mut tokens = alphabet();
    tokens.extend(more.iter().map(|(token, _)| (*token).to_owned()));
    let kinds = [1; 256].into_iter().chain(more.iter().map(|(_, kind)| *kind)).collect();
    let vocab = tokens.len();
    let mut metadata = Metadata::new("chain");
    metadata.insert("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 1),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", 32),
        ("attention.head_count", 17),
        ("attention.head_count_kv", 17),
        ("context_length", 512),
    ] {
        metadata.insert(&format!("llama.{key}"), value as u32);
    }
    metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "gpt-2");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata.insert("tokenizer.ggml.merges", Vec::<String>::new());
    // Each token has a place of its own in the hidden state, which the one block leaves as it is.
    let matrix = |rows: usize, ones: &[(u32, u32)]| {
        let mut values = vec![0f32; rows * HIDDEN];
        ones.iter().for_each(|&(column, row)| values[row as usize * HIDDEN + column as usize] = 1.0);
        (vec![rows, HIDDEN], values)
    };
    let own: Vec<(u32, u32)> = (0..vocab as u32).map(|id| (id, id)).collect();
    let ones = || (vec![HIDDEN], vec![1.0; HIDDEN]);
    let tensors = [
        ("token_embd.weight", matrix(vocab, &own)),
        ("blk.0.attn_norm.weight", ones()),
        ("blk.0.attn_q.weight", matrix(HIDDEN, &[])),
        ("blk.0.attn_k.weight", matrix(HIDDEN, &[])),
        ("blk.0.attn_v.weight", matrix(HIDDEN, &[])),
        ("blk.0.attn_output.weight", matrix(HIDDEN, &[])),
        ("blk.0.ffn_norm.weight", ones()),
        ("blk.0.ffn_gate.weight", matrix(32, &[])),
        ("blk.0.ffn_up.weight", matrix(32, &[])),
        ("blk.0.ffn_down.weight", (vec![HIDDEN, 32], vec![0.0; HIDDEN * 32])),
        ("output_norm.weight", ones()),
        ("output.weight", matrix(vocab, pairs)),
    ];
    let tensors: Vec<(TensorInfo, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, (shape, values))| {
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            (TensorInfo { name: name.to_owned(), format: Format::F32, shape }, bytes)
        })
        .collect();
    let bytes = to_bytes("chain", &metadata, &tensors).unwrap();
    Engine::from_checkpoint(
        "chain".to_owned(),
        Checkpoint::from_gguf("chain", bytes.into()).unwrap(),
        settings,
    )
    .unwrap()
}
