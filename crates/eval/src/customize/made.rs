//! What each method makes of a user's examples, and what that costs.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::{Arrow, Example, Form, Keys, Lora, Pool, QueryEncoder, QueryMean, Sample, weights};
use crayon_engine::{Adapter, Engine, EngineError};
use crayon_errors::Setting;

use super::users::User;
use super::{Bench, Joint, Method, Pooled};
use crate::EvalError;
use crate::tasks;

/// An adapter for a user and what it cost.
#[derive(Default)]
pub(super) struct Made {
    pub(super) adapter: Option<Arc<dyn Adapter>>,
    /// Examples in front of each question.
    pub(super) shown: Vec<tasks::Example>,
    pub(super) chosen: Option<String>,
    pub(super) millis: f64,
    pub(super) bytes_up: usize,
    pub(super) bytes_down: usize,
}

impl Made {
    pub(super) fn of(adapter: impl Adapter + 'static) -> Made {
        Made { adapter: Some(Arc::new(adapter)), ..Made::default() }
    }
}

impl<'a> Pooled<'a> {
    pub(super) fn new(engine: &Engine, pool: &'a Pool) -> Result<Pooled<'a>, EvalError> {
        let stack = Arc::new(pool.stack(engine.spec(), engine.threads()).map_err(EngineError::from)?);
        let arrow = Arrow::new(pool, Arc::clone(&stack)).map_err(EngineError::from)?;
        Ok(Pooled { pool, stack, arrow })
    }
}

impl Joint {
    pub(super) fn open(engine: &Engine, path: &Path) -> Result<Joint, EvalError> {
        let pool = Pool::open(path, engine.checkpoint(), engine.name()).map_err(EngineError::from)?;
        let stack = pool.stack(engine.spec(), engine.threads()).map_err(EngineError::from)?;
        Ok(Joint { stack: Arc::new(stack), bytes: bytes_of(pool.members.iter().map(|member| &member.lora)) })
    }
}

/// In f32.
fn bytes_of<'a>(loras: impl Iterator<Item = &'a Lora>) -> usize {
    4 * loras.map(Lora::parameters).sum::<usize>()
}

impl<'a> Bench<'a> {
    /// The pool; methods that need one are refused without.
    pub(super) fn pooled(&self) -> Result<&Pooled<'a>, EvalError> {
        let none = || EvalError::option(Setting::Pool, "is needed", "name one");
        self.pooled.as_ref().ok_or_else(none)
    }

    /// Bytes of the scores, and of all adapters, in f32; nothing without a pool.
    pub(super) fn traffic(&self) -> (usize, usize) {
        let Some(Pooled { pool, .. }) = &self.pooled else { return (0, 0) };
        (4 * pool.members.len(), bytes_of(pool.members.iter().map(|member| &member.lora)))
    }

    /// Does what `method` does with a user's examples.
    pub(super) fn make(
        &mut self,
        user: &User,
        method: Method,
        size: usize,
        seed: u64,
    ) -> Result<Made, EvalError> {
        let examples = user.draw(size, seed)?;
        let (up, all) = self.traffic();
        let started = Instant::now();
        let mut made = match method {
            Method::Base => Made::default(),
            Method::Prompt => Made { shown: user.fitting(self.engine, &examples)?, ..Made::default() },
            Method::Joint => match &self.joint {
                Some(joint) => Made {
                    bytes_down: joint.bytes,
                    ..Made::of(joint.stack.weigh(&[1.0]).map_err(EngineError::from)?)
                },
                None => Made::default(),
            },
            Method::Uniform => {
                let count = self.pooled()?.pool.members.len();
                let equal = vec![1.0 / count as f32; count];
                Made { bytes_down: all, ..self.weighed(&equal)? }
            }
            Method::Arrow => Made { bytes_down: all, ..Made::of(self.pooled()?.arrow.clone()) },
            Method::Nearest => {
                let weights = weights(&self.scores(&examples)?, f32::MIN_POSITIVE);
                let members =
                    self.pooled()?.pool.members.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
                let bytes_down = bytes_of(members.map(|(member, _)| &member.lora));
                Made { bytes_up: up, bytes_down, ..self.weighed(&weights)? }
            }
            Method::Blend => {
                let scores = self.scores(&examples)?;
                Made { bytes_up: up, ..self.blend(&scores)? }
            }
            Method::LoraHub => {
                let samples = samples(self.engine, &self.encoder, &examples)?;
                let pool = self.pooled()?.pool;
                let lora = self.trainer.lorahub(self.engine, pool, &samples, seed)?;
                Made { bytes_down: all, ..self.lora_made(lora)? }
            }
            Method::Instant | Method::Fitted | Method::Trained | Method::Auto => {
                let effort = method.effort().unwrap_or(crayon_customize::Effort::Auto);
                let scores = self.pooled.is_some().then(|| self.scores(&examples)).transpose()?;
                let looked = started.elapsed();
                let mut made = self.climbed(user, &examples, scores.as_deref(), (size, seed), effort)?;
                made.millis += looked.as_secs_f64() * 1e3;
                return Ok(made);
            }
            Method::Oracle => {
                let examples = user.all(self.options.oracle_examples)?;
                let samples = samples(self.engine, &self.encoder, &examples)?;
                let lora = self.trainer.oracle(self.engine, &samples, self.options)?;
                self.lora_made(lora)?
            }
        };
        made.millis = started.elapsed().as_secs_f64() * 1e3;
        Ok(made)
    }

    /// Cosines of the examples' mean query with the keys.
    fn scores(&self, examples: &[Example]) -> Result<Vec<f32>, EvalError> {
        let keys: &Keys = &self.pooled()?.pool.keys;
        let mut mean = QueryMean::new(self.encoder.width());
        for example in examples {
            let answer = example.answer.as_deref();
            mean.add(keys, &self.engine.example_query(&self.encoder, &example.prompt, answer)?);
        }
        Ok(keys.scores(&mean.mean()))
    }

    /// Weights of the adapters in the blend.
    pub(super) fn weights(&self, scores: &[f32]) -> Result<Vec<f32>, EvalError> {
        let pool = self.pooled()?.pool;
        Ok(pool.keys.weights(scores, self.options.temperature.unwrap_or(pool.temperature)))
    }

    pub(super) fn weighed(&self, weights: &[f32]) -> Result<Made, EvalError> {
        Ok(Made::of(self.pooled()?.stack.weigh(weights).map_err(EngineError::from)?))
    }

    /// The blend for these scores.
    fn blend(&self, scores: &[f32]) -> Result<Made, EvalError> {
        if self.options.form == Form::Exact {
            let bytes_down = self.traffic().1;
            return Ok(Made { bytes_down, ..self.weighed(&self.weights(scores)?)? });
        }
        let lora = self.blended(scores, self.options.form)?;
        let bytes_down = 4 * lora.parameters();
        Ok(Made { bytes_down, ..self.lora_made(lora)? })
    }

    /// The blend as one adapter.
    pub(super) fn blended(&self, scores: &[f32], form: Form) -> Result<Lora, EvalError> {
        let pool = self.pooled()?.pool;
        let temperature = self.options.temperature.unwrap_or(pool.temperature);
        let blended = pool.blend(scores, temperature, form, self.engine.threads());
        Ok(blended.map_err(EngineError::from)?.lora)
    }

    pub(super) fn lora_made(&self, lora: Lora) -> Result<Made, EvalError> {
        Ok(Made::of(lora.attach(self.engine.spec()).map_err(EngineError::from)?))
    }
}

fn samples(engine: &Engine, encoder: &QueryEncoder, examples: &[Example]) -> Result<Vec<Sample>, EvalError> {
    let samples = examples.iter().map(|example| engine.sample(encoder, example, "examples", "examples"));
    Ok(samples.collect::<Result<_, _>>()?)
}
