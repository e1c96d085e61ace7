//! `crayon pool`: describes a pool of adapters, lets an adapter join, packs one; `pool_train` trains one.

use std::path::Path;

use crayon_engine::adapters::{Examples, Form, Pool, svg};
use crayon_files::write_file;

use super::pool_shown::{described, refuse_adapters, table};
use super::pool_train;
use crate::args::{PoolAddArgs, PoolArgs, PoolCommand, PoolPackArgs, PoolShowArgs};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// Runs the command.
pub(crate) fn run(args: &PoolArgs, output: &Output) -> Result {
    match &args.what {
        PoolCommand::Train(args) => pool_train::run(args, output),
        PoolCommand::Show(args) => show(args, output),
        PoolCommand::Add(args) => add(args, output),
        PoolCommand::Pack(args) => pack(args, output),
    }
}

fn show(args: &PoolShowArgs, output: &Output) -> Result {
    refuse_adapters(&args.model)?;
    let engine = model::open(&args.model, output)?;
    let pool = engine.open_pool(&args.pool)?;
    if let Some(path) = &args.plot {
        write_file(path, svg(&pool).as_bytes())?;
    }
    if output.json {
        return Ok(output.object(&described(&pool))?);
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
    pool.blend(&vec![0.0; before + 1], pool.temperature, Form::Exact, engine.threads())?;
    pool.save(&args.pool, engine.spec(), before)?;
    if output.json {
        return Ok(output.object(&described(&pool))?);
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
        return Ok(output.object(&described(&packed))?);
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
