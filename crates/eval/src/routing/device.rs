//! The device's side: it takes the likeliest choice, or writes as it does when it is asked.

use std::ops::ControlFlow;

use crayon_answer::{Input, Limits, Request, Through};
use crayon_engine::adapters::Demonstration;
use crayon_engine::{Engine, EngineError, Event, Finish, GenerateOptions, Message, Role, Session};
use crayon_hybrid::confidence;

use super::answers::says;
use super::rows::Answered;
use crate::EvalError;
use crate::choice::{Encoded, Framing, encode, largest, log_likelihoods};
use crate::score::log_likelihood;
use crate::tasks::{Example, Question};

/// What a prompt is answered through.
pub type ThroughOf<'a> = dyn Fn(&str) -> Result<Through<'a>, EngineError> + 'a;

/// Something to ask.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// With choices, the likeliest of which is taken.
    Choose(Question),
    /// Without, to be answered in writing.
    Write(Example),
}

impl Item {
    pub(super) fn prompt(&self) -> &str {
        match self {
            Item::Choose(question) => &question.prompt,
            Item::Write(example) => &example.prompt,
        }
    }
}

/// What the device wrote, and how likely.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrote {
    /// The answer.
    pub text: String,
    /// Log-probabilities of its tokens, nats.
    pub logprobs: Vec<f32>,
    /// Log-probability of its end; `None` where it was cut, or ended by a frame's next turn.
    pub end: Option<f32>,
}

/// What the device writes after `query`, `through` what it is customized with, as `ask` would have it written; `None` where the
/// query does not fit the model.
///
/// # Errors
/// When the model cannot be asked, or `watch` stops it.
pub fn write(
    engine: &Engine,
    through: Through<'_>,
    query: &str,
    max_tokens: Option<usize>,
    watch: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Wrote>, EvalError> {
    let request = request(through.demonstrations, query);
    let prompt = request.prompt(engine)?;
    let left = engine.spec().context.saturating_sub(prompt.len());
    let max_tokens = max_tokens.unwrap_or(Limits::default().longest).min(left);
    if max_tokens == 0 {
        return Ok(None);
    }
    let mut session = engine.session(prompt.len() + max_tokens)?;
    session.set_adapter(through.adapter);
    session.feed(&prompt, &mut |_| watch())?;
    let sampling = request.sampling(engine)?;
    let options = GenerateOptions { sampling, max_tokens, ..GenerateOptions::default() };
    let mut logprobs = Vec::new();
    let answer = session.generate(&options, &mut |event| {
        if let Event::Token { logprob, .. } = event {
            logprobs.push(logprob);
        }
        watch()
    })?;
    if answer.finish == Finish::Cancelled {
        return Err(EngineError::Cancelled.into());
    }
    let end = (answer.finish == Finish::End).then(|| ending(engine, &session)).flatten();
    Ok(Some(Wrote { text: answer.text, logprobs, end }))
}

/// `query` behind examples that stand in the prompt.
fn request(demonstrations: &[Demonstration], query: &str) -> Request {
    let demonstrations = demonstrations.to_vec();
    Request { demonstrations, ..Request::new(Input::Chat(vec![Message::new(Role::User, query)])) }
}

/// Log-probability that the text ends here.
fn ending(engine: &Engine, session: &Session<'_>) -> Option<f32> {
    let of = |id: &u32| log_likelihood(session.logits(), *id).map(f64::exp);
    let share: f64 = engine.end_tokens().iter().filter_map(of).sum();
    (share > 0.0).then(|| share.ln() as f32)
}

/// How sure the device was of what it wrote, 0 to 1; `None` of nothing.
type Measure = fn(&Wrote) -> Option<f32>;

/// Ways to see it. The first is the confidence.
pub(super) const MEASURES: [(&str, Measure); 6] = [
    ("mean", |wrote| confidence::of_text(&wrote.logprobs)),
    ("mean with the end", |wrote| {
        let all: Vec<f32> = wrote.logprobs.iter().copied().chain(wrote.end).collect();
        confidence::of_text(&all)
    }),
    ("lowest", |wrote| wrote.logprobs.iter().copied().min_by(f32::total_cmp).map(f32::exp)),
    ("first", |wrote| wrote.logprobs.first().map(|first| first.exp())),
    ("last", |wrote| wrote.logprobs.last().map(|last| last.exp())),
    ("product", |wrote| (!wrote.logprobs.is_empty()).then(|| wrote.logprobs.iter().sum::<f32>().exp())),
];

/// A device that is asked.
pub(super) struct Device<'a, 'c> {
    pub(super) engine: &'a Engine,
    pub(super) through: &'a ThroughOf<'c>,
    pub(super) framing: Framing,
    pub(super) max_tokens: Option<usize>,
}

impl Device<'_, '_> {
    /// The device's answer; where the item does not fit its context, the tokens that it takes.
    pub(super) fn answer(&self, item: &Item) -> Result<Result<Answered, usize>, EvalError> {
        match item {
            Item::Choose(question) => self.choose(question),
            Item::Write(example) => self.write(example),
        }
    }

    fn choose(&self, question: &Question) -> Result<Result<Answered, usize>, EvalError> {
        let Through { scope, adapter, demonstrations, .. } = (self.through)(&question.prompt)?;
        let solved = demonstrations.iter();
        let solved: Vec<Example> =
            solved.map(|d| Example { prompt: d.prompt.clone(), answer: d.answer.clone() }).collect();
        let encoded: Encoded = encode(self.engine, question, &solved, self.framing)?;
        if encoded.len() > self.engine.spec().context {
            return Ok(Err(encoded.len()));
        }
        let mut session = self.engine.session(encoded.len())?;
        session.set_adapter(adapter);
        let scores = log_likelihoods(&mut session, &encoded.prompt, &encoded.choices)?;
        let likelihoods: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
        Ok(Ok(Answered {
            confidence: confidence::of_choice(&likelihoods).map_or(0.0, f64::from),
            scope: scope.map(f64::from),
            device: largest(&scores) == question.answer,
            ..Answered::default()
        }))
    }

    fn write(&self, example: &Example) -> Result<Result<Answered, usize>, EvalError> {
        let through = (self.through)(&example.prompt)?;
        let (scope, shown) = (through.scope, through.demonstrations);
        let go = &mut || ControlFlow::Continue(());
        let Some(wrote) = write(self.engine, through, &example.prompt, self.max_tokens, go)? else {
            return Ok(Err(request(shown, &example.prompt).prompt(self.engine)?.len() + 1));
        };
        let measures: Vec<f64> = MEASURES.iter().map(|(_, of)| of(&wrote).map_or(0.0, f64::from)).collect();
        Ok(Ok(Answered {
            confidence: measures.first().copied().unwrap_or(0.0),
            measures,
            scope: scope.map(f64::from),
            device: says(&wrote.text, &example.answer),
            ..Answered::default()
        }))
    }
}
