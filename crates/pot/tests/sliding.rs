//! Layers with a sliding window hold their latest entries, whatever the size of the pot, and nothing is lost by that.

use std::ops::ControlFlow;
use std::path::Path;

use crayon_formats::Checkpoint;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, Scratch};
use crayon_pot::{KvStorage, Network, Owner, Pot, PotOptions, Slab};

const WINDOW: usize = 8;
/// Slots of a sliding layer: its window, what can be taken back, and room until it slides again.
const SLOTS: usize = WINDOW + 1024;

/// Five layers that slide and one that does not, for long texts.
fn network() -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/gemma3");
    let mut checkpoint = Checkpoint::open(&folder).unwrap();
    checkpoint.spec.context = 8192;
    assert_eq!(checkpoint.spec.windows[0], Some(WINDOW));
    Decoder::open(&checkpoint, Mode::Exact).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count).map(|at| (at * 31 % 71) as u32).collect()
}

fn options(entries: usize) -> PotOptions {
    PotOptions { storage: KvStorage::F32, ..PotOptions::new(entries, vec![3, 5, 7]) }
}

fn pot(decoder: &Decoder, entries: usize) -> Pot {
    Pot::new(decoder.spec(), options(entries), 0, None).unwrap()
}

/// Reads `tokens`, so many in a call, and returns the last logits.
fn read_in_parts(decoder: &Decoder, pot: &mut Pot, tokens: &[u32], part: usize) -> Vec<f32> {
    let (pool, mut scratch, mut logits) = (Threads::new(2), Scratch::new(), Vec::new());
    let mut network = Network { decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    for part in tokens.chunks(part) {
        pot.read(&mut network, part, &mut logits, None, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    logits
}

fn read(decoder: &Decoder, pot: &mut Pot, tokens: &[u32]) -> Vec<f32> {
    read_in_parts(decoder, pot, tokens, tokens.len())
}

#[test]
fn a_text_that_fits_is_read_as_with_a_full_cache() {
    let (decoder, tokens) = (network(), tokens(2500));
    let mut own = pot(&decoder, 3000);
    let found = read(&decoder, &mut own, &tokens);
    let expected = read(&decoder, &mut Pot::full(decoder.spec(), 3000, KvStorage::F32), &tokens);
    assert_eq!((own.distillations(), own.kept()), (0, 2500));
    assert_eq!(found, expected);
    let slab = own.slab();
    assert_eq!((slab.capacity(0), slab.capacity(5)), (SLOTS, 3000));
    assert!((0..6).all(|layer| slab.slides(layer) == (layer < 5)));
    let latest: Vec<u32> = (2500 - slab.len(0) as u32..2500).collect();
    assert_eq!(slab.origins(0, 0), latest);
}

#[test]
fn after_a_distillation_they_hold_the_latest_and_how_the_text_is_divided_changes_nothing() {
    let (decoder, tokens) = (network(), tokens(5000));
    for entries in [40, 1100, 2400] {
        let mut whole = pot(&decoder, entries);
        let expected = read(&decoder, &mut whole, &tokens);
        let mut parts = pot(&decoder, entries);
        let found = read_in_parts(&decoder, &mut parts, &tokens, entries / 3);
        assert!(whole.distillations() > 1, "{entries}");
        assert_eq!(found, expected, "{entries}");
        for layer in 0..5 {
            let held = whole.slab().origins(layer, 0);
            assert!(held.len() >= WINDOW && held.len() <= SLOTS, "{entries}: {}", held.len());
            let latest: Vec<u32> = (5000 - held.len() as u32..5000).collect();
            assert_eq!(held, latest, "{entries}");
        }
        assert!(whole.slab().origins(5, 0)[..4] == [0, 1, 2, 3], "{entries}");
    }
}

#[test]
fn what_is_taken_back_is_forgotten_and_no_more_than_they_can_give() {
    let (decoder, tokens) = (network(), tokens(2600));
    let mut own = pot(&decoder, 3000);
    read(&decoder, &mut own, &tokens[..2300]);
    let expected = read(&decoder, &mut own, &tokens[2300..2400]);
    read(&decoder, &mut own, &tokens[2400..]);
    assert!(own.rewind(2300), "300 tokens");
    assert_eq!(own.tokens_read(), 2300);
    assert_eq!(read(&decoder, &mut own, &tokens[2300..2400]), expected);
    assert!(!own.rewind(100), "layers that slide no longer hold the window before token 100");
    assert_eq!(own.tokens_read(), 2400);
    assert!(own.rewind(0));
}

#[test]
fn a_saved_pot_goes_on_alike() {
    let (decoder, tokens) = (network(), tokens(4000));
    let owner = Owner { model: "model".to_owned(), adapter: None };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session");
    let mut own = pot(&decoder, 2400);
    let logits = read(&decoder, &mut own, &tokens[..3500]);
    own.save(&path, &owner, &tokens[..3500], &logits, "").unwrap();
    let mut other = pot(&decoder, 2400);
    assert_eq!(other.load(&path, &owner).unwrap(), (tokens[..3500].to_vec(), logits));
    let rest = &tokens[3500..];
    assert_eq!(read(&decoder, &mut other, rest), read(&decoder, &mut own, rest));
}

#[test]
fn a_size_in_bytes_counts_what_each_layer_takes() {
    let decoder = network();
    for (entries, storage) in [(100, KvStorage::F16), (3000, KvStorage::F32), (8000, KvStorage::I8)] {
        let options = PotOptions { storage, ..options(entries) };
        let pot = Pot::new(decoder.spec(), options, 0, None).unwrap();
        let bytes = pot.slab().bytes();
        assert_eq!(bytes, Slab::bytes_for(decoder.spec(), entries, storage), "{entries}");
        assert_eq!(PotOptions::entries_in(decoder.spec(), bytes, storage), entries);
        assert_eq!(PotOptions::entries_in(decoder.spec(), bytes - 1, storage), entries - 1);
    }
    assert_eq!(PotOptions::entries_in(decoder.spec(), 0, KvStorage::F16), 0);
}
