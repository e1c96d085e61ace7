//! Writing a model of texts and pictures as a folder in Hugging Face layout, perhaps in another number type.

use std::collections::BTreeMap;
use std::path::Path;

use crayon_kernels::{Format, quantize_rows};
use serde_json::{Value, json};

use super::checkpoint::{ClipCheckpoint, ClipTokenizer, stored_tensors};
use super::preprocess::{Fit, Preprocess, Resample};
use super::spec::{ClipSpec, TowerSpec};
use crate::error::{Error, Result};
use crate::safetensors;
use crate::spec::Activation;
use crate::tensor::Tensor;
use crate::tokenizer_source::TokenizerSource;

impl ClipCheckpoint {
    /// Writes the model into `folder`, which is made where it is missing: `config.json`, `preprocessor_config.json`, the files of
    /// the tokenizer and `model.safetensors`, whose linear weights and token embedding are brought to `format` where their rows can
    /// have it.
    ///
    /// # Errors
    /// If the format cannot be stored in safetensors, or a file cannot be written.
    pub fn export(&self, folder: &Path, format: Option<Format>) -> Result<()> {
        if let Some(format) = format.filter(|format| !format.is_float() && !format.is_per_channel()) {
            let name = folder.display().to_string();
            return Err(Error::file(&name, format!("safetensors cannot hold {format}"))
                .with_hint("f32, f16, bf16, w8a8 and w4a8 can be stored"));
        }
        std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, "make", source))?;
        let mut tensors = Vec::new();
        for (name, shape) in stored_tensors(&self.spec) {
            tensors.push(converted(self.as_stored(&name, shape)?, format));
        }
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::write(&folder.join("model.safetensors"), &tensors, &metadata)?;
        let write = |name: &str, bytes: &[u8]| -> Result<()> {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|source| Error::io(&path, "write", source))
        };
        let text = |value: &Value| format!("{value:#}\n").into_bytes();
        let mut config = config(&self.spec);
        if let Some(format) = format.filter(|format| format.is_per_channel()) {
            // Other programs refuse a method they do not know.
            config["quantization_config"] = json!({"quant_method": "crayon", "format": format.name()});
        }
        write("config.json", &text(&config))?;
        write("preprocessor_config.json", &text(&preprocessor(&self.preprocess, self.spec.image.size)))?;
        if let Some(config) = &self.tokenizer_config {
            write("tokenizer_config.json", &text(config))?;
        }
        match &self.tokenizer {
            ClipTokenizer::Merges(merges) => {
                let packed = if merges.starts_with(&[0x1f, 0x8b]) { ".gz" } else { "" };
                write(&format!("bpe_simple_vocab_16e6.txt{packed}"), merges)
            }
            ClipTokenizer::Files(TokenizerSource::Json(json)) => write("tokenizer.json", json),
            ClipTokenizer::Files(TokenizerSource::Gpt2 { vocab, merges }) => {
                write("vocab.json", vocab)?;
                write("merges.txt", merges)
            }
            ClipTokenizer::Files(TokenizerSource::SentencePiece(model)) => write("spiece.model", model),
            ClipTokenizer::Files(_) => Ok(()),
        }
    }
}

/// `tensor` in the wanted format, if it is a matrix that is multiplied or looked up, and its rows can have it.
fn converted(tensor: Tensor, format: Option<Format>) -> Tensor {
    let wide = tensor.shape.len() >= 2
        && !tensor.name.contains("position_embedding")
        && !tensor.name.ends_with("probe");
    let Some(format) = format.filter(|&format| wide && format != tensor.format) else { return tensor };
    let (rows, cols) = (tensor.shape[0], tensor.shape[1..].iter().product::<usize>());
    if format.row_bytes(cols).is_none() {
        return tensor;
    }
    let mut bytes = Vec::new();
    quantize_rows(format, cols, &tensor.to_f32(), &mut bytes);
    let shape = if format.is_per_channel() { vec![rows, cols] } else { tensor.shape };
    Tensor { name: tensor.name, format, shape, data: bytes.into() }
}

fn config(spec: &ClipSpec) -> Value {
    let tower = |tower: &TowerSpec| {
        let activation = match tower.activation {
            Activation::QuickGelu => "quick_gelu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
            Activation::Silu => "silu",
        };
        json!({
            "hidden_size": tower.hidden, "intermediate_size": tower.intermediate, "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.heads, "hidden_act": activation,
            // The shortest decimals that give the number back.
            "layer_norm_eps": tower.eps.to_string().parse::<f64>().unwrap_or_default(),
        })
    };
    let (mut text, mut vision) = (tower(&spec.text.tower), tower(&spec.image.tower));
    text["vocab_size"] = json!(spec.text.vocab);
    text["max_position_embeddings"] = json!(spec.text.context);
    vision["image_size"] = json!(spec.image.size);
    vision["patch_size"] = json!(spec.image.patch);
    if spec.sigmoid {
        text["projection_size"] = json!(spec.dim);
        return json!({
            "architectures": ["SiglipModel"], "model_type": "siglip", "text_config": text, "vision_config": vision,
        });
    }
    if let Some(end) = spec.text.end {
        text["eos_token_id"] = json!(end);
    }
    json!({
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": spec.dim, "text_config": text,
        "vision_config": vision,
    })
}

fn preprocessor(preprocess: &Preprocess, size: usize) -> Value {
    let resample = match preprocess.resample {
        Resample::Lanczos => 1,
        Resample::Bilinear => 2,
        Resample::Bicubic => 3,
    };
    let decimals =
        |values: [f32; 3]| values.map(|value| value.to_string().parse::<f64>().unwrap_or_default());
    let square = json!({"height": size, "width": size});
    let mut out = json!({
        "do_resize": true, "resample": resample, "do_rescale": true, "rescale_factor": 1.0 / 255.0, "do_normalize": true,
        "image_mean": decimals(preprocess.mean), "image_std": decimals(preprocess.std), "do_convert_rgb": true,
    });
    match preprocess.fit {
        Fit::Crop { edge } => {
            out["size"] = json!({"shortest_edge": edge});
            out["do_center_crop"] = json!(true);
            out["crop_size"] = square;
            out["image_processor_type"] = json!("CLIPImageProcessor");
        }
        Fit::Squash => {
            out["size"] = square;
            out["image_processor_type"] = json!("SiglipImageProcessor");
        }
    }
    out
}
