//! Writing an answer token by token.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_text::Stream;

use crate::sampler::{Sampler, Sampling};
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
    /// Go on past end-of-text tokens and turns of a frame (for measurements).
    pub ignore_end: bool,
    /// What was read is a text to go on with and no conversation: the engine's frame says nothing about what follows it.
    pub raw: bool,
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            sampling: Sampling::default(),
            max_tokens: 256,
            stop: Vec::new(),
            ignore_end: false,
            raw: false,
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
        if self.logits().is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let engine = self.engine();
        let ends = if options.ignore_end { Vec::new() } else { engine.end_tokens() };
        let mut sampler = Sampler::new(options.sampling.clone())?;
        let mut stream = Stream::after(engine.tokenizer()?, self.tokens());
        let suggested = &engine.checkpoint().generation;
        let stop: Vec<String> = options.stop.iter().chain(&suggested.stop).cloned().collect();
        let framed = engine.frame().filter(|_| !options.raw && !options.ignore_end);
        let mut shown = Shown::new(&stop, framed);
        let started = Instant::now();
        let prompt = self.tokens().len();
        let (mut text, mut logprobs, mut first) = (String::new(), 0.0f64, Duration::ZERO);

        let finish = loop {
            let written = self.tokens().len() - prompt;
            if written == options.max_tokens {
                break Finish::Length;
            }
            let answer = &self.tokens()[prompt..];
            let banned = match suggested.bans.is_empty() {
                true => Vec::new(),
                false => suggested.bans.of(self.tokens(), written, &ends),
            };
            let drawn =
                sampler.draw_but(self.logits(), answer, &banned).ok_or_else(|| engine.not_finite())?;
            if written == 0 {
                first = started.elapsed();
            }
            if ends.contains(&drawn.id) {
                break Finish::End;
            }
            if self.limit() == Some(self.tokens().len()) {
                break Finish::Full;
            }
            logprobs += f64::from(drawn.logprob);
            let mut flow = on_event(Event::Token { id: drawn.id, logprob: drawn.logprob });
            if let Some(piece) = stream.push(drawn.id) {
                flow = emit(shown.push(&piece), &mut text, on_event, flow);
            }
            self.feed(&[drawn.id], &mut |_| ControlFlow::Continue(()))?;
            if shown.turned() {
                // The model has ended its own turn.
                break Finish::End;
            }
            if shown.stopped() {
                break Finish::Stop;
            }
            if flow.is_break() {
                break Finish::Cancelled;
            }
        };
        let rest = shown.finish(&stream.finish());
        // The answer is complete; a request to stop changes nothing any more.
        let _ = emit(rest, &mut text, on_event, ControlFlow::Continue(()));
        let tokens = self.tokens()[prompt..].to_vec();
        let confidence = (!tokens.is_empty()).then(|| (logprobs / tokens.len() as f64).exp() as f32);
        Ok(Answer { text, tokens, finish, confidence, timing: Timing { first, total: started.elapsed() } })
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
