//! From what `--model` says to an open model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crayon_engine::adapters::{Demonstration, Lora, read_demonstrations};
use crayon_engine::{Engine, EngineError, Frame, ModelSource, Settings};
use crayon_formats::Format;
use crayon_hub::{Hub, Reference};

use crate::args::{AdapterRef, ModelArgs, RunArgs};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{clip, show};

/// Finds and opens a model. With `--verbose`, says how it runs.
pub(crate) fn open(args: &ModelArgs, output: &Output) -> Result<Engine> {
    if demonstrations(args)?.is_some() {
        let path = args.adapter[0].path.display();
        return Err(mistake(
            format!("{path} holds examples for the prompt and no adapter"),
            "ask, chat, serve, route calibrate and eval routing put them there; others take adapters only",
        ));
    }
    open_beside(args, output)
}

/// The examples that `-a` puts into the prompt instead of an adapter, if it does. They stand alone.
pub(crate) fn demonstrations(args: &ModelArgs) -> Result<Option<Vec<Demonstration>>> {
    let mut found = None;
    for adapter in &args.adapter {
        let Some(demonstrations) = read_demonstrations(&adapter.path)? else { continue };
        if args.adapter.len() > 1 || adapter.weight != 1.0 || args.merge {
            let path = adapter.path.display();
            return Err(mistake(
                format!("{path} holds examples for the prompt, which are not part of a sum"),
                format!("-a {path} alone puts them there"),
            ));
        }
        found = Some(demonstrations);
    }
    Ok(found)
}

/// As [`open`], with the [`demonstrations`] left to who makes the prompt.
pub(crate) fn open_beside(args: &ModelArgs, output: &Output) -> Result<Engine> {
    let mut engine = Engine::open(&resolve(&args.model)?, &settings(&args.run))?;
    if !args.adapter.is_empty() && demonstrations(args)?.is_none() {
        let read = |adapter: &AdapterRef| Ok((engine.read_adapter(&adapter.path)?, adapter.weight));
        let read = args.adapter.iter().map(read).collect::<Result<Vec<_>, EngineError>>()?;
        for (lora, adapter) in read.iter().map(|(lora, _)| lora).zip(&args.adapter) {
            left_out(lora, &adapter.path.display().to_string(), output);
        }
        let parts: Vec<_> = read.iter().map(|(lora, weight)| (lora, *weight)).collect();
        match args.merge {
            true => engine = engine.merged(&parts, &settings(&args.run))?,
            false => engine.adapt(&parts)?,
        }
        let rank = parts.iter().map(|(lora, _)| lora.rank()).max().unwrap_or(0);
        let how = if args.merge { "merged into the weights" } else { "beside the weights" };
        output.detail(&format!("{} of rank up to {rank}, {how}", show::counted(parts.len(), "adapter")));
    }
    let checkpoint = engine.checkpoint();
    for told in checkpoint.notes() {
        output.note(&told.to_string());
    }
    output.detail(&format!(
        "{}: {} parameters, {} of weights, context {}",
        engine.name(),
        show::parameters(engine.spec().parameters()),
        show::bytes(checkpoint.bytes() as u64),
        show::count(engine.spec().context),
    ));
    output.detail(&format!(
        "{} kernels{}, {}, keys and values in {}, opened in {} ms",
        crayon_kernels::limits::features().variant,
        if args.run.exact { ", all in f32" } else { "" },
        show::counted(engine.threads().count(), "thread"),
        engine.kv_type().name(),
        show::millis(engine.loading()),
    ));
    if output.verbose && !args.run.exact {
        for (format, kernel) in kernels(&engine)? {
            output.detail(&format!("{format} weights: {kernel}"));
        }
    }
    Ok(engine)
}

/// Opens a model that is going to be asked something, and says in which frame where its own chat template does not.
pub(crate) fn open_to_ask(args: &ModelArgs, output: &Output) -> Result<Engine> {
    framed(open(args, output)?, args, output)
}

/// As [`open_to_ask`], with the [`demonstrations`] left to who makes the prompt.
pub(crate) fn open_to_answer(args: &ModelArgs, output: &Output) -> Result<Engine> {
    framed(open_beside(args, output)?, args, output)
}

fn framed(engine: Engine, args: &ModelArgs, output: &Output) -> Result<Engine> {
    let Some(frame) = engine.frame() else { return Ok(engine) };
    let Frame { name, summary, .. } = frame;
    match (&args.run.frame, &engine.checkpoint().chat_template) {
        (None, _) => output.note(&format!(
            "{} has no chat template: it is asked in the frame {name} ({summary}); --frame names another",
            engine.name()
        )),
        (Some(_), Some(_)) => output.note(&format!(
            "{} has a chat template, which the frame {name} ({summary}) takes the place of",
            engine.name()
        )),
        (Some(_), None) => {}
    }
    Ok(engine)
}

/// Says which modules of an adapter are for other parts of a model than the one that reads text.
pub(crate) fn left_out(lora: &Lora, name: &str, output: &Output) {
    let modules = &lora.left_out;
    if let Some(first) = modules.first() {
        let count = show::counted(modules.len(), "module");
        output.note(&format!("{name}: {count} of another part of the model left out, the first is {first}"));
    }
}

/// The number types of the model's matrices, and what multiplies each. The first block speaks for the others.
fn kernels(engine: &Engine) -> Result<Vec<(Format, &'static str)>> {
    let mut formats = BTreeSet::new();
    for (name, shape) in engine.spec().tensors() {
        if shape.len() == 2 && (name.starts_with("blk.0.") || !name.starts_with("blk.")) {
            formats.insert(engine.checkpoint().tensor(&name)?.format);
        }
    }
    let all = crayon_kernels::limits::features().kernels;
    Ok(all.into_iter().filter(|(format, _)| formats.contains(format)).collect())
}

/// How the engine should run.
pub(crate) fn settings(args: &RunArgs) -> Settings {
    Settings {
        threads: args.threads.map(usize::from),
        exact: args.exact,
        kv: args.kv.map(Into::into),
        frame: args.frame.as_deref().and_then(Frame::named),
        no_guess: args.no_guess,
    }
}

/// What a MODEL on the command line means: a built-in name, else a path that exists, else a pulled model.
/// Nothing is ever downloaded here.
pub(crate) fn resolve(text: &str) -> Result<ModelSource> {
    if let Ok(source) = ModelSource::embedded(text) {
        return Ok(source);
    }
    let path = expand(text);
    if path.exists() {
        return Ok(ModelSource::path(&path)?);
    }
    if let Some(reference) = as_reference(text) {
        return match Hub::from_env()?.find(&reference) {
            Some(path) => Ok(ModelSource::path(&path)?),
            None => Err(mistake(
                format!("{reference} is not on this device"),
                format!("`crayon pull {reference}` downloads it; `crayon models` lists what is here"),
            )),
        };
    }
    if clip::embedded(text).is_some() {
        return Err(mistake(
            format!("{text} compares texts with pictures and writes nothing"),
            "`crayon images` and `crayon embed` use it",
        ));
    }
    if looks_like_a_path(text) {
        return Err(EngineError::NotFound { path: text.to_owned() }.into());
    }
    Err(EngineError::NotEmbedded { name: text.to_owned() }.into())
}

/// A name by which the model is found again from any folder.
pub(crate) fn lasting(text: &str) -> Result<String> {
    match resolve(text)? {
        ModelSource::Embedded(model) => Ok(model.name.to_owned()),
        ModelSource::Path(path) => Ok(std::path::absolute(path)?.display().to_string()),
    }
}

/// The model as it is written down for later: what names it in any folder stays as it is, a path becomes absolute.
pub(crate) fn lasting_name(text: &str) -> Result<String> {
    match ModelSource::embedded(text).is_err() && expand(text).exists() {
        true => Ok(std::path::absolute(expand(text))?.display().to_string()),
        false => Ok(text.to_owned()),
    }
}

/// `org/name…`, unless it is written as a path.
fn as_reference(text: &str) -> Option<Reference> {
    // `models/x.gguf` is a file that is not there rather than a model of the user "models".
    let is_file = text.ends_with(".bin") || text.ends_with(".gguf") && !text.contains(':');
    if is_file || text.starts_with(['.', '/', '~', '\\']) {
        return None;
    }
    text.parse().ok()
}

fn looks_like_a_path(text: &str) -> bool {
    text.contains(['/', '\\']) || text.ends_with(".gguf") || text.ends_with(".bin") || text.starts_with('.')
}

/// `~/` as the home folder, for shells that leave it (`--model=~/x`).
fn expand(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_references_and_paths_are_told_apart() {
        for text in ["Qwen/Qwen2.5-0.5B", "org/name@v1", "org/name:file.gguf", "org/name:Q4_K_M"] {
            assert!(as_reference(text).is_some(), "{text}");
        }
        for text in ["./org/name", "/org/name", "models/mini.gguf", "a/b/c", "mini", "~/model", "a/model.bin"]
        {
            assert!(as_reference(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_missing_model_says_which_kind_was_looked_for() {
        let message = |text| resolve(text).unwrap_err().to_string();
        assert_eq!(message("no-such.gguf"), "no model at no-such.gguf");
        assert_eq!(message("nonsense"), "no model called \"nonsense\" is built in");
    }
}
