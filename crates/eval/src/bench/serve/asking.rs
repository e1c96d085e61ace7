//! Requests, one and many at once, with the time of everything that comes back.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crayon_engine::EngineError;
use crayon_hybrid::Events;
use serde_json::{Value, json};

use super::Steps;
use super::server::Server;
use crate::EvalError;

/// How often Ctrl-C is looked for.
const SLICE: Duration = Duration::from_millis(50);
/// The last event of a stream.
const DONE: &str = "[DONE]";

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The text to go on with.
    pub(super) prompt: String,
    /// Tokens to write at most.
    pub(super) tokens: usize,
    /// Whose model is to answer, where it is not the server's own.
    pub(super) person: Option<String>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    /// When each piece of the text came, since the request was sent.
    pub(super) pieces: Vec<Duration>,
    /// Tokens read.
    pub(super) read: usize,
    /// Tokens written.
    pub(super) written: usize,
}

impl Answer {
    /// Time to the first text; the server ended with nothing else where there is none.
    pub(super) fn first(&self) -> Duration {
        self.pieces.first().copied().unwrap_or_default()
    }

    /// Times between one piece and the next.
    pub(super) fn between(&self) -> impl Iterator<Item = Duration> + '_ {
        self.pieces.windows(2).map(|pair| pair[1] - pair[0])
    }
}

/// Asks one question and reads the stream of its answer.
///
/// # Errors
/// When the server refuses, fails, or does not count the tokens.
pub(super) fn ask(server: &Server, question: &Question) -> Result<Answer, EvalError> {
    let mut body = json!({
        "model": question.person.as_ref().unwrap_or(&server.model),
        "prompt": question.prompt,
        "max_tokens": question.tokens,
        "temperature": 0,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if server.is_ours {
        // Others repeat themselves freely unless asked not to.
        body["repetition_penalty"] = json!(1);
    }
    let began = Instant::now();
    let mut response = server.send("v1/completions", &body)?;
    let (mut events, mut answer, mut bytes) = (Events::default(), Answer::default(), [0; 8192]);
    loop {
        let read = response.read(&mut bytes).map_err(|fault| server.refused(fault.to_string()))?;
        if read == 0 {
            break;
        }
        let at = began.elapsed();
        for event in events.push(&bytes[..read]).map_err(|what| server.refused(what))? {
            take(&event.data, at, &mut answer).map_err(|what| server.refused(what))?;
        }
    }
    match answer.written {
        0 => Err(server.refused("it wrote nothing, or does not count what it writes".to_owned())),
        _ => Ok(answer),
    }
}

/// Adds what one event says.
fn take(data: &str, at: Duration, answer: &mut Answer) -> Result<(), String> {
    if data.trim().is_empty() || data.starts_with(DONE) {
        return Ok(());
    }
    let value: Value = serde_json::from_str(data).map_err(|error| format!("an event is broken: {error}"))?;
    if let Some(message) = value["error"]["message"].as_str() {
        return Err(message.to_owned());
    }
    if let Some(text) = value["choices"][0]["text"].as_str().filter(|text| !text.is_empty()) {
        answer.text.push_str(text);
        answer.pieces.push(at);
    }
    let count = |name: &str| value["usage"][name].as_u64().map(|count| count as usize);
    answer.read = count("prompt_tokens").unwrap_or(answer.read);
    answer.written = count("completion_tokens").unwrap_or(answer.written);
    Ok(())
}

/// Asks all of `questions` at once; the time is that until the last answer is whole.
///
/// # Errors
/// Those of [`ask`], or when `steps` stop it.
pub(super) fn together(
    server: &Server,
    questions: &[Question],
    steps: &mut Steps<'_>,
) -> Result<(Vec<Answer>, Duration), EvalError> {
    let (sender, came) = channel();
    let mut answers = vec![Answer::default(); questions.len()];
    let (mut left, mut total) = (questions.len(), Duration::ZERO);
    let began = Instant::now();
    thread::scope(|scope| {
        for (at, question) in questions.iter().enumerate() {
            let sender = sender.clone();
            // Nobody listens where another one failed.
            scope.spawn(move || drop(sender.send((at, ask(server, question), Instant::now()))));
        }
        while left > 0 {
            match came.recv_timeout(SLICE) {
                Ok((at, Ok(answer), ended)) => {
                    answers[at] = answer;
                    left -= 1;
                    total = total.max(ended - began);
                }
                Ok((_, Err(error), _)) => {
                    server.end();
                    // Ctrl-C ends the servers, too, and that is not their failure.
                    return Err(steps.check().err().unwrap_or(error));
                }
                // The sender here outlives the loop.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    steps.check().inspect_err(|_| server.end())?;
                }
            }
        }
        Ok((answers, total))
    })
}

/// Waits, unless `steps` stop it.
pub(super) fn pause(time: Duration, steps: &mut Steps<'_>) -> Result<(), EvalError> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        steps.check()?;
        thread::sleep(left.min(SLICE));
    }
    Ok(())
}

/// Asks `short` while `long` is being read, `after` it was sent. Returns both answers.
///
/// # Errors
/// As [`together`].
pub(super) fn behind(
    server: &Server,
    long: &Question,
    short: &Question,
    after: Duration,
    steps: &mut Steps<'_>,
) -> Result<(Answer, Answer), EvalError> {
    thread::scope(|scope| {
        let reading = scope.spawn(|| ask(server, long));
        pause(after, steps).inspect_err(|_| server.end())?;
        let (mut answers, _) = together(server, std::slice::from_ref(short), steps)?;
        while !reading.is_finished() {
            steps.check().inspect_err(|_| server.end())?;
            thread::sleep(SLICE);
        }
        let broken = || EngineError::Cancelled;
        let long = reading.join().map_err(|_| broken())??;
        Ok((long, answers.pop().ok_or_else(broken)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_and_errors_told() {
        let mut answer = Answer::default();
        let mut take = |data: &str, at| take(data, Duration::from_millis(at), &mut answer);
        take(r#"{"choices":[{"text":"a"}]}"#, 3).unwrap();
        take(r#"{"choices":[{"text":""}]}"#, 4).unwrap();
        take(r#"{"choices":[{"text":"bc","finish_reason":"length"}]}"#, 5).unwrap();
        take(r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}"#, 6).unwrap();
        take("[DONE]", 7).unwrap();
        assert_eq!(take(r#"{"error":{"message":"hot"}}"#, 8).unwrap_err(), "hot");
        assert!(take("nonsense", 9).unwrap_err().contains("broken"));
        assert_eq!((answer.text.as_str(), answer.read, answer.written), ("abc", 4, 2));
        assert_eq!(answer.first(), Duration::from_millis(3));
        assert_eq!(answer.between().collect::<Vec<_>>(), [Duration::from_millis(2)]);
    }
}
