//! From arguments to what a model answers through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crayon_answer::{Blend, BlendRequest, Customization, Event, PoolAccess, Source, Traffic, is_address};
use crayon_customize::{Given, Rung, instant};
use crayon_engine::adapters::{AdapterError, Catalogue, Example, Examples, Form, Scope, Stack, secret_seed};
use crayon_engine::{Adapter, BUILT_IN, Engine};
use crayon_hybrid::{Key, RetryPolicy};

use super::folders::keys_folder;
use super::shown::note;
use crate::args::{CustomArgs, ModelArgs, PoolServerArgs, RouteArgs, RouteName};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::spelling::spell;
use crate::{interrupt, model, show};

/// Variable that holds the key of a pool's server. It is not the one of a server that answers: the two may be strangers.
const KEY: &str = "CRAYON_POOL_KEY";
/// Terminal colours of a box of crayons, one for each base adapter.
const CRAYONS: [u8; 12] = [196, 33, 34, 208, 141, 178, 206, 37, 130, 75, 112, 244];
/// Characters of the longest bar.
const BAR: usize = 30;

/// What is asked of a pool for a person's examples.
pub(crate) struct PoolRequest<'a> {
    pub(crate) examples: &'a Path,
    pub(crate) pool: &'a str,
    pub(crate) server: &'a PoolServerArgs,
    pub(crate) temperature: Option<f32>,
    /// Of the noise.
    pub(crate) seed: Option<u64>,
    pub(crate) force: bool,
}

/// What a pool says about examples.
pub(crate) struct Scores {
    pub(crate) source: Source,
    pub(crate) catalogue: Catalogue,
    pub(crate) blend: Blend,
    /// The first of the examples, for who looks at their answers.
    pub(crate) examples: Vec<Example>,
}

/// Examples that are looked at for their answers. All of them are compared with keys.
const LOOKED_AT: usize = 1000;

/// The first of the examples in a file.
pub(crate) fn first_examples(path: &Path) -> Result<Vec<Example>> {
    Ok(Examples::open(path)?.take(LOOKED_AT).collect::<Result<_, AdapterError>>()?)
}

/// Opens the pool and compares the examples with its keys.
pub(crate) fn score(engine: &Engine, request: &PoolRequest<'_>, output: &Output) -> Result<Scores> {
    if let Some(noise) = request.server.noise
        && !(noise.is_finite() && noise >= 0.0)
    {
        return Err(mistake(format!("--noise must be 0 or more, not {noise}"), "scores are from -1 to 1"));
    }
    let examples = Examples::open(request.examples)?;
    let (source, catalogue) =
        Source::open(request.pool, &access(request.pool, request.server)?, engine, &mut |event| {
            told(event, output)
        })?;
    interrupt::watch();
    let noise = match request.server.noise {
        Some(noise) => Some((noise, request.seed.map_or_else(secret_seed, Ok)?)),
        None => None,
    };
    let wanted = BlendRequest {
        temperature: request.temperature,
        noise,
        sent: source.host().is_some(),
        force: request.force,
    };
    let mut first = Vec::new();
    let examples = examples.inspect(|example| {
        if let Ok(example) = example
            && first.len() < LOOKED_AT
        {
            first.push(example.clone());
        }
    });
    let blend = Blend::score(engine, &catalogue, examples, &wanted)?;
    Ok(Scores { source, catalogue, blend, examples: first })
}

/// How a pool on a server may be asked.
fn access(pool: &str, args: &PoolServerArgs) -> Result<PoolAccess> {
    let key = match is_address(pool) {
        true => {
            interrupt::watch();
            Key::find(args.pool_key_file.as_deref(), KEY)?
        }
        false => None,
    };
    Ok(PoolAccess {
        forbidden: crayon_net::forbidden().map(|setting| format!("{setting} forbids the network")),
        key,
        retry: RetryPolicy::within(Duration::from_secs(u64::from(args.pool_timeout))),
        folder: keys_folder()?,
    })
}

/// Prints what is told while a pool is asked.
pub(crate) fn told(event: Event, output: &Output) -> std::ops::ControlFlow<()> {
    if let Event::Note(told) = event {
        note(&told, output);
    }
    interrupt::flow()
}

/// Refuses what contradicts itself: examples for a server's pool where nothing may leave this device.
pub(crate) fn check_pool(custom: &CustomArgs, route: &RouteArgs) -> Result {
    if !custom.pool.as_deref().is_some_and(is_address) {
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

/// What is answered through: the blend for `--examples`, if they are given, else the adapters of `-a`. `engine` is left without
/// an adapter of its own, because every request is answered with it or without.
pub(crate) fn customize(
    engine: &mut Engine,
    model: &ModelArgs,
    args: &CustomArgs,
    output: &Output,
) -> Result<Customization> {
    let Some(examples) = &args.examples else {
        let custom = of_adapters(engine, model)?;
        return Ok(if args.force { custom.always() } else { custom });
    };
    let request = PoolRequest {
        examples,
        pool: args.pool.as_deref().unwrap_or(BUILT_IN),
        server: &args.server,
        temperature: None,
        seed: None,
        force: args.force,
    };
    let Scores { source, catalogue, mut blend, examples } = score(engine, &request, output)?;
    let given = Given::new(engine, &examples)?;
    let can_judge = !args.force && given.cases.len() > 1;
    if can_judge {
        // Notes about examples without answers would come with every question.
        given.notes.iter().for_each(|told| output.note(&spell(&told.phrase())));
    }
    let base = |blend: &Blend| {
        if let Some(told) = blend.note() {
            note(&told, output);
        }
        Ok(Customization::blended(blend, None))
    };
    let adapter: Arc<dyn Adapter> = match &source {
        Source::Here(pool) if can_judge || blend.used() => {
            let stack = Arc::new(pool.stack(engine.spec(), engine.threads())?);
            if can_judge {
                blend.judged = Some(judge(engine, &given, &stack, &mut blend.weights)?);
            }
            Arc::new(stack.weigh(&blend.weights)?)
        }
        Source::There(_) if blend.used() => {
            let sink = &mut |event| told(event, output);
            let made = source.blend(&blend.sent, None, Form::Exact, engine, sink)?;
            output.detail(&left(&source, &blend, made.traffic));
            let made: Arc<dyn Adapter> = Arc::new(made.lora.attach(engine.spec())?);
            if can_judge {
                let candidates = [(Rung::Base, None), (Rung::Blend, Some(Arc::clone(&made)))];
                let (_, chosen) = instant(engine, &given.cases, &candidates, &mut |_| interrupt::flow())?;
                blend.judged = Some(chosen == Rung::Blend);
            }
            made
        }
        _ => return base(&blend),
    };
    if !blend.used() {
        let stays = crayon_customize::Note::BaseStays;
        output.note(&spell(&stays.phrase()));
        return base(&blend);
    }
    if let Some(told) = blend.note() {
        note(&told, output);
    }
    for line in bars(&catalogue, &blend, output) {
        output.detail(&line);
    }
    Ok(Customization::blended(&blend, Some(adapter)))
}

/// Whether the examples' answers are likelier through a blend, or the nearest adapter alone, than without; `weights` become those
/// of the better one.
fn judge(engine: &Engine, given: &Given, stack: &Arc<Stack>, weights: &mut Vec<f32>) -> Result<bool> {
    let best = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first = weights.iter().position(|weight| *weight == best);
    let nearest: Vec<f32> = (0..weights.len()).map(|at| f32::from(u8::from(Some(at) == first))).collect();
    let adapter =
        |weights: &[f32]| -> Result<Option<Arc<dyn Adapter>>> { Ok(Some(Arc::new(stack.weigh(weights)?))) };
    let candidates =
        [(Rung::Base, None), (Rung::Blend, adapter(weights)?), (Rung::Nearest, adapter(&nearest)?)];
    let (_, chosen) = instant(engine, &given.cases, &candidates, &mut |_| interrupt::flow())?;
    if chosen == Rung::Nearest {
        *weights = nearest;
    }
    Ok(chosen != Rung::Base)
}

/// Of the adapters given with `-a`, which may have been customized before.
fn of_adapters(engine: &mut Engine, args: &ModelArgs) -> Result<Customization> {
    if args.adapter.is_empty() {
        return Ok(Customization::default());
    }
    let alone = match args.merge {
        true => Some(Engine::open(&model::resolve(&args.model)?, &model::settings(&args.run))?),
        false => None,
    };
    let base = alone.as_ref().unwrap_or(engine).checkpoint().fingerprint();
    let (mut weights, mut scopes) = (Vec::new(), Vec::new());
    for adapter in &args.adapter {
        weights.push((adapter.path.display().to_string(), adapter.weight));
        scopes.extend(Scope::read(&adapter.path, engine.spec(), &base)?);
    }
    let adapter = engine.adapter().cloned();
    engine.set_adapter(None);
    let custom = Customization::of_adapters(weights, scopes, adapter);
    Ok(match alone {
        Some(alone) => custom.with_queries_of(alone),
        None => custom,
    })
}

/// What left this device, in words.
pub(crate) fn left(source: &Source, blend: &Blend, traffic: Traffic) -> String {
    let Some(host) = source.host().filter(|_| traffic.sent > 0) else {
        return "nothing left this device".to_owned();
    };
    format!(
        "{} to {host} ({}), {} came back",
        show::counted(blend.sent.len(), "score"),
        show::bytes(traffic.sent),
        show::bytes(traffic.received),
    )
}

/// A bar for each base adapter, in its crayon's colour, with what it learned.
pub(crate) fn bars(catalogue: &Catalogue, blend: &Blend, output: &Output) -> Vec<String> {
    let members = &catalogue.members;
    let width = members.iter().map(|member| member.name.chars().count()).max().unwrap_or(0);
    let numbers = blend.weights.iter().zip(&blend.scored.scores);
    let rows = members.iter().zip(numbers).zip(CRAYONS.iter().cycle());
    rows.map(|((member, (weight, score)), colour)| {
        let length = (weight * BAR as f32).round() as usize;
        let bar = output.paint(&"█".repeat(length), *colour);
        let rest = " ".repeat(BAR - length.min(BAR));
        format!("{:<width$}  {bar}{rest} {:>5.1} %  cosine {score:+.2}", member.name, 100.0 * weight)
    })
    .collect()
}
