//! What settings of a training on a few examples are worth: trains on each user's examples and asks their questions after every second
//! round. The defaults of the rung `trained` were chosen by it.
//!
//! ```text
//! python3 scripts/eval/validation_users.py DATA/tasks users
//! cargo run --release -p crayon-customize --example defaults -- MODEL users rate=5e-3 rate=2e-3,rank=4,targets=qv,rounds=16,batch=2
//! ```
//!
//! A word is a row of the table: a setting, where what is not given is the program's own (`rounds` are 8). `targets` are letters of
//! q, k, v, o and m (gate, up and down). `weights=free`, `softmax` or `layers` lets weights of the built-in pool's adapters learn, one for
//! each, their softmax, or one for each in each layer. Only examples train, only questions are asked; right is an answer that greedy
//! decoding writes.

#![allow(clippy::print_stdout, reason = "a table is its purpose")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::{Example, Examples, Form, Lora, blend};
use crayon_customize::{Given, Judge, SEED, training};
use crayon_engine::{Engine, ModelSource, Settings};
use crayon_model::Projection;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool::{Learner, Learning, Mixture, Own, TrainOptions, Weighing};

/// Rounds between two looks.
const EVERY: usize = 2;

struct Setting {
    options: TrainOptions,
    rounds: usize,
    /// Weights of the built-in pool's adapters learn instead of an adapter.
    weighing: Option<Weighing>,
}

impl Setting {
    fn parse(word: &str, hidden: usize) -> Result<Setting, Box<dyn Error>> {
        let mut setting = Setting { options: training(hidden, SEED), rounds: 8, weighing: None };
        for part in word.split(',') {
            let (name, value) = part.split_once('=').ok_or(format!("{part} is not name=value"))?;
            let options = &mut setting.options;
            match name {
                "weights" => {
                    setting.weighing = Some(match value {
                        "free" => Weighing::Free,
                        "softmax" => Weighing::Softmax,
                        "layers" => Weighing::Layers,
                        _ => return Err(format!("there are no weights {value}").into()),
                    });
                }
                "rate" => options.rate = value.parse()?,
                "rank" => (options.rank, options.alpha) = (value.parse()?, 2.0 * value.parse::<f32>()?),
                "alpha" => options.alpha = value.parse()?,
                "batch" => options.batch = value.parse()?,
                "rounds" => setting.rounds = value.parse()?,
                "seed" => options.seed = value.parse()?,
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
        let setting = Setting::parse(word, engine.spec().hidden)?;
        let looks = setting.rounds.div_ceil(EVERY);
        let (mut right, mut losses, mut asked, mut seconds) = (vec![0; looks], vec![0.0; looks], 0, 0.0);
        for folder in &folders {
            let of = User {
                examples: given(&engine, &folder.join("examples.jsonl"))?,
                questions: given(&engine, &folder.join("questions.jsonl"))?,
            };
            let curve = match setting.weighing {
                None => {
                    let own = Own::new(engine.spec(), &setting.options, None);
                    curve(&engine, &decoder, &of, &setting, own, |own| Ok(own.lora()))?
                }
                Some(weighing) => fitted(&engine, &decoder, &of, &setting, weighing)?,
            };
            for (look, (own_right, own_loss)) in curve.looks.iter().enumerate() {
                right[look] += own_right;
                losses[look] += own_loss / folders.len() as f64;
            }
            (asked, seconds) = (asked + of.questions.cases.len(), seconds + curve.seconds);
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let (rights, own): (Vec<usize>, Vec<f64>) = curve.looks.into_iter().unzip();
            println!("| {word} | {name} | {} | {} | {:.1} |", numbers(&rights), rounded(&own), curve.seconds);
        }
        println!("| {word} | all {asked} | {} | {} | {seconds:.1} |", numbers(&right), rounded(&losses));
    }
    Ok(())
}

struct User {
    examples: Given,
    questions: Given,
}

/// Right answers and loss of the questions at every look.
struct Curve {
    looks: Vec<(usize, f64)>,
    seconds: f64,
}

/// Weights of the built-in pool's adapters, from its blend on.
fn fitted(
    engine: &Engine,
    decoder: &FrozenDecoder,
    user: &User,
    setting: &Setting,
    weighing: Weighing,
) -> Result<Curve, Box<dyn Error>> {
    let pool = engine.built_in_pool()?.ok_or("the model has no pool built in")?;
    let loras: Vec<&Lora> = pool.members.iter().map(|member| &member.lora).collect();
    let examples = user.examples.cases.iter().map(|case| {
        let (prompt, answer) = (case.prompt.clone(), None);
        Ok(Example { prompt, answer, task: None, choices: Vec::new(), line: 1 })
    });
    let scored = engine.score(&pool.keys, examples)?;
    let start = pool.keys.weights(&scored.scores, pool.temperature);
    let mixture = Mixture::weighed(&loras, &start, weighing);
    curve(engine, decoder, user, setting, mixture, |mixture| {
        // A layer's weights go into its factors.
        let scaled: Vec<Lora> = loras
            .iter()
            .enumerate()
            .map(|(n, lora)| {
                let mut lora = (*lora).clone();
                lora.pairs.iter_mut().for_each(|(site, pair)| pair.scale *= mixture.weights(site.layer)[n]);
                lora
            })
            .collect();
        let parts: Vec<(&Lora, f32)> = scaled.iter().map(|lora| (lora, 1.0)).collect();
        Ok(blend(&parts, Form::Exact, engine.threads())?)
    })
}

fn curve<L: Learning>(
    engine: &Engine,
    decoder: &FrozenDecoder,
    user: &User,
    setting: &Setting,
    learned: L,
    lora: impl Fn(&L) -> Result<Lora, Box<dyn Error>>,
) -> Result<Curve, Box<dyn Error>> {
    let Setting { options, rounds, .. } = setting;
    let samples: Vec<_> = user.examples.cases.iter().map(|case| &case.sample).collect();
    let steps = rounds * samples.len().div_ceil(options.batch);
    let mut learner = Learner::new(decoder, samples, learned, options, steps, engine.threads())?;
    let mut judge = Judge::new(engine, &user.questions.cases)?;
    let (mut looks, mut seconds) = (Vec::new(), 0.0);
    for look in 0..rounds.div_ceil(EVERY) {
        let until = steps / rounds * ((look + 1) * EVERY).min(*rounds);
        let started = Instant::now();
        while learner.done() < until {
            learner.step()?;
        }
        seconds += started.elapsed().as_secs_f64();
        judge.take(Some(Arc::new(lora(learner.learned())?.attach(engine.spec())?)));
        let count = user.questions.cases.len();
        let mut judged = Vec::with_capacity(count);
        for at in 0..count {
            judged.push(judge.one(at)?);
        }
        let right = judged.iter().filter(|one| one.right).count();
        looks.push((right, judged.iter().map(|one| one.loss).sum::<f64>() / count as f64));
    }
    Ok(Curve { looks, seconds })
}

fn numbers(values: &[usize]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn rounded(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ")
}
