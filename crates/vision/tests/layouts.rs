//! The same model under the names of OpenAI and OpenCLIP, and files that are none.

mod common;

use std::path::Path;

use common::{fixture, open, picture};
use crayon_errors::Explain;
use crayon_formats::clip::ClipCheckpoint;
use crayon_formats::{Format, Tensor, safetensors};
use crayon_vision::{Clip, Options, VisionError};

const CONFIG: &str = r#"{
    "model_cfg": {
        "embed_dim": 24, "quick_gelu": true,
        "vision_cfg": {"image_size": 28, "layers": 2, "width": 48, "patch_size": 7, "head_width": 12},
        "text_cfg": {"context_length": 24, "vocab_size": 577, "width": 32, "heads": 4, "layers": 3}
    },
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
                       "interpolation": "bicubic", "resize_mode": "shortest"}
}"#;

/// The fixture `clip` with OpenAI's names; the text tower's begin with `text`.
fn renamed(text: &str) -> Vec<Tensor> {
    let checkpoint = ClipCheckpoint::open(&fixture("clip")).unwrap();
    let of = |name: &str| checkpoint.tensor(name).unwrap();
    let mut out = Vec::new();
    let mut put = |name: String, tensor: Tensor| out.push(Tensor { name, ..tensor });
    for (tower, prefix, layers) in [("text", text, 3), ("image", "visual.", 2)] {
        for layer in 0..layers {
            let (from, to) =
                (format!("{tower}.blk.{layer}"), format!("{prefix}transformer.resblocks.{layer}"));
            for (ours, theirs) in [
                ("attn_norm", "ln_1"),
                ("attn_output", "attn.out_proj"),
                ("ffn_norm", "ln_2"),
                ("ffn_up", "mlp.c_fc"),
                ("ffn_down", "mlp.c_proj"),
            ] {
                for kind in ["weight", "bias"] {
                    put(format!("{to}.{theirs}.{kind}"), of(&format!("{from}.{ours}.{kind}")));
                }
            }
            for kind in ["weight", "bias"] {
                let parts = ["attn_q", "attn_k", "attn_v"].map(|part| of(&format!("{from}.{part}.{kind}")));
                let values: Vec<f32> = parts.iter().flat_map(Tensor::to_f32).collect();
                let mut shape = parts[0].shape.clone();
                shape[0] *= 3;
                put(format!("{to}.attn.in_proj_{kind}"), Tensor::from_f32("", shape, &values));
            }
        }
    }
    for (ours, theirs) in [
        ("text.token_embd.weight", format!("{text}token_embedding.weight")),
        ("text.position_embd.weight", format!("{text}positional_embedding")),
        ("text.output_norm.weight", format!("{text}ln_final.weight")),
        ("text.output_norm.bias", format!("{text}ln_final.bias")),
        ("image.class_embd", "visual.class_embedding".to_owned()),
        ("image.position_embd.weight", "visual.positional_embedding".to_owned()),
        ("image.input_norm.weight", "visual.ln_pre.weight".to_owned()),
        ("image.input_norm.bias", "visual.ln_pre.bias".to_owned()),
        ("image.output_norm.weight", "visual.ln_post.weight".to_owned()),
        ("image.output_norm.bias", "visual.ln_post.bias".to_owned()),
    ] {
        put(theirs, of(ours));
    }
    for (ours, theirs) in [
        ("text.projection", format!("{text}text_projection")),
        ("image.projection", "visual.proj".to_owned()),
    ] {
        let upright = of(&format!("{ours}.weight"));
        let (rows, cols, values) = (upright.shape[0], upright.shape[1], upright.to_f32());
        let turned: Vec<f32> = (0..rows * cols).map(|at| values[at % rows * cols + at / rows]).collect();
        put(theirs, Tensor::from_f32("", vec![cols, rows], &turned));
    }
    let patches = of("image.patch_embd.weight");
    put("visual.conv1.weight".to_owned(), Tensor { shape: vec![48, 3, 7, 7], ..patches });
    let scale = of("logit_scale");
    put("logit_scale".to_owned(), Tensor { shape: vec![], ..scale });
    // What OpenAI's archives hold beside the weights.
    put("context_length".to_owned(), Tensor::from_f32("", vec![1], &[24.0]));
    out
}

fn write(folder: &Path, file: &str, text: &str) {
    safetensors::write(&folder.join(file), &renamed(text), &Default::default()).unwrap();
    std::fs::copy(fixture("clip/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("open_clip_config.json"), CONFIG).unwrap();
}

#[test]
fn names_of_openai_and_openclip_give_the_same_embeddings() {
    let reference = open("clip");
    let text = reference.plain("a photo of a yellow dog").unwrap();
    let pictures = [picture(1, 28)];
    for (file, text_prefix) in [("open_clip_model.safetensors", ""), ("ViT.safetensors", "text.")] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), file, text_prefix);
        for path in [folder.path().to_owned(), folder.path().join(file)] {
            let clip = Clip::open(&path, Options::default()).unwrap();
            assert!(clip.notes().is_empty(), "{:?}", clip.notes());
            assert_eq!(
                clip.embed_texts(std::slice::from_ref(&text)).unwrap(),
                reference.embed_texts(std::slice::from_ref(&text)).unwrap()
            );
            assert_eq!(clip.embed_images(&pictures).unwrap(), reference.embed_images(&pictures).unwrap());
            assert!((clip.logit_scale() - reference.logit_scale()).abs() < 1e-4);
        }
    }
}

#[test]
fn a_model_is_written_as_transformers_has_it() {
    let text = "two small blue cats on the green table";
    for name in common::MODELS {
        let reference = open(name);
        let checkpoint = ClipCheckpoint::open(&fixture(name)).unwrap();
        let embed = |clip: &Clip| {
            let texts = clip.embed_texts(&[clip.plain(text).unwrap()]).unwrap();
            (texts, clip.embed_images(&[picture(2, 28)]).unwrap())
        };
        let folder = tempfile::tempdir().unwrap();
        checkpoint.export(folder.path(), None).unwrap();
        let copy = Clip::open(folder.path(), Options::default()).unwrap();
        assert_eq!(embed(&copy), embed(&reference), "{name}");
        assert!(copy.notes().is_empty(), "{:?}", copy.notes());

        let folder = tempfile::tempdir().unwrap();
        checkpoint.export(folder.path(), Some(Format::W8A8)).unwrap();
        let (small, exact) =
            (embed(&Clip::open(folder.path(), Options::default()).unwrap()), embed(&reference));
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!(near(&small.0[0], &exact.0[0]) > 0.99 && near(&small.1[0], &exact.1[0]) > 0.99, "{name}");
        assert!(checkpoint.export(folder.path(), Some(Format::Q8_0)).is_err());
    }
    // From OpenAI's names, too.
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", "");
    let out = tempfile::tempdir().unwrap();
    ClipCheckpoint::open(folder.path()).unwrap().export(out.path(), None).unwrap();
    let (copy, reference) = (Clip::open(out.path(), Options::default()).unwrap(), open("clip"));
    let pictures = [picture(0, 28)];
    assert_eq!(copy.embed_images(&pictures).unwrap(), reference.embed_images(&pictures).unwrap());
}

#[test]
fn what_cannot_be_read_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| match Clip::open(path, Options::default()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => (error.to_string(), error.hint().map(|hint| hint.to_string()).unwrap_or_default()),
    };
    let pickle = folder.path().join("ViT-B-32.pt");
    std::fs::write(&pickle, b"PK").unwrap();
    let (message, hint) = open(&pickle);
    assert!(message.contains("PyTorch") && hint.contains("save_file"), "{message} {hint}");
    let (message, hint) = open(folder.path());
    assert!(message.contains("no .safetensors") && hint.contains("save_file"), "{message} {hint}");
    assert!(open(&folder.path().join("nothing")).0.contains("nothing"));

    // A model without its tokenizer.
    let lone = tempfile::tempdir().unwrap();
    write(lone.path(), "model.safetensors", "");
    std::fs::remove_file(lone.path().join("tokenizer.json")).unwrap();
    assert!(open(lone.path()).0.contains("tokenizer"));
    // Heads that cannot be: OpenAI's own models have heads of 64 and come without a configuration.
    std::fs::remove_file(lone.path().join("open_clip_config.json")).unwrap();
    assert!(open(lone.path()).0.contains("heads"), "{}", open(lone.path()).0);
}

#[test]
fn damaged_models_are_refused() {
    let copy = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"] {
            std::fs::copy(fixture("clip").join(name), folder.path().join(name)).unwrap();
        }
        change(folder.path());
        Clip::open(folder.path(), Options::default()).err().map(|error: VisionError| error.to_string())
    };
    let edit = |name: &'static str, from: &'static str, to: &'static str| {
        copy(&move |folder| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{name} has no {from}");
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        })
    };
    assert_eq!(copy(&|_| {}), None);
    for (name, from, to, wanted) in [
        ("config.json", "\"model_type\": \"clip\"", "\"model_type\": \"blip\"", "blip"),
        ("config.json", "\"projection_dim\": 24", "\"projection_dim\": 25", "shape"),
        ("config.json", "\"patch_size\": 7", "\"patch_size\": 0", "patch"),
        ("config.json", "\"hidden_act\": \"quick_gelu\"", "\"hidden_act\": \"mish\"", "mish"),
        ("preprocessor_config.json", "\"do_normalize\": true", "\"do_normalize\": false", "do_normalize"),
        ("preprocessor_config.json", "\"resample\": 3", "\"resample\": 9", "resample"),
    ] {
        let message = edit(name, from, to).unwrap_or_else(|| panic!("{to} was accepted"));
        assert!(message.contains(wanted), "{to}: {message}");
    }
    let cut = copy(&|folder| {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.is_some());
}
