//! One answer, by the device, by a server where the device is not sure enough, or by the device after all where the server
//! fails. The device's answer is held back until it is decided: an answer is never mixed from two.

use std::ops::ControlFlow;

use crayon_engine::{Answer, Engine, Finish};
use crayon_hybrid::{
    Decision, Doubt, Event as ServerEvent, Place, Question, RemoteAnswer, RemoteError, Signals, confidence,
};

use crate::device::{Device, DeviceEvent, SessionDevice, Written};
use crate::event::{Event, Note, Sink};
use crate::{AnswerError, Plan, Routing};

/// What a reason adds where the device answers without its adapter.
const OUTSIDE: &str = "the question lies outside the customized task, the model answers as it is";

/// What has to be done for one answer.
pub struct Task<'a> {
    /// The device's part.
    pub plan: &'a Plan,
    /// What a server would be asked; `None` keeps the request here.
    pub question: Option<&'a Question>,
    /// Cosine between the query and the task the model is customized for, where it is.
    pub scope: Option<f32>,
    /// Which answers of the device are doubted, where that was measured.
    pub doubt: Option<Doubt>,
    /// Whether a server's text is told as it comes, and taken back by [`Event::Discard`] when it is cut; else it is told when it
    /// is whole.
    pub live: bool,
}

/// Who made an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// The device.
    Device(Box<Written>),
    /// The server.
    Server(Box<RemoteAnswer>),
}

/// An answer, who made it and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Who answers, and why.
    pub decision: Decision,
    /// How sure the device was, 0 to 1, where it was asked.
    pub confidence: Option<f32>,
    /// Cosine between the query and the customized task, where there is one.
    pub scope: Option<f32>,
    /// Whether the device is believed: its answers below a certain confidence were mostly wrong. `None` where that was not
    /// measured, and for a server's answer.
    pub sure: Option<bool>,
    /// What the reader of the answer should know.
    pub note: Option<Note>,
    /// The answer.
    pub by: By,
}

/// What became of the tokens. A server does not always say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Tokens of the prompt.
    pub read: Option<usize>,
    /// Of these, had from what was read before.
    pub cached: usize,
    /// Of these, still in memory at the end of the answer.
    pub kept: Option<usize>,
    /// Of these, distilled away.
    pub evicted: Option<usize>,
    /// Tokens of the answer.
    pub generated: Option<usize>,
}

impl Outcome {
    /// The text of the answer.
    pub fn text(&self) -> &str {
        match &self.by {
            By::Device(written) => &written.answer.text,
            By::Server(answer) => &answer.text,
        }
    }

    /// The device's part, where it answered.
    pub fn on_device(&self) -> Option<&Written> {
        match &self.by {
            By::Device(written) => Some(written),
            By::Server(_) => None,
        }
    }

    /// The server's model, where it answered.
    pub fn model(&self) -> Option<&str> {
        match &self.by {
            By::Device(_) => None,
            By::Server(answer) => Some(&answer.model),
        }
    }

    /// Why it ended: `end`, `stop`, `length`, `full` or `cancelled` on the device, a server in its own word.
    pub fn finish(&self) -> &str {
        match &self.by {
            By::Device(written) => written.answer.finish.name(),
            By::Server(answer) => &answer.finish,
        }
    }

    /// What became of the tokens.
    pub fn counts(&self) -> Counts {
        match &self.by {
            By::Device(written) => Counts {
                read: Some(written.prompt),
                cached: written.prompt - written.read,
                kept: Some(written.prompt - written.evicted),
                evicted: Some(written.evicted),
                generated: Some(written.answer.tokens.len()),
            },
            By::Server(answer) => Counts {
                read: answer.prompt_tokens,
                cached: 0,
                kept: answer.prompt_tokens,
                evicted: answer.prompt_tokens.map(|_| 0),
                generated: answer.written,
            },
        }
    }
}

/// Has `task` answered by whom `routing` says.
///
/// # Errors
/// When the device fails, or a server that alone may answer; [`AnswerError::Cancelled`] when `sink` stops it before an answer
/// began.
pub fn run(
    routing: &Routing,
    task: &Task<'_>,
    device: &mut dyn Device,
    sink: &mut Sink<'_>,
) -> Result<Outcome, AnswerError> {
    let before = match routing.router().before(task.scope) {
        Some(decision) if decision.place == Place::Device => Some(decision),
        _ if task.question.is_none() => Some(here("a text to go on with stays on the device")),
        decision => decision,
    };
    let device_alone = |written: Written, decision: Decision| {
        let confidence = written.answer.confidence;
        // An answer that was stopped is nobody's last word, and of longer ones than were measured nothing is known.
        let Answer { finish, tokens, .. } = &written.answer;
        let measured = |doubt: &Doubt| *finish != Finish::Cancelled && tokens.len() <= doubt.longest;
        let doubt = task.doubt.filter(measured);
        let unsure = doubt.filter(|doubt| confidence.unwrap_or(0.0) < doubt.below);
        Outcome {
            decision: match task.plan.outside {
                true => Decision { reason: format!("{}; {OUTSIDE}", decision.reason), ..decision },
                false => decision,
            },
            confidence,
            scope: task.scope,
            sure: doubt.map(|_| unsure.is_none()),
            note: unsure.map(|doubt| Note::Unsure(confidence.unwrap_or(0.0), doubt.below)),
            by: By::Device(Box::new(written)),
        }
    };
    let (draft, decision, confidence) = match before {
        Some(decision) if decision.place == Place::Device => {
            return Ok(device_alone(write(task.plan, device, sink)?, decision));
        }
        Some(decision) => (None, decision, None),
        None => {
            let Draft { written, decision, confidence } = draft(routing, task, device, sink)?;
            match (decision.place, written) {
                (Place::Device, Some(written)) => return Ok(device_alone(written, decision)),
                (_, written) => (written, decision, confidence),
            }
        }
    };
    let Some(question) = task.question else { return Err(AnswerError::TextForServer) };
    let failed = match ask(routing, question, task.live, sink) {
        Ok(answer) => {
            let by = By::Server(Box::new(answer));
            return Ok(Outcome { decision, confidence, scope: task.scope, sure: None, note: None, by });
        }
        Err(error @ (AnswerError::Remote(_) | AnswerError::ServerBusy))
            if routing.router().may_fall_back() =>
        {
            error
        }
        Err(error) => return Err(error),
    };
    let reason = format!("{}, but the server failed: {failed}", decision.reason);
    // A note stops nothing.
    let _ = sink(Event::Note(Note::FellBack(failed.to_string())));
    let written = match draft {
        Some(written) => {
            let _ = tell(&written.answer.text, sink);
            written
        }
        None => write(task.plan, device, sink)?,
    };
    Ok(device_alone(written, Decision { place: Place::Device, reason }))
}

/// The server's answer to `question`, for those whose device need not even be opened.
///
/// # Errors
/// When there is no server, or it fails; [`AnswerError::Cancelled`] when `sink` stops it.
pub fn ask_server(
    routing: &Routing,
    decision: Decision,
    question: &Question,
    live: bool,
    sink: &mut Sink<'_>,
) -> Result<Outcome, AnswerError> {
    let answer = ask(routing, question, live, sink)?;
    let by = By::Server(Box::new(answer));
    Ok(Outcome { decision, confidence: None, scope: None, sure: None, note: None, by })
}

/// The device's answer by `plan`, through a session of its own; for those who have no server to ask.
///
/// # Errors
/// When the device fails; [`AnswerError::Cancelled`] when `sink` stops it before an answer began.
pub fn ask_device(engine: &Engine, plan: &Plan, sink: &mut Sink<'_>) -> Result<Written, AnswerError> {
    let mut session = plan.session(engine)?;
    write(plan, &mut SessionDevice { session: &mut session, cache: None }, sink)
}

fn here(reason: &str) -> Decision {
    Decision { place: Place::Device, reason: reason.to_owned() }
}

/// The device's answer, told as it comes.
fn write(plan: &Plan, device: &mut dyn Device, sink: &mut Sink<'_>) -> Result<Written, AnswerError> {
    device.write(plan, &mut |event| match event {
        DeviceEvent::Reading(fed) => sink(Event::Reading(fed)),
        DeviceEvent::Read => sink(Event::Read),
        DeviceEvent::Text(text) => sink(Event::Text(text)),
        DeviceEvent::Note(note) => sink(Event::Note(note)),
        DeviceEvent::Token(drawn) => sink(Event::Token(drawn)),
        DeviceEvent::Waiting => sink(Event::Waiting),
    })
}

/// What the device wrote before it was decided who answers.
struct Draft {
    /// The whole answer; `None` when it was broken off.
    written: Option<Written>,
    decision: Decision,
    confidence: Option<f32>,
}

/// The device's answer, held back until it is sure enough, and broken off when it is not.
fn draft(
    routing: &Routing,
    task: &Task<'_>,
    device: &mut dyn Device,
    sink: &mut Sink<'_>,
) -> Result<Draft, AnswerError> {
    let decide = |confidence| routing.router().after(&Signals { confidence, scope: task.scope });
    let (mut held, mut logprobs) = (String::new(), Vec::new());
    let mut decided: Option<(Decision, Option<f32>)> = None;
    let written = device.write(task.plan, &mut |event| match (event, &decided) {
        (DeviceEvent::Reading(fed), _) => sink(Event::Reading(fed)),
        (DeviceEvent::Read, _) => sink(Event::Read),
        (DeviceEvent::Note(note), _) => sink(Event::Note(note)),
        (DeviceEvent::Token(drawn), None) => {
            logprobs.push(drawn.logprob);
            if Some(logprobs.len()) != routing.after() {
                return sink(Event::Waiting);
            }
            let sure = confidence::of_text(&logprobs);
            let decision = decide(sure);
            let place = decision.place;
            decided = Some((decision, sure));
            match place {
                Place::Server => ControlFlow::Break(()),
                Place::Device => tell(&std::mem::take(&mut held), sink),
            }
        }
        (DeviceEvent::Text(text), None) => {
            held.push_str(&text);
            sink(Event::HeldBack)
        }
        (DeviceEvent::Text(text), Some((decision, _))) if decision.place == Place::Device => {
            sink(Event::Text(text))
        }
        _ => sink(Event::Waiting),
    });
    let written = match (written, decided) {
        // Broken off: what was written so far is nothing.
        (Ok(_) | Err(AnswerError::Cancelled), Some((decision, confidence)))
            if decision.place == Place::Server =>
        {
            return Ok(Draft { written: None, decision, confidence });
        }
        (written, Some((decision, confidence))) => {
            return Ok(Draft { written: Some(written?), decision, confidence });
        }
        (written, None) => written?,
    };
    let confidence = written.answer.confidence;
    let decision = match written.answer.finish {
        Finish::Cancelled => here("stopped before it was decided"),
        _ => decide(confidence),
    };
    if decision.place == Place::Device {
        // The answer is whole; a request to stop changes nothing any more.
        let _ = tell(&held, sink);
    }
    Ok(Draft { written: Some(written), decision, confidence })
}

/// The server's answer.
fn ask(
    routing: &Routing,
    question: &Question,
    live: bool,
    sink: &mut Sink<'_>,
) -> Result<RemoteAnswer, AnswerError> {
    let server = routing.server()?;
    if server.is_readable_by_others() {
        let _ = sink(Event::Note(Note::OpenServer));
    }
    let answer = server.ask(question, &mut |event| match event {
        ServerEvent::Text(text) if live => sink(Event::Text(text)),
        ServerEvent::Discard if live => {
            let _ = sink(Event::Discard);
            sink(Event::Note(Note::Cut))
        }
        ServerEvent::Retry { reason, .. } => sink(Event::Note(Note::Again(reason))),
        _ => sink(Event::Waiting),
    });
    let answer = answer.map_err(|error| match error {
        AnswerError::Remote(RemoteError::Cancelled) => AnswerError::Cancelled,
        error => error,
    })?;
    if !live {
        let _ = tell(&answer.text, sink);
    }
    // Servers call a normal end "stop", which here means a stop string: without one it was the model that ended.
    let ended = answer.finish == "stop" && question.stop.is_empty();
    let finish = if ended { Finish::End.name().to_owned() } else { answer.finish };
    Ok(RemoteAnswer { finish, ..answer })
}

fn tell(text: &str, sink: &mut Sink<'_>) -> ControlFlow<()> {
    match text.is_empty() {
        true => ControlFlow::Continue(()),
        false => sink(Event::Text(text.to_owned())),
    }
}
