//! `crayon convert`: a model in another format or number type.
//!
//! The new files are written into a hidden folder beside their place and moved there when they are complete, so that
//! neither a fault nor Ctrl-C leaves half a model.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crayon_engine::ModelSource;
use crayon_formats::export::{self, Notice, Options};
use crayon_formats::{Bytes, Checkpoint, Format, SourceKind};
use serde::Serialize;

use crate::args::{ConvertArgs, FileFormat};
use crate::failure::{Context, Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, model, show};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
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
    let format = args.format.unwrap_or_else(|| format_of(&args.output));
    let checkpoint = match model::resolve(&args.source)? {
        ModelSource::Embedded(model) => Checkpoint::from_gguf(model.name, Bytes::from_static(model.bytes))?,
        ModelSource::Path(path) => Checkpoint::open(&path)?,
    };
    refuse_to_overwrite(&args.output, format, args.force)?;

    let staging = Staging::new(&args.output)?;
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
            staging.remove();
            std::process::exit(130);
        }
    };
    let written = match format {
        FileFormat::Gguf => {
            let options = Options { weights: kind, embeddings: None };
            export::write_gguf(&checkpoint, &staging.file(), options, &mut notify)
        }
        FileFormat::Safetensors => {
            let kind = kind.unwrap_or_else(|| storable_of(&checkpoint));
            export::write_huggingface(&checkpoint, &staging.folder, kind, &mut notify)
        }
    };
    bar.finish();
    written?;
    let bytes = staging.publish(format)?;

    for warning in &warnings {
        output.note(warning);
    }
    tell_fallbacks(&fallbacks, output);
    if output.json {
        return output.object(&Report {
            model: &args.source,
            output: &args.output,
            format: name_of(format),
            parameters: checkpoint.spec.parameters(),
            bytes,
            fallbacks,
            warnings,
            seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        });
    }
    Ok(output.line(&format!(
        "{} is written: {}, {} parameters",
        args.output.display(),
        show::bytes(bytes),
        show::parameters(checkpoint.spec.parameters()),
    ))?)
}

fn number_type(name: &str) -> Result<Format> {
    Format::from_name(name).ok_or_else(|| {
        let names = Format::ALL.map(Format::name).join(", ");
        mistake(format!("there is no number type {name:?}"), format!("types are {names}"))
    })
}

fn format_of(path: &Path) -> FileFormat {
    match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        true => FileFormat::Gguf,
        false => FileFormat::Safetensors,
    }
}

fn name_of(format: FileFormat) -> &'static str {
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

fn refuse_to_overwrite(path: &Path, format: FileFormat, force: bool) -> Result {
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

/// A hidden folder beside the place where a model will be; dropped, it is gone.
struct Staging {
    target: PathBuf,
    folder: PathBuf,
}

impl Staging {
    fn new(target: &Path) -> Result<Staging> {
        let name = target.file_name().ok_or_else(|| {
            mistake(format!("{} is no name for a model", target.display()), "name a file or a new folder")
        })?;
        let hidden = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let folder = target.with_file_name(hidden);
        fs::create_dir(&folder).context(format!("cannot write beside {}", target.display()))?;
        Ok(Staging { target: target.to_owned(), folder })
    }

    /// Where a model of one file is written.
    fn file(&self) -> PathBuf {
        self.folder.join("model.gguf")
    }

    /// Moves what was written to its place; its size.
    fn publish(&self, format: FileFormat) -> Result<u64> {
        let bytes = size(&self.folder)?;
        let moved = match format {
            FileFormat::Gguf => fs::rename(self.file(), &self.target),
            FileFormat::Safetensors if self.target.exists() => self.replace_files(),
            FileFormat::Safetensors => fs::rename(&self.folder, &self.target),
        };
        moved.context(format!("cannot write {}", self.target.display()))?;
        Ok(bytes)
    }

    /// Into a folder that is there: weights of another model must not stay beside the new ones.
    fn replace_files(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.target)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.ends_with(".safetensors") || name == "model.safetensors.index.json" {
                fs::remove_file(path)?;
            }
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            fs::rename(entry.path(), self.target.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn remove(&self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove();
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
    fn a_dropped_staging_folder_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("x.gguf");
        let staging = Staging::new(&target).unwrap();
        fs::write(staging.file(), b"half").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn weights_of_an_older_model_do_not_stay() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("model");
        fs::create_dir(&target).unwrap();
        for name in ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "notes.txt"] {
            fs::write(target.join(name), b"old").unwrap();
        }
        let staging = Staging::new(&target).unwrap();
        fs::write(staging.folder.join("model.safetensors"), b"new!").unwrap();
        assert_eq!(staging.publish(FileFormat::Safetensors).unwrap(), 4);
        let mut names: Vec<_> =
            fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["model.safetensors", "notes.txt"]);
    }
}
