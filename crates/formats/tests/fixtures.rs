//! Checkpoints of every family open, in both spellings of `config.json`, to the same description and tensors.

use crayon_formats::spec::{Family, Positions, RopeScaling};
use crayon_formats::{Checkpoint, SourceKind, TokenizerSource};

mod common;

use common::{FIXTURES as NAMES, fixture, open};

#[test]
fn every_family_opens_and_gives_all_its_tensors() {
    for name in NAMES {
        let checkpoint = open(name);
        assert_eq!(checkpoint.source.kind, SourceKind::HuggingFace);
        let mut parameters = 0;
        for (tensor, shape) in checkpoint.spec.tensors() {
            let found = checkpoint.tensor(&tensor).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.shape, shape, "{name} {tensor}");
            assert_eq!(found.name, tensor);
            assert_eq!(found.first_non_finite(), None, "{name} {tensor}");
            parameters += found.elements();
        }
        assert_eq!(parameters, checkpoint.spec.parameters(), "{name}");
    }
}

#[test]
fn both_spellings_of_the_configuration_mean_the_same() {
    let mut compared = 0;
    for name in NAMES {
        let folder = fixture(name);
        let old = folder.join("config.v4.json");
        if !old.is_file() {
            continue;
        }
        let older =
            Checkpoint::open_with_config(&folder, &old).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(older.spec, open(name).spec, "{name}");
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} fixtures have both spellings");
}

#[test]
fn what_sets_the_families_apart_is_read() {
    let scaling = |name: &str| match open(name).spec.positions {
        Positions::Rope(rope) => rope.global.scaling,
        Positions::Learned => panic!("{name} has learned positions"),
    };
    assert_eq!(open("gpt2").spec.family, Family::Gpt2);
    assert_eq!(open("gpt2").spec.positions, Positions::Learned);
    assert!(matches!(scaling("llama-llama3"), RopeScaling::Llama3 { original_context: 32, .. }));
    assert!(matches!(scaling("llama-linear"), RopeScaling::Linear { .. }));
    assert!(matches!(scaling("llama-yarn"), RopeScaling::Yarn { .. }));
    assert!(matches!(scaling("phi3-longrope"), RopeScaling::Factors { original_context: 16, .. }));
    assert!(open("llama-sharded").spec.tied);
    assert!(!open("llama").spec.tied);

    let biased = open("llama-bias").spec.biases;
    assert!(biased.qkv && biased.attention_output && biased.mlp);
    let qwen2 = open("qwen2").spec;
    assert!(qwen2.biases.qkv && !qwen2.biases.attention_output);
    assert!(qwen2.windows.iter().all(Option::is_none));
    let windows = open("qwen2-window").spec.windows;
    assert!(windows.first().is_some_and(Option::is_none) && windows.last().is_some_and(Option::is_some));
    assert!(open("mistral").spec.windows.iter().all(|window| *window == Some(8)));

    let gemma2 = open("gemma2").spec;
    assert!((gemma2.attention_scale - 1.0 / 20f32.sqrt()).abs() < 1e-7);
    assert!(gemma2.attention_softcap.is_some() && gemma2.logit_softcap.is_some() && gemma2.post_norms);
    let gemma3 = open("gemma3").spec;
    assert!(gemma3.qk_norm && gemma3.logit_softcap.is_none());
    assert_eq!(gemma3.windows.iter().filter(|window| window.is_none()).count(), 1);
    match gemma3.positions {
        Positions::Rope(rope) => {
            assert_eq!(rope.global.theta, 1000.0);
            assert_eq!(rope.local.map(|local| local.theta), Some(50.0));
        }
        Positions::Learned => panic!("Gemma 3 rotates"),
    }
    match open("phi3-longrope").spec.positions {
        Positions::Rope(rope) => assert_eq!(rope.dims, 12),
        Positions::Learned => panic!("Phi-3 rotates"),
    }
}

#[test]
fn fused_and_transposed_weights_come_apart_as_stored() {
    let checkpoint = open("gpt2");
    let hidden = checkpoint.spec.hidden;
    let file = crayon_formats::safetensors::SafeTensors::open(&fixture("gpt2/model.safetensors")).unwrap();
    let fused = file.tensor("transformer.h.1.attn.c_attn.weight").unwrap().unwrap();
    assert_eq!(fused.shape, [hidden, 3 * hidden]);
    let fused = fused.to_f32();
    for (index, part) in ["attn_q", "attn_k", "attn_v"].into_iter().enumerate() {
        let values = checkpoint.tensor(&format!("blk.1.{part}.weight")).unwrap().to_f32();
        for row in 0..hidden {
            for col in 0..hidden {
                assert_eq!(values[row * hidden + col], fused[col * 3 * hidden + index * hidden + row]);
            }
        }
    }
    let phi = open("phi3");
    let file = crayon_formats::safetensors::SafeTensors::open(&fixture("phi3/model.safetensors")).unwrap();
    let fused = file.tensor("model.layers.0.mlp.gate_up_proj.weight").unwrap().unwrap();
    let mlp = phi.spec.intermediate;
    let up = phi.tensor("blk.0.ffn_up.weight").unwrap();
    assert!(up.data.is_mapped());
    assert_eq!(up.to_f32(), fused.rows(mlp..2 * mlp).to_f32());
}

#[test]
fn gemma_norms_are_stored_as_differences_from_one() {
    let file = crayon_formats::safetensors::SafeTensors::open(&fixture("gemma2/model.safetensors")).unwrap();
    let stored = file.tensor("model.layers.0.pre_feedforward_layernorm.weight").unwrap().unwrap().to_f32();
    let given = open("gemma2").tensor("blk.0.ffn_norm.weight").unwrap().to_f32();
    for (stored, given) in stored.iter().zip(&given) {
        assert_eq!(stored + 1.0, *given);
    }
}

#[test]
fn fingerprints_tell_models_apart_and_stay_the_same() {
    let prints: Vec<String> = NAMES.iter().map(|name| open(name).fingerprint()).collect();
    let distinct: std::collections::HashSet<&String> = prints.iter().collect();
    assert_eq!(distinct.len(), NAMES.len());
    assert_eq!(prints[2], open("llama").fingerprint());
    assert_eq!(prints[2].len(), 64);
}

#[test]
fn a_folder_without_a_tokenizer_says_so() {
    assert!(matches!(open("llama").tokenizer, TokenizerSource::None));
}
