//! Folders and files whose parts say different things: what wins, what is refused, and what is said about it.

mod common;

use std::path::Path;

use common::{fixture, open, tiny_metadata, tiny_tensors};
use crayon_errors::Explain as _;
use crayon_formats::gguf::{self, Gguf, Metadata, to_bytes};
use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::{Checkpoint, Format, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of a fixture's description and weights.
fn folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

fn write(folder: &TempDir, file: &str, value: &Value) {
    std::fs::write(folder.path().join(file), value.to_string()).unwrap();
}

/// Changes the list of tensors of a folder.
fn change(folder: &TempDir, change: impl Fn(&mut Vec<Tensor>)) {
    let path = folder.path().join("model.safetensors");
    let file = SafeTensors::open(&path).unwrap();
    let mut tensors: Vec<Tensor> = file.names().map(|name| file.tensor(name).unwrap().unwrap()).collect();
    change(&mut tensors);
    safetensors::write(&path, &tensors, &Default::default()).unwrap();
}

fn set(folder: &TempDir, key: &str, value: Value) {
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

fn named(tensors: &[Tensor], name: &str) -> Tensor {
    tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

fn doubled(tensor: &Tensor, name: &str) -> Tensor {
    let values: Vec<f32> = tensor.to_f32().iter().map(|value| 2.0 * value).collect();
    Tensor::from_f32(name, tensor.shape.clone(), &values)
}

#[track_caller]
fn refused(path: &Path, parts: &[&str]) {
    let Err(error) = Checkpoint::open(path) else { panic!("was accepted; expected {parts:?}") };
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    assert!(error.hint().is_some(), "{text}");
}

#[track_caller]
fn notes(checkpoint: &Checkpoint, expected: &[&str]) {
    let notes: Vec<String> = checkpoint.notes().iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), expected.len(), "{notes:?}");
    for (note, part) in notes.iter().zip(expected) {
        assert!(note.contains(part), "{note:?} lacks {part:?}");
    }
}

#[test]
fn fixtures_need_no_notes() {
    for name in common::FIXTURES {
        notes(&open(name), &[]);
    }
}

#[test]
fn of_two_sets_of_weights_the_single_file_is_read() {
    let folder = folder("llama");
    let expected = Checkpoint::open(folder.path()).unwrap().fingerprint();
    change(&folder, |tensors| {
        let others: Vec<Tensor> = tensors.iter().map(|tensor| doubled(tensor, &tensor.name)).collect();
        safetensors::write(&folder.path().join("one.safetensors"), &others, &Default::default()).unwrap();
    });
    let names = SafeTensors::open(&folder.path().join("one.safetensors")).unwrap();
    let map: serde_json::Map<String, Value> =
        names.names().map(|name| (name.to_owned(), json!("one.safetensors"))).collect();
    write(&folder, "model.safetensors.index.json", &json!({"weight_map": map}));
    let both = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(both.fingerprint(), expected);
    notes(
        &both,
        &["model.safetensors.index.json` and its files are not read, model.safetensors is beside it"],
    );
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let indexed = Checkpoint::open(folder.path()).unwrap();
    assert_ne!(indexed.fingerprint(), expected);
    notes(&indexed, &[]);
}

#[test]
fn an_output_layer_of_its_own_wins_over_the_flag() {
    let embedding = "model.embed_tokens.weight";
    let folder = folder("qwen2");
    set(&folder, "tie_word_embeddings", json!(true));
    change(&folder, |tensors| {
        tensors.retain(|tensor| tensor.name != "lm_head.weight");
        tensors.push(doubled(&named(tensors, embedding), "lm_head.weight"));
    });
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(!checkpoint.spec.tied);
    notes(&checkpoint, &["tie_word_embeddings` is true, but the weights hold lm_head.weight"]);
    // The same values twice are tied, and nothing has to be said.
    change(&folder, |tensors| {
        tensors.retain(|tensor| tensor.name != "lm_head.weight");
        tensors.push(Tensor { name: "lm_head.weight".to_owned(), ..named(tensors, embedding) });
    });
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.spec.tied);
    notes(&checkpoint, &[]);
    // A flag that asks for what is not there.
    set(&folder, "tie_word_embeddings", json!(false));
    change(&folder, |tensors| tensors.retain(|tensor| tensor.name != "lm_head.weight"));
    refused(folder.path(), &["lm_head.weight", "is missing"]);
}

#[test]
fn biases_in_the_weights_win_over_the_flag() {
    let biased = folder("llama-bias");
    let expected = Checkpoint::open(biased.path()).unwrap().spec.biases;
    set(&biased, "attention_bias", json!(false));
    set(&biased, "mlp_bias", json!(false));
    let checkpoint = Checkpoint::open(biased.path()).unwrap();
    assert_eq!(checkpoint.spec.biases, expected);
    notes(&checkpoint, &["`attention_bias` is not set", "`mlp_bias` is not set"]);
    let plain = folder("llama");
    set(&plain, "attention_bias", json!(true));
    refused(plain.path(), &["bias", "is missing"]);
}

#[test]
fn no_tensor_of_a_block_goes_unused() {
    let norm = "model.layers.0.input_layernorm.weight";
    for (name, parts) in [
        ("model.layers.0.self_attn.q_norm.weight", ["q_norm", "has no place"]),
        ("model.layers.1.post_feedforward_layernorm.weight", ["post_feedforward", "has no place"]),
        ("model.layers.9.input_layernorm.weight", ["layers.9", "layer 9 of a network"]),
    ] {
        let folder = folder("llama");
        change(&folder, |tensors| tensors.push(doubled(&named(tensors, norm), name)));
        refused(folder.path(), &parts);
    }
    let fewer = folder("llama");
    set(&fewer, "num_hidden_layers", json!(1));
    refused(fewer.path(), &["layer 1 of a network that is described with 1 layers"]);
    // Buffers of older files, pictures and the like change no text.
    for (name, noted) in [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", false),
        ("model.rotary_emb.inv_freq", false),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", false),
        ("score.weight", true),
    ] {
        let folder = folder("llama");
        change(&folder, |tensors| tensors.push(doubled(&named(tensors, norm), name)));
        let expected: &[&str] = if noted { &["`score.weight` is not part of the network"] } else { &[] };
        notes(&Checkpoint::open(folder.path()).unwrap(), expected);
    }
    let mut tensors = tiny_tensors();
    let mut extra = tensors[2].clone();
    extra.0.name = "blk.0.attn_q_norm.weight".to_owned();
    tensors.push(extra);
    let bytes = to_bytes("x.gguf", &tiny_metadata(), &tensors).unwrap();
    let error = Checkpoint::from_gguf("x.gguf", bytes.into()).unwrap_err().to_string();
    assert!(error.contains("blk.0.attn_q_norm.weight") && error.contains("has no place"), "{error}");
}

#[test]
fn weights_in_other_quantised_layouts_are_refused_by_name() {
    let folder = folder("llama");
    set(&folder, "quantization_config", json!({"quant_method": "gptq", "bits": 4}));
    refused(folder.path(), &["quantization_config", "`gptq`"]);
}

#[test]
fn generation_settings_are_taken_or_named() {
    let folder = folder("llama");
    let settings = json!({
        "eos_token_id": [2, 3], "suppress_tokens": [4], "begin_suppress_tokens": [5, 6], "bad_words_ids": [[2], [7, 8]],
        "min_new_tokens": 3, "no_repeat_ngram_size": 4, "stop_strings": "END", "repetition_penalty": 1.25,
        "num_beams": 1, "typical_p": 1.0, "guidance_scale": null, "max_length": 20, "use_cache": true,
        "forced_eos_token_id": 2, "epsilon_cutoff": 0.1, "sequence_bias": [[[1], 0.5]],
    });
    write(&folder, "generation_config.json", &settings);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let generation = &checkpoint.generation;
    let bans = &generation.bans;
    assert_eq!((&generation.eos[..], generation.repetition_penalty), (&[2, 3][..], Some(1.25)));
    assert_eq!((&bans.always[..], &bans.first[..]), (&[4][..], &[5, 6][..]));
    assert_eq!((&bans.sequences[..], bans.min_tokens, bans.repeated), (&[vec![7, 8]][..], 3, 4));
    assert_eq!(generation.stop, ["END"]);
    notes(
        &checkpoint,
        &["epsilon_cutoff` is not applied", "forced_eos_token_id` is not", "sequence_bias` is not"],
    );
    // What is written out again reads the same.
    let again = tempfile::tempdir().unwrap();
    let again = again.path().join("again");
    crayon_formats::export::write_huggingface(&checkpoint, &again, Format::F32, None, &mut |_| {}).unwrap();
    assert_eq!(&Checkpoint::open(&again).unwrap().generation, generation);
    // Without a file of its own they stand in config.json.
    std::fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    set(&folder, "no_repeat_ngram_size", json!(2));
    assert_eq!(Checkpoint::open(folder.path()).unwrap().generation.bans.repeated, 2);
    write(&folder, "generation_config.json", &json!({"bad_words_ids": [7]}));
    refused_key(folder.path(), &["bad_words_ids", "lists of token ids"]);
}

#[track_caller]
fn refused_key(path: &Path, parts: &[&str]) {
    let error = Checkpoint::open(path).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn of_several_templates_the_default_counts_or_the_only_one() {
    let named = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"name": name, "template": format!("<{name}>")})).collect()
    };
    let folder = folder("llama");
    let template = |value: Value| {
        write(&folder, "tokenizer_config.json", &json!({"chat_template": value}));
        Checkpoint::open(folder.path()).map(|checkpoint| checkpoint.chat_template)
    };
    assert_eq!(template(json!("x")).unwrap().as_deref(), Some("x"));
    assert_eq!(template(named(&["rag", "default"])).unwrap().as_deref(), Some("<default>"));
    assert_eq!(template(named(&["rag"])).unwrap().as_deref(), Some("<rag>"));
    assert_eq!(template(json!(null)).unwrap(), None);
    assert_eq!(template(json!([])).unwrap(), None);
    let error = template(named(&["rag", "tool_use"])).unwrap_err();
    assert!(error.to_string().contains("rag, tool_use and none called default"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("chat_template.jinja")));
    assert!(template(json!(3)).is_err() && template(json!([{"name": "x"}])).is_err());
    write(&folder, "chat_template.json", &json!({"chat_template": "legacy"}));
    assert_eq!(template(json!("x")).unwrap().as_deref(), Some("legacy"));
}

#[test]
fn older_tokenizer_files_are_put_together() {
    let folder = folder("llama");
    write(
        &folder,
        "special_tokens_map.json",
        &json!({"pad_token": "<pad>", "additional_special_tokens": ["<b>"]}),
    );
    write(&folder, "added_tokens.json", &json!({"<pad>": 7, "<b>": 8, "<c>": 9}));
    let config = Checkpoint::open(folder.path()).unwrap().tokenizer_config.unwrap();
    assert_eq!(config["pad_token"], "<pad>");
    let special = |id: &str| &config["added_tokens_decoder"][id]["special"];
    assert_eq!([special("7"), special("8"), special("9")], [true, true, false]);
    // A file that lists them itself is whole.
    write(&folder, "tokenizer_config.json", &json!({"added_tokens_decoder": {"3": {"content": "<x>"}}}));
    let config = Checkpoint::open(folder.path()).unwrap().tokenizer_config.unwrap();
    assert_eq!(config, json!({"added_tokens_decoder": {"3": {"content": "<x>"}}}));
    let flags =
        json!({"add_eos_token": true, "split_special_tokens": true, "add_bos_token": true, "legacy": true});
    write(&folder, "tokenizer_config.json", &flags);
    notes(
        &Checkpoint::open(folder.path()).unwrap(),
        &["`add_eos_token` is not", "`split_special_tokens` is not"],
    );
    write(&folder, "tokenizer_config.json", &json!({}));
    write(&folder, "added_tokens.json", &json!({"<pad>": "seven"}));
    refused_key(folder.path(), &["added_tokens.json", "<pad>", "token id"]);
}

/// Writes the tiny model in `count` parts.
fn split(folder: &Path, count: usize) {
    let tensors = tiny_tensors();
    for number in 0..count {
        let mut metadata = if number == 0 { tiny_metadata() } else { Metadata::new("part") };
        metadata.insert("split.no", gguf::Value::U16(number as u16));
        metadata.insert("split.count", gguf::Value::U16(count as u16));
        metadata.insert("split.tensors.count", gguf::Value::I32(tensors.len() as i32));
        let own: Vec<_> = tensors.iter().skip(number).step_by(count).cloned().collect();
        let name = format!("m-{:05}-of-{count:05}.gguf", number + 1);
        std::fs::write(folder.join(name), to_bytes("part", &metadata, &own).unwrap()).unwrap();
    }
}

#[test]
fn a_model_in_parts_is_read_from_any_of_them() {
    let whole =
        Checkpoint::from_gguf("x", to_bytes("x", &tiny_metadata(), &tiny_tensors()).unwrap().into()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    split(folder.path(), 3);
    let part = |number: usize| folder.path().join(format!("m-{number:05}-of-00003.gguf"));
    for path in [part(1), part(2), part(3), folder.path().to_owned()] {
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.fingerprint(), whole.fingerprint(), "{}", path.display());
        let same = |name: &str| *checkpoint.tensor(name).unwrap().data == *whole.tensor(name).unwrap().data;
        assert!(whole.spec.tensors().iter().all(|(name, _)| same(name)));
    }
    // Which one is missing, misnamed or another model's.
    let bytes = std::fs::read(part(2)).unwrap();
    assert!(Gguf::from_bytes("x", bytes.into()).unwrap_err().to_string().contains("one of 3 parts"));
    std::fs::copy(part(2), folder.path().join("odd.gguf")).unwrap();
    refused(&folder.path().join("odd.gguf"), &["one of 3 parts", "does not say how the others are called"]);
    std::fs::copy(part(3), part(2)).unwrap();
    refused(&part(1), &["00002-of-00003", "split.no", "part 2 of 3"]);
    std::fs::remove_file(part(2)).unwrap();
    refused(&part(3), &["m-00002-of-00003.gguf", "is missing: it is part 2 of 3"]);
}

#[test]
fn parts_that_do_not_make_up_the_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    split(folder.path(), 2);
    let path = folder.path().join("m-00002-of-00002.gguf");
    let rewrite = |tensors: &[(crayon_formats::gguf::TensorInfo, Vec<u8>)], number: u16| {
        let mut metadata = Metadata::new("part");
        metadata.insert("split.no", gguf::Value::U16(number));
        metadata.insert("split.count", gguf::Value::U16(2));
        std::fs::write(&path, to_bytes("part", &metadata, tensors).unwrap()).unwrap();
    };
    rewrite(&tiny_tensors()[1..2], 1);
    refused(&path, &["split.tensors.count"]);
    rewrite(&tiny_tensors()[..1], 1);
    refused(&path, &["token_embd.weight", "in two parts"]);
    rewrite(&tiny_tensors()[1..2], 7);
    refused(&path, &["part 8 of 2"]);
}
