//! `crayon eval quantize`: ways to quantise side by side.

use std::path::Path;

use crayon_engine::ModelSource;
use crayon_eval::quantize::{Beside, QuantizeOptions, QuantizeRow, Variant, quantize};
use crayon_formats::{Bytes, Checkpoint};
use crayon_quant::{Activations, Groups, Scheme};

use super::quantize::named;
use super::watched;
use crate::args::EvalQuantizeArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{input, model, show};

/// Runs the command.
pub(super) fn run(args: &EvalQuantizeArgs, output: &Output) -> Result {
    let checkpoint = match model::resolve(&args.model)? {
        ModelSource::Embedded(model) => Checkpoint::from_gguf(model.name, Bytes::from_static(model.bytes))?,
        ModelSource::Path(path) => Checkpoint::open(&path)?,
    };
    let options = options(args)?;
    let result = watched("rows", output, |progress| quantize(&checkpoint, &options, progress))?;
    if output.json {
        return Ok(output.object(&result)?);
    }
    Ok(output.line(&table(&result.rows))?)
}

fn options(args: &EvalQuantizeArgs) -> Result<QuantizeOptions> {
    let schemes = args.schemes.iter().map(|name| {
        named("scheme", name, Scheme::from_name(name), Scheme::ALL.iter().map(|scheme| scheme.name()))
    });
    let activations = args.activations.iter().map(|name| {
        let all = Activations::ALL.iter().map(|kind| kind.name());
        named("kind of activations' ranges", name, Activations::from_name(name), all)
    });
    let variants = args.variants.iter().map(|name| {
        let all = Variant::ALL.map(|variant| variant.name);
        named("way to quantise", name, Variant::from_name(name), all.into_iter())
    });
    let variants = variants.collect::<Result<Vec<_>>>()?;
    let texts = args.text.iter().map(|text| match text.split_once('=') {
        Some((name, path)) => Ok((name.to_owned(), input::file(Path::new(path))?)),
        None => Err(mistake(format!("--text {text:?} has no name"), "write NAME=FILE")),
    });
    let name = Path::new(&args.model)
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let calibrated = match &args.calibration {
        Some(path) => path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        None => "the model's own".to_owned(),
    };
    Ok(QuantizeOptions {
        variants: if variants.is_empty() { Variant::ALL.to_vec() } else { variants },
        schemes: schemes.collect::<Result<_>>()?,
        activations: activations.collect::<Result<_>>()?,
        groups: match args.groups.as_deref().map(|text| (text, text.parse::<usize>())) {
            None => None,
            Some(("channel", _)) => Some(Groups::Channel),
            Some(("tensor", _)) => Some(Groups::Tensor),
            Some((_, Ok(size))) if size > 0 => Some(Groups::Of(size)),
            Some((text, _)) => {
                let what = format!("{text:?} is not a group of weights");
                return Err(mistake(what, "known are channel, tensor, and numbers such as 32"));
            }
        },
        texts: texts.collect::<Result<_>>()?,
        calibration: args.calibration.as_deref().map(input::file).transpose()?,
        calibrated,
        sequences: args.sequences.clone(),
        seeds: args.seeds.max(1),
        window: args.window,
        windows: args.windows.max(1),
        steps: args.steps,
        final_steps: args.final_steps,
        tune_rates: args.tune_rates.clone(),
        alphas: args.alphas.clone(),
        cells: args.cells.clone(),
        plant: args.plant,
        beside: Beside { adapter: args.adapter.clone(), kv: args.kv.map(Into::into), pot: args.pot },
        label: match args.plant {
            Some(factor) => format!("{name} planted x{factor}"),
            None => name,
        },
    })
}

/// A text's perplexity, what it lost on the exact row with the error over windows, and in brackets the divergence.
fn table(rows: &[QuantizeRow]) -> String {
    let exact = rows.iter().find(|row| row.variant == "exact");
    let mut header = vec!["VARIANT", "SCHEME", "RANGES", "SEQUENCES", "SEED"];
    let names: Vec<String> = rows
        .first()
        .map_or_else(Vec::new, |row| row.texts.iter().map(|text| text.text.to_uppercase()).collect());
    header.extend(names.iter().map(String::as_str));
    header.push("SECONDS");
    let cells = |row: &QuantizeRow| {
        let mut cells = vec![
            row.variant.clone(),
            row.scheme.clone(),
            row.activations.clone(),
            row.sequences.to_string(),
            row.seed.to_string(),
        ];
        cells.extend(row.texts.iter().enumerate().map(|(at, text)| {
            let lost = exact.filter(|exact| *exact != row).and_then(|exact| text.lost(&exact.texts[at]));
            let lost = lost.map(|(by, error)| format!(" {:+.1} ± {:.1} %", 100.0 * by, 100.0 * error));
            format!("{:.2}{} ({:.4})", text.perplexity, lost.unwrap_or_default(), text.kl)
        }));
        cells.push(format!("{:.0}", row.seconds));
        cells
    };
    show::table(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}
