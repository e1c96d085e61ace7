//! What the tests of this crate share.

#![allow(dead_code, reason = "each test binary uses its own part")]

use crayon_formats::Checkpoint;
use crayon_formats::spec::Spec;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, Scratch, Step, Want};
use crayon_pot::{KvStorage, Slab};
use crayon_quant::{Calibration, Place};

pub(crate) fn logits(checkpoint: &Checkpoint, tokens: &[u32], mode: Mode) -> Vec<f32> {
    let decoder = Decoder::open(checkpoint, mode).unwrap();
    let mut memory = Slab::plain(decoder.spec(), tokens.len(), KvStorage::F32);
    let mut steps = [Step::new(tokens, &mut memory).wanting(Want::All)];
    decoder.forward(&Threads::new(2), &mut steps, &mut Scratch::new()).unwrap().to_vec()
}

pub(crate) fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 131) % 1009) as f32 / 500.0 - 1.0).collect()
}

pub(crate) fn places(spec: &Spec) -> Vec<Place> {
    Place::ALL.into_iter().filter(|place| place.folds(spec)).collect()
}

pub(crate) fn calibration(tokens: &[u32], vocab: usize) -> Calibration {
    let window = 8;
    let made: Vec<u32> =
        (0..6 * window).map(|i| (tokens[i % tokens.len()] + 3 * i as u32) % vocab as u32).collect();
    Calibration { window, tokens: made[..4 * window].to_vec(), held_out: made[4 * window..].to_vec() }
}
