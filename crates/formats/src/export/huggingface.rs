//! A checkpoint as a folder in Hugging Face layout.

use std::collections::BTreeMap;
use std::path::Path;

use crayon_files::{create_folder, write_file};
use crayon_kernels::Format;
use serde_json::{Map, Value, json};

use super::pieces::{Piece, assemble, pieces};
use super::tokenizer_json::{tokenizer_config, tokenizer_json};
use super::tokenizer_model::tokenizer_model;
use super::{Notice, Notify, embedding_format, fitting};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::huggingface::Naming;
use crate::origin::{self, Origin};
use crate::safetensors::Writer;
use crate::spec::{
    Activation, Family, Norm, Positions, Rope, RopeFrequencies, RopeLayout, RopeScaling, Spec,
};
use crate::tokenizer_source::TokenizerSource;

/// Writes `checkpoint` into `folder` (made if needed) as `config.json`, `model.safetensors`,
/// `generation_config.json` and the tokenizer files the checkpoint came with, all weights in `format`. In a per-channel
/// format that is the matrices, and the rest is f32. Token embedding and output layer are in `embeddings`, by default as
/// [`embedding_format`] says.
///
/// A byte-level BPE vocabulary of a GGUF file becomes a `tokenizer.json`, a SentencePiece one a `tokenizer.model`; other vocabularies of GGUF and llama2.c files
/// have no counterpart here, which is told as a [`Notice::Warning`].
///
/// # Errors
/// If `format` is one of blocks, a tensor cannot be read, or the disk does not take the files.
pub fn write_huggingface(
    checkpoint: &Checkpoint,
    folder: &Path,
    format: Format,
    embeddings: Option<Format>,
    notify: Notify<'_>,
) -> Result<()> {
    let name = folder.display().to_string();
    if !format.is_float() && !format.is_per_channel() {
        return Err(Error::file(&name, format!("weights cannot be stored as {format} in safetensors"))
            .with_hint("choose f32, f16, bf16, w8a8 or w4a8, or export as GGUF"));
    }
    create_folder(folder)?;
    let spec = &checkpoint.spec;
    let config = config(spec, &checkpoint.generation, format).map_err(|what| Error::file(&name, what))?;

    let naming = Naming::of(spec.family);
    let mut pieces = pieces(spec, |canonical| naming.locate(spec, canonical));
    let mut table = Vec::with_capacity(pieces.len());
    for piece in &mut pieces {
        let format = format_of(piece, format, embeddings, notify);
        // Scales belong to output channels, so these stand upright in every family.
        piece.transposed &= format.is_float();
        table.push((piece.name.clone(), format, piece.stored_shape()));
    }
    let mut stamp = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    for piece in &pieces {
        let stem = piece.parts.first().and_then(|part| part.strip_suffix(".weight"));
        if let Some(rounding) = stem.and_then(|stem| checkpoint.rounding(stem)) {
            stamp.insert(crate::rounding::key_of(&piece.name), crate::rounding::to_text(rounding));
        }
    }
    let origin = checkpoint.as_origin();
    let scales = origin.as_ref().map(Origin::tensors).unwrap_or_default();
    table.extend(scales.iter().map(|tensor| (tensor.name.clone(), tensor.format, tensor.shape.clone())));
    stamp.extend(origin.map(|origin| (origin::KEY.to_owned(), origin.to_text())));
    let mut writer = Writer::create(&folder.join("model.safetensors"), &table, &stamp)?;
    for (number, (piece, (_, format, _))) in pieces.iter().zip(&table).enumerate() {
        writer.tensor(&assemble(checkpoint, piece, *format, RopeLayout::Half)?)?;
        notify(Notice::Written { tensor: piece.name.clone(), done: number + 1, total: pieces.len() });
    }
    for tensor in &scales {
        writer.tensor(&tensor.data)?;
    }
    tokenizer_files(checkpoint, folder, notify)?;
    write_json(&folder.join("generation_config.json"), &generation_config(&checkpoint.generation))?;
    write_json(&folder.join("config.json"), &config)?;
    // The weights come last of what a reader needs: a folder that was cut short has none.
    writer.finish()
}

/// The format of one tensor in a folder whose weights are in `format`.
fn format_of(piece: &Piece, format: Format, embeddings: Option<Format>, notify: Notify<'_>) -> Format {
    let wanted = match piece.is_embedding() {
        true => embeddings.unwrap_or(embedding_format(format)),
        false => format,
    };
    if wanted.is_float() && !format.is_per_channel() {
        return wanted;
    }
    let [_, cols] = piece.shape[..] else { return Format::F32 };
    if piece.parts.iter().any(|part| part == "position_embd.weight") {
        return Format::F32;
    }
    let used = fitting(wanted, cols);
    if used != wanted {
        notify(Notice::Fallback { tensor: piece.name.clone(), cols, wanted, used });
    }
    used
}

fn write_json(path: &Path, map: &Map<String, Value>) -> Result<()> {
    let mut text = serde_json::to_string_pretty(map)
        .map_err(|error| Error::file(&path.display().to_string(), error.to_string()))?;
    text.push('\n');
    Ok(write_file(path, text.as_bytes())?)
}

fn tokenizer_files(checkpoint: &Checkpoint, folder: &Path, notify: Notify<'_>) -> Result<()> {
    let write = |name: &str, bytes: &[u8]| Ok(write_file(&folder.join(name), bytes)?);
    let from_gguf = match &checkpoint.tokenizer {
        TokenizerSource::Gguf(metadata) => match tokenizer_json(metadata)? {
            Some(json) => Some((metadata, "tokenizer.json", json.to_string().into_bytes())),
            None => tokenizer_model(metadata)?.map(|model| (metadata, "tokenizer.model", model)),
        },
        _ => None,
    };
    if let Some((metadata, file, bytes)) = from_gguf {
        write(file, &bytes)?;
        let context = checkpoint.spec.context;
        write_json(&folder.join("tokenizer_config.json"), &tokenizer_config(metadata, context)?)?;
        return match &checkpoint.chat_template {
            Some(template) => write("chat_template.jinja", template.as_bytes()),
            None => Ok(()),
        };
    }
    match &checkpoint.tokenizer {
        TokenizerSource::Json(json) => write("tokenizer.json", json)?,
        TokenizerSource::Gpt2 { vocab, merges } => {
            write("vocab.json", vocab)?;
            write("merges.txt", merges)?;
        }
        TokenizerSource::SentencePiece(model) => write("tokenizer.model", model)?,
        TokenizerSource::Gguf(_) | TokenizerSource::Llama2c(_) => notify(Notice::Warning(
            "the tokenizer was not written: it has no counterpart in this layout; copy the original model's \
             tokenizer files into the folder"
                .to_owned(),
        )),
        TokenizerSource::None => {}
    }
    if let Some(Value::Object(config)) = &checkpoint.tokenizer_config {
        write_json(&folder.join("tokenizer_config.json"), config)?;
    }
    let inside =
        checkpoint.tokenizer_config.as_ref().is_some_and(|config| config.get("chat_template").is_some());
    match &checkpoint.chat_template {
        Some(template) if !inside => write("chat_template.jinja", template.as_bytes()),
        _ => Ok(()),
    }
}

fn generation_config(generation: &Generation) -> Map<String, Value> {
    let mut map = ids(generation);
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    put("do_sample", generation.sample.map(Value::from));
    put("temperature", generation.temperature.map(decimal));
    put("top_k", generation.top_k.map(Value::from));
    put("top_p", generation.top_p.map(decimal));
    put("min_p", generation.min_p.map(decimal));
    put("repetition_penalty", generation.repetition_penalty.map(decimal));
    let (bans, some) = (&generation.bans, |count: usize| (count > 0).then(|| Value::from(count)));
    let ids = |ids: &[u32]| (!ids.is_empty()).then(|| json!(ids));
    put("stop_strings", (!generation.stop.is_empty()).then(|| json!(generation.stop)));
    put("suppress_tokens", ids(&bans.always));
    put("begin_suppress_tokens", ids(&bans.first));
    put("bad_words_ids", (!bans.sequences.is_empty()).then(|| json!(bans.sequences)));
    put("min_new_tokens", some(bans.min_tokens));
    put("no_repeat_ngram_size", some(bans.repeated));
    map
}

fn ids(generation: &Generation) -> Map<String, Value> {
    let mut map = Map::new();
    match generation.eos.as_slice() {
        [] => {}
        [one] => {
            map.insert("eos_token_id".to_owned(), json!(one));
        }
        several => {
            map.insert("eos_token_id".to_owned(), json!(several));
        }
    }
    for (key, id) in [("bos_token_id", generation.bos), ("pad_token_id", generation.pad)] {
        if let Some(id) = id {
            map.insert(key.to_owned(), json!(id));
        }
    }
    map
}

/// An f32 with the digits it was written with, not those of its widening to f64.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// `config.json` in the spelling of transformers 4, which 5 reads as well.
fn config(
    spec: &Spec,
    generation: &Generation,
    format: Format,
) -> std::result::Result<Map<String, Value>, String> {
    let dtype = match format {
        Format::F16 => "float16",
        Format::BF16 => "bfloat16",
        _ => "float32",
    };
    let (model_type, class) = match spec.family {
        Family::Gpt2 => ("gpt2", "GPT2LMHeadModel"),
        Family::Llama => ("llama", "LlamaForCausalLM"),
        Family::Mistral => ("mistral", "MistralForCausalLM"),
        Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Family::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
        Family::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
        Family::Phi3 => ("phi3", "Phi3ForCausalLM"),
    };
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    put("architectures", json!([class]));
    put("model_type", json!(model_type));
    put("vocab_size", json!(spec.vocab));
    put("tie_word_embeddings", json!(spec.tied));
    put("torch_dtype", json!(dtype));
    if format.is_per_channel() {
        // Other programs refuse a method they do not know.
        put("quantization_config", json!({"quant_method": "crayon", "format": format.name()}));
    }
    put("use_cache", json!(true));
    let activation = match spec.activation {
        Activation::Silu => "silu",
        Activation::GeluTanh if spec.family == Family::Gpt2 => "gelu_new",
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::Gelu => "gelu",
        Activation::QuickGelu => "quick_gelu",
    };
    match spec.norm {
        Norm::Rms { eps } => put("rms_norm_eps", decimal(eps)),
        Norm::Layer { eps } => put("layer_norm_epsilon", decimal(eps)),
    }
    if spec.family == Family::Gpt2 {
        put("n_embd", json!(spec.hidden));
        put("n_layer", json!(spec.layers));
        put("n_head", json!(spec.heads));
        put("n_inner", json!(spec.intermediate));
        put("n_positions", json!(spec.context));
        put("activation_function", json!(activation));
        put("scale_attn_weights", json!(spec.attention_scale != 1.0 || spec.head_dim == 1));
        map.extend(ids(generation));
        return Ok(map);
    }
    put("hidden_size", json!(spec.hidden));
    put("num_hidden_layers", json!(spec.layers));
    put("num_attention_heads", json!(spec.heads));
    put("num_key_value_heads", json!(spec.kv_heads));
    put("intermediate_size", json!(spec.intermediate));
    put("max_position_embeddings", json!(spec.context));
    if spec.family != Family::Phi3 {
        put("head_dim", json!(spec.head_dim));
    } else if spec.heads * spec.head_dim != spec.hidden {
        return Err("Phi-3 heads that do not divide the hidden size cannot be said in config.json".to_owned());
    }
    let is_gemma = matches!(spec.family, Family::Gemma2 | Family::Gemma3);
    put(if is_gemma { "hidden_activation" } else { "hidden_act" }, json!(activation));
    match spec.family {
        Family::Llama => {
            put("attention_bias", json!(spec.biases.qkv));
            put("mlp_bias", json!(spec.biases.mlp));
        }
        Family::Qwen3 | Family::Gemma2 | Family::Gemma3 => put("attention_bias", json!(spec.biases.qkv)),
        _ => {}
    }
    let with_output_bias =
        matches!(spec.family, Family::Llama | Family::Qwen3 | Family::Gemma2 | Family::Gemma3);
    if spec.biases.attention_output != (with_output_bias && spec.biases.qkv) {
        return Err("biases on some attention projections only cannot be said in config.json".to_owned());
    }
    if is_gemma {
        put("query_pre_attn_scalar", whole_or_decimal(1.0 / f64::from(spec.attention_scale).powi(2)));
        put("attn_logit_softcapping", spec.attention_softcap.map_or(Value::Null, decimal));
        put("final_logit_softcapping", spec.logit_softcap.map_or(Value::Null, decimal));
    }
    for (key, value) in windows(spec)? {
        put(key, value);
    }
    if let Positions::Rope(rope) = &spec.positions {
        for (key, value) in rotary(rope, spec)? {
            put(key, value);
        }
    }
    map.extend(ids(generation));
    Ok(map)
}

/// The scalar under the root; always a whole number in published files, and the root lost only a rounding.
fn whole_or_decimal(value: f64) -> Value {
    if (value - value.round()).abs() < 1e-3 { json!(value.round() as u64) } else { json!(value) }
}

type Pairs = Vec<(&'static str, Value)>;

fn windows(spec: &Spec) -> std::result::Result<Pairs, String> {
    let window = spec.windows.iter().flatten().next();
    if spec.windows.iter().flatten().any(|other| Some(other) != window) {
        return Err("windows of different sizes cannot be said in config.json".to_owned());
    }
    let types: Vec<&str> = spec
        .windows
        .iter()
        .map(|window| if window.is_some() { "sliding_attention" } else { "full_attention" })
        .collect();
    Ok(match spec.family {
        Family::Mistral | Family::Phi3 => {
            if window.is_some() && spec.windows.contains(&None) {
                return Err(
                    "windows on some layers only cannot be said in this family's config.json".to_owned()
                );
            }
            vec![("sliding_window", json!(window))]
        }
        Family::Qwen2 | Family::Qwen3 => vec![
            ("use_sliding_window", json!(window.is_some())),
            ("sliding_window", json!(window)),
            (
                "max_window_layers",
                json!(spec.windows.iter().position(Option::is_some).unwrap_or(spec.layers)),
            ),
            ("layer_types", json!(types)),
        ],
        Family::Gemma2 | Family::Gemma3 => {
            let mut pairs = vec![("layer_types", json!(types))];
            if let Some(window) = window {
                pairs.push(("sliding_window", json!(window)));
            }
            pairs
        }
        Family::Llama if window.is_some() => {
            return Err("a Llama with sliding windows cannot be said in config.json".to_owned());
        }
        _ => Vec::new(),
    })
}

fn rotary(rope: &Rope, spec: &Spec) -> std::result::Result<Pairs, String> {
    let mut pairs: Pairs = vec![("rope_theta", decimal(rope.global.theta))];
    if rope.dims != spec.head_dim {
        if spec.family != Family::Phi3 {
            return Err("partial rotation cannot be said in this family's config.json".to_owned());
        }
        pairs.push(("partial_rotary_factor", json!(rope.dims as f64 / spec.head_dim as f64)));
    }
    let scaling = scaling(&rope.global, spec)?;
    match (&rope.local, spec.family) {
        (Some(local), Family::Gemma3) if local.scaling == RopeScaling::None => {
            pairs.push(("rope_local_base_freq", decimal(local.theta)));
        }
        (Some(_), _) => return Err("its local rotation cannot be said in config.json".to_owned()),
        (None, Family::Gemma3) => pairs.push(("rope_local_base_freq", decimal(rope.global.theta))),
        (None, _) => {}
    }
    if let (Family::Phi3, RopeScaling::Factors { original_context, .. }) = (spec.family, &rope.global.scaling)
    {
        pairs.push(("original_max_position_embeddings", json!(original_context)));
    }
    pairs.push(("rope_scaling", scaling));
    Ok(pairs)
}

fn scaling(frequencies: &RopeFrequencies, spec: &Spec) -> std::result::Result<Value, String> {
    let list = |values: &[f32]| Value::Array(values.iter().map(|value| decimal(*value)).collect());
    Ok(match &frequencies.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": decimal(*factor)}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": decimal(*factor),
            "low_freq_factor": decimal(*low_freq_factor),
            "high_freq_factor": decimal(*high_freq_factor),
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor } => json!({
            "rope_type": "yarn",
            "factor": decimal(*factor),
            "beta_fast": decimal(*beta_fast),
            "beta_slow": decimal(*beta_slow),
            "original_max_position_embeddings": original_context,
            "attention_factor": decimal(*attention_factor),
        }),
        RopeScaling::Factors { short, long, original_context, attention_factor } => {
            let mut map = Map::new();
            map.insert("rope_type".to_owned(), json!("longrope"));
            map.insert("short_factor".to_owned(), list(short));
            map.insert("long_factor".to_owned(), list(long));
            if spec.family != Family::Phi3 {
                map.insert("factor".to_owned(), json!(1.0));
                map.insert("original_max_position_embeddings".to_owned(), json!(original_context));
            }
            map.insert("attention_factor".to_owned(), decimal(*attention_factor));
            Value::Object(map)
        }
    })
}
