//! `crayon pool train`: trains a pool of adapters.

use std::time::Instant;

use crayon_engine::adapters::{Examples, Pool, Sample};
use crayon_engine::{Engine, EngineError};
use crayon_model::Projection;
use crayon_train::pool::{TrainOptions, go_on, train};
use crayon_train::{Device, Progress, State};
use serde_json::json;

use super::pool_shown::{described, refuse_adapters, table};
use crate::args::PoolTrainArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, model, show};

/// What a device that is none is answered with.
const DEVICES: &str = "leave --device out to train on the processor";

/// Names of layers on the command line.
const TARGETS: [(&str, Projection); 7] = [
    ("q", Projection::Q),
    ("k", Projection::K),
    ("v", Projection::V),
    ("o", Projection::O),
    ("gate", Projection::Gate),
    ("up", Projection::Up),
    ("down", Projection::Down),
];

/// Runs the command.
pub(super) fn run(args: &PoolTrainArgs, output: &Output) -> Result {
    refuse_adapters(&args.model)?;
    let device: Device = args.device.parse().map_err(|wrong| mistake(wrong, DEVICES))?;
    if Pool::is_in(&args.output) && !args.force {
        let what = format!("{} holds a pool already", args.output.display());
        return Err(mistake(what, "choose another folder, or give --force to replace it"));
    }
    let options = TrainOptions {
        adapters: args.adapters,
        rank: args.rank,
        alpha: args.alpha,
        targets: targets(&args.targets)?,
        epochs: args.epochs,
        batch: args.batch,
        rate: args.rate,
        temperature: args.temperature,
        episode: args.episode,
        hard: args.hard,
        centred: !args.uncentred,
        prompt_keys: args.prompt_keys,
        fixed_keys: args.fixed_keys,
        strangers: args.strangers,
        seed: args.seed,
        validation: args.validation,
        patience: args.patience,
        device,
        ..TrainOptions::default()
    };
    let started = Instant::now();
    let engine = model::open_to_ask(&args.model, output)?;
    let from = args.from.as_ref().map(|from| engine.open_pool(from)).transpose()?;
    let samples = samples(&engine, args, output)?;

    interrupt::watch();
    let mut bar = Counting::new("training", "steps", output);
    let (checkpoint, name) = (engine.checkpoint(), engine.name());
    let mut watch = |progress: &Progress| {
        if progress.resumed > 0 && progress.step == progress.resumed + 1 {
            output.note(&format!("going on after {}", show::counted(progress.resumed, "step")));
        }
        bar.at(progress.step - progress.resumed, progress.steps - progress.resumed);
        if let Some(loss) = progress.validation {
            let epoch = progress.epoch;
            output.detail(&format!("epoch {epoch}: loss {loss:.4} nats a token on held-out examples"));
        }
        interrupt::flow()
    };
    let (folder, threads) = (&args.output, engine.threads());
    let result = match &from {
        Some(pool) => go_on(checkpoint, pool, &samples, &options, folder, threads, &mut watch),
        None => train(checkpoint, name, &samples, &options, folder, threads, &mut watch),
    };
    bar.finish();
    let (pool, summary) = result?;
    pool.save(&args.output, engine.spec(), 0)?;
    State::remove(&args.output)?;

    if output.json {
        let mut object = described(&pool);
        object["folder"] = json!(args.output);
        object["examples"] = json!(summary.examples);
        object["held_out"] = json!(summary.held_out);
        object["steps"] = json!(summary.steps);
        object["resumed"] = json!(summary.resumed);
        object["loss_before"] = json!(summary.loss_before);
        object["loss"] = json!(summary.loss);
        object["seconds"] = json!(started.elapsed().as_secs_f64());
        return Ok(output.object(&object)?);
    }
    output.line(&table(&pool))?;
    output.line(&format!(
        "loss on {} held-out examples {:.4}, before training {:.4} nats a token",
        show::count(summary.held_out),
        summary.loss,
        summary.loss_before,
    ))?;
    Ok(output.line(&format!("pool in {}, {}", args.output.display(), show::duration(started.elapsed())))?)
}

/// Reads the data; examples that do not fit the model's context are left out, which is told.
fn samples(engine: &Engine, args: &PoolTrainArgs, output: &Output) -> Result<Vec<Sample>> {
    let (encoder, context) = (engine.query_encoder()?, engine.spec().context);
    let (mut samples, mut long) = (Vec::new(), 0usize);
    for path in &args.data {
        let file = path.display().to_string();
        let task = path.file_stem().map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned());
        for example in Examples::open(path)? {
            let example = example.map_err(EngineError::from)?;
            let sample = engine.sample(&encoder, &example, &file, &task)?;
            match sample.prompt.len() + sample.answer.len() <= context {
                true => samples.push(sample),
                false => long += 1,
            }
        }
    }
    if long > 0 {
        let context = show::count(context);
        output.note(&format!("{} left out: longer than {context} tokens", show::counted(long, "example")));
    }
    Ok(samples)
}

fn targets(names: &[String]) -> Result<Vec<Projection>> {
    if names.iter().any(|name| name == "all") {
        return Ok(Projection::ALL.to_vec());
    }
    let mut out = Vec::new();
    for name in names {
        let known = TARGETS.iter().find(|(known, _)| known == name);
        let Some((_, projection)) = known else {
            return Err(mistake(
                format!("{name:?} is not a layer"),
                "known are q, k, v, o, gate, up, down and all",
            ));
        };
        if !out.contains(projection) {
            out.push(*projection);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_names() {
        let parse =
            |names: &[&str]| targets(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&["q", "v", "q"]).unwrap(), [Projection::Q, Projection::V]);
        assert_eq!(parse(&["all"]).unwrap(), Projection::ALL);
        assert!(parse(&["x"]).is_err());
    }
}
