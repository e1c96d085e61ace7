//! What customization takes for a user's examples.

use std::ops::ControlFlow;
use std::rc::Rc;

use crayon_adapters::{self as adapters, Form, Lora};
use crayon_customize::{Climbed, Effort, Given, Members, Request, Rung, climb};

use super::Bench;
use super::made::Made;
use super::users::User;
use crate::EvalError;
use crate::tasks::Example;

/// The climbs for the examples that came last.
#[derive(Default)]
pub(super) struct Climbs {
    examples: String,
    climbed: Vec<(Effort, Rc<Climbed>)>,
}

impl Bench<'_> {
    /// Climbs the ladder for `examples`, the draw `drawn`, and takes what is chosen.
    pub(super) fn climbed(
        &mut self,
        user: &User,
        examples: &[adapters::Example],
        scores: Option<&[f32]>,
        drawn: (usize, u64),
        effort: Effort,
    ) -> Result<Made, EvalError> {
        let key = format!("{}/{} {drawn:?}", user.group, user.name);
        if self.climbs.examples != key {
            self.climbs = Climbs { examples: key, climbed: Vec::new() };
        }
        // A climb of `auto` that reached the trained adapter is one of `train`.
        let whole = |climbed: &Climbed| climbed.tried.iter().any(|tried| tried.rung == Rung::Trained);
        let same = |other: &(Effort, Rc<Climbed>)| {
            let trains = |effort| matches!(effort, Effort::Train | Effort::Auto);
            other.0 == effort || trains(other.0) && trains(effort) && whole(&other.1)
        };
        let weights = scores.map(|scores| self.weights(scores)).transpose()?;
        let climbed = match self.climbs.climbed.iter().find(|other| same(other)) {
            Some((_, climbed)) => Rc::clone(climbed),
            None => {
                let blend = scores.map(|scores| self.blended(scores, Form::Exact)).transpose()?;
                let members = self.pooled.iter().flat_map(|pooled| &pooled.pool.members);
                let loras: Vec<&Lora> = members.map(|member| &member.lora).collect();
                let request = Request {
                    blend: blend.as_ref(),
                    members: weights.as_ref().map(|weights| Members { loras: &loras, weights }),
                    effort,
                    budget: self.options.budget,
                    seed: drawn.1,
                    folder: None,
                };
                let given = Given::new(self.engine, examples)?;
                let mut watch = |_| ControlFlow::Continue(());
                let climbed = Rc::new(climb(self.engine, &given, &request, &mut watch)?);
                self.climbs.climbed.push((effort, Rc::clone(&climbed)));
                climbed
            }
        };
        let shown = climbed.demonstrations.iter();
        let shown =
            shown.map(|one| Example { prompt: one.prompt.clone(), answer: one.answer.clone() }).collect();
        let made = match (climbed.chosen, &climbed.lora) {
            (Rung::Base, _) | (_, None) => Made::default(),
            // As the methods of these names have them.
            (Rung::Blend | Rung::Nearest, Some(lora)) => {
                match climbed.weights.as_ref().or(weights.as_ref()) {
                    Some(weights) => self.weighed(weights)?,
                    None => self.lora_made(lora.clone())?,
                }
            }
            (_, Some(lora)) => self.lora_made(lora.clone())?,
        };
        let (bytes_up, bytes_down) = self.traffic();
        Ok(Made {
            shown,
            chosen: Some(climbed.chosen.name().to_owned()),
            millis: climbed.tried.iter().map(|tried| tried.seconds * 1e3).sum(),
            bytes_up,
            bytes_down,
            ..made
        })
    }
}
