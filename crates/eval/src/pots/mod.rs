//! How well a model answers about texts that were read through a pot.

mod grid;
mod policies;
mod published;
mod stream;

use std::ops::ControlFlow;

use crayon_engine::{Engine, GenerateOptions, Message, PotOptions, Role, Session, stays};
use crayon_text::Special;
use serde::Serialize;

pub use grid::{Cell, Grid, GridOptions, grid};
pub use policies::{PoliciesOptions, PoliciesTable, Row, VARIANTS, Variant, policies};
pub use published::{PublishedRow, PublishedTable, published};
pub use stream::{StreamPerplexity, perplexity_through_pot};

use crate::EvalError;
use crate::long::LongQuestion;

/// How a text is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The pot; `None` keeps everything, for texts within the model's window.
    pub pot: Option<PotOptions>,
    /// Whether the question is the catalyst prompt.
    pub question_catalyst: bool,
}

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
/// When the text does not fit without a pot, or the network fails.
pub fn answer(engine: &Engine, question: &LongQuestion, reading: &Reading) -> Result<Answered, EvalError> {
    let put = |text: String| engine.chat_prompt(&[Message::new(Role::User, text)]);
    let prompt = put(format!("{}\n\n{}", question.context, question.question))?;
    let tokenizer = engine.tokenizer()?;
    let length = |text: &String| tokenizer.encode(text, Special::Plain).map(|ids| ids.len());
    let longest: usize = question.answers.iter().map(length).sum::<Result<usize, _>>()? + SLACK;
    let mut session =
        open(engine, reading, &prompt, &put(question.question.clone())?, &question.question, longest)?;
    session.feed(&prompt, &mut |_| ControlFlow::Continue(()))?;
    let chosen = match question.choices.is_empty() {
        true => None,
        false => Some(choose(engine, &mut session, &question.choices)? == 0),
    };
    let options = GenerateOptions { max_tokens: longest, ..GenerateOptions::default() };
    let answer = session.generate(&options, &mut |_| ControlFlow::Continue(()))?;
    let kv_bytes = session.kv_bytes();
    Ok(Answered {
        score: question.matches(&answer.text),
        text: answer.text,
        chosen,
        tokens: prompt.len(),
        kv_bytes,
    })
}

/// A session that reads `prompt` as asked; what it shares with `frame`, its form without a document, stays.
fn open<'e>(
    engine: &'e Engine,
    reading: &Reading,
    prompt: &[u32],
    frame: &[u32],
    question: &str,
    answer: usize,
) -> Result<Session<'e>, EvalError> {
    let Some(options) = &reading.pot else { return Ok(engine.session(prompt.len() + answer)?) };
    let mut options = options.clone();
    if reading.question_catalyst {
        options.catalyst = engine.catalyst(question)?;
    }
    let pins = stays(prompt, frame).to_vec();
    let mut session = engine.pot_session(options, pins.iter().map(|place| place.len()).sum())?;
    session.pin(pins)?;
    Ok(session)
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
