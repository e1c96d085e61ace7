//! What settings of a training on a few examples are worth: trains on each user's examples and asks their questions after every second
//! round. The defaults of the rung `trained` were chosen by it.
//!
//! ```text
//! python3 scripts/eval/validation_users.py DATA/tasks users
//! cargo run --release -p crayon-customize --example defaults -- MODEL users rate=5e-3 rate=2e-3,rank=4,targets=qv,rounds=16,batch=2
//! ```
//!
//! A word is a row of the table: a setting, where what is not given is the program's own (but `rounds`, 12). `targets` are letters of
//! q, k, v, o and m (gate, up and down). Only examples train, only questions are asked; right is an answer that greedy decoding writes.

#![allow(clippy::print_stdout, reason = "a table is its purpose")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use crayon_adapters::{Example, Examples};
use crayon_customize::{Given, Judge, SEED, training};
use crayon_engine::{Engine, ModelSource, Settings};
use crayon_model::Projection;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool::{Learner, Own, TrainOptions};

/// Rounds between two looks.
const EVERY: usize = 2;

struct Setting {
    options: TrainOptions,
    rounds: usize,
}

impl Setting {
    fn parse(word: &str) -> Result<Setting, Box<dyn Error>> {
        let mut setting = Setting { options: training(SEED), rounds: 12 };
        for part in word.split(',') {
            let (name, value) = part.split_once('=').ok_or(format!("{part} is not name=value"))?;
            let options = &mut setting.options;
            match name {
                "rate" => options.rate = value.parse()?,
                "rank" => (options.rank, options.alpha) = (value.parse()?, 2.0 * value.parse::<f32>()?),
                "alpha" => options.alpha = value.parse()?,
                "batch" => options.batch = value.parse()?,
                "rounds" => setting.rounds = value.parse()?,
                "targets" => options.targets = value.chars().flat_map(targets).collect(),
                _ => return Err(format!("there is no setting {name}").into()),
            }
        }
        Ok(setting)
    }
}

fn targets(letter: char) -> Vec<Projection> {
    match letter {
        'q' => vec![Projection::Q],
        'k' => vec![Projection::K],
        'v' => vec![Projection::V],
        'o' => vec![Projection::O],
        'm' => vec![Projection::Gate, Projection::Up, Projection::Down],
        _ => Vec::new(),
    }
}

fn given(engine: &Engine, path: &Path) -> Result<Given, Box<dyn Error>> {
    let examples: Vec<Example> = Examples::open(path)?.collect::<Result<_, _>>()?;
    Ok(Given::new(engine, &examples)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, users, settings @ ..] = words.as_slice() else {
        return Err("MODEL USERS SETTING… are wanted".into());
    };
    let source = ModelSource::embedded(model).or_else(|_| ModelSource::path(Path::new(model)))?;
    let engine = Engine::open(&source, &Settings::default())?;
    let decoder = FrozenDecoder::open(engine.checkpoint(), engine.mode(), engine.threads())?;
    let mut folders: Vec<_> =
        std::fs::read_dir(users)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    println!(
        "| setting | user | right of asked after 2, 4, … rounds | their loss | seconds of training |\n|---|---|---|---|---|"
    );
    for word in settings {
        let Setting { options, rounds } = Setting::parse(word)?;
        let looks = rounds.div_ceil(EVERY);
        let (mut right, mut losses, mut asked, mut seconds) = (vec![0; looks], vec![0.0; looks], 0, 0.0);
        for folder in &folders {
            let (examples, questions) = (
                given(&engine, &folder.join("examples.jsonl"))?,
                given(&engine, &folder.join("questions.jsonl"))?,
            );
            let samples: Vec<_> = examples.cases.iter().map(|case| &case.sample).collect();
            let steps = rounds * samples.len().div_ceil(options.batch);
            let own = Own::new(engine.spec(), &options, None);
            let mut learner = Learner::new(&decoder, samples, own, &options, steps, engine.threads())?;
            let mut judge = Judge::new(&engine, &questions.cases)?;
            let (mut own_right, mut own_loss, mut own_seconds) = (Vec::new(), Vec::new(), 0.0);
            for look in 0..looks {
                let until = steps / rounds * ((look + 1) * EVERY).min(rounds);
                let started = Instant::now();
                while learner.done() < until {
                    learner.step()?;
                }
                own_seconds += started.elapsed().as_secs_f64();
                judge.take(Some(std::sync::Arc::new(learner.learned().lora().attach(engine.spec())?)));
                let count = questions.cases.len();
                let judged = (0..count).map(|at| judge.one(at)).collect::<Result<Vec<_>, _>>()?;
                own_right.push(judged.iter().filter(|one| one.right).count());
                own_loss.push(judged.iter().map(|one| one.loss).sum::<f64>() / count as f64);
                right[look] += own_right[look];
                losses[look] += own_loss[look] / folders.len() as f64;
            }
            (asked, seconds) = (asked + questions.cases.len(), seconds + own_seconds);
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            println!(
                "| {word} | {name} | {} | {} | {own_seconds:.1} |",
                numbers(&own_right),
                rounded(&own_loss)
            );
        }
        println!("| {word} | all {asked} | {} | {} | {seconds:.1} |", numbers(&right), rounded(&losses));
    }
    Ok(())
}

fn numbers(values: &[usize]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn rounded(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ")
}
