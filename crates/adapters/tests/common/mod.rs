//! Tiny networks, adapters for them, and their logits.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use crayon_adapters::Lora;
use crayon_formats::Checkpoint;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Adapter, Decoder, LowRankPair, Projection, Scratch, Site, Step, Want};
use crayon_pot::{KvStorage, Slab};
use serde_json::Value;

/// The tiny network of this name.
pub(crate) fn base(name: &str) -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name);
    Checkpoint::open(&folder).unwrap()
}

/// The PEFT adapter made for it.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What PEFT computes with it: token ids and `[rows * vocab]`.
pub(crate) fn expected(name: &str) -> (Vec<u32>, Vec<f32>) {
    let text = std::fs::read_to_string(fixture(name).join("expected.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let ids = value["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let rows = value["logits"].as_array().unwrap().iter();
    (ids, rows.flat_map(|row| row.as_array().unwrap()).map(|value| value.as_f64().unwrap() as f32).collect())
}

/// Logits of every position, `[rows * vocab]`.
pub(crate) fn logits(checkpoint: &Checkpoint, lora: Option<Lora>, tokens: &[u32]) -> Vec<f32> {
    let attached = lora.map(|lora| lora.attach(&checkpoint.spec).unwrap());
    adapted(checkpoint, attached.as_ref().map(|adapter| adapter as &dyn Adapter), tokens)
}

/// The same through any adapter.
pub(crate) fn adapted(checkpoint: &Checkpoint, adapter: Option<&dyn Adapter>, tokens: &[u32]) -> Vec<f32> {
    let decoder = Decoder::open(checkpoint, Mode::Exact).unwrap();
    let mut memory = Slab::plain(&checkpoint.spec, tokens.len(), KvStorage::F32);
    let mut step = Step::new(tokens, &mut memory);
    step.adapter = adapter;
    let (pool, mut scratch) = (Threads::new(1), Scratch::new());
    decoder.forward(&pool, &mut [step.wanting(Want::All)], &mut scratch).unwrap().to_vec()
}

/// The largest difference as a share of the largest value; infinite for NaN.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |largest: f32, d| if d.is_nan() { f32::INFINITY } else { largest.max(d) }) / scale
}

/// Made-up numbers between -1 and 1.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A made-up adapter of these projections in every layer.
pub(crate) fn made_up(checkpoint: &Checkpoint, projections: &[Projection], rank: usize, seed: u64) -> Lora {
    let spec = &checkpoint.spec;
    let mut lora = Lora::default();
    for layer in 0..spec.layers {
        for &projection in projections {
            let (input, output) = projection.size(spec);
            let own = seed * 1000 + (layer * 10) as u64 + projection as u64;
            let a = numbers(rank * input, own);
            let b = numbers(output * rank, own + 500).iter().map(|value| value * 0.3).collect();
            lora.pairs
                .insert(Site { layer, projection }, LowRankPair { a, b, rank, scale: 2.0 / rank as f32 });
        }
    }
    lora
}
