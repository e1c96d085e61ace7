//! Texts that a model writes without a question, each token drawn as likely as the model has it: samples of what it was trained on, for
//! where no text is at hand (data-free calibration, LLM-QAT, arXiv 2305.17888).

use std::ops::ControlFlow;

use crayon_text::Tokenizer;

use crate::{Batch, Engine, EngineError, Sampler, Sampling, Session};

/// Texts that are written at a time.
const TOGETHER: usize = 16;

/// A text in the making.
struct Writing<'e> {
    session: Session<'e>,
    sampler: Sampler,
    tokens: Vec<u32>,
    /// Whether the last document has begun: what ends before it begins says nothing.
    begun: bool,
}

impl Engine {
    /// As many texts of `length` tokens each. A text begins where the model's texts do, and where one ends the next follows. `watch` is told
    /// how many tokens are written of how many, and may stop it. The same seed gives the same texts.
    ///
    /// # Errors
    /// When the model has no tokenizer or no token that begins or ends a text, `length` is beyond its context, or `watch` stops.
    pub fn unprompted(
        &self,
        texts: usize,
        length: usize,
        seed: u64,
        watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<u32>>, EngineError> {
        let tokenizer = self.tokenizer()?;
        let start =
            border(tokenizer).ok_or_else(|| EngineError::NoBorder { model: self.name().to_owned() })?;
        let ends = self.end_tokens();
        let marks: Vec<u32> = (0..self.spec().vocab as u32).filter(|id| !writes(tokenizer, *id)).collect();
        let within: Vec<u32> = marks.iter().copied().filter(|id| !ends.contains(id)).collect();
        let mut batch = Batch::new(self);
        let (mut found, mut written) = (Vec::with_capacity(texts), 0);
        while found.len() < texts {
            let own = found.len()..texts.min(found.len() + TOGETHER);
            let mut writing =
                own.map(|at| self.begun(start, length, seed, at)).collect::<Result<Vec<_>, _>>()?;
            while writing.iter().any(|one| one.tokens.len() < length) {
                let mut sessions: Vec<&mut Session<'_>> =
                    writing.iter_mut().map(|one| &mut one.session).collect();
                batch.step(&mut sessions).into_iter().collect::<Result<(), _>>()?;
                for one in writing.iter_mut().filter(|one| one.tokens.len() < length) {
                    let banned = if one.begun { &within } else { &marks };
                    let drawn = one.sampler.draw_but(one.session.logits(), &[], banned);
                    let id = drawn.ok_or_else(|| self.not_finite())?.id;
                    one.begun = !ends.contains(&id);
                    if one.begun {
                        one.tokens.push(id);
                        written += 1;
                        one.session.go_on(id, &[])?;
                    } else {
                        one.session.begin_text(&[start])?;
                    }
                }
                if watch(written, texts * length).is_break() {
                    return Err(EngineError::Cancelled);
                }
            }
            found.extend(writing.into_iter().map(|one| one.tokens));
        }
        Ok(found)
    }

    /// The text of this number before its first token.
    fn begun(&self, start: u32, length: usize, seed: u64, number: usize) -> Result<Writing<'_>, EngineError> {
        let mut session = self.session(length + 1)?;
        session.begin_text(&[start])?;
        let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64);
        let sampling = Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed,
            ..Sampling::default()
        };
        Ok(Writing {
            session,
            sampler: Sampler::new(sampling)?,
            tokens: Vec::with_capacity(length),
            begun: false,
        })
    }
}

/// What stands in front of a text: the token that begins one, else the one that ended the text before.
fn border(tokenizer: &Tokenizer) -> Option<u32> {
    let start = tokenizer.bos().filter(|_| tokenizer.add_bos());
    start.or_else(|| tokenizer.eos()).or_else(|| tokenizer.bos())
}

/// Whether a token puts anything into a text. An output layer may have more rows than there are tokens.
fn writes(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer.kind(id).is_some() && !tokenizer.is_special(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelSource, Settings};

    fn mini() -> Engine {
        Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap()
    }

    fn text(engine: &Engine, ids: &[u32]) -> String {
        let tokenizer = engine.tokenizer().unwrap();
        ids.iter().flat_map(|id| tokenizer.bytes(*id).unwrap().to_vec()).map(char::from).collect()
    }

    #[test]
    fn texts_are_as_many_and_as_long_as_asked_for_and_follow_from_the_seed() {
        let engine = mini();
        let mut last = (0, 0);
        let mut flow = |done, of| {
            assert!(done >= last.0);
            last = (done, of);
            ControlFlow::Continue(())
        };
        let own = engine.unprompted(18, 40, 7, &mut flow).unwrap();
        assert!(own.len() == 18 && own.iter().all(|text| text.len() == 40));
        assert_eq!(last, (18 * 40, 18 * 40));
        let mut go_on = |_, _| ControlFlow::Continue(());
        // In other company as well.
        assert_eq!(engine.unprompted(3, 40, 7, &mut go_on).unwrap(), own[..3]);
        assert_ne!(engine.unprompted(3, 40, 8, &mut go_on).unwrap(), own[..3]);
        let distinct: std::collections::HashSet<&[u32]> = own.iter().map(|text| &text[..8]).collect();
        assert!(distinct.len() > 15, "{distinct:?}");
    }

    #[test]
    fn what_is_written_is_text_of_the_kind_that_the_model_learned() {
        let engine = mini();
        let own = engine.unprompted(8, 64, 1, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let marks = engine.end_tokens();
        assert!(own.iter().flatten().all(|id| !marks.contains(id)));
        let loss = |ids: &[u32]| {
            let mut session = engine.session(ids.len() + 1).unwrap();
            let mut surprise = Vec::new();
            let start = [border(engine.tokenizer().unwrap()).unwrap()];
            session.feed(&start, &mut |_| ControlFlow::Continue(())).unwrap();
            session.feed_scored(ids, &mut surprise, &mut |_| ControlFlow::Continue(())).unwrap();
            f64::from(surprise.iter().sum::<f32>()) / surprise.len() as f64
        };
        // Drawn at random, 4,096 tokens are worth ln 4096 = 8.3 nats each.
        let mean = own.iter().map(|ids| loss(ids)).sum::<f64>() / own.len() as f64;
        assert!(mean < 4.5, "{mean}: {:?}", own.iter().map(|ids| text(&engine, ids)).collect::<Vec<_>>());
    }

    #[test]
    fn it_can_be_stopped_and_refuses_what_does_not_fit() {
        let engine = mini();
        let stopped = engine.unprompted(2, 40, 1, &mut |_, _| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(EngineError::Cancelled)));
        let long = engine.spec().context + 1;
        assert!(engine.unprompted(1, long, 1, &mut |_, _| ControlFlow::Continue(())).is_err());
    }
}
