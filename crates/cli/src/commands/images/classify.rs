//! `crayon images classify`: pictures sorted into classes.

use std::path::{Path, PathBuf};

use crayon_images::{Classes, Embedder, class_folders, walk};
use crayon_vision::KINDS;
use serde_json::json;

use super::classes::{embedded, named};
use super::model;
use crate::args::ClassifyArgs;
use crate::failure::{Context as _, Result, mistake};
use crate::output::Output;
use crate::show;

/// A picture and the class it is known to have.
struct Labelled {
    file: PathBuf,
    class: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ClassifyArgs, output: &Output) -> Result {
    let pictures = pictures(args)?;
    let clip = model::open(&args.clip, None, output)?;
    let classes = match &args.weights {
        Some(path) => {
            let classes = Classes::read(path)?;
            classes.must_fit(&clip, path)?;
            classes
        }
        None => named(&names(args, &pictures)?, &args.texts)?,
    };
    let vectors = classes.embed(&clip)?;
    let files: Vec<PathBuf> = pictures.iter().map(|picture| picture.file.clone()).collect();
    let embedded = embedded(&clip, &files, output)?;
    let dim = Embedder::dim(&clip);
    let mut results = Vec::new();
    let (mut right, mut of) = (0, 0);
    for (vector, file) in embedded.vectors.chunks_exact(dim).zip(&embedded.files) {
        let picture = &pictures[*file];
        let shares = shares(vector, &vectors, Embedder::logit_scale(&clip));
        let best = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        let (best, share) = best.map_or((0, 0.0), |(best, share)| (best, *share));
        let name = &classes.classes[best].name;
        if let Some(truth) = &picture.class {
            of += 1;
            right += usize::from(truth == name);
        }
        results.push((picture, name, share));
    }
    let accuracy = (of > 0).then(|| right as f64 / of as f64);
    if output.json {
        let results: Vec<_> = results
            .iter()
            .map(|(picture, name, share)| {
                json!({"path": picture.file.display().to_string(), "class": name, "score": share, "truth": picture.class})
            })
            .collect();
        let classes: Vec<&str> = classes.classes.iter().map(|class| class.name.as_str()).collect();
        return Ok(output.object(&json!({
            "results": results,
            "classes": classes,
            "accuracy": accuracy,
            "right": right,
            "of": of,
        }))?);
    }
    match accuracy {
        Some(accuracy) => Ok(output.line(&format!(
            "{:.1} % right: {} of {}, {} classes",
            100.0 * accuracy,
            show::count(right),
            show::counted(of, "picture"),
            show::count(classes.classes.len()),
        ))?),
        None => {
            let rows: Vec<Vec<String>> = results
                .iter()
                .map(|(picture, name, share)| {
                    vec![
                        (*name).clone(),
                        format!("{:.0} %", 100.0 * share),
                        picture.file.display().to_string(),
                    ]
                })
                .collect();
            Ok(output.line(&show::table(&["CLASS", "", "FILE"], &rows))?)
        }
    }
}

/// The files, with their classes where folders tell.
fn pictures(args: &ClassifyArgs) -> Result<Vec<Labelled>> {
    let mut all = Vec::new();
    for path in &args.pictures {
        if args.labelled {
            for (class, files) in class_folders(path)? {
                all.extend(files.into_iter().map(|file| Labelled { file, class: Some(class.clone()) }));
            }
        } else if std::fs::metadata(path).context(path.display())?.is_dir() {
            all.extend(below(path)?);
        } else {
            all.push(Labelled { file: path.clone(), class: None });
        }
    }
    match all.is_empty() {
        true => Err(mistake("there is no picture", format!("{KINDS} are read"))),
        false => Ok(all),
    }
}

fn below(folder: &Path) -> Result<Vec<Labelled>> {
    let files = walk(folder, false, &|| false)?.files;
    Ok(files.into_iter().map(|(file, _)| Labelled { file, class: None }).collect())
}

/// The classes: as they are named, else as the folders are.
fn names(args: &ClassifyArgs, pictures: &[Labelled]) -> Result<Vec<String>> {
    if !args.classes.is_empty() {
        return Ok(args.classes.clone());
    }
    let mut names: Vec<String> = pictures.iter().filter_map(|picture| picture.class.clone()).collect();
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => Err(mistake(
            "no classes are named",
            "--class cat --class dog names them, --weights has learned ones",
        )),
        false => Ok(names),
    }
}

/// Softmax over the classes.
fn shares(picture: &[f32], classes: &[f32], scale: f32) -> Vec<f32> {
    let dot = |class: &[f32]| class.iter().zip(picture).map(|(a, b)| a * b).sum::<f32>();
    let logits: Vec<f32> = classes.chunks_exact(picture.len()).map(|class| scale * dot(class)).collect();
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|exp| exp / sum).collect()
}
