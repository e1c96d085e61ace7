//! The device's part: reading a prompt and writing after it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_engine::{
    Answer, CachedRead, EngineError, Event as EngineEvent, Fed, Generation, PrefixCache, Prefixes, Session,
};

use crate::plan::{Memory, Plan};
use crate::{AnswerError, Note};

/// Where the device's part is made: a session here, or a queue before a model that many share.
pub trait Device {
    /// Reads the prompt and writes. `watch` hears of everything and may stop it: the answer so far is returned then, its finish
    /// being [`Finish::Cancelled`](crayon_engine::Finish::Cancelled), or [`AnswerError::Cancelled`] where there is none.
    ///
    /// # Errors
    /// When the network fails, a pot is too small, there is no place for the work, or `watch` stops it.
    fn write(
        &mut self,
        plan: &Plan,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> Result<Written, AnswerError>;
}

/// Something that happens on the device.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceEvent {
    /// A part of the prompt is read.
    Reading(Fed),
    /// The prompt is read.
    Read,
    /// A token was drawn; its text may follow later.
    Token(Drawn),
    /// Text of the answer.
    Text(String),
    /// Something worth knowing.
    Note(Note),
    /// Nothing new; whoever listens may stop the work.
    Waiting,
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Token id.
    pub id: u32,
    /// Its log-probability under the model itself.
    pub logprob: f32,
    /// The likeliest tokens at its place, as many as were asked for, the likeliest first.
    pub likeliest: Vec<(u32, f32)>,
}

/// What the device wrote, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The answer.
    pub answer: Answer,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of them that had to be read: others were held or cached.
    pub read: usize,
    /// Time for reading them.
    pub reading: Duration,
    /// Tokens of the prompt that were distilled away.
    pub evicted: usize,
    /// What a pot did, if one had to.
    pub distilled: Option<Distilled>,
}

/// What a pot did with what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distilled {
    /// Tokens read in all.
    pub read: usize,
    /// Tokens kept.
    pub kept: usize,
    /// Entries of the pot.
    pub entries: usize,
    /// Name of its policy.
    pub policy: String,
    /// Bytes of its keys and values.
    pub bytes: usize,
    /// How often it was distilled.
    pub steps: usize,
    /// Of these, how often for this answer.
    pub now: usize,
}

/// What was read before, and may be had instead of being read again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept<'k> {
    /// Documents on the disk, for plans that ask for them.
    pub cache: Option<&'k PrefixCache>,
    /// Beginnings of texts in memory.
    pub prefixes: Option<&'k Prefixes>,
}

/// A session here, and where documents are kept that were read before.
pub struct SessionDevice<'s, 'e> {
    /// What holds the keys and values.
    pub session: &'s mut Session<'e>,
    /// The cache of documents, where one is wanted.
    pub cache: Option<&'s PrefixCache>,
}

impl Device for SessionDevice<'_, '_> {
    fn write(
        &mut self,
        plan: &Plan,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> Result<Written, AnswerError> {
        let kept = Kept { cache: self.cache, prefixes: None };
        let mut writing = Writing::begin(plan, self.session, kept)?;
        loop {
            if let Some(written) = writing.go_on(plan, self.session, kept, watch)? {
                return Ok(written);
            }
            self.session.pass()?;
        }
    }
}

/// The device's part in the making, a pass of the network at a time, so that others may share the passes.
pub struct Writing<'e> {
    read: CachedRead,
    /// What was told last of the reading.
    told: Option<Fed>,
    /// `None` while the prompt is read.
    generation: Option<Generation<'e>>,
    flow: ControlFlow<()>,
    distillations: usize,
    started: Instant,
    reading: Duration,
}

impl<'e> Writing<'e> {
    /// Has `session` begin to read the prompt of `plan`.
    ///
    /// # Errors
    /// When the session is too small for it.
    pub fn begin(plan: &Plan, session: &mut Session<'e>, kept: Kept<'_>) -> Result<Writing<'e>, AnswerError> {
        // A turn that goes through another adapter than the one before reads the whole conversation anew.
        session.set_adapter(plan.through(session.engine()));
        if let Memory::Same(Some(pins)) = &plan.memory {
            session.pin(pins.clone())?;
        }
        session.weigh(plan.weights.clone());
        let (distillations, started) = (session.pot().distillations(), Instant::now());
        let read = match (kept.cache.filter(|_| plan.stable > 0), kept.prefixes) {
            (Some(cache), _) => session.begin_cached(&plan.prompt, plan.stable, cache)?,
            (None, Some(prefixes)) => CachedRead::whole(session.begin_shared(&plan.prompt, prefixes)?),
            (None, None) => CachedRead::whole(session.begin_text(&plan.prompt)?),
        };
        Ok(Writing {
            read,
            told: session.fed(),
            generation: None,
            flow: ControlFlow::Continue(()),
            distillations,
            started,
            reading: Duration::ZERO,
        })
    }

    /// Goes on after each pass of `session`, and once before the first. The whole of it, when it is done; else another pass is to come.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn go_on(
        &mut self,
        plan: &Plan,
        session: &mut Session<'e>,
        kept: Kept<'_>,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> Result<Option<Written>, AnswerError> {
        let fed = session.fed();
        if self.generation.is_none()
            && let Some(now) = fed.filter(|_| fed != self.told)
        {
            self.told = fed;
            if watch(DeviceEvent::Reading(now)).is_break() {
                session.leave();
                return Err(EngineError::Cancelled.into());
            }
        }
        if session.unread() > 0 {
            return Ok(None);
        }
        let generation = match &mut self.generation {
            Some(generation) => generation,
            None => {
                if let Some(cache) = kept.cache
                    && session.go_on_cached(&mut self.read, &plan.prompt, cache)?
                {
                    self.told = session.fed();
                    return Ok(None);
                }
                if let Some(prefixes) = kept.prefixes {
                    session.share(prefixes);
                }
                self.flow = self.told_read(plan, watch);
                self.generation.insert(Generation::begin(session, &plan.generate)?)
            }
        };
        let flow = &mut self.flow;
        let answer = generation.next(session, &mut |event| {
            let next = watch(match event {
                EngineEvent::Token { id, logprob, likeliest } => {
                    DeviceEvent::Token(Drawn { id, logprob, likeliest })
                }
                EngineEvent::Text(text) => DeviceEvent::Text(text),
            });
            if next.is_break() {
                *flow = next;
            }
            *flow
        })?;
        Ok(answer.map(|answer| self.written(plan, session, answer)))
    }

    /// Tells that the prompt is read, and what the cache did.
    fn told_read(
        &mut self,
        plan: &Plan,
        watch: &mut dyn FnMut(DeviceEvent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let note = match &self.read.not_kept {
            Some(error) => Some(Note::NotKept(error.to_string())),
            None if self.read.from_cache(plan.prompt.len()) => {
                Some(Note::Cached(plan.prompt.len() - self.read.read))
            }
            None => None,
        };
        // A note stops nothing.
        let _ = note.map(|note| watch(DeviceEvent::Note(note)));
        self.reading = self.started.elapsed();
        watch(DeviceEvent::Read)
    }

    fn written(&self, plan: &Plan, session: &Session<'_>, answer: Answer) -> Written {
        let pot = session.pot();
        // Tokens of the answer may have pushed some out as well.
        let evicted = plan.prompt.len() - pot.kept_of(plan.prompt.len());
        let distilled = pot.options().filter(|_| pot.distillations() > 0).map(|options| Distilled {
            read: pot.tokens_read(),
            kept: pot.kept(),
            entries: options.entries,
            policy: options.policy.clone(),
            bytes: session.kv_bytes(),
            steps: pot.distillations(),
            now: pot.distillations().saturating_sub(self.distillations),
        });
        let (read, reading) = (self.read.read, self.reading);
        Written { answer, prompt: plan.prompt.len(), read, reading, evicted, distilled }
    }
}
