//! Pots that are saved, loaded, damaged and cached.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crayon_errors::Explain as _;
use crayon_formats::Checkpoint;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, Scratch};
use crayon_pot::{KvStorage, Network, Owner, POLICIES, Pot, PotError, PotOptions, PrefixCache, Saved};

fn decoder() -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/llama");
    Decoder::open(&Checkpoint::open(&folder).unwrap(), Mode::Exact).unwrap()
}

fn owner() -> Owner {
    Owner { model: "m".repeat(64), adapter: None }
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|at| (at * 31 + at / 5) % 72).collect()
}

fn pot(decoder: &Decoder, policy: &str, storage: KvStorage) -> Pot {
    let options = PotOptions {
        keep: Some(16),
        sinks: 2,
        recent: 2,
        policy: policy.to_owned(),
        storage,
        ..PotOptions::new(32, vec![3, 5, 7])
    };
    Pot::new(decoder.spec(), options, 0, Some(&[1.0, 2.0])).unwrap()
}

fn read(decoder: &Decoder, pot: &mut Pot, tokens: &[u32], logits: &mut Vec<f32>) {
    let (pool, mut scratch) = (Threads::new(1), Scratch::new());
    let mut network = Network { decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    pot.read(&mut network, tokens, logits, None, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn saved(folder: &Path, decoder: &Decoder) -> PathBuf {
    let path = folder.join("one.pot");
    let (mut made, mut logits) = (pot(decoder, "infinipot", KvStorage::F16), Vec::new());
    read(decoder, &mut made, &tokens(70), &mut logits);
    made.save(&path, &owner(), &tokens(70), &logits, "a note").unwrap();
    path
}

#[test]
fn a_loaded_pot_goes_on_as_if_nothing_had_happened() {
    let (decoder, folder) = (decoder(), tempfile::tempdir().unwrap());
    let path = folder.path().join("session.pot");
    let all = tokens(130);
    for policy in &POLICIES {
        for storage in KvStorage::ALL {
            let (mut straight, mut expected) = (pot(&decoder, policy.name, storage), Vec::new());
            read(&decoder, &mut straight, &all[..75], &mut expected);
            straight.save(&path, &owner(), &all[..75], &expected, "").unwrap();
            read(&decoder, &mut straight, &all[75..], &mut expected);

            let mut loaded = pot(&decoder, policy.name, storage);
            let (found, mut logits) = loaded.load(&path, &owner()).unwrap();
            assert_eq!(found, &all[..75]);
            read(&decoder, &mut loaded, &all[75..], &mut logits);
            assert_eq!(logits, expected, "{} {}", policy.name, storage.name());
            assert_eq!(loaded.distillations(), straight.distillations());
        }
    }
}

#[test]
fn a_full_pot_may_be_loaded_into_a_larger_one() {
    let (decoder, folder) = (decoder(), tempfile::tempdir().unwrap());
    let path = folder.path().join("full.pot");
    let (mut small, mut logits) = (Pot::full(decoder.spec(), 20, KvStorage::F32), Vec::new());
    read(&decoder, &mut small, &tokens(20), &mut logits);
    small.save(&path, &owner(), &tokens(20), &logits, "").unwrap();
    let mut large = Pot::full(decoder.spec(), 40, KvStorage::F32);
    let mut found = large.load(&path, &owner()).unwrap().1;
    read(&decoder, &mut large, &tokens(40)[20..], &mut found);
    let (mut whole, mut expected) = (Pot::full(decoder.spec(), 40, KvStorage::F32), Vec::new());
    read(&decoder, &mut whole, &tokens(40), &mut expected);
    assert_eq!(found, expected);
    let mut tiny = Pot::full(decoder.spec(), 19, KvStorage::F32);
    assert!(matches!(tiny.load(&path, &owner()), Err(PotError::Other { what: "pot", .. })));
}

#[test]
fn other_models_adapters_and_pots_are_refused() {
    let (decoder, folder) = (decoder(), tempfile::tempdir().unwrap());
    let path = saved(folder.path(), &decoder);
    let header = Saved::open(&path).unwrap();
    assert_eq!((header.tokens, header.note.as_str(), header.owner.clone()), (70, "a note", owner()));
    let check = |mut pot: Pot, owner: Owner, expected: &str| {
        let error = pot.load(&path, &owner).unwrap_err();
        assert!(matches!(error, PotError::Other { what, .. } if what == expected), "{error}");
        assert!(error.hint().is_some() && pot.slab().is_empty());
    };
    let same = || pot(&decoder, "infinipot", KvStorage::F16);
    check(same(), Owner { model: "other".to_owned(), ..owner() }, "model");
    check(same(), Owner { adapter: Some("mine".to_owned()), ..owner() }, "adapter");
    check(pot(&decoder, "snapkv", KvStorage::F16), owner(), "pot");
    check(pot(&decoder, "infinipot", KvStorage::F32), owner(), "pot");
    check(Pot::full(decoder.spec(), 64, KvStorage::F16), owner(), "pot");
}

#[test]
fn damage_anywhere_is_found() {
    let (decoder, folder) = (decoder(), tempfile::tempdir().unwrap());
    let path = saved(folder.path(), &decoder);
    let good = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], expected: &str| {
        std::fs::write(&path, bytes).unwrap();
        let mut made = pot(&decoder, "infinipot", KvStorage::F16);
        let error = made.load(&path, &owner()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some() && made.slab().is_empty());
    };
    for at in (0..good.len()).step_by(good.len() / 60).skip(1) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        check(&bytes, if at < 8 { "not a saved" } else { "" });
        check(&good[..at], "");
    }
    check(&good[..good.len() - 1], "checksum");
    check(b"", "not a saved session");
    check(b"my diary, which is longer than any header", "not a saved session");
    let mut future = good.clone();
    future[8] = 9;
    check(&future, "version 9");
    // A header that lies, with a checksum that fits.
    use sha2::{Digest, Sha256};
    let text = String::from_utf8_lossy(&good).into_owned();
    assert!(text.contains("\"tokens\":70"));
    let at = good.windows(11).position(|w| w == b"\"tokens\":70").unwrap();
    let mut lying = good[..good.len() - 32].to_vec();
    lying[at + 9..at + 11].copy_from_slice(b"99");
    let digest = Sha256::digest(&lying);
    lying.extend(digest);
    check(&lying, "contradict");
}

#[test]
fn the_cache_finds_what_was_read_and_forgets_the_oldest() {
    let (decoder, folder) = (decoder(), tempfile::tempdir().unwrap());
    let text = tokens(70);
    let (mut made, mut logits) = (pot(&decoder, "infinipot", KvStorage::F16), Vec::new());
    read(&decoder, &mut made, &text, &mut logits);
    let cache = PrefixCache::new(folder.path().join("cache"), 1 << 20);
    let mut empty = pot(&decoder, "infinipot", KvStorage::F16);
    assert!(cache.find(&mut empty, &owner(), &text).is_none());
    cache.store(&mut made, &owner(), &text, &logits).unwrap();
    assert_eq!(cache.find(&mut empty, &owner(), &text), Some(logits.clone()));
    assert_eq!(empty.tokens_read(), 70);
    // Another text, adapter or shape is another entry.
    assert!(cache.find(&mut empty, &owner(), &text[..69]).is_none());
    let blend = Owner { adapter: Some("blend".to_owned()), ..owner() };
    assert!(cache.find(&mut empty, &blend, &text).is_none());
    assert!(cache.find(&mut pot(&decoder, "tova", KvStorage::F16), &owner(), &text).is_none());
    // A damaged entry counts as none and goes.
    let file = std::fs::read_dir(folder.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, b"nonsense").unwrap();
    assert!(cache.find(&mut empty, &owner(), &text).is_none());
    assert_eq!(cache.size().0, 0);
    // The limit holds all but the newest.
    let small = PrefixCache::new(folder.path().join("small"), 1);
    small.store(&mut made, &owner(), &text, &logits).unwrap();
    let (mut second, mut after) = (pot(&decoder, "infinipot", KvStorage::F16), Vec::new());
    read(&decoder, &mut second, &text[..60], &mut after);
    small.store(&mut second, &owner(), &text[..60], &after).unwrap();
    assert_eq!(small.size().0, 1);
    assert!(small.find(&mut empty, &owner(), &text[..60]).is_some());
    assert_eq!(small.clear().unwrap(), 1);
    assert_eq!(small.size(), (0, 0));
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let (decoder, folder) = (decoder(), tempfile::tempdir().unwrap());
    let path = saved(folder.path(), &decoder);
    let before = std::fs::read(&path).unwrap();
    let mut made = pot(&decoder, "infinipot", KvStorage::F16);
    // A folder in the target's place cannot be replaced by a file, and a missing folder takes none.
    let blocked = folder.path().join("folder");
    std::fs::create_dir_all(blocked.join("inside")).unwrap();
    assert!(made.save(&blocked, &owner(), &[], &[], "").is_err());
    assert!(made.save(&folder.path().join("none/x.pot"), &owner(), &[], &[], "").is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
