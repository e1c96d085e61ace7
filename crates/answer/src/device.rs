//! The device's part: reading a prompt and writing after it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_engine::{Answer, Event as EngineEvent, Fed, PrefixCache, Session};

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
    /// A token was drawn, with its log-probability; its text may follow later.
    Token(f32),
    /// Text of the answer.
    Text(String),
    /// Something worth knowing.
    Note(Note),
    /// Nothing new; whoever listens may stop the work.
    Waiting,
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
        let session = &mut *self.session;
        // A turn that goes through another adapter than the one before reads the whole conversation anew.
        session.set_adapter(plan.through(session.engine()));
        if let Memory::Same(Some(pins)) = &plan.memory {
            session.pin(pins.clone())?;
        }
        let distillations = session.pot().distillations();
        let started = Instant::now();
        let mut reading = |fed| watch(DeviceEvent::Reading(fed));
        let read = match self.cache.filter(|_| plan.stable > 0) {
            None => session.set_text(&plan.prompt, &mut reading)?,
            Some(cache) => {
                let cached = session.set_text_cached(&plan.prompt, plan.stable, cache, &mut reading)?;
                let note = match cached.not_kept {
                    Some(error) => Some(Note::NotKept(error.to_string())),
                    None if cached.read < plan.prompt.len() => {
                        Some(Note::Cached(plan.prompt.len() - cached.read))
                    }
                    None => None,
                };
                // A note stops nothing.
                let _ = note.map(|note| watch(DeviceEvent::Note(note)));
                cached.read
            }
        };
        let reading = started.elapsed();
        let mut flow = watch(DeviceEvent::Read);
        let answer = session.generate(&plan.generate, &mut |event| {
            let next = watch(match event {
                EngineEvent::Token { logprob, .. } => DeviceEvent::Token(logprob),
                EngineEvent::Text(text) => DeviceEvent::Text(text),
            });
            if next.is_break() {
                flow = next;
            }
            flow
        })?;
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
            now: pot.distillations().saturating_sub(distillations),
        });
        Ok(Written { answer, prompt: plan.prompt.len(), read, reading, evicted, distilled })
    }
}
