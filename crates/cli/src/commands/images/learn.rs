//! `crayon images learn`: which words matter, from a few pictures of each class.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crayon_files::write_file;
use crayon_images::few_shot::{Classifier, Linear, Shots, TipAdapter, linear_probe, task_res};
use crayon_images::{
    Cell, Class, Classes, Embedder, Judged, Learning, STRENGTHS, Section, class_folders, contact_sheet,
    sample,
};
use crayon_train::{Device, PlainTextTower, StressOptions};
use crayon_vision::Clip;
use serde_json::json;

use super::classes::{embedded, named};
use super::model;
use crate::args::LearnArgs;
use crate::clip::checkpoint;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, show};

/// Rows of the table.
const LEARNED: &str = "SToRI: weights of words";
const TAKEN: &str = "SToRI: weights as judged";
/// Words of a class that are shown, of most weight and of least.
const SHOWN: usize = 6;
/// Training pictures of a class on the page.
const PICTURES: usize = 6;

/// A method and its accuracy for each seed.
struct Measured {
    name: &'static str,
    each: Vec<f64>,
}

/// What came of the first choice of pictures.
struct First {
    learned: Classes,
    loss: [f32; 2],
    judged: Option<Judged>,
}

impl First {
    /// How far weights are taken.
    fn strength(&self) -> f32 {
        self.judged.as_ref().map_or(1.0, |judged| judged.strength)
    }
}

/// Pictures as vectors, with their classes.
struct Vectors {
    pictures: Vec<f32>,
    labels: Vec<u32>,
}

/// Runs the command.
pub(crate) fn run(args: &LearnArgs, output: &Output) -> Result {
    for (value, flag) in [(args.rate, "--rate"), (args.decay, "--decay")] {
        if !value.is_finite() || value < 0.0 {
            return Err(mistake(
                format!("{flag} must be 0 or more, not {value}"),
                "leave it out for the default",
            ));
        }
    }
    let folders = class_folders(&args.folder)?;
    let names: Vec<String> = folders.iter().map(|(name, _)| name.clone()).collect();
    let classes = named(&names, &args.texts)?;
    let test = args.test.as_deref().map(class_folders).transpose()?;
    let clip = model::open(&args.clip, None, output)?;
    let checkpoint = checkpoint(clip.name())?;
    let tower = PlainTextTower::open(&checkpoint, &Device::Cpu.open()?)?;
    let options = StressOptions { steps: args.steps as usize, rate: args.rate, decay: args.decay };
    let learning = Learning { clip: &clip, tower: &tower, classes: &classes, options };
    let test = test.map(|test| vectors(&clip, &labelled(&test, &names)?, output)).transpose()?;
    let dim = Embedder::dim(&clip);
    let scale = Embedder::logit_scale(&clip);
    let texts = classes.embed(&clip)?;

    let mut measured: Vec<Measured> = Vec::new();
    let mut first: Option<First> = None;
    let mut shown = Vec::new();
    for seed in 0..u64::from(args.seeds) {
        let chosen = sample(&folders, usize::from(args.shots), args.seed + seed);
        let few = vectors(&clip, &chosen, output)?;
        let shots = Shots { pictures: &few.pictures, labels: &few.labels, dim };
        let mut bar = Counting::new("learning", "steps", output);
        let result = learning.words(shots, &mut |done, total| {
            bar.at(done, total);
            interrupt::flow()
        });
        bar.finish();
        let (learned, loss) = result?;
        let judged = match args.force {
            true => None,
            false => {
                let mut bar = Counting::new("judging", "steps", output);
                let judged = learning.judge(shots, &mut |done, total| {
                    bar.at(done, total);
                    interrupt::flow()
                });
                bar.finish();
                Some(judged?)
            }
        };
        if let Some(test) = &test {
            let stressed = Linear::zero_shot(&learned.embed(&clip)?, dim, scale);
            let mut models: Vec<(&'static str, Box<dyn Classifier>)> = Vec::new();
            models.push(("zero-shot", Box::new(Linear::zero_shot(&texts, dim, scale))));
            models.push((LEARNED, Box::new(stressed)));
            if let Some(judged) = &judged {
                let taken = learned.taken(judged.strength).embed(&clip)?;
                models.push((TAKEN, Box::new(Linear::zero_shot(&taken, dim, scale))));
            }
            if args.compare {
                let slower =
                    Learning { options: StressOptions { rate: 2e-3, ..learning.options }, ..learning };
                let context = slower.context(shots, &mut |_, _| interrupt::flow())?;
                models.push(("CoOp: learned context", Box::new(Linear::zero_shot(&context, dim, scale))));
                models.push(("TaskRes", Box::new(task_res(shots, &texts, scale))));
                models.push(("Tip-Adapter", Box::new(TipAdapter::new(shots, &texts, scale))));
                models.push(("Tip-Adapter-F", Box::new(TipAdapter::tuned(shots, &texts, scale))));
                models.push(("linear probe", Box::new(linear_probe(shots, names.len(), scale))));
            }
            for (name, model) in models {
                let right = accuracy(&*model, test, names.len());
                match measured.iter_mut().find(|row| row.name == name) {
                    Some(row) => row.each.push(right),
                    None => measured.push(Measured { name, each: vec![right] }),
                }
            }
        }
        if first.is_none() {
            first = Some(First { learned, loss, judged });
            shown = chosen;
        }
        if interrupt::flow() == ControlFlow::Break(()) {
            break;
        }
    }
    let Some(first) = first else { return Ok(()) };
    if let Some(path) = &args.output {
        first.learned.taken(first.strength()).write(path)?;
    }
    if let Some(path) = &args.html {
        write_file(path, page(&first.learned, &shown).as_bytes())?;
    }
    match output.json {
        true => Ok(output.object(&as_json(&first, &measured, test.as_ref()))?),
        false => print(args, &first, &measured, output),
    }
}

/// Files with the numbers of their classes.
fn labelled(folders: &[(String, Vec<PathBuf>)], names: &[String]) -> Result<Vec<(usize, PathBuf)>> {
    let numbers: HashMap<&String, usize> = names.iter().enumerate().map(|(i, name)| (name, i)).collect();
    let mut all = Vec::new();
    for (name, files) in folders {
        let Some(class) = numbers.get(name) else {
            let what = format!("the class {name:?} of --test was not learned");
            return Err(mistake(what, "both folders must have the same classes"));
        };
        all.extend(files.iter().map(|file| (*class, file.clone())));
    }
    Ok(all)
}

fn vectors(clip: &Clip, files: &[(usize, PathBuf)], output: &Output) -> Result<Vectors> {
    let paths: Vec<PathBuf> = files.iter().map(|(_, path)| path.clone()).collect();
    let embedded = embedded(clip, &paths, output)?;
    let labels = embedded.files.iter().map(|file| files[*file].0 as u32).collect();
    Ok(Vectors { pictures: embedded.vectors, labels })
}

fn accuracy(model: &dyn Classifier, test: &Vectors, classes: usize) -> f64 {
    let predicted = model.predict(&test.pictures, classes);
    let right = predicted.iter().zip(&test.labels).filter(|(a, b)| **a == **b as usize).count();
    right as f64 / test.labels.len().max(1) as f64
}

/// Mean and standard deviation of a sample.
fn spread(each: &[f64]) -> (f64, f64) {
    let mean = each.iter().sum::<f64>() / each.len().max(1) as f64;
    let squares = each.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / (each.len().max(2) - 1) as f64).sqrt())
}

/// The words of a class, those of most weight first.
fn sorted(class: &Class) -> Vec<(&str, f32)> {
    let mut words: Vec<(&str, f32)> =
        class.weights.iter().map(|(word, weight)| (word.as_str(), *weight)).collect();
    words.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    words
}

fn as_json(first: &First, measured: &[Measured], test: Option<&Vectors>) -> serde_json::Value {
    let weights: Vec<_> = first
        .learned
        .classes
        .iter()
        .map(|class| {
            let words: Vec<_> = sorted(class)
                .into_iter()
                .map(|(word, weight)| json!({"word": word, "weight": weight}))
                .collect();
            json!({"class": class.name, "words": words})
        })
        .collect();
    let rows: Vec<_> = measured
        .iter()
        .map(|row| {
            let (mean, deviation) = spread(&row.each);
            json!({"method": row.name, "accuracy": mean, "deviation": deviation, "each": row.each})
        })
        .collect();
    let of = |name: &str| measured.iter().find(|row| row.name == name).map(|row| spread(&row.each).0);
    let strengths = |judged: &Judged| {
        let each = STRENGTHS.iter().zip(judged.right).zip(judged.loss);
        let each =
            each.map(|((strength, right), loss)| json!({"strength": strength, "right": right, "loss": loss}));
        json!({"pictures": judged.pictures, "strengths": each.collect::<Vec<_>>()})
    };
    json!({
        "accuracy": of(TAKEN).or_else(|| of(LEARNED)),
        "rows": rows,
        "tested": test.map(|test| test.labels.len()),
        "loss": first.loss,
        "weights": weights,
        "strength": first.strength(),
        "judged": first.judged.as_ref().map(strengths),
    })
}

fn print(args: &LearnArgs, first: &First, measured: &[Measured], output: &Output) -> Result {
    let First { learned, loss, judged } = first;
    for class in &learned.classes {
        let words = sorted(class);
        let few = words.len() <= 2 * SHOWN;
        let painted =
            |(word, weight): &(&str, f32)| output.paint(&format!("{word} {weight:.2}"), colour(*weight));
        let mut parts: Vec<String> =
            words.iter().take(if few { words.len() } else { SHOWN }).map(painted).collect();
        if !few {
            parts.push("…".to_owned());
            parts.extend(words[words.len() - SHOWN..].iter().map(painted));
        }
        output.line(&format!("{:<14} {}", class.name, parts.join("  ")))?;
    }
    output.line("")?;
    output.line(&format!("loss {:.3} to {:.3} nats a picture in {} steps", loss[0], loss[1], args.steps))?;
    if let Some(judged) = judged {
        output.line(&verdict(judged))?;
    }
    if !measured.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<String>> = measured
            .iter()
            .map(|row| {
                let (mean, deviation) = spread(&row.each);
                let more =
                    if row.each.len() > 1 { format!("± {:.1}", 100.0 * deviation) } else { String::new() };
                vec![row.name.to_owned(), format!("{:.1} %", 100.0 * mean), more]
            })
            .collect();
        output.line(&show::table(&["METHOD", "RIGHT", ""], &rows))?;
    }
    if let Some(path) = &args.output {
        output.note(&format!(
            "{} has classes and weights, for `crayon images classify --weights`",
            path.display()
        ));
    }
    Ok(())
}

/// What pictures left out of learning say of the weights, in a sentence.
fn verdict(judged: &Judged) -> String {
    let Judged { pictures, right, strength, .. } = judged;
    if *pictures == 0 {
        return "one picture a class cannot judge weights, so texts stay plain; give two or more, or --force"
            .to_owned();
    }
    let last = STRENGTHS.len() - 1;
    let found = format!(
        "of {pictures} pictures left out of learning in turn, plain texts recognise {} and weights {}",
        right[0], right[last]
    );
    match STRENGTHS.iter().position(|one| one == strength) {
        Some(0) | None => format!("{found}: texts stay plain (--force takes the weights)"),
        Some(at) if at == last => format!("{found}: weights are taken"),
        Some(at) => format!("{found}, weights to the power of {strength} {}: these are taken", right[at]),
    }
}

/// From blue for little weight over grey to red for much.
fn colour(weight: f32) -> u8 {
    match weight {
        w if w < 0.5 => 27,
        w if w < 0.8 => 75,
        w if w < 0.95 => 110,
        w if w <= 1.05 => 245,
        w if w <= 1.3 => 216,
        w if w <= 2.0 => 209,
        _ => 196,
    }
}

/// A section for each class: its words as large as their weights, and some of the pictures they were learned from.
fn page(learned: &Classes, shown: &[(usize, PathBuf)]) -> String {
    let section = |(number, class): (usize, &Class)| {
        let pictures = shown.iter().filter(|(class, _)| *class == number).take(PICTURES);
        Section {
            words: sorted(class)
                .into_iter()
                .map(|(word, weight)| (word.to_owned(), (weight * 100.0).round() / 100.0))
                .collect(),
            note: class.name.clone(),
            cells: pictures.map(|(_, file)| Cell { file: file.clone(), ..Cell::default() }).collect(),
        }
    };
    let sections: Vec<Section> = learned.classes.iter().enumerate().map(section).collect();
    contact_sheet("Which words matter", &sections)
}
