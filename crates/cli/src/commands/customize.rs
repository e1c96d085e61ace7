//! `crayon customize`: one adapter from a pool for a person's examples. `ask` and `chat` do the same with `--examples`.

use std::cell::OnceCell;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crayon_engine::adapters::{Catalogue, Examples, Form, QueryEncoder, Scope, add_noise, peft, weights};
use crayon_engine::{BUILT_IN, Engine, EngineError, Scored};
use serde::{Serialize, Serializer};

use super::source::{self, Source, Traffic};
use crate::args::{CustomArgs, CustomizeArgs, ModelArgs, PoolServerArgs, RouteArgs, RouteName};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{interrupt, model, show};

/// Terminal colours of a box of crayons, one for each base adapter.
const CRAYONS: [u8; 12] = [196, 33, 34, 208, 141, 178, 206, 37, 130, 75, 112, 244];
/// Characters of the longest bar.
const BAR: usize = 30;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    weights: &'a [f32],
    scores: &'a [f32],
    /// The scores as they were blended by: rounded for a server, and with noise where it was asked for.
    sent: &'a [f32],
    names: Vec<&'a str>,
    /// Folder of the adapter, if one was written.
    adapter: Option<&'a Path>,
    /// Whether the examples are near to something the pool learned.
    fits: bool,
    form: &'static str,
    /// Of the adapter, if one was made.
    rank: Option<usize>,
    examples: usize,
    outside: usize,
    millis: Millis,
    bytes_sent: u64,
    bytes_received: u64,
}

#[derive(Serialize)]
struct Millis {
    embed: f64,
    blend: f64,
}

/// What examples ask of a pool.
struct Custom {
    source: Source,
    catalogue: Catalogue,
    scored: Scored,
    /// What is blended by, and what a server gets.
    sent: Vec<f32>,
    fits: bool,
    weights: Vec<f32>,
    embedding: Duration,
}

/// What a model answers through, and what that was made for.
#[derive(Default)]
pub(crate) struct Customised {
    /// Adapters and their weights; empty for the model alone.
    weights: Vec<(String, f32)>,
    scopes: Vec<Scope>,
    /// Of the model itself: adapters that were merged into the one that answers change what its first layer asks. Else made
    /// when a query first needs it.
    encoder: OnceCell<QueryEncoder>,
}

/// Runs the command.
pub(crate) fn run(args: &CustomizeArgs, output: &Output) -> Result {
    super::pool::refuse_adapters(&args.model)?;
    if let Some(temperature) = args.temperature
        && !(temperature.is_finite() && temperature > 0.0)
    {
        return Err(mistake(format!("--temperature must be above 0, not {temperature}"), "0.1 is usual"));
    }
    let Some(form) = Form::from_name(&args.form) else {
        return Err(mistake(format!("{} is no form", args.form), "known are exact, svd and factor"));
    };
    let engine = model::open(&args.model, output)?;
    let wish = Wish {
        examples: &args.examples,
        pool: &args.pool,
        server: &args.server,
        temperature: args.temperature,
        seed: args.seed,
    };
    let custom = score(&engine, &wish, output)?;
    let used = custom.fits || args.force;
    let started = Instant::now();
    // A server learns nothing where its adapter would not be used.
    let made = match used || custom.source.host().is_none() {
        true => Some(custom.source.blend(&custom.sent, args.temperature, form, &engine, output)?),
        false => None,
    };
    let blending = show::millis(started.elapsed());
    let written = match (&args.output, &made) {
        (Some(folder), Some(made)) if used => {
            peft::write(folder, &made.lora, engine.spec())?;
            custom.scope().write(folder, &custom.catalogue.base)?;
            Some(folder.as_path())
        }
        _ => None,
    };
    let traffic = made.as_ref().map_or(custom.source.traffic(), |made| made.traffic);
    let rank = made.as_ref().map(|made| made.lora.rank());
    if output.json {
        return output.object(&Report {
            weights: &custom.weights,
            scores: &custom.scored.scores,
            sent: &custom.sent,
            names: custom.catalogue.members.iter().map(|member| member.name.as_str()).collect(),
            adapter: written,
            fits: custom.fits,
            form: form.name(),
            rank,
            examples: custom.scored.examples,
            outside: custom.scored.outside,
            millis: Millis { embed: show::millis(custom.embedding), blend: blending },
            bytes_sent: traffic.sent,
            bytes_received: traffic.received,
        });
    }
    for line in bars(&custom, output) {
        output.line(&line)?;
    }
    explain(&custom, args.force, output);
    output.line(&format!(
        "{} read in {} ms, blended in {} ms; {}",
        show::counted(custom.scored.examples, "example"),
        show::millis(custom.embedding),
        blending,
        left(&custom, traffic),
    ))?;
    if let (Some(folder), Some(rank)) = (written, rank) {
        output.line(&format!("adapter of rank {rank} in {}", folder.display()))?;
    }
    Ok(())
}

/// What left this device, in words.
fn left(custom: &Custom, traffic: Traffic) -> String {
    let Some(host) = custom.source.host().filter(|_| traffic.sent > 0) else {
        return "nothing left this device".to_owned();
    };
    format!(
        "{} to {host} ({}), {} came back",
        show::counted(custom.sent.len(), "score"),
        show::bytes(traffic.sent),
        show::bytes(traffic.received),
    )
}

/// Refuses what contradicts itself: examples for a server's pool where nothing may leave this device.
pub(crate) fn check(custom: &CustomArgs, route: &RouteArgs) -> Result {
    if !custom.pool.as_deref().is_some_and(source::is_address) {
        return Ok(());
    }
    let forbids = match route.route {
        Some(RouteName::Device) => "--route device opens no socket",
        _ if route.private => "--private lets nothing leave this device",
        _ => return Ok(()),
    };
    let hint = "`crayon customize --pool URL -o OUT` asks the server once; -a OUT asks nobody then";
    Err(mistake(format!("{forbids}, and the pool is on a server"), hint))
}

/// Lets `engine` answer through the blend for `--examples`, if they are given, and says what it answers through.
pub(crate) fn apply(
    engine: &mut Engine,
    model: &ModelArgs,
    args: &CustomArgs,
    output: &Output,
) -> Result<Customised> {
    let Some(examples) = &args.examples else {
        return Customised::of_adapters(engine, model);
    };
    let pool = args.pool.as_deref().unwrap_or(BUILT_IN);
    let wish = Wish { examples, pool, server: &args.server, temperature: None, seed: None };
    let custom = score(engine, &wish, output)?;
    explain(&custom, args.force, output);
    if !custom.fits && !args.force {
        return Ok(Customised { scopes: vec![custom.scope()], ..Customised::default() });
    }
    for line in bars(&custom, output) {
        output.detail(&line);
    }
    match &custom.source {
        Source::Here(pool) => {
            let stack = Arc::new(pool.stack(engine.spec(), engine.pool())?);
            engine.set_adapter(Some(Arc::new(stack.weigh(&custom.weights)?)));
        }
        Source::There(_) => {
            let made = custom.source.blend(&custom.sent, None, Form::Exact, engine, output)?;
            output.detail(&left(&custom, made.traffic));
            engine.adapt_by(made.lora)?;
        }
    }
    let names = custom.catalogue.members.iter().map(|member| member.name.clone());
    let weights = names.zip(custom.weights.iter().copied()).collect();
    Ok(Customised { weights, scopes: vec![custom.scope()], encoder: OnceCell::new() })
}

impl Customised {
    /// Of the adapters given with `-a`, which may have been customised before.
    fn of_adapters(engine: &Engine, args: &ModelArgs) -> Result<Customised> {
        let mut found = Customised::default();
        if args.adapter.is_empty() {
            return Ok(found);
        }
        let alone = match args.merge {
            true => Some(Engine::open(&model::resolve(&args.model)?, &model::settings(&args.run))?),
            false => None,
        };
        let base = alone.as_ref().unwrap_or(engine).checkpoint().fingerprint();
        for adapter in &args.adapter {
            found.weights.push((adapter.path.display().to_string(), adapter.weight));
            found.scopes.extend(Scope::read(&adapter.path, engine.spec(), &base)?);
        }
        if let Some(alone) = alone.filter(|_| !found.scopes.is_empty()) {
            found.encoder = OnceCell::from(alone.query_encoder()?);
        }
        Ok(found)
    }

    /// `g(x)`: how near a query is to the examples; `None` where nothing was customised.
    pub(crate) fn scope(&self, engine: &Engine, query: &str) -> Result<Option<f32>, EngineError> {
        if self.scopes.is_empty() {
            return Ok(None);
        }
        let encoder = match self.encoder.get() {
            Some(encoder) => encoder,
            None => {
                let made = engine.query_encoder()?;
                self.encoder.get_or_init(|| made)
            }
        };
        let query = encoder.query(&engine.query_tokens(query)?, engine.pool())?;
        Ok(Scope::nearest(&self.scopes, &query))
    }

    /// Text that differs between customisations; `None` for the model alone. An adapter in a file and the same blend made at
    /// once have the same.
    pub(crate) fn fingerprint(&self, engine: &Engine) -> Option<String> {
        let scopes: Vec<String> = self.scopes.iter().map(Scope::fingerprint).collect();
        match scopes.is_empty() {
            true => engine.adapter().map(|adapter| adapter.fingerprint()),
            false => Some(scopes.join("+")),
        }
    }

    /// Adapters and their weights, as an object; `None` for the model alone.
    pub(crate) fn weights(&self) -> Option<Weights<'_>> {
        (!self.weights.is_empty()).then_some(Weights(&self.weights))
    }
}

/// Adapters and their weights as `--json` prints them.
pub(crate) struct Weights<'a>(&'a [(String, f32)]);

impl Serialize for Weights<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, weight)| (name, weight)))
    }
}

/// What is asked for.
struct Wish<'a> {
    examples: &'a Path,
    pool: &'a str,
    server: &'a PoolServerArgs,
    temperature: Option<f32>,
    /// Of the noise.
    seed: Option<u64>,
}

impl Custom {
    fn scope(&self) -> Scope {
        Scope { query: self.scored.query.clone(), mean: self.catalogue.keys.mean.clone() }
    }
}

fn score(engine: &Engine, wish: &Wish<'_>, output: &Output) -> Result<Custom> {
    if let Some(noise) = wish.server.noise
        && !(noise.is_finite() && noise >= 0.0)
    {
        return Err(mistake(format!("--noise must be 0 or more, not {noise}"), "scores are from -1 to 1"));
    }
    let examples = Examples::open(wish.examples)?;
    let (source, catalogue) = Source::open(wish.pool, wish.server, engine, output)?;
    interrupt::watch();
    let started = Instant::now();
    let scored = engine.score(&catalogue.keys, examples)?;
    let embedding = started.elapsed();
    let mut sent = scored.scores.clone();
    if let Some(noise) = wish.server.noise {
        add_noise(&mut sent, noise, wish.seed.unwrap_or_else(chance));
    }
    if source.host().is_some() {
        sent.iter_mut().for_each(|score| *score = crayon_hybrid::rounded(*score));
    }
    let weights = weights(&sent, wish.temperature.unwrap_or(catalogue.temperature));
    let fits = catalogue.keys.fits(&scored.scores);
    Ok(Custom { source, catalogue, scored, sent, fits, weights, embedding })
}

/// A seed from the system's chance: the standard library has it for its hash maps.
fn chance() -> u64 {
    RandomState::new().hash_one(0)
}

/// Says what the person should know about examples that are unlike anything the pool learned.
fn explain(custom: &Custom, force: bool, output: &Output) {
    let Scored { examples, outside, .. } = custom.scored;
    if !custom.fits {
        let then = if force {
            "blending all the same"
        } else {
            "the base model answers (--force blends all the same)"
        };
        output.note(&format!("the examples fit nothing that this pool learned; {then}"));
    } else if outside > 0 && examples > 1 {
        output.note(&format!("{} of {} examples fit nothing that this pool learned", outside, examples));
    }
}

/// A bar for each base adapter, in its crayon's colour, with what it learned.
fn bars(custom: &Custom, output: &Output) -> Vec<String> {
    let members = &custom.catalogue.members;
    let width = members.iter().map(|member| member.name.chars().count()).max().unwrap_or(0);
    let numbers = custom.weights.iter().zip(&custom.scored.scores);
    let rows = members.iter().zip(numbers).zip(CRAYONS.iter().cycle());
    rows.map(|((member, (weight, score)), colour)| {
        let length = (weight * BAR as f32).round() as usize;
        let bar = output.paint(&"█".repeat(length), *colour);
        let rest = " ".repeat(BAR - length.min(BAR));
        format!("{:<width$}  {bar}{rest} {:>5.1} %  cosine {score:+.2}", member.name, 100.0 * weight)
    })
    .collect()
}
