//! `crayon pool`: trains a pool of adapters, describes one, lets an adapter join.

use std::path::Path;
use std::time::Instant;

use crayon_engine::adapters::train::{self, Options, Sample};
use crayon_engine::adapters::{Examples, Form, Pool, svg};
use crayon_engine::{Engine, EngineError};
use crayon_files::write_file;
use crayon_model::Projection;
use serde_json::json;

use crate::args::{ModelArgs, PoolAddArgs, PoolArgs, PoolCommand, PoolPackArgs, PoolShowArgs, PoolTrainArgs};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, model, show};

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
pub(crate) fn run(args: &PoolArgs, output: &Output) -> Result {
    match &args.what {
        PoolCommand::Train(args) => train(args, output),
        PoolCommand::Show(args) => show(args, output),
        PoolCommand::Add(args) => add(args, output),
        PoolCommand::Pack(args) => pack(args, output),
    }
}

/// Pools stand beside the model itself.
pub(crate) fn refuse_adapters(args: &ModelArgs) -> Result {
    match args.adapter.is_empty() {
        true => Ok(()),
        false => Err(mistake("a pool is blended beside the model itself", "leave --adapter out")),
    }
}

fn train(args: &PoolTrainArgs, output: &Output) -> Result {
    refuse_adapters(&args.model)?;
    if Pool::is_in(&args.output) && !args.force {
        let what = format!("{} holds a pool already", args.output.display());
        return Err(mistake(what, "choose another folder, or give --force to replace it"));
    }
    let options = Options {
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
        seed: args.seed,
        validation: args.validation,
        patience: args.patience,
        device: args.device,
        ..Options::default()
    };
    let started = Instant::now();
    let engine = model::open(&args.model, output)?;
    let samples = samples(&engine, args, output)?;

    interrupt::watch();
    let mut bar = Counting::new("training", "steps", output);
    let (checkpoint, name) = (engine.checkpoint(), engine.name());
    let result =
        train::train(checkpoint, name, &samples, &options, &args.output, engine.pool(), &mut |progress| {
            if progress.resumed > 0 && progress.step == progress.resumed + 1 {
                output.note(&format!("going on after {}", show::counted(progress.resumed, "step")));
            }
            bar.at(progress.step - progress.resumed, progress.steps - progress.resumed);
            if let Some(loss) = progress.validation {
                output.detail(&format!(
                    "epoch {}: loss {loss:.4} nats a token on held-out examples",
                    progress.epoch
                ));
            }
            interrupt::flow()
        });
    bar.finish();
    let (pool, report) = result?;
    pool.save(&args.output, engine.spec(), 0)?;
    train::clean(&args.output)?;

    if output.json {
        let mut object = described(&pool);
        object["folder"] = json!(args.output);
        object["examples"] = json!(report.examples);
        object["held_out"] = json!(report.held_out);
        object["steps"] = json!(report.steps);
        object["resumed"] = json!(report.resumed);
        object["loss_before"] = json!(report.loss_before);
        object["loss"] = json!(report.loss);
        object["seconds"] = json!(started.elapsed().as_secs_f64());
        return output.object(&object);
    }
    output.line(&table(&pool))?;
    output.line(&format!(
        "loss on {} held-out examples {:.4}, before training {:.4} nats a token",
        show::count(report.held_out),
        report.loss,
        report.loss_before,
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
                format!("{name:?} is no layer"),
                "known are q, k, v, o, gate, up, down and all",
            ));
        };
        if !out.contains(projection) {
            out.push(*projection);
        }
    }
    Ok(out)
}

fn show(args: &PoolShowArgs, output: &Output) -> Result {
    refuse_adapters(&args.model)?;
    let engine = model::open(&args.model, output)?;
    let pool = engine.open_pool(&args.pool)?;
    if let Some(path) = &args.plot {
        write_file(path, svg(&pool).as_bytes())?;
    }
    if output.json {
        return output.object(&described(&pool));
    }
    output.line(&table(&pool))?;
    output.line(&format!(
        "made beside {}; temperature {}, keys of {} values, examples fit from a cosine of {:.2} on",
        pool.base_name,
        pool.temperature,
        pool.keys.mean.len(),
        pool.keys.floor,
    ))?;
    match &args.plot {
        Some(path) => Ok(output.line(&format!("map of the keys in {}", path.display()))?),
        None => Ok(()),
    }
}

fn add(args: &PoolAddArgs, output: &Output) -> Result {
    refuse_adapters(&args.model)?;
    let engine = model::open(&args.model, output)?;
    let mut pool = Pool::open(&args.pool, engine.checkpoint(), engine.name())?;
    let lora = engine.read_adapter(&args.joining)?;
    let scored = engine.score(&pool.keys, Examples::open(&args.data)?)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.joining),
    };
    if pool.members.iter().any(|member| member.name == name) {
        return Err(mistake(format!("the pool has an adapter called {name:?}"), "give another --name"));
    }
    let before = pool.members.len();
    pool.add(name, lora, scored.query, scored.examples);
    // Tells whether it can be blended before it is kept.
    pool.blend(&vec![0.0; before + 1], pool.temperature, Form::Exact, engine.pool())?;
    pool.save(&args.pool, engine.spec(), before)?;
    if output.json {
        return output.object(&described(&pool));
    }
    Ok(output.line(&table(&pool))?)
}

fn pack(args: &PoolPackArgs, output: &Output) -> Result {
    refuse_adapters(&args.model)?;
    let engine = model::open(&args.model, output)?;
    let pool = Pool::open(&args.pool, engine.checkpoint(), engine.name())?;
    pool.pack(&args.output)?;
    // What half precision makes of it is read back before anybody relies on it.
    let packed = Pool::open(&args.output, engine.checkpoint(), engine.name())?;
    if output.json {
        return output.object(&described(&packed));
    }
    let bytes = std::fs::metadata(&args.output)?.len();
    Ok(output.line(&format!(
        "{} in {}, {}",
        show::counted(packed.members.len(), "adapter"),
        args.output.display(),
        show::bytes(bytes)
    ))?)
}

fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(|| "adapter".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// A pool as `--json` prints it.
fn described(pool: &Pool) -> serde_json::Value {
    let adapters: Vec<serde_json::Value> = pool
        .members
        .iter()
        .map(|member| {
            json!({
                "name": member.name,
                "examples": member.examples,
                "rank": member.lora.rank(),
                "parameters": member.lora.parameters(),
            })
        })
        .collect();
    json!({
        "adapters": adapters,
        "keys": pool.keys.keys,
        "rank": pool.rank(),
        "temperature": pool.temperature,
        "floor": pool.keys.floor,
        "base": pool.base_name,
        "fingerprint": pool.base,
    })
}

fn table(pool: &Pool) -> String {
    let rows: Vec<Vec<String>> = pool
        .members
        .iter()
        .map(|member| {
            let lora = &member.lora;
            vec![
                member.name.clone(),
                show::count(member.examples),
                lora.rank().to_string(),
                show::parameters(lora.parameters()),
            ]
        })
        .collect();
    show::table(&["ADAPTER", "EXAMPLES", "RANK", "PARAMETERS"], &rows)
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
