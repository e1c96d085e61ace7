//! What a person's examples speak for, for `customize` and for who measures it.

use std::path::Path;
use std::time::{Duration, Instant};

use crayon_customize::{Climbed, Effort, Given, Members, Note, Request, Rung, SEED, climb};
use crayon_engine::adapters::{Demonstration, Example, Form, Lora};
use crayon_engine::{BUILT_IN, Engine};

use crate::answering::{self, PoolRequest, Scores, TriedRow, rows, told};
use crate::args::PoolServerArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::spelling::spell;
use crate::{interrupt, show};

/// What is asked of the ladder.
pub(super) struct Asked<'a> {
    pub(super) examples: &'a Path,
    /// The one built in, where there is one, when `None`.
    pub(super) pool: Option<&'a str>,
    pub(super) server: &'a PoolServerArgs,
    pub(super) temperature: Option<f32>,
    pub(super) seed: Option<u64>,
    pub(super) force: bool,
    pub(super) form: Form,
    pub(super) effort: Effort,
    pub(super) budget: Duration,
    /// Where what learns is kept.
    pub(super) folder: Option<&'a Path>,
}

/// What is taken.
pub(super) struct Taken {
    pub(super) rung: Rung,
    pub(super) lora: Option<Lora>,
    pub(super) demonstrations: Vec<Demonstration>,
    pub(super) weights: Option<Vec<f32>>,
}

/// What came of it.
pub(super) struct Found {
    /// What the pool says, where there is one.
    pub(super) scores: Option<Scores>,
    /// Its blend.
    pub(super) made: Option<crayon_answer::Made>,
    /// Milliseconds.
    pub(super) blending: f64,
    pub(super) examples: Vec<Example>,
    pub(super) taken: Taken,
    pub(super) tried: Vec<TriedRow>,
    pub(super) stopped: bool,
}

/// The effort of this name.
pub(super) fn effort(name: &str) -> Result<Effort> {
    let unknown = || mistake(format!("{name} is not an effort"), "known are instant, fit, train and auto");
    Effort::from_name(name).ok_or_else(unknown)
}

/// So many seconds.
pub(super) fn budget(seconds: f64) -> Result<Duration> {
    let wrong = |_| mistake(format!("--budget must be 0 or more, not {seconds}"), "60 is usual");
    Duration::try_from_secs_f64(seconds).map_err(wrong)
}

/// Climbs the ladder for the examples in a file.
pub(super) fn find(engine: &Engine, asked: &Asked<'_>, output: &Output) -> Result<Found> {
    let say = |note: &Note| output.note(&spell(&note.phrase()));
    let without_pool = asked.pool.is_none() && engine.built_in_pool()?.is_none();
    let mut scores = match without_pool {
        true => {
            say(&Note::NoPool);
            None
        }
        false => Some(scores(engine, asked, output)?),
    };
    let examples = match &mut scores {
        Some(scores) => std::mem::take(&mut scores.examples),
        None => answering::first_examples(asked.examples)?,
    };
    interrupt::watch();
    let started = Instant::now();
    // A server learns nothing where its adapter would not be used.
    let made = match &scores {
        Some(Scores { source, blend, .. }) if blend.used() || source.host().is_none() => {
            let sink = &mut |event| told(event, output);
            Some(source.blend(&blend.sent, asked.temperature, asked.form, engine, sink)?)
        }
        _ => None,
    };
    let blending = show::millis(started.elapsed());

    let given = Given::new(engine, &examples)?;
    given.notes.iter().for_each(say);
    let members: Vec<&Lora> = match &scores {
        Some(Scores { source: crayon_answer::Source::Here(pool), .. }) => {
            pool.members.iter().map(|member| &member.lora).collect()
        }
        _ => Vec::new(),
    };
    let weights = scores.as_ref().map_or(&[][..], |scores| &scores.blend.weights);
    let request = Request {
        blend: made.as_ref().map(|made| &made.lora),
        members: (!members.is_empty()).then_some(Members { loras: &members, weights }),
        effort: if asked.force { Effort::Instant } else { asked.effort },
        budget: asked.budget,
        seed: asked.seed.unwrap_or(SEED),
        folder: asked.folder,
    };
    let climbed = watched(engine, &given, &request, output)?;
    climbed.notes.iter().filter(|note| !asked.force || **note != Note::BaseStays).for_each(say);
    let used = scores.as_ref().is_some_and(|scores| scores.blend.used());
    let (tried, stopped) = (rows(&climbed.tried), climbed.stopped);
    let mut taken = match climbed.tried.is_empty() || asked.force {
        true if used => {
            let lora = made.as_ref().map(|made| made.lora.clone());
            let weights = scores.as_ref().map(|scores| scores.blend.weights.clone());
            Taken { rung: Rung::Blend, lora, demonstrations: Vec::new(), weights }
        }
        _ => {
            let Climbed { chosen: rung, lora, demonstrations, weights, .. } = climbed;
            Taken { rung, lora, demonstrations, weights }
        }
    };
    if let Some(lora) = &mut taken.lora {
        lora.base = Some(engine.checkpoint().fingerprint());
        lora.base_name = Some(engine.name().to_owned());
    }
    Ok(Found { scores, made, blending, examples, taken, tried, stopped })
}

fn scores(engine: &Engine, asked: &Asked<'_>, output: &Output) -> Result<Scores> {
    let request = PoolRequest {
        examples: asked.examples,
        pool: asked.pool.unwrap_or(BUILT_IN),
        server: asked.server,
        temperature: asked.temperature,
        seed: asked.seed,
        force: asked.force,
    };
    answering::score(engine, &request, output)
}

/// Climbs the ladder with a bar for each rung.
fn watched(engine: &Engine, given: &Given, request: &Request<'_>, output: &Output) -> Result<Climbed> {
    let mut bar: Option<(Rung, Counting)> = None;
    let climbed = climb(engine, given, request, &mut |stage| {
        let bar = match &mut bar {
            Some((rung, bar)) if *rung == stage.rung => bar,
            other => {
                if let Some((_, ended)) = other.take() {
                    ended.finish();
                }
                &mut other.insert((stage.rung, Counting::new(stage.rung.name(), "steps", output))).1
            }
        };
        bar.at(stage.done, stage.total);
        interrupt::flow()
    });
    if let Some((_, bar)) = bar {
        bar.finish();
    }
    Ok(climbed?)
}
