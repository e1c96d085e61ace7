//! From arguments to what a model answers through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crayon_answer::{Blend, BlendRequest, Customization, Event, PoolAccess, Source, Traffic, is_address};
use crayon_customize::{Given, Instantly, Offered, Rung, SEED, Tried, instant};
use crayon_engine::adapters::{AdapterError, Catalogue, Example, Examples, Form, Scope, secret_seed};
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

/// What is answered through, and how that was found.
pub(crate) struct Customized {
    pub(crate) custom: Customization,
    /// Candidates that the examples' answers judged, the simplest first; none where they judged nothing.
    pub(crate) tried: Vec<Tried>,
    /// The one taken.
    pub(crate) chosen: Option<Rung>,
}

impl From<Customization> for Customized {
    fn from(custom: Customization) -> Customized {
        Customized { custom, tried: Vec::new(), chosen: None }
    }
}

/// What is answered through: what is best for `--examples`, if they are given, else the adapters of `-a`. `engine` is left without
/// an adapter of its own, because every request is answered with it or without.
pub(crate) fn customize(
    engine: &mut Engine,
    model: &ModelArgs,
    args: &CustomArgs,
    output: &Output,
) -> Result<Customized> {
    let Some(path) = &args.examples else {
        let custom = of_adapters(engine, model)?;
        return Ok(if args.force { custom.always() } else { custom }.into());
    };
    if args.pool.is_none() && engine.built_in_pool()?.is_none() {
        return without_pool(engine, path, args.force, output);
    }
    let request = PoolRequest {
        examples: path,
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
    let stack = match &source {
        Source::Here(pool) if can_judge || blend.used() => {
            Some(Arc::new(pool.stack(engine.spec(), engine.threads())?))
        }
        _ => None,
    };
    // A server learns nothing where its adapter would not be used.
    let made: Option<Arc<dyn Adapter>> = match &source {
        Source::There(_) if blend.used() => {
            let sink = &mut |event| told(event, output);
            let made = source.blend(&blend.sent, None, Form::Exact, engine, sink)?;
            output.detail(&left(&source, &blend, made.traffic));
            Some(Arc::new(made.lora.attach(engine.spec())?))
        }
        _ => None,
    };
    if !can_judge {
        if let Some(told) = blend.note() {
            note(&told, output);
        }
        let adapter = match &stack {
            Some(stack) => Some(Arc::new(stack.weigh(&blend.weights)?) as Arc<dyn Adapter>),
            None => made,
        };
        if adapter.is_some() {
            bars(&catalogue, &blend, output).iter().for_each(|line| output.detail(line));
        }
        return Ok(Customization::blended(&blend, adapter).into());
    }
    let weights = blend.weights.clone();
    let offered = match (&stack, made) {
        (Some(stack), _) => Offered::Stack(stack, &weights),
        (None, Some(made)) => Offered::Blend(made),
        (None, None) => Offered::Nothing,
    };
    let found = judge(engine, &given, &offered, output)?;
    let Instantly { tried, chosen, adapter, weights, demonstrations, .. } = found;
    let custom = Customization::judged(&mut blend, adapter, weights, demonstrations);
    if blend.used() {
        bars(&catalogue, &blend, output).iter().for_each(|line| output.detail(line));
    }
    Ok(Customized { custom, tried, chosen: Some(chosen) })
}

/// What examples are worth beside a model that has no pool: they can stand in the prompt.
fn without_pool(engine: &Engine, path: &Path, force: bool, output: &Output) -> Result<Customized> {
    let told = crayon_customize::Note::NoPool;
    if force {
        let hint = "--pool names one; `crayon pool train` makes one";
        return Err(mistake(format!("{} has no pool to blend by force", engine.name()), hint));
    }
    output.note(&spell(&told.phrase()));
    let examples = first_examples(path)?;
    let given = Given::new(engine, &examples)?;
    given.notes.iter().for_each(|told| output.note(&spell(&told.phrase())));
    if given.cases.len() < 2 {
        return Ok(Customization::default().into());
    }
    let Instantly { tried, chosen, demonstrations, .. } = judge(engine, &given, &Offered::Nothing, output)?;
    let custom = match demonstrations.is_empty() {
        true => Customization::default(),
        false => Customization::of_demonstrations(
            demonstrations,
            Some(engine.scope(examples.iter().map(|example| example.prompt.as_str()))?),
        ),
    };
    Ok(Customized { custom, tried, chosen: Some(chosen) })
}

/// What the examples' answers speak for at once.
fn judge(engine: &Engine, given: &Given, offered: &Offered<'_>, output: &Output) -> Result<Instantly> {
    interrupt::watch();
    let found = instant(engine, given, offered, SEED, &mut |_| interrupt::flow())?;
    found.notes.iter().for_each(|told| output.note(&spell(&told.phrase())));
    Ok(found)
}

/// Of the adapters given with `-a`, which may have been customized before.
fn of_adapters(engine: &mut Engine, args: &ModelArgs) -> Result<Customization> {
    if args.adapter.is_empty() {
        return Ok(Customization::default());
    }
    if let Some(demonstrations) = model::demonstrations(args)? {
        let scope = Scope::read(&args.adapter[0].path, engine.checkpoint())?;
        return Ok(Customization::of_demonstrations(demonstrations, scope));
    }
    let alone = match args.merge {
        true => Some(Engine::open(&model::resolve(&args.model)?, &model::settings(&args.run))?),
        false => None,
    };
    let checkpoint = alone.as_ref().unwrap_or(engine).checkpoint();
    let (mut weights, mut scopes) = (Vec::new(), Vec::new());
    for adapter in &args.adapter {
        weights.push((adapter.path.display().to_string(), adapter.weight));
        scopes.extend(Scope::read(&adapter.path, checkpoint)?);
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

/// A bar for each base adapter, in its crayon's colour, with what it learned, and one for what is left to the model.
pub(crate) fn bars(catalogue: &Catalogue, blend: &Blend, output: &Output) -> Vec<String> {
    let numbers = blend.weights.iter().copied().zip(blend.scored.scores.iter().copied());
    let mut rows: Vec<(&str, (f32, f32))> =
        catalogue.members.iter().map(|member| member.name.as_str()).zip(numbers).collect();
    if let Some(rest) = catalogue.keys.rest {
        let left = 1.0 - blend.weights.iter().sum::<f32>();
        rows.push(("the model alone", (left.max(0.0), rest)));
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = rows.into_iter().zip(CRAYONS.iter().cycle());
    lines
        .map(|((name, (weight, score)), colour)| {
            let length = (weight * BAR as f32).round() as usize;
            let bar = output.paint(&"█".repeat(length), *colour);
            let rest = " ".repeat(BAR - length.min(BAR));
            format!("{name:<width$}  {bar}{rest} {:>5.1} %  cosine {score:+.2}", 100.0 * weight)
        })
        .collect()
}
