//! Writing an answer token by token.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_text::Stream;

use crate::constraint::{Allowed, Constrained, Constraint};
use crate::guess::Guesses;
use crate::sampler::{Sampler, Sampling, likeliest};
use crate::shown::Shown;
use crate::{EngineError, Session};

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The answer ends after this many tokens.
    pub max_tokens: usize,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
    /// So many of the likeliest tokens are told at each place.
    pub likeliest: usize,
    /// The form of the answer, where it is given.
    pub grammar: Option<Constrained>,
    /// Go on past end-of-text tokens and turns of a frame (for measurements).
    pub ignore_end: bool,
    /// What was read is a text to go on with and no conversation: the engine's frame says nothing about what follows it.
    pub raw: bool,
    /// What was read ends in the beginning of the answer, so that blanks that follow it belong to it.
    pub begun: bool,
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            sampling: Sampling::default(),
            max_tokens: 256,
            stop: Vec::new(),
            likeliest: 0,
            grammar: None,
            ignore_end: false,
            raw: false,
            begun: false,
        }
    }
}

/// What happens while an answer is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More text: whole characters, nothing of a stop string or of a frame's next turn.
    Text(String),
    /// A token was drawn (its text may follow later).
    Token {
        /// Token id.
        id: u32,
        /// Its log-probability under the model.
        logprob: f32,
        /// The likeliest tokens at its place and their log-probabilities, as many as were asked for, the likeliest first.
        likeliest: Vec<(u32, f32)>,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    End,
    /// A stop string came.
    Stop,
    /// `max_tokens` were written.
    Length,
    /// The session is full.
    Full,
    /// The caller stopped it.
    Cancelled,
}

impl Finish {
    /// The word reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Finish::End => "end",
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Full => "full",
            Finish::Cancelled => "cancelled",
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its text, in a frame without blanks around it.
    pub text: String,
    /// Its tokens, without the end token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// `exp` of the mean log-probability of its tokens, 0 to 1; `None` for an empty answer.
    pub confidence: Option<f32>,
    /// How long it took.
    pub timing: Timing,
}

/// Times of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// From the first draw to the first token.
    pub first: Duration,
    /// The whole writing.
    pub total: Duration,
}

impl Session<'_> {
    /// Writes an answer after what was read, without the tokens that the model's makers ban at each place, and up to the
    /// texts with which they end one, or with which the engine's frame begins another turn. `on_event` may stop it; the text
    /// so far is returned then.
    pub fn generate(
        &mut self,
        options: &GenerateOptions,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Answer, EngineError> {
        let mut generation = Generation::begin(self, options)?;
        loop {
            if let Some(answer) = generation.next(self, on_event)? {
                return Ok(answer);
            }
            self.read_out(&mut |_| ControlFlow::Continue(()))?;
        }
    }
}

/// An answer in the making, a token at a time: [`next`](Self::next) draws one, the session reads it, and so on.
pub struct Generation<'e> {
    options: GenerateOptions,
    /// Tokens that end an answer.
    ends: Vec<u32>,
    sampler: Sampler,
    constraint: Option<Box<dyn Constraint>>,
    guesses: Option<Guesses>,
    stream: Option<Stream<'e>>,
    shown: Shown,
    /// Tokens read before the answer.
    prompt: usize,
    text: String,
    logprobs: f64,
    started: Instant,
    first: Duration,
    /// Why the answer ends once its last token is read.
    ending: Option<Finish>,
}

impl<'e> Generation<'e> {
    /// An answer after what `session` has read.
    ///
    /// # Errors
    /// When nothing was read, the model has no tokenizer, or the options cannot be used.
    pub fn begin(session: &Session<'e>, options: &GenerateOptions) -> Result<Generation<'e>, EngineError> {
        if session.logits().is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let engine = session.engine();
        let suggested = &engine.checkpoint().generation;
        let stop: Vec<String> = options.stop.iter().chain(&suggested.stop).cloned().collect();
        let framed = engine.frame().filter(|_| !options.raw && !options.ignore_end);
        Ok(Generation {
            ends: if options.ignore_end { Vec::new() } else { engine.end_tokens() },
            sampler: Sampler::new(options.sampling.clone())?,
            constraint: options.grammar.as_ref().map(|grammar| grammar.0.begin()),
            guesses: (engine.guesses() && session.pot().may_guess() > 0).then(Guesses::new),
            stream: Some(Stream::after(engine.tokenizer()?, session.tokens())),
            shown: Shown::new(&stop, framed, options.begun),
            options: options.clone(),
            prompt: session.tokens().len(),
            text: String::new(),
            logprobs: 0.0,
            started: Instant::now(),
            first: Duration::ZERO,
            ending: None,
        })
    }

    /// Draws the next token from the logits of `session`, which has read everything so far and is to read it, and those behind it that
    /// were guessed. The whole answer, once it has ended.
    ///
    /// # Errors
    /// When the logits are not finite.
    pub fn next(
        &mut self,
        session: &mut Session<'e>,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<Answer>, EngineError> {
        loop {
            let answer = self.draw(session, on_event)?;
            if answer.is_some() || session.unread() > 0 {
                return Ok(answer);
            }
        }
    }

    /// One token of that.
    fn draw(
        &mut self,
        session: &mut Session<'e>,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<Answer>, EngineError> {
        let engine = session.engine();
        if let Some(finish) = self.ending {
            return Ok(Some(self.finish(session, finish, on_event)));
        }
        let written = session.tokens().len() - self.prompt;
        if written == self.options.max_tokens {
            return Ok(Some(self.finish(session, Finish::Length, on_event)));
        }
        let bans = &engine.checkpoint().generation.bans;
        let banned = match bans.is_empty() {
            true => Vec::new(),
            false => bans.of(session.tokens(), written, &self.ends),
        };
        let allowed = match self.constraint.as_mut().map(|constraint| constraint.allowed()).transpose() {
            Err(reason) => return Err(EngineError::Form { reason }),
            Ok(Some(Allowed::End)) => return Ok(Some(self.finish(session, Finish::End, on_event))),
            Ok(Some(Allowed::Tokens { mut mask, end })) => {
                // The form knows one of the tokens that end an answer.
                for &id in &self.ends {
                    if let Some(word) = mask.get_mut(id as usize / 32) {
                        let bit = 1 << (id % 32);
                        *word = if end { *word | bit } else { *word & !bit };
                    }
                }
                Some(mask)
            }
            Ok(None) => None,
        };
        let answer = &session.tokens()[self.prompt..];
        let drawn = self
            .sampler
            .draw_within(session.logits(), answer, &banned, allowed.as_deref())
            .ok_or_else(|| engine.not_finite())?;
        if written == 0 {
            self.first = self.started.elapsed();
        }
        if self.ends.contains(&drawn.id) {
            return Ok(Some(self.finish(session, Finish::End, on_event)));
        }
        if session.limit() == Some(session.tokens().len()) {
            return Ok(Some(self.finish(session, Finish::Full, on_event)));
        }
        if let Some(Err(reason)) = self.constraint.as_mut().map(|constraint| constraint.take(drawn.id)) {
            return Err(EngineError::Form { reason });
        }
        self.logprobs += f64::from(drawn.logprob);
        let likeliest = match self.options.likeliest {
            0 => Vec::new(),
            count => likeliest(session.logits(), count),
        };
        let mut flow = on_event(Event::Token { id: drawn.id, logprob: drawn.logprob, likeliest });
        if let Some(piece) = self.stream.as_mut().and_then(|stream| stream.push(drawn.id)) {
            flow = emit(self.shown.push(&piece), &mut self.text, on_event, flow);
        }
        self.go_on(session, drawn.id, written + 1)?;
        self.ending = if self.shown.turned() {
            // The model has ended its own turn.
            Some(Finish::End)
        } else if self.shown.stopped() {
            Some(Finish::Stop)
        } else {
            flow.is_break().then_some(Finish::Cancelled)
        };
        Ok(None)
    }

    /// Has `session` read `token`, the `written`th of the answer, and what may follow it.
    fn go_on(&mut self, session: &mut Session<'e>, token: u32, written: usize) -> Result<(), EngineError> {
        let left = self.options.max_tokens.saturating_sub(written);
        let guess = match &mut self.guesses {
            Some(guesses) => guesses.after(session.tokens(), token, left).to_vec(),
            None => Vec::new(),
        };
        session.go_on(token, &guess)
    }

    fn finish(
        &mut self,
        session: &mut Session<'e>,
        finish: Finish,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Answer {
        let rest = self.stream.take().map_or_else(String::new, Stream::finish);
        let rest = self.shown.finish(&rest);
        session.take_back();
        // The answer is complete; a request to stop changes nothing any more.
        let _ = emit(rest, &mut self.text, on_event, ControlFlow::Continue(()));
        let tokens = session.tokens()[self.prompt..].to_vec();
        let confidence = (!tokens.is_empty()).then(|| (self.logprobs / tokens.len() as f64).exp() as f32);
        let timing = Timing { first: self.first, total: self.started.elapsed() };
        Answer { text: std::mem::take(&mut self.text), tokens, finish, confidence, timing }
    }
}

fn emit(
    piece: String,
    text: &mut String,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    flow: ControlFlow<()>,
) -> ControlFlow<()> {
    if piece.is_empty() {
        return flow;
    }
    text.push_str(&piece);
    match on_event(Event::Text(piece)) {
        ControlFlow::Continue(()) => flow,
        stop => stop,
    }
}
