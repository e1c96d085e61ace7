//! Adapters both ways between this project and PEFT. The committed ones were made by `scripts/fixtures/adapters.py`, which
//! also loads in PEFT what `adapters_for_peft` writes.

mod common;

use std::path::{Path, PathBuf};

use common::{base, difference, expected, fixture, logits, made_up};
use crayon_adapters::{Lora, peft};
use crayon_errors::Explain as _;
use crayon_formats::export::{self, ExportOptions};
use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::spec::{Positions, RopeLayout};
use crayon_formats::{Checkpoint, Format, Tensor};
use crayon_model::Projection;

const NAMES: [&str; 4] = ["llama", "qwen2", "gpt2", "phi3"];

fn as_gguf(checkpoint: &Checkpoint, folder: &Path, format: Format) -> Checkpoint {
    let path = folder.join(format!("{}.gguf", format.name()));
    let options = ExportOptions { weights: Some(format), embeddings: None };
    export::write_gguf(checkpoint, &path, options, &mut |_| {}).unwrap();
    Checkpoint::open(&path).unwrap()
}

#[test]
fn adapters_of_peft_give_its_logits_beside_and_merged() {
    for name in NAMES {
        let checkpoint = base(name);
        let (tokens, expected) = expected(name);
        let lora = peft::read(&fixture(name), &checkpoint.spec).unwrap();
        let plain = difference(&logits(&checkpoint, None, &tokens), &expected);
        assert!(plain > 0.1, "{name}: the adapter has to matter, {plain}");
        let merged = lora.merge(&checkpoint).unwrap();
        assert_ne!(merged.fingerprint(), checkpoint.fingerprint());
        let merged = difference(&logits(&merged, None, &tokens), &expected);
        let beside = difference(&logits(&checkpoint, Some(lora), &tokens), &expected);
        assert!(beside < 2e-5 && merged < 2e-5, "{name}: beside {beside}, merged {merged}");
    }
}

#[test]
fn a_gguf_base_with_turned_rotary_rows_gives_the_same_logits() {
    let folder = tempfile::tempdir().unwrap();
    let original = base("llama");
    let gguf = as_gguf(&original, folder.path(), Format::F32);
    let layout = |checkpoint: &Checkpoint| match &checkpoint.spec.positions {
        Positions::Rope(rope) => rope.layout,
        Positions::Learned => panic!("not rotary"),
    };
    assert_ne!(layout(&original), layout(&gguf));
    assert_eq!(layout(&gguf), RopeLayout::Interleaved);
    let (tokens, expected) = expected("llama");
    let lora = peft::read(&fixture("llama"), &gguf.spec).unwrap();
    let merged = logits(&lora.merge(&gguf).unwrap(), None, &tokens);
    let beside = logits(&gguf, Some(lora), &tokens);
    assert!(difference(&beside, &expected) < 2e-5 && difference(&merged, &expected) < 2e-5);
}

#[test]
fn what_is_written_reads_back_the_same() {
    for name in NAMES {
        let checkpoint = base(name);
        let all: Vec<Projection> = Projection::ALL
            .into_iter()
            .filter(|projection| *projection != Projection::Gate || checkpoint.spec.gated)
            .collect();
        for projections in [&all[..], &[Projection::Q, Projection::V]] {
            let mut lora = made_up(&checkpoint, projections, 3, 7);
            lora.base = Some("abc".to_owned());
            lora.base_name = Some(name.to_owned());
            let folder = tempfile::tempdir().unwrap();
            peft::write(folder.path(), &lora, &checkpoint.spec).unwrap();
            let again = peft::read(folder.path(), &checkpoint.spec).unwrap();
            let bytes = peft::to_bytes(&lora, &checkpoint.spec).unwrap();
            let whole = peft::from_bytes(name, bytes.clone().into(), &checkpoint.spec).unwrap();
            for again in [again, whole] {
                assert_eq!((&again.base, &again.base_name), (&lora.base, &lora.base_name));
                assert_eq!(again.pairs.len(), lora.pairs.len(), "{name}");
                for (site, pair) in &lora.pairs {
                    let found = &again.pairs[site];
                    let same = (found.rank, found.scale, &found.a, &found.b)
                        == (pair.rank, pair.scale, &pair.a, &pair.b);
                    assert!(same, "{name} {site}");
                }
            }
            // In one piece there is no byte too many or too few.
            for length in [0, 7, bytes.len() / 2, bytes.len() - 1] {
                let cut = bytes[..length].to_vec();
                assert!(peft::from_bytes(name, cut.into(), &checkpoint.spec).is_err(), "{name} {length}");
            }
        }
    }
}

/// Writes adapters with fused, mixed and plain modules for `scripts/fixtures/adapters.py --check`, with our logits.
#[test]
fn adapters_for_peft_are_written_with_their_logits() {
    let kept = std::env::var_os("CRAYON_PEFT_OUT").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let out = kept.unwrap_or_else(|| temporary.path().to_owned());
    for name in NAMES {
        let checkpoint = base(name);
        let (tokens, _) = expected(name);
        let mut mixed = made_up(&checkpoint, &[Projection::Q, Projection::V, Projection::Down], 4, 3);
        // Only some layers, and another rank and scale in one of them.
        mixed.pairs.retain(|site, _| site.layer > 0 || site.projection != Projection::Down);
        for (site, pair) in &mut mixed.pairs {
            if site.projection == Projection::V {
                let input = pair.a.len() / pair.rank;
                pair.a.truncate(2 * input);
                pair.b = pair.b.chunks_exact(4).flat_map(|row| row[..2].to_vec()).collect();
                (pair.rank, pair.scale) = (2, 0.75);
            }
        }
        let read = peft::read(&fixture(name), &checkpoint.spec).unwrap();
        for (kind, lora) in [("mixed", mixed), ("again", read)] {
            let folder = out.join(format!("{name}-{kind}"));
            peft::write(&folder, &lora, &checkpoint.spec).unwrap();
            let ours = logits(&checkpoint, Some(lora), &tokens);
            let from_file = peft::read(&folder, &checkpoint.spec).unwrap();
            assert!(
                difference(&logits(&checkpoint, Some(from_file), &tokens), &ours) < 1e-5,
                "{name} {kind}"
            );
            let rows: Vec<&[f32]> = ours.chunks_exact(checkpoint.spec.vocab).collect();
            let value = serde_json::json!({"model": name, "token_ids": tokens, "logits": rows});
            std::fs::write(folder.join("expected.json"), value.to_string()).unwrap();
        }
    }
}

/// The error of reading a changed copy of a fixture.
fn error(name: &str, model: &str, change: impl Fn(&Path)) -> (String, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    change(folder.path());
    let error = peft::read(folder.path(), &base(model).spec).unwrap_err();
    assert!(error.is_mistake());
    (error.to_string(), error.hint().map(|hint| hint.to_string()))
}

#[test]
fn adapters_that_cannot_be_used_are_refused_by_file_and_module() {
    let check = |model: &str, change: &dyn Fn(&Path), expected: &str| {
        let (message, hint) = error("llama", model, change);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(hint.is_some(), "{message}");
    };
    let weights = |folder: &Path| folder.join(peft::WEIGHTS);
    let config = |folder: &Path, from: &str, to: &str| {
        let path = folder.join(peft::CONFIG);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    check("llama", &|folder| std::fs::remove_file(folder.join(peft::CONFIG)).unwrap(), peft::CONFIG);
    check("llama", &|folder| std::fs::remove_file(weights(folder)).unwrap(), peft::WEIGHTS);
    check(
        "llama",
        &|folder| {
            let bytes = std::fs::read(weights(folder)).unwrap();
            std::fs::write(weights(folder), &bytes[..bytes.len() - 40]).unwrap();
        },
        "adapter_model.safetensors",
    );
    check("llama", &|folder| config(folder, "\"use_dora\": false", "\"use_dora\": true"), "use_dora");
    check("llama", &|folder| config(folder, "\"r\": 4", "\"r\": 8"), "rank");
    // Other sizes, and modules the network does not have.
    check("gemma2", &|_| {}, "module `model.layers.0");
    check("gpt2", &|_| {}, "module `model.layers.0");
}

/// Adds factors of another module to the weights of an adapter.
fn add_module(folder: &Path, module: &str) {
    let path = folder.join(peft::WEIGHTS);
    let file = SafeTensors::open(&path).unwrap();
    let mut tensors: Vec<Tensor> = file.names().map(|name| file.tensor(name).unwrap().unwrap()).collect();
    for (part, shape) in [("lora_A", vec![4, 16]), ("lora_B", vec![16, 4])] {
        let name = format!("base_model.model.{module}.{part}.weight");
        tensors.push(Tensor::from_f32(&name, shape, &[0.5; 64]));
    }
    safetensors::write(&path, &tensors, &file.metadata).unwrap();
}

#[test]
fn modules_of_other_senses_are_left_out_by_name_and_others_refused() {
    let vision = "model.vision_tower.encoder.layers.0.self_attn.q_proj";
    let folder = tempfile::tempdir().unwrap();
    for name in [peft::CONFIG, peft::WEIGHTS] {
        std::fs::copy(fixture("llama").join(name), folder.path().join(name)).unwrap();
    }
    let spec = base("llama").spec;
    let plain = peft::read(folder.path(), &spec).unwrap();
    assert!(plain.left_out.is_empty());
    add_module(folder.path(), vision);
    let lora = peft::read(folder.path(), &spec).unwrap();
    assert_eq!(lora.left_out, [vision]);
    assert_eq!(lora.pairs.keys().collect::<Vec<_>>(), plain.pairs.keys().collect::<Vec<_>>());
    let other = "model.encoder.layers.0.self_attn.q_proj";
    let (message, _) = error("llama", "llama", |folder| add_module(folder, other));
    assert!(message.contains(other) && message.contains("language model"), "{message}");
    // Nothing for texts at all.
    let file = SafeTensors::open(&folder.path().join(peft::WEIGHTS)).unwrap();
    let kept: Vec<Tensor> = file
        .names()
        .filter(|name| name.contains("vision"))
        .map(|name| file.tensor(name).unwrap().unwrap())
        .collect();
    safetensors::write(&folder.path().join(peft::WEIGHTS), &kept, &file.metadata).unwrap();
    let error = peft::read(folder.path(), &spec).unwrap_err();
    assert!(error.to_string().contains("nothing of the language model"), "{error}");
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let mut lora = Lora { base: Some("1234567890abcdef".to_owned()), ..Lora::default() };
    lora.base_name = Some("mini".to_owned());
    lora.check_base("A", "1234567890abcdef", "mini").unwrap();
    let error = lora.check_base("A", "ffff", "other").unwrap_err().to_string();
    assert!(error.contains("mini") && error.contains("1234567890ab") && error.contains("other"), "{error}");
    Lora::default().check_base("A", "ffff", "other").unwrap();
}
