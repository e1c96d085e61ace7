//! Multiple choice by log-likelihood: the choice whose text the model finds likeliest after the prompt.
//!
//! Two framings:
//! - `chat`: the prompt is the user's turn, in the model's chat template or frame, and each choice the assistant's answer;
//!   examples are earlier turns;
//! - `plain`: each choice follows the prompt after one space; examples stand in front, a blank line after each.
//!
//! Prompt and choice are encoded apart, so that the prompt's tokens are the same for every choice. The prompt is
//! read once and what it shares with the question before is not read again; choices are fed and taken back.

use std::path::Path;
use std::time::Instant;

use crayon_engine::{Engine, EngineError, Message, Session};
use crayon_errors::Setting;
use crayon_text::Role;
use serde::Serialize;

use crate::score::{feed_rows, log_likelihood, not_finite};
use crate::tasks::{Example, Question, Source, Task};
use crate::{EvalError, Progress};

/// How questions are put to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// `chat` where the model has a chat template or a frame with turns, else `plain`.
    #[default]
    Auto,
    /// The prompt as the user's turn.
    Chat,
    /// The prompt as text to continue.
    Plain,
}

impl Framing {
    /// Every framing, for help texts.
    pub const ALL: [Framing; 3] = [Framing::Auto, Framing::Chat, Framing::Plain];

    /// The name users know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Framing::Auto => "auto",
            Framing::Chat => "chat",
            Framing::Plain => "plain",
        }
    }

    /// The framing called `name`.
    pub fn from_name(name: &str) -> Option<Framing> {
        Framing::ALL.into_iter().find(|framing| framing.name() == name)
    }

    pub(crate) fn resolve(self, engine: &Engine) -> Result<Framing, EvalError> {
        match (self, engine.frame().is_none_or(|frame| frame.has_turns())) {
            (Framing::Auto, true) => Ok(Framing::Chat),
            (Framing::Auto, false) => Ok(Framing::Plain),
            (Framing::Chat, false) => {
                let what = format!(
                    "chat needs a chat template or a frame with turns, and {} has neither",
                    engine.name()
                );
                Err(EvalError::option(Setting::Framing, what, "take plain, or leave it out"))
            }
            (framing, _) => Ok(framing),
        }
    }
}

impl std::fmt::Display for Framing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What to ask and how.
#[derive(Clone, Debug, Default)]
pub struct ChoiceOptions {
    /// How questions are put.
    pub framing: Framing,
    /// Ask this many questions, drawn by `seed`; all when `None`.
    pub limit: Option<usize>,
    /// Which questions `limit` draws.
    pub seed: u64,
}

/// How often the likeliest choice is the right one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Share of questions whose likeliest choice is right.
    pub accuracy: f64,
    /// The same with log-likelihoods divided by the choice's length in bytes.
    pub accuracy_norm: f64,
    /// Questions answered.
    pub n: usize,
    /// What guessing would reach: the mean of 1 / number of choices.
    pub chance: f64,
    /// Standard error of `accuracy`: `sqrt(p (1 - p) / n)`.
    pub accuracy_stderr: f64,
    /// Standard error of `accuracy_norm`.
    pub accuracy_norm_stderr: f64,
    /// Questions left out because they do not fit the model's context.
    pub skipped: usize,
    /// Where the first few of those stand in the file.
    pub skipped_lines: Vec<usize>,
    /// Examples in front of every question.
    pub examples: usize,
    /// How questions were put.
    pub framing: Framing,
    /// The form of the task file.
    pub source: Source,
    /// Time taken.
    pub seconds: f64,
}

/// Entries of [`Choice::skipped_lines`].
const SKIPPED_SHOWN: usize = 20;

/// Asks the questions of the file `task`, each after `examples`.
///
/// # Errors
/// When a file cannot be read or is damaged, no question fits the context, the framing `chat` is asked of a model
/// without template and turns, the network computes something that is not finite, or `progress` stops it.
pub fn choice(
    engine: &Engine,
    task: &Path,
    examples: &[Example],
    options: &ChoiceOptions,
    progress: &mut Progress<'_>,
) -> Result<Choice, EvalError> {
    let mut task = Task::open(task)?;
    if let Some(limit) = options.limit {
        if limit == 0 {
            return Err(EvalError::option(Setting::Limit, "0 asks nothing", "take 1 or more"));
        }
        task.sample(limit, options.seed);
    }
    asked(engine, &task, examples, options.framing, progress)
}

/// Token ids of one question.
pub(crate) struct Encoded {
    pub(crate) prompt: Vec<u32>,
    pub(crate) choices: Vec<Vec<u32>>,
}

impl Encoded {
    /// Tokens read for the longest choice; its last is predicted, not read.
    pub(crate) fn len(&self) -> usize {
        self.prompt.len() + self.choices.iter().map(Vec::len).max().unwrap_or(1) - 1
    }
}

/// Asks the questions of `task`, each after `examples`.
pub(crate) fn asked(
    engine: &Engine,
    task: &Task,
    examples: &[Example],
    framing: Framing,
    progress: &mut Progress<'_>,
) -> Result<Choice, EvalError> {
    let started = Instant::now();
    let framing = framing.resolve(engine)?;
    let context = engine.spec().context;
    let all =
        task.questions.iter().map(|question| Ok((question, encode(engine, question, examples, framing)?)));
    let all = all.collect::<Result<Vec<(&Question, Encoded)>, EvalError>>()?;
    let shortest = all.iter().map(|(_, encoded)| encoded.len()).min().unwrap_or(0);
    let (fitting, skipped): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, encoded)| encoded.len() <= context);
    let Some(longest) = fitting.iter().map(|(_, encoded)| encoded.len()).max() else {
        return Err(EvalError::AllTooLong { questions: skipped.len(), shortest, context });
    };

    let mut session = engine.session(longest)?;
    let (mut right, mut right_norm, mut chance) = (0usize, 0usize, 0.0);
    for (done, (question, encoded)) in fitting.iter().enumerate() {
        let scores = log_likelihoods(&mut session, &encoded.prompt, &encoded.choices)?;
        let lengths = question.choices.iter().map(|choice| choice.len() as f64);
        let norm: Vec<f64> = scores.iter().zip(lengths).map(|(score, bytes)| score / bytes).collect();
        right += usize::from(largest(&scores) == question.answer);
        right_norm += usize::from(largest(&norm) == question.answer);
        chance += 1.0 / question.choices.len() as f64;
        if progress(done + 1, fitting.len()).is_break() {
            return Err(EngineError::Cancelled.into());
        }
    }
    let n = fitting.len();
    let share = |count: usize| count as f64 / n as f64;
    let error = |p: f64| (p * (1.0 - p) / n as f64).sqrt();
    Ok(Choice {
        accuracy: share(right),
        accuracy_norm: share(right_norm),
        n,
        chance: chance / n as f64,
        accuracy_stderr: error(share(right)),
        accuracy_norm_stderr: error(share(right_norm)),
        skipped: skipped.len(),
        skipped_lines: skipped.iter().take(SKIPPED_SHOWN).map(|(question, _)| question.line).collect(),
        examples: examples.len(),
        framing,
        source: task.source,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// `ln p(choice | prompt)` of each choice, in nats: the sum over its tokens. The session ends with the prompt
/// alone.
///
/// # Errors
/// When prompt and choice do not fit the session, or the network computes something that is not finite.
pub fn log_likelihoods(
    session: &mut Session<'_>,
    prompt: &[u32],
    choices: &[Vec<u32>],
) -> Result<Vec<f64>, EvalError> {
    let engine = session.engine();
    session.set_text(prompt, &mut |_| std::ops::ControlFlow::Continue(()))?;
    let first = session.logits().to_vec();
    let mut scores = Vec::with_capacity(choices.len());
    for choice in choices {
        let Some((&head, tail)) = choice.split_first() else {
            return Err(EngineError::EmptyPrompt.into());
        };
        let mut score = log_likelihood(&first, head).ok_or_else(|| not_finite(engine))?;
        // The last token is predicted, not read.
        feed_rows(session, &choice[..choice.len() - 1], |row, logits| {
            score += log_likelihood(logits, tail[row]).ok_or_else(|| not_finite(engine))?;
            Ok(())
        })?;
        session.rewind(prompt.len());
        scores.push(score);
    }
    Ok(scores)
}

/// Index of the largest score, the first of equals.
pub(crate) fn largest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}

pub(crate) fn encode(
    engine: &Engine,
    question: &Question,
    examples: &[Example],
    framing: Framing,
) -> Result<Encoded, EvalError> {
    if framing == Framing::Chat {
        let mut messages = Vec::with_capacity(2 * examples.len() + 1);
        for example in examples {
            messages.push(Message::new(Role::User, example.prompt.as_str()));
            messages.push(Message::new(Role::Assistant, example.answer.as_str()));
        }
        messages.push(Message::new(Role::User, question.prompt.as_str()));
        let choices =
            question.choices.iter().map(|choice| Ok(engine.answer_tokens(&question.prompt, choice)?));
        let prompt = engine.chat_prompt(&messages)?;
        return Ok(Encoded { prompt, choices: choices.collect::<Result<_, EvalError>>()? });
    }
    let mut text = String::new();
    for example in examples {
        text.push_str(open(&example.prompt));
        text.push(' ');
        text.push_str(example.answer.trim());
        text.push_str("\n\n");
    }
    text.push_str(open(&question.prompt));
    let choices = question.choices.iter().map(|choice| engine.continuation(choice.trim()));
    let choices = choices.collect::<Result<_, _>>()?;
    Ok(Encoded { prompt: engine.text_prompt(&text)?, choices })
}

/// A prompt without the spaces at its end: the space belongs to what follows.
fn open(prompt: &str) -> &str {
    prompt.trim_end_matches(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(largest(&[-3.0, -1.0, -1.0]), 1);
        assert_eq!(largest(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), 0);
    }

    #[test]
    fn framings_have_names() {
        for framing in Framing::ALL {
            assert_eq!(Framing::from_name(framing.name()), Some(framing));
        }
        assert_eq!(Framing::from_name("other"), None);
    }
}
