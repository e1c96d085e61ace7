//! Models with one scale for each output channel: written, read back, and refused when they are damaged.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{FIXTURES, fixture, open, tiny_gguf};
use crayon_formats::export::{ExportOptions, Notice, write_gguf, write_huggingface};
use crayon_formats::gguf::Gguf;
use crayon_formats::safetensors::{SafeTensors, to_bytes};
use crayon_formats::spec::{Positions, RopeLayout};
use crayon_formats::{Checkpoint, Format, Tensor};
use proptest::prelude::*;

const FORMATS: [Format; 2] = [Format::W8A8, Format::W4A8];

/// A bound on the relative error of a matrix.
fn bound(format: Format) -> f32 {
    if format == Format::W4A8 { 0.2 } else { 0.02 }
}

fn relative_error(a: &Tensor, b: &Tensor) -> f32 {
    let (a, b) = (a.to_f32(), b.to_f32());
    let error: f32 = a.iter().zip(&b).map(|(x, y)| (x - y).powi(2)).sum();
    (error / a.iter().map(|x| x * x).sum::<f32>().max(1e-30)).sqrt()
}

/// Every matrix but the position embedding is in `format` (or, if an embedding, in q8_0) and close to the original; every
/// vector is what it was. Rows of q and k are compared where both have them in the same order.
fn check(original: &Checkpoint, read: &Checkpoint, format: Format) {
    for (name, shape) in original.spec.tensors() {
        let (from, to) = (original.tensor(&name).unwrap(), read.tensor(&name).unwrap());
        assert_eq!(to.shape, shape);
        let what = format!("{} {name}", original.source.name);
        let reordered =
            layout(original) != layout(read) && (name.contains("attn_q") || name.contains("attn_k"));
        if shape.len() != 2 || name.starts_with("position_embd") {
            assert_eq!(to.format, Format::F32, "{what}");
            assert!(reordered || relative_error(&from, &to) < 1e-6, "{what}");
            continue;
        }
        let expected = if name.starts_with("blk.") { format } else { Format::Q8_0 };
        assert_eq!(to.format, expected, "{what}");
        let error = relative_error(&from, &to);
        assert!(reordered || error < bound(expected), "{what}: {error}");
    }
}

fn layout(checkpoint: &Checkpoint) -> Option<RopeLayout> {
    match &checkpoint.spec.positions {
        Positions::Rope(rope) => Some(rope.layout),
        Positions::Learned => None,
    }
}

fn gguf_of(checkpoint: &Checkpoint, path: &Path, weights: Option<Format>) -> Checkpoint {
    let options = ExportOptions { weights, embeddings: None };
    write_gguf(checkpoint, path, options, &mut |notice| {
        assert!(!matches!(notice, Notice::Fallback { .. }), "{notice:?}");
    })
    .unwrap();
    Checkpoint::open(path).unwrap()
}

#[test]
fn gguf_files_and_folders_hold_every_family() {
    for name in FIXTURES {
        let original = open(name);
        for format in FORMATS {
            let place = tempfile::tempdir().unwrap();
            let folder = place.path().join("folder");
            write_huggingface(&original, &folder, format, None, &mut |_| ()).unwrap();
            let read = Checkpoint::open(&folder).unwrap();
            check(&original, &read, format);
            // The same rows in both, wherever the file puts them: codes are copied, not made again.
            let gguf = gguf_of(&read, &place.path().join("model.gguf"), None);
            for (name, _) in original.spec.tensors() {
                let (a, b) = (read.tensor(&name).unwrap(), gguf.tensor(&name).unwrap());
                assert_eq!(a.format, b.format, "{name}");
                assert_eq!(a.data.len(), b.data.len(), "{name}");
                if !name.contains("attn_q") && !name.contains("attn_k") && a.format.is_per_channel() {
                    assert_eq!(&a.data[..], &b.data[..], "{name}");
                }
            }
            check(&original, &gguf_of(&original, &place.path().join("direct.gguf"), Some(format)), format);
        }
    }
}

#[test]
fn rows_of_rotated_heads_keep_their_scales() {
    let original = open("llama");
    let place = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let gguf = gguf_of(&original, &place.path().join("m.gguf"), Some(format));
        let folder = place.path().join(format.name());
        write_huggingface(&gguf, &folder, format, None, &mut |_| ()).unwrap();
        let back = Checkpoint::open(&folder).unwrap();
        let name = "blk.0.attn_q.weight";
        assert!(relative_error(&original.tensor(name).unwrap(), &back.tensor(name).unwrap()) < bound(format));
    }
}

#[test]
fn a_mapped_matrix_is_not_copied() {
    let place = tempfile::tempdir().unwrap();
    let original = open("qwen2");
    let gguf = gguf_of(&original, &place.path().join("m.gguf"), Some(Format::W4A8));
    write_huggingface(&original, &place.path().join("f"), Format::W4A8, None, &mut |_| ()).unwrap();
    for checkpoint in [gguf, Checkpoint::open(&place.path().join("f")).unwrap()] {
        assert!(checkpoint.tensor("blk.0.ffn_up.weight").unwrap().data.is_mapped());
        assert!(checkpoint.tensor("token_embd.weight").unwrap().data.is_mapped());
    }
}

#[test]
fn other_programs_can_tell_that_they_cannot_read_it() {
    let place = tempfile::tempdir().unwrap();
    let original = open("llama");
    let folder = place.path().join("f");
    write_huggingface(&original, &folder, Format::W4A8, None, &mut |_| ()).unwrap();
    // A safetensors reader accepts the file and finds bytes of another shape than the network's.
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let up = reference.tensor("model.layers.0.mlp.up_proj.weight").unwrap();
    assert_eq!(up.dtype(), safetensors::Dtype::U8);
    let (rows, cols) = (original.spec.intermediate, original.spec.hidden);
    assert_eq!(up.shape(), [rows, Format::W4A8.row_bytes(cols).unwrap()]);
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization_config"]["quant_method"], "crayon");
    // ggml's numbers end far below.
    gguf_of(&original, &place.path().join("m.gguf"), Some(Format::W8A8));
    let bytes = std::fs::read(place.path().join("m.gguf")).unwrap();
    let name = b"blk.0.ffn_up.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    assert_eq!(&bytes[at..at + 4], b"w8a8");
}

/// One matrix `[3, 70]` in w4a8.
fn small() -> (Tensor, Vec<u8>) {
    let values: Vec<f32> = (0..210).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
    let mut data = Vec::new();
    crayon_kernels::quantize_rows(Format::W4A8, 70, &values, &mut data);
    let tensor = Tensor::new("x", "t", Format::W4A8, vec![3, 70], data.into()).unwrap();
    let bytes = to_bytes("x", std::slice::from_ref(&tensor), &BTreeMap::new()).unwrap();
    (tensor, bytes)
}

/// What reading the tensor of a file says after its table was changed.
fn refused(from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let (_, mut bytes) = small();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    let result = SafeTensors::from_bytes("x", bytes.into()).and_then(|file| file.tensor("t"));
    match result {
        Err(error) => error.to_string(),
        Ok(tensor) => panic!("was accepted: {tensor:?}"),
    }
}

#[test]
fn tables_of_safetensors_must_fit() {
    let (tensor, bytes) = small();
    let read = SafeTensors::from_bytes("x", bytes.clone().into()).unwrap().tensor("t").unwrap().unwrap();
    assert_eq!((read.format, &read.shape, &read.data[..]), (Format::W4A8, &vec![3, 70], &tensor.data[..]));
    for (from, to, said) in [
        ("w4a8 70", "w4a8 71", "no rows of 71 values"),
        ("w4a8 70", "w8a8 70", "no rows of 70 values in w8a8"),
        ("w4a8 70", "q8_0 70", "no rows of 70 values in q8_0"),
        ("w4a8 70", "f16  70", "not a quantised format"),
        ("w4a8 70", "w4a8-70", "not a quantised format"),
        ("w4a8 70", "w4a8 -1", "not a quantised format"),
        ("[3,50]", "[50,3]", "no rows of 70 values"),
        ("\"U8\"", "\"I8\"", "type I8"),
        ("crayon.t", "crayon_t", "type U8, which is not supported"),
    ] {
        let text = refused(from, to);
        assert!(text.contains(said), "{from} to {to}: {text}");
    }
    let mut cut = bytes;
    cut.truncate(cut.len() - 1);
    assert!(SafeTensors::from_bytes("x", cut.into()).is_err());
}

#[test]
fn blocks_stand_in_a_folder_as_matrices_only() {
    let tensor = |shape: Vec<usize>| {
        let mut data = Vec::new();
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 17) as f32).collect();
        crayon_kernels::quantize_rows(Format::Q8_0, 64, &values, &mut data);
        Tensor::new("x", "t", Format::Q8_0, shape, data.into()).unwrap()
    };
    let matrix = tensor(vec![3, 64]);
    let bytes = to_bytes("x", std::slice::from_ref(&matrix), &BTreeMap::new()).unwrap();
    let read = SafeTensors::from_bytes("x", bytes.into()).unwrap().tensor("t").unwrap().unwrap();
    assert_eq!((read.format, &read.shape, &read.data[..]), (Format::Q8_0, &vec![3, 64], &matrix.data[..]));
    for shape in [vec![64], vec![2, 3, 64]] {
        let error = to_bytes("x", &[tensor(shape)], &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("not a matrix"), "{error}");
    }
}

#[test]
fn only_matrices_of_bounded_rows_are_per_channel() {
    for format in FORMATS {
        let tensor =
            |shape: Vec<usize>, bytes: usize| Tensor::new("f", "t", format, shape, vec![0; bytes].into());
        let row = format.row_bytes(70).unwrap();
        assert!(tensor(vec![2, 70], 2 * row).is_ok());
        assert!(tensor(vec![2, 70], 2 * row - 1).unwrap_err().to_string().contains("found"));
        for shape in
            [vec![70], vec![1, 2, 70], vec![], vec![1, Format::LONGEST_ROW + 1], vec![usize::MAX, 70]]
        {
            let text = tensor(shape.clone(), row).unwrap_err().to_string();
            assert!(text.contains("not a matrix"), "{shape:?}: {text}");
        }
    }
}

#[test]
fn a_vector_of_that_type_is_refused_when_a_gguf_file_opens() {
    let mut bytes = tiny_gguf();
    let name = b"output_norm.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 8;
    bytes[at..at + 4].copy_from_slice(b"w8a8");
    let error = Gguf::from_bytes("x.gguf", bytes.into()).unwrap_err();
    assert!(error.to_string().contains("not a matrix"), "{error}");
}

#[test]
fn a_fused_bias_in_blocks_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("m.gguf");
    gguf_of(&open("gpt2"), &path, None);
    let mut bytes = std::fs::read(path).unwrap();
    let name = b"blk.0.attn_qkv.bias";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 8;
    bytes[at] = 8;
    let error = Checkpoint::from_gguf("x.gguf", bytes.into()).unwrap_err();
    assert!(error.to_string().contains("attn_qkv.bias"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_give_an_error_or_numbers(
        narrow: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        static FILES: std::sync::OnceLock<[Vec<u8>; 2]> = std::sync::OnceLock::new();
        let files = FILES.get_or_init(|| FORMATS.map(|format| {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("m.gguf");
            let original = Checkpoint::open(&fixture("gpt2")).unwrap();
            gguf_of(&original, &path, Some(format));
            std::fs::read(path).unwrap()
        }));
        let whole = &files[usize::from(narrow)];
        let mut bytes = whole.clone();
        for (at, byte) in &changes {
            // Most of the damage in the table, where it matters.
            let at = at.index(bytes.len().min(8000));
            bytes[at] ^= byte;
        }
        if let Ok(checkpoint) = Checkpoint::from_gguf("changed", bytes.into()) {
            for (name, shape) in checkpoint.spec.tensors() {
                let tensor = checkpoint.tensor(&name).unwrap();
                prop_assert_eq!(&tensor.shape, &shape);
                prop_assert_eq!(tensor.to_f32().len(), tensor.elements());
                tensor.first_non_finite();
            }
        }
        let mut short = whole.clone();
        short.truncate(cut.index(short.len()));
        prop_assert!(Checkpoint::from_gguf("cut", short.into()).is_err());
    }
}
