//! Models whose numbers are broken.

use std::ops::ControlFlow;
use std::path::Path;

use crayon_engine::{Engine, EngineError, GenerateOptions, ModelSource, Sampling, Settings};
use crayon_errors::Explain as _;

/// A copy of a tiny network in which every value of one tensor is NaN.
fn with_nan(tensor: &str) -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/llama");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let entries: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let offset = |i: usize| 8 + header + entries[tensor]["data_offsets"][i].as_u64().unwrap() as usize;
    for value in bytes[offset(0)..offset(1)].chunks_exact_mut(4) {
        value.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

#[test]
fn a_tensor_of_nan_is_named() {
    let folder = with_nan("model.layers.1.mlp.up_proj.weight");
    let engine = Engine::open(&ModelSource::path(folder.path()).unwrap(), &Settings::default()).unwrap();
    let mut session = engine.session(8).unwrap();
    let error = session.feed(&[1, 2, 3], &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(
        matches!(&error, EngineError::NotFinite { tensor: Some(name), .. } if name == "blk.1.ffn_up.weight"),
        "{error}"
    );
    assert!(error.to_string().contains("blk.1.ffn_up.weight"));
    assert!(error.hint().is_some() && error.is_mistake());
}

#[test]
fn names_and_parameters_are_checked() {
    let unknown = ModelSource::embedded("maxi").unwrap_err();
    assert!(unknown.hint().unwrap().contains("mini"));
    let missing = ModelSource::path(Path::new("no/such/model.gguf")).unwrap_err();
    assert!(missing.to_string().contains("no/such/model.gguf") && missing.hint().is_some());
    let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
    let mut session = engine.session(8).unwrap();
    let options = GenerateOptions {
        sampling: Sampling { top_p: 2.0, ..Sampling::default() },
        ..GenerateOptions::default()
    };
    let nothing = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(nothing, EngineError::EmptyPrompt));
    session.feed(&[1], &mut |_| ControlFlow::Continue(())).unwrap();
    let range = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(range.to_string().contains("top-p"), "{range}");
}
