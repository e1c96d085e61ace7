//! `crayon models`: what is built in and what was pulled.

use std::collections::BTreeMap;

use crayon_engine::{EMBEDDED, EMBEDDED_CLIP, Engine, ModelSource, Settings};
use crayon_formats::clip::ClipCheckpoint;
use crayon_formats::spec::{Norm, Positions, RopeScaling, Spec};
use crayon_formats::{Bytes, Checkpoint, SourceKind};
use crayon_hub::{Hub, Reference};
use serde::Serialize;
use serde_json::json;

use super::{models_clip, recommended};
use crate::args::{ModelsAction, ModelsArgs};
use crate::failure::Result;
use crate::output::Output;
use crate::{model, show};

/// A model in the list. What cannot be read of a pulled one is told in `problem`.
#[derive(Serialize)]
struct Row {
    name: String,
    place: &'static str,
    format: &'static str,
    family: Option<String>,
    parameters: Option<usize>,
    context: Option<usize>,
    bytes: u64,
    complete: bool,
    problem: Option<String>,
    path: Option<String>,
    about: Option<&'static str>,
}

/// Runs the command.
pub(crate) fn run(args: &ModelsArgs, output: &Output) -> Result {
    match &args.action {
        None if args.recommended => recommended::run(output),
        None => list(output),
        Some(ModelsAction::Show { model }) => describe(model, output),
        Some(ModelsAction::Remove { reference }) => remove(reference, output),
    }
}

fn list(output: &Output) -> Result {
    let mut rows: Vec<Row> = EMBEDDED.iter().map(embedded_row).collect();
    rows.extend(EMBEDDED_CLIP.iter().map(embedded_clip_row));
    let hub = Hub::from_env()?;
    rows.extend(hub.list().into_iter().map(pulled_row));
    if output.json {
        return Ok(output.object(&json!({ "models": rows, "folder": hub.settings().cache }))?);
    }
    let dash = || "-".to_owned();
    let cells = |row: &Row| {
        vec![
            row.name.clone(),
            row.family.clone().unwrap_or_else(dash),
            row.parameters.map_or_else(dash, show::parameters),
            row.context.map_or_else(dash, show::count),
            show::bytes(row.bytes),
            row.format.to_owned(),
            match (&row.problem, row.complete) {
                (_, false) => format!("unfinished: `crayon pull {}` goes on", row.name),
                (Some(problem), true) => format!("cannot be used: {problem}"),
                (None, true) => row.about.unwrap_or(row.place).to_owned(),
            },
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output.line(&show::table(&["MODEL", "FAMILY", "PARAMETERS", "CONTEXT", "SIZE", "FORMAT", ""], &cells))?;
    output.detail(&format!("pulled models are kept in {}", hub.settings().cache.display()));
    Ok(())
}

fn embedded_row(model: &crayon_engine::Embedded) -> Row {
    let checkpoint = Checkpoint::from_gguf(model.name, Bytes::from_static(model.bytes));
    let mut row = row(model.name.to_owned(), "built in", "gguf", model.bytes.len() as u64, checkpoint);
    row.about = Some(model.summary);
    row
}

fn embedded_clip_row(model: &'static crayon_engine::EmbeddedClip) -> Row {
    let row = empty_row(model.name.to_owned(), "built in", "safetensors", model.bytes() as u64);
    Row { about: Some(model.summary), ..clip_row(row, ClipCheckpoint::from_files(model.files())) }
}

/// A model of texts and pictures; the context is that of its texts.
fn clip_row(row: Row, checkpoint: crayon_formats::Result<ClipCheckpoint>) -> Row {
    match checkpoint {
        Ok(ClipCheckpoint { spec, .. }) => Row {
            family: Some(models_clip::family(&spec).to_owned()),
            parameters: Some(models_clip::parameters(&spec)),
            context: Some(spec.text.context),
            ..row
        },
        Err(error) => Row { problem: Some(error.to_string()), ..row },
    }
}

fn pulled_row(local: crayon_hub::Local) -> Row {
    let format = match local.format {
        crayon_hub::Format::Gguf => "gguf",
        crayon_hub::Format::Safetensors => "safetensors",
    };
    let name = local.reference.to_string();
    let mut row = if local.complete {
        let row = row(name.clone(), "pulled", format, local.bytes, Checkpoint::open(&local.path));
        match row.problem.as_ref().map(|_| ClipCheckpoint::open(&local.path)) {
            Some(Ok(clip)) => clip_row(empty_row(name, "pulled", format, local.bytes), Ok(clip)),
            _ => row,
        }
    } else {
        Row { complete: false, ..empty_row(name, "pulled", format, local.bytes) }
    };
    row.path = Some(local.path.display().to_string());
    row
}

fn row(
    name: String,
    place: &'static str,
    format: &'static str,
    bytes: u64,
    checkpoint: crayon_formats::Result<Checkpoint>,
) -> Row {
    let row = empty_row(name, place, format, bytes);
    match checkpoint {
        Ok(Checkpoint { spec, .. }) => Row {
            family: Some(family(&spec)),
            parameters: Some(spec.parameters()),
            context: Some(spec.context),
            ..row
        },
        Err(error) => Row { problem: Some(error.to_string()), ..row },
    }
}

fn empty_row(name: String, place: &'static str, format: &'static str, bytes: u64) -> Row {
    Row {
        name,
        place,
        format,
        bytes,
        family: None,
        parameters: None,
        context: None,
        complete: true,
        problem: None,
        path: None,
        about: None,
    }
}

fn family(spec: &Spec) -> String {
    format!("{:?}", spec.family).to_lowercase()
}

fn remove(text: &str, output: &Output) -> Result {
    let reference: Reference = text.parse()?;
    let freed = Hub::from_env()?.remove(&reference)?;
    if output.json {
        return Ok(output.object(&json!({ "removed": reference.to_string(), "bytes": freed }))?);
    }
    Ok(output.line(&format!("{reference} is removed: {} are free again", show::bytes(freed)))?)
}

fn describe(text: &str, output: &Output) -> Result {
    if let Some(clip) = models_clip::opened(text)? {
        return models_clip::describe(text, &clip, output);
    }
    let source = model::resolve(text)?;
    let engine = Engine::open(&source, &Settings { threads: Some(1), ..Settings::default() })?;
    let checkpoint = engine.checkpoint();
    let spec = engine.spec();
    let by_type = bytes_by_type(checkpoint)?;
    let format = match checkpoint.source.kind {
        SourceKind::Gguf => "gguf",
        SourceKind::HuggingFace => "safetensors",
        SourceKind::Llama2c => "llama2.c",
    };
    let tokenizer = engine.tokenizer().ok().map(|tokenizer| tokenizer.len());
    let path = match &source {
        ModelSource::Embedded(_) => None,
        ModelSource::Path(path) => Some(path.display().to_string()),
    };
    if output.json {
        return Ok(output.object(&json!({
            "model": engine.name(),
            "name": checkpoint.name,
            "path": path,
            "format": format,
            "family": family(spec),
            "parameters": spec.parameters(),
            "bytes": checkpoint.bytes(),
            "bytes_by_type": by_type,
            "context": spec.context,
            "vocabulary": spec.vocab,
            "tokenizer": tokenizer,
            "chat_template": engine.template().is_some(),
            "frame": engine.frame().map(|frame| frame.name),
            "layers": spec.layers,
            "hidden": spec.hidden,
            "heads": spec.heads,
            "kv_heads": spec.kv_heads,
            "head_dim": spec.head_dim,
            "intermediate": spec.intermediate,
            "tied": spec.tied,
            "fingerprint": checkpoint.fingerprint(),
        }))?);
    }
    let types: Vec<String> =
        by_type.iter().map(|(name, bytes)| format!("{name} {}", show::bytes(*bytes as u64))).collect();
    let rows = [
        ("model", engine.name().to_owned()),
        ("family", format!("{} ({format})", family(spec))),
        ("parameters", show::count(spec.parameters())),
        ("weights", format!("{}: {}", show::bytes(checkpoint.bytes() as u64), types.join(", "))),
        ("context", format!("{} tokens", show::count(spec.context))),
        (
            "vocabulary",
            match tokenizer {
                Some(tokens) => {
                    format!("{} rows, tokenizer of {}", show::count(spec.vocab), show::count(tokens))
                }
                None => format!("{} rows, no tokenizer", show::count(spec.vocab)),
            },
        ),
        (
            "chat template",
            match engine.frame() {
                Some(frame) => format!("no: it is asked in the frame {}", frame.name),
                None => "yes".to_owned(),
            },
        ),
        ("network", network(spec)),
        ("attention", attention(spec)),
        ("positions", positions(spec)),
        ("fingerprint", checkpoint.fingerprint()),
    ];
    for (name, value) in rows {
        output.line(&format!("{name:<14} {value}"))?;
    }
    Ok(())
}

fn bytes_by_type(checkpoint: &Checkpoint) -> Result<BTreeMap<&'static str, usize>> {
    let mut sums = BTreeMap::new();
    for (name, _) in checkpoint.spec.tensors() {
        let tensor = checkpoint.tensor(&name)?;
        *sums.entry(tensor.format.name()).or_insert(0) += tensor.data.len();
    }
    Ok(sums)
}

fn network(spec: &Spec) -> String {
    let norm = match spec.norm {
        Norm::Rms { eps } => format!("RMSNorm (eps {eps:e})"),
        Norm::Layer { eps } => format!("LayerNorm (eps {eps:e})"),
    };
    format!(
        "{} layers of width {}, MLP of {} ({}{:?}), {norm}, output {}",
        spec.layers,
        show::count(spec.hidden),
        show::count(spec.intermediate),
        if spec.gated { "gated " } else { "" },
        spec.activation,
        if spec.tied { "tied to the embedding" } else { "of its own" },
    )
}

fn attention(spec: &Spec) -> String {
    let mut text =
        format!("{} heads of {}, {} for keys and values", spec.heads, spec.head_dim, spec.kv_heads);
    let windows: Vec<usize> = spec.windows.iter().flatten().copied().collect();
    if let Some(window) = windows.first() {
        text.push_str(&format!(", {} layers see the last {} tokens", windows.len(), show::count(*window)));
    }
    text
}

fn positions(spec: &Spec) -> String {
    match &spec.positions {
        Positions::Learned => "learned".to_owned(),
        Positions::Rope(rope) => {
            let scaling = match rope.global.scaling {
                RopeScaling::None => "",
                RopeScaling::Linear { .. } => ", scaled linearly",
                RopeScaling::Llama3 { .. } => ", scaled as in Llama 3.1",
                RopeScaling::Yarn { .. } => ", scaled by YaRN",
                RopeScaling::Factors { .. } => ", scaled by factors",
            };
            format!("rotary, base {}{scaling}", rope.global.theta)
        }
    }
}
