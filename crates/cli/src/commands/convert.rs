//! `crayon convert`: a model in another format or number type.
//!
//! The new files lie hidden beside their place until they are complete, so that neither a fault nor Ctrl-C leaves half a
//! model.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use crayon_engine::ModelSource;
use crayon_files::OutputFolder;
use crayon_formats::clip::ClipCheckpoint;
use crayon_formats::export::{self, ExportOptions, Notice, Notify};
use crayon_formats::{Bytes, Checkpoint, Format, SourceKind};
use serde::Serialize;

use crate::args::{ConvertArgs, FileFormat};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, model, show};

/// What `--json` prints.
#[derive(Serialize)]
struct ConvertReport<'a> {
    model: &'a str,
    output: &'a Path,
    format: &'static str,
    parameters: usize,
    bytes: u64,
    /// Tensors that could not take the type asked for.
    fallbacks: Vec<Fallback>,
    warnings: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Fallback {
    tensor: String,
    wanted: &'static str,
    used: &'static str,
    cols: usize,
}

/// Runs the command.
pub(crate) fn run(args: &ConvertArgs, output: &Output) -> Result {
    let started = Instant::now();
    let kind = args.kind.as_deref().map(number_type).transpose()?;
    let embeddings = args.embeddings.as_deref().map(number_type).transpose()?;
    let format = args.format.unwrap_or_else(|| format_of(&args.output));
    let checkpoint = match model::resolve(&args.source)? {
        ModelSource::Embedded(model) => Checkpoint::from_gguf(model.name, Bytes::from_static(model.bytes))?,
        ModelSource::Path(path) => match (Checkpoint::open(&path), ClipCheckpoint::open(&path)) {
            (Ok(checkpoint), _) => checkpoint,
            (Err(_), Ok(clip)) => return convert_clip(&clip, kind, args, output),
            (Err(error), Err(_)) => return Err(error.into()),
        },
    };
    refuse_to_overwrite(&args.output, format, args.force)?;

    interrupt::watch();
    let (mut fallbacks, mut warnings) = (Vec::new(), Vec::new());
    let mut bar = Counting::new("writing", "tensors", output);
    let mut notify = |notice| {
        match notice {
            Notice::Written { done, total, .. } => bar.at(done, total),
            Notice::Fallback { tensor, cols, wanted, used } => {
                fallbacks.push(Fallback { tensor, wanted: wanted.name(), used: used.name(), cols });
            }
            Notice::Warning(text) => warnings.push(text),
        }
        if interrupt::requested() {
            crayon_files::abandon();
            std::process::exit(130);
        }
    };
    let written = match format {
        FileFormat::Gguf => {
            write_gguf(&checkpoint, &args.output, ExportOptions { weights: kind, embeddings }, &mut notify)
        }
        FileFormat::Safetensors => {
            let kind = kind.unwrap_or_else(|| storable_of(&checkpoint));
            write_folder(&checkpoint, &args.output, kind, embeddings, &mut notify)
        }
    };
    bar.finish();
    let bytes = written?;

    for warning in &warnings {
        output.note(warning);
    }
    tell_fallbacks(&fallbacks, output);
    if output.json {
        return Ok(output.object(&ConvertReport {
            model: &args.source,
            output: &args.output,
            format: name_of(format),
            parameters: checkpoint.spec.parameters(),
            bytes,
            fallbacks,
            warnings,
            seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        })?);
    }
    let written = format!(
        "{} is written: {}, {} parameters",
        args.output.display(),
        show::bytes(bytes),
        show::parameters(checkpoint.spec.parameters()),
    );
    match args.output.is_file() || args.output.is_dir() {
        true => Ok(output.line(&written)?),
        // The model may have gone to stdout: nothing else may.
        false => {
            output.aside(&written);
            Ok(())
        }
    }
}

/// What `--json` prints of a model of texts and pictures.
#[derive(Serialize)]
struct ClipReport<'a> {
    model: &'a str,
    output: &'a Path,
    format: &'static str,
    bytes: u64,
}

/// A model of texts and pictures, in transformers' layout whatever it was in.
fn convert_clip(clip: &ClipCheckpoint, kind: Option<Format>, args: &ConvertArgs, output: &Output) -> Result {
    let format = args.format.unwrap_or_else(|| format_of(&args.output));
    if args.embeddings.is_some() {
        return Err(mistake("--embeddings is for language models", "--type holds for the whole of this one"));
    }
    if format == FileFormat::Gguf {
        return Err(mistake("a model of texts and pictures is not written as GGUF", "name a folder: -o OUT"));
    }
    refuse_to_overwrite(&args.output, format, args.force)?;
    let folder = OutputFolder::create(&args.output)?;
    clip.export(folder.path(), kind)?;
    let bytes = size(folder.path())?;
    folder.commit(is_weights)?;
    if output.json {
        let report = ClipReport { model: &args.source, output: &args.output, format: name_of(format), bytes };
        return Ok(output.object(&report)?);
    }
    Ok(output.line(&format!("{} is written: {}", args.output.display(), show::bytes(bytes)))?)
}

/// A file that appears whole; its size in bytes.
fn write_gguf(
    checkpoint: &Checkpoint,
    path: &Path,
    options: ExportOptions,
    notify: Notify<'_>,
) -> Result<u64> {
    export::write_gguf(checkpoint, path, options, notify)?;
    Ok(fs::metadata(path)?.len())
}

/// A folder that appears whole; its size in bytes. Weights of another model must not stay beside the new ones.
pub(super) fn write_folder(
    checkpoint: &Checkpoint,
    path: &Path,
    kind: Format,
    embeddings: Option<Format>,
    notify: Notify<'_>,
) -> Result<u64> {
    let folder = OutputFolder::create(path)?;
    export::write_huggingface(checkpoint, folder.path(), kind, embeddings, notify)?;
    let bytes = size(folder.path())?;
    folder.commit(is_weights)?;
    Ok(bytes)
}

/// Whether a file of this name holds weights of a model folder, or lists those that do.
fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name == "model.safetensors.index.json"
}

pub(super) fn number_type(name: &str) -> Result<Format> {
    Format::from_name(name).ok_or_else(|| {
        let names = Format::ALL.map(Format::name).join(", ");
        mistake(format!("there is no number type {name:?}"), format!("types are {names}"))
    })
}

pub(super) fn format_of(path: &Path) -> FileFormat {
    match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        true => FileFormat::Gguf,
        false => FileFormat::Safetensors,
    }
}

pub(super) fn name_of(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Gguf => "gguf",
        FileFormat::Safetensors => "safetensors",
    }
}

/// The type closest to what the model has that safetensors hold: no blocks.
fn storable_of(checkpoint: &Checkpoint) -> Format {
    let stored = checkpoint.tensor("blk.0.attn_q.weight").map(|tensor| tensor.format);
    match (stored, checkpoint.source.kind) {
        (Ok(format), _) if format.is_float() || format.is_per_channel() => format,
        (_, SourceKind::Llama2c) => Format::F32,
        _ => Format::F16,
    }
}

pub(super) fn refuse_to_overwrite(path: &Path, format: FileFormat, force: bool) -> Result {
    let shown = path.display();
    match (fs::metadata(path), format) {
        (Err(_), _) => Ok(()),
        (Ok(there), FileFormat::Gguf) if there.is_dir() => {
            Err(mistake(format!("{shown} is a folder"), "a GGUF model is one file: name it OUT.gguf"))
        }
        (Ok(there), FileFormat::Safetensors) if !there.is_dir() => Err(mistake(
            format!("{shown} is a file"),
            "safetensors are written into a folder; .gguf makes a file",
        )),
        // A device or a pipe has nothing that could be lost.
        (Ok(there), FileFormat::Gguf) if !there.is_file() => Ok(()),
        (Ok(there), _) => {
            let empty =
                there.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            if empty || force {
                return Ok(());
            }
            Err(mistake(format!("{shown} exists"), "--force replaces it"))
        }
    }
}

fn tell_fallbacks(fallbacks: &[Fallback], output: &Output) {
    /// Names told without `--verbose`.
    const TOLD: usize = 3;
    let told = if output.verbose { fallbacks.len() } else { TOLD };
    for fallback in fallbacks.iter().take(told) {
        let Fallback { tensor, wanted, used, cols } = fallback;
        output.note(&format!("{tensor} is {used}: its rows of {cols} are not whole blocks of {wanted}"));
    }
    if fallbacks.len() > told {
        output.note(&format!("so are {} more; --verbose names them", fallbacks.len() - told));
    }
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_format() {
        assert_eq!(format_of(Path::new("a/b.GGUF")), FileFormat::Gguf);
        assert_eq!(format_of(Path::new("a/b")), FileFormat::Safetensors);
    }

    #[test]
    fn weights_of_an_older_model_do_not_stay() {
        for name in ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model.safetensors"]
        {
            assert!(is_weights(name), "{name}");
        }
        assert!(!is_weights("notes.txt") && !is_weights("tokenizer.json"));
    }
}
