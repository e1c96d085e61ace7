//! How well a model answers about texts that were read through a pot.

mod grid;
mod novelty;
mod policies;
mod published;
mod stream;

use std::ops::ControlFlow;

use crayon_answer::{Input, Limits, MemoryRequest, Plan, Request, plan};
use crayon_engine::{Engine, Message, Role, Sampling, Session};
use crayon_text::Special;
use serde::Serialize;

pub use grid::{Cell, Grid, GridOptions, grid};
pub use novelty::{NoveltyCheck, novelty};
pub use policies::{PoliciesOptions, PoliciesTable, Row, VARIANTS, Variant, policies};
pub use published::{PublishedRow, PublishedTable, published};
pub use stream::{StreamPerplexity, perplexity_through_pot};

use crate::EvalError;
use crate::long::LongQuestion;

/// One question, answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// What the model wrote.
    pub text: String,
    /// Share of what was asked that the text says, 0 to 1.
    pub score: f64,
    /// Whether the right choice was the likeliest; `None` without choices.
    pub chosen: Option<bool>,
    /// Tokens read.
    pub tokens: usize,
    /// Bytes of keys and values.
    pub kv_bytes: usize,
}

/// Tokens an answer may be longer than what was asked for.
const SLACK: usize = 12;

/// Reads a question's text and answers it, taking the likeliest token each time.
///
/// # Errors
/// When the text does not fit the memory, or the network fails.
pub fn answer(
    engine: &Engine,
    question: &LongQuestion,
    memory: &MemoryRequest,
) -> Result<Answered, EvalError> {
    let tokenizer = engine.tokenizer()?;
    let length = |text: &String| tokenizer.encode(text, Special::Plain).map(|ids| ids.len());
    let longest: usize = question.answers.iter().map(length).sum::<Result<usize, _>>()? + SLACK;
    let plan = planned(engine, &question.context, &question.question, longest, memory)?;
    let mut session = plan.session(engine)?;
    session.feed(&plan.prompt, &mut |_| ControlFlow::Continue(()))?;
    let chosen = match question.choices.is_empty() {
        true => None,
        false => Some(choose(engine, &mut session, &question.choices)? == 0),
    };
    let answer = session.generate(&plan.generate, &mut |_| ControlFlow::Continue(()))?;
    let kv_bytes = session.kv_bytes();
    Ok(Answered {
        score: question.matches(&answer.text),
        text: answer.text,
        chosen,
        tokens: plan.prompt.len(),
        kv_bytes,
    })
}

/// How `question` about `text` is answered in `longest` tokens at most, as anybody who asks with a document is answered, but
/// without penalties or chance.
fn planned(
    engine: &Engine,
    text: &str,
    question: &str,
    longest: usize,
    memory: &MemoryRequest,
) -> Result<Plan, EvalError> {
    let request = Request {
        documents: vec![text.to_owned()],
        max_tokens: Some(longest),
        memory: memory.clone(),
        ..Request::new(Input::Chat(vec![Message::new(Role::User, question)]))
    };
    let mut plan = plan(engine, &request, &Limits::default())?;
    plan.generate.sampling = Sampling::default();
    Ok(plan)
}

/// Index of the likeliest choice after what the session read; the session is as before.
fn choose(engine: &Engine, session: &mut Session<'_>, choices: &[String]) -> Result<usize, EvalError> {
    let tokenizer = engine.tokenizer()?;
    let mut encoded = Vec::with_capacity(choices.len());
    for (index, choice) in choices.iter().enumerate() {
        encoded.push((index, tokenizer.encode(choice, Special::Plain)?));
    }
    // The longest first: if it needs a distillation, all choices are judged after it.
    encoded.sort_by_key(|(_, ids)| std::cmp::Reverse(ids.len()));
    let (mut best, mut likeliest) = (0, f32::NEG_INFINITY);
    for (index, ids) in &encoded {
        let likelihood = session.likelihood(ids)?;
        if likelihood > likeliest || (likelihood == likeliest && *index < best) {
            (best, likeliest) = (*index, likelihood);
        }
    }
    Ok(best)
}
