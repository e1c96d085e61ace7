//! A user's questions answered: by choice, and in writing.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crayon_engine::{Adapter, Engine, EngineError, Event, Finish, GenerateOptions, Sampling, Session};

use crate::EvalError;
use crate::choice::{Encoded, Framing, encode};
use crate::score::{feed_rows, log_likelihood, log_sum, not_finite};
use crate::tasks::{Example, Task};

/// How a user's questions were answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answers {
    /// For each question a digit: 1 where the likeliest choice is right, and 2 more where greedy decoding writes the right answer,
    /// but for blanks around it.
    pub(super) marks: String,
    /// Time for reading a question and what stands before it, in milliseconds, on average.
    pub(super) read_millis: f64,
}

impl Answers {
    /// Share of the questions whose likeliest choice is right.
    pub(super) fn chosen(&self) -> f64 {
        self.share(&['1', '3'])
    }

    /// Share of the questions to which the right answer is written.
    pub(super) fn written(&self) -> f64 {
        self.share(&['2', '3'])
    }

    fn share(&self, digits: &[char]) -> f64 {
        self.marks.matches(digits).count() as f64 / self.marks.len().max(1) as f64
    }
}

/// Answers the questions of `task` through `adapter`, each after the examples `shown`. A question is read once; it is answered in
/// writing until the answer is no longer the right one, and its choices are read behind it as far as they can be the likeliest.
pub(super) fn answer(
    engine: &Engine,
    task: &Task,
    shown: &[Example],
    adapter: Option<Arc<dyn Adapter>>,
) -> Result<Answers, EvalError> {
    let framing = Framing::Auto.resolve(engine)?;
    let encoded = task.questions.iter().map(|question| encode(engine, question, shown, framing));
    let encoded = encoded.collect::<Result<Vec<Encoded>, EvalError>>()?;
    let room = |encoded: &Encoded| {
        encoded.prompt.len() + longest(encoded.choices.iter().map(Vec::len).max().unwrap_or(1))
    };
    let most = encoded.iter().map(room).max().unwrap_or(1);
    let mut session = engine.session(most.min(engine.spec().context))?;
    session.set_adapter(adapter);
    let (mut marks, mut reading) = (String::new(), 0.0);
    for (question, encoded) in task.questions.iter().zip(&encoded) {
        let started = Instant::now();
        session.set_text(&encoded.prompt, &mut |_| ControlFlow::Continue(()))?;
        reading += started.elapsed().as_secs_f64() * 1e3;
        let first = session.logits().to_vec();
        let options = GenerateOptions {
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            max_tokens: longest(encoded.choices[question.answer].len()),
            raw: framing == Framing::Plain,
            ..GenerateOptions::default()
        };
        let written = writes(&mut session, question.choices[question.answer].trim(), &options)?;
        session.rewind(encoded.prompt.len());
        let chosen = likeliest(&mut session, &first, encoded)? == question.answer;
        marks.push(['0', '1', '2', '3'][usize::from(chosen) + 2 * usize::from(written)]);
    }
    let read_millis = reading / task.questions.len().max(1) as f64;
    Ok(Answers { marks, read_millis })
}

/// Tokens of an answer at most, where the right one has so many.
fn longest(tokens: usize) -> usize {
    2 * tokens + 8
}

/// Whether what follows is `expected` and then an end. It is written no further than it is that.
fn writes(session: &mut Session<'_>, expected: &str, options: &GenerateOptions) -> Result<bool, EngineError> {
    let mut text = String::new();
    let answer = session.generate(options, &mut |event| {
        if let Event::Text(piece) = event {
            text.push_str(&piece);
        }
        match expected.starts_with(text.trim()) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(matches!(answer.finish, Finish::End | Finish::Stop) && answer.text.trim() == expected)
}

/// The likeliest choice, the first of equals, as [`crate::choice()`] finds it: `first` are the logits after the prompt.
fn likeliest(session: &mut Session<'_>, first: &[f32], encoded: &Encoded) -> Result<usize, EvalError> {
    let engine = session.engine();
    let sum = log_sum(first).ok_or_else(|| not_finite(engine))?;
    let mut order = Vec::with_capacity(encoded.choices.len());
    for (at, choice) in encoded.choices.iter().enumerate() {
        let head = *choice.first().ok_or(EngineError::EmptyPrompt)?;
        let logit = first.get(head as usize).ok_or_else(|| not_finite(engine))?;
        order.push((at, f64::from(*logit) - sum));
    }
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut best = (usize::MAX, f64::NEG_INFINITY);
    for (at, mut score) in order {
        // No choice is likelier than its first token.
        if score < best.1 {
            break;
        }
        let choice = &encoded.choices[at];
        feed_rows(session, &choice[..choice.len() - 1], |row, logits| {
            score += log_likelihood(logits, choice[row + 1]).ok_or_else(|| not_finite(engine))?;
            Ok(())
        })?;
        session.rewind(encoded.prompt.len());
        if score > best.1 || score == best.1 && at < best.0 {
            best = (at, score);
        }
    }
    Ok(best.0)
}

#[cfg(test)]
mod tests {
    use crayon_engine::{Message, ModelSource, Role, Settings};

    use super::*;
    use crate::choice::asked;
    use crate::tasks::{Question, Source};

    fn mini() -> Engine {
        Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap()
    }

    fn task(questions: &[(&str, &[&str], usize)]) -> Task {
        let question = |(prompt, choices, answer): &(&str, &[&str], usize)| Question {
            prompt: (*prompt).to_owned(),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            answer: *answer,
            line: 1,
        };
        Task { source: Source::Lines, questions: questions.iter().map(question).collect() }
    }

    #[test]
    fn choices_are_those_of_the_whole_likelihoods() {
        let engine = mini();
        let intents = ["lost luggage", "lost card", "lost", "book a flight", "book a hotel", "weather"];
        let prompts =
            ["my bag is gone", "fly me to rome", "will it rain", "i need a room", "my card is gone"];
        let examples = [Example { prompt: "is it cold outside".into(), answer: "weather".into() }];
        for prompt in prompts {
            // Which choice wins is found by asking for each.
            let right = |at: usize, shown: &[Example]| {
                let task = task(&[(prompt, &intents, at)]);
                let whole =
                    asked(&engine, &task, shown, Framing::Auto, &mut |_, _| ControlFlow::Continue(()));
                (answer(&engine, &task, shown, None).unwrap().chosen(), whole.unwrap().accuracy)
            };
            for shown in [&[][..], &examples] {
                let found: Vec<(f64, f64)> = (0..intents.len()).map(|at| right(at, shown)).collect();
                assert!(found.iter().all(|(own, whole)| own == whole), "{prompt}: {found:?}");
                assert_eq!(found.iter().map(|(own, _)| own).sum::<f64>(), 1.0);
            }
        }
    }

    #[test]
    fn written_is_what_the_model_writes_and_no_beginning_of_it() {
        let engine = mini();
        let prompt = "What is the sky?";
        let ids = engine.chat_prompt(&[Message::new(Role::User, prompt)]).unwrap();
        let mut session = engine.session(ids.len() + 40).unwrap();
        session.feed(&ids, &mut |_| ControlFlow::Continue(())).unwrap();
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let options = GenerateOptions { sampling, max_tokens: 40, ..GenerateOptions::default() };
        let own = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap().text;
        let own = own.trim();
        let beginning = own.rsplit_once(' ').map_or("", |(beginning, _)| beginning);
        assert!(!beginning.is_empty(), "{own}");
        let longer = format!("{own} And more.");
        for (expected, right) in [(own, 1.0), (beginning, 0.0), (&longer, 0.0), ("zebra", 0.0)] {
            let found = answer(&engine, &task(&[(prompt, &[expected], 0)]), &[], None).unwrap();
            assert_eq!(found.written(), right, "{expected}");
        }
    }
}
