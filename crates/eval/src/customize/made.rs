//! What each method makes of a user's examples, and what that costs.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::{Example, Form, Keys, Lora, Pool, QueryEncoder, QueryMean, Sample, weights};
use crayon_engine::{Adapter, Engine, EngineError};

use super::users::User;
use super::{Bench, Joint, Method};
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

impl Bench<'_> {
    /// Does what `method` does with a user's examples.
    pub(super) fn make(
        &mut self,
        user: &User,
        method: Method,
        size: usize,
        seed: u64,
    ) -> Result<Made, EvalError> {
        let examples = user.draw(size, seed)?;
        let all = bytes_of(self.pool.members.iter().map(|member| &member.lora));
        let up = 4 * self.pool.members.len();
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
                let equal = vec![1.0 / self.pool.members.len() as f32; self.pool.members.len()];
                Made { bytes_down: all, ..self.weighed(&equal)? }
            }
            Method::Arrow => Made { bytes_down: all, ..Made::of(self.arrow.clone()) },
            Method::Nearest => {
                let weights = weights(&self.scores(&examples)?, f32::MIN_POSITIVE);
                let members = self.pool.members.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
                let bytes_down = bytes_of(members.map(|(member, _)| &member.lora));
                Made { bytes_up: up, bytes_down, ..self.weighed(&weights)? }
            }
            Method::Blend => {
                let scores = self.scores(&examples)?;
                Made { bytes_up: up, ..self.blend(&scores)? }
            }
            Method::LoraHub => {
                let samples = samples(self.engine, &self.encoder, &examples)?;
                let lora = self.trainer.lorahub(self.engine, self.pool, &samples, seed)?;
                Made { bytes_down: all, ..self.lora_made(lora)? }
            }
            Method::Instant | Method::Fitted | Method::Trained | Method::Auto => {
                let effort = method.effort().unwrap_or(crayon_customize::Effort::Auto);
                let scores = self.scores(&examples)?;
                let looked = started.elapsed();
                let mut made = self.climbed(user, &examples, &scores, (size, seed), effort)?;
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
        let keys: &Keys = &self.pool.keys;
        let mut mean = QueryMean::new(self.encoder.width());
        for example in examples {
            let answer = example.answer.as_deref();
            mean.add(keys, &self.engine.example_query(&self.encoder, &example.prompt, answer)?);
        }
        Ok(keys.scores(&mean.mean()))
    }

    /// Weights of the adapters in the blend.
    pub(super) fn weights(&self, scores: &[f32]) -> Vec<f32> {
        self.pool.keys.weights(scores, self.options.temperature.unwrap_or(self.pool.temperature))
    }

    pub(super) fn weighed(&self, weights: &[f32]) -> Result<Made, EvalError> {
        Ok(Made::of(self.stack.weigh(weights).map_err(EngineError::from)?))
    }

    /// The blend for these scores.
    fn blend(&self, scores: &[f32]) -> Result<Made, EvalError> {
        if self.options.form == Form::Exact {
            let bytes_down = bytes_of(self.pool.members.iter().map(|member| &member.lora));
            return Ok(Made { bytes_down, ..self.weighed(&self.weights(scores))? });
        }
        let lora = self.blended(scores, self.options.form)?;
        let bytes_down = 4 * lora.parameters();
        Ok(Made { bytes_down, ..self.lora_made(lora)? })
    }

    /// The blend as one adapter.
    pub(super) fn blended(&self, scores: &[f32], form: Form) -> Result<Lora, EvalError> {
        let temperature = self.options.temperature.unwrap_or(self.pool.temperature);
        let blended = self.pool.blend(scores, temperature, form, self.engine.threads());
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
