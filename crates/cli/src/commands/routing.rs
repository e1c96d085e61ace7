//! Who answers: the device, or a server with a bigger model. What `ask` and `chat` share of it.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crayon_engine::{Answer, Engine, Event, GenerateOptions, Session};
use crayon_hybrid::{
    Calibration, Decision, Endpoint, Event as RemoteEvent, Key, Patience, Place, Question, Remote,
    RemoteAnswer, RemoteError, Route, Router, Signals, Thresholds, confidence,
};
use crayon_serve::Bigger;
use crayon_text::Message;

use super::answering::{self, Times};
use super::customize::Customised;
use crate::args::{AnswerArgs, RouteArgs};
use crate::failure::{Interrupted, Result, mistake};
use crate::output::Output;
use crate::{interrupt, show};

/// Variable that holds the server's key.
const KEY: &str = "CRAYON_SERVER_KEY";
/// Variable that forbids the network.
const OFFLINE: &str = "CRAYON_OFFLINE";

/// Who may answer, and how it is decided. Making one opens no socket.
#[derive(Debug)]
pub(crate) struct Routing {
    router: Router,
    remote: Option<Remote>,
    thresholds: Option<PathBuf>,
    /// Tokens of the device's answer after which it is decided; all of them when `None`.
    after: Option<usize>,
}

/// An answer, and who made it why.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) decision: Decision,
    /// How sure the device was, where it was asked.
    pub(crate) confidence: Option<f32>,
    pub(crate) by: By,
}

/// Who made an answer.
#[derive(Debug)]
pub(crate) enum By {
    Device(Answer),
    Server(RemoteAnswer),
}

impl Routed {
    pub(crate) fn text(&self) -> &str {
        match &self.by {
            By::Device(answer) => &answer.text,
            By::Server(answer) => &answer.text,
        }
    }
}

/// What the device has to do for an answer, and what the server would be asked.
pub(crate) struct Request<'a> {
    pub(crate) prompt: &'a [u32],
    pub(crate) options: &'a GenerateOptions,
    pub(crate) question: &'a Question,
    /// Cosine between the query and the task the model is customised for, where it is.
    pub(crate) scope: Option<f32>,
}

impl Routing {
    /// Checks what was asked for, and reads the key if there is a use for it.
    pub(crate) fn new(args: &RouteArgs) -> Result<Routing> {
        let route = args.route.map_or(Route::Auto, Into::into);
        let server = args.server.as_deref().map(Endpoint::parse).transpose()?;
        let router = Router::new(route, server.is_some(), args.private, offline()?, Thresholds::default())?;
        let remote = match (server, &args.server_model) {
            (Some(server), Some(model)) if router.may_send() => {
                let timeout = Duration::from_secs(u64::from(args.server_timeout));
                Some(remote(server, model, args.server_key_file.as_deref(), timeout)?)
            }
            _ => None,
        };
        Ok(Routing { router, remote, thresholds: args.thresholds.clone(), after: None })
    }

    /// Whether a request may leave the device.
    pub(crate) fn may_send(&self) -> bool {
        self.router.may_send()
    }

    /// The decision for the server, if it is made without the device.
    pub(crate) fn server_only(&self) -> Option<Decision> {
        self.router.before(None).filter(|decision| decision.place == Place::Server)
    }

    /// Whether the server answers a query of this scope before the device has read it.
    pub(crate) fn skips_device(&self, scope: Option<f32>) -> bool {
        self.router.before(scope).is_some_and(|decision| decision.place == Place::Server)
    }

    /// For a server of one's own, which passes on what the model here is unsure of; `None` where nothing may leave.
    pub(crate) fn for_serving(self, args: &RouteArgs) -> Result<Option<Bigger>> {
        let Some(remote) = self.remote else { return Ok(None) };
        if let Some(tokens) = self.after {
            return Err(mistake(
                format!("the thresholds decide after {tokens} tokens, and `serve` judges whole answers"),
                "calibrate without --tokens, into another file, and give it with --thresholds",
            ));
        }
        let route = args.route.map_or(Route::Auto, Into::into);
        Ok(Some(Bigger { remote, route, thresholds: self.router.thresholds() }))
    }

    /// Takes the thresholds that were calibrated for this model and what it is customised for, if they are needed.
    pub(crate) fn for_model(
        mut self,
        engine: &Engine,
        custom: &Customised,
        output: &Output,
    ) -> Result<Routing> {
        if self.router.before(None).is_some() {
            return Ok(self);
        }
        let model = engine.checkpoint().fingerprint();
        let custom = custom.fingerprint(engine);
        let (usual, own) = (thresholds_path(&model, None)?, thresholds_path(&model, custom.as_deref())?);
        let path = match self.thresholds.take() {
            Some(path) => path,
            None if own.exists() => own,
            None if usual.exists() => {
                output.note(
                    "thresholds of the model as it is, not as it is customised; `crayon route calibrate` with the same \
                     --examples or -a measures better ones",
                );
                usual
            }
            None => {
                output.note(
                    "no thresholds for this model: the server answers below a confidence of 0.5; \
                     `crayon route calibrate` measures better ones",
                );
                return Ok(self);
            }
        };
        let calibration = Calibration::load(&path, &model, custom.as_deref())?;
        self.after = calibration.after;
        self.router = self.router.with_thresholds(calibration.thresholds);
        Ok(self)
    }

    /// An answer after what the session has read, shown as it comes unless `silent`: by the device, or by the server
    /// where the device is not sure enough, or by the device after all where the server fails.
    pub(crate) fn write(
        &self,
        session: &mut Session<'_>,
        request: &Request<'_>,
        silent: bool,
        output: &Output,
    ) -> Result<Routed> {
        let Draft { answer, decision, confidence } = match self.router.before(request.scope) {
            Some(decision) if decision.place == Place::Device => {
                let answer = answering::write(session, request.options, silent, output)?;
                return Ok(Routed { decision, confidence: answer.confidence, by: By::Device(answer) });
            }
            Some(decision) => Draft { answer: None, decision, confidence: None },
            None => self.draft(session, request, silent, output)?,
        };
        if let (Place::Device, Some(answer)) = (decision.place, &answer) {
            let by = By::Device(answer.clone());
            return Ok(Routed { decision, confidence, by });
        }
        match self.ask(request.question, silent, output) {
            Ok(answer) => Ok(Routed { decision, confidence, by: By::Server(answer) }),
            Err(error) => {
                let failed = match error.cause::<RemoteError>() {
                    Some(failed) if self.router.may_fall_back() => failed.clone(),
                    _ => return Err(error),
                };
                let reason = format!("{}, but the server failed: {failed}", decision.reason);
                output.note(&format!("{failed}; the device answers"));
                let answer = match answer {
                    Some(answer) => {
                        show_piece(&answer.text, silent, output)?;
                        answer
                    }
                    None => {
                        answering::read(session, request.prompt, output)?;
                        answering::write(session, request.options, silent, output)?
                    }
                };
                let decision = Decision { place: Place::Device, reason };
                Ok(Routed { decision, confidence: answer.confidence, by: By::Device(answer) })
            }
        }
    }

    /// The device's answer, held back until it is sure enough, and broken off when it is not.
    fn draft(
        &self,
        session: &mut Session<'_>,
        request: &Request<'_>,
        silent: bool,
        output: &Output,
    ) -> Result<Draft> {
        let decide = |confidence| self.router.after(&Signals { confidence, scope: request.scope });
        let (mut held, mut logprobs) = (String::new(), Vec::new());
        let (mut decided, mut failed): (Option<(Decision, Option<f32>)>, _) = (None, None);
        let answer = session.generate(request.options, &mut |event| {
            match (event, &decided) {
                (Event::Token { logprob, .. }, None) => {
                    logprobs.push(logprob);
                    if Some(logprobs.len()) == self.after {
                        let sure = confidence::of_text(&logprobs);
                        let decision = decide(sure);
                        let server = decision.place == Place::Server;
                        decided = Some((decision, sure));
                        if server {
                            return ControlFlow::Break(());
                        }
                        failed = show_piece(&std::mem::take(&mut held), silent, output).err();
                    }
                }
                (Event::Text(text), None) => held.push_str(&text),
                (Event::Text(text), Some((decision, _))) if decision.place == Place::Device => {
                    failed = show_piece(&text, silent, output).err();
                }
                _ => {}
            }
            if failed.is_some() { ControlFlow::Break(()) } else { interrupt::flow() }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if let Some((decision, confidence)) = decided {
            let answer = (decision.place == Place::Device).then_some(answer);
            return Ok(Draft { answer, decision, confidence });
        }
        let decision = match interrupt::requested() {
            true => Decision { place: Place::Device, reason: "stopped before it was decided".to_owned() },
            false => decide(answer.confidence),
        };
        if decision.place == Place::Device {
            show_piece(&held, silent, output)?;
        }
        let confidence = answer.confidence;
        Ok(Draft { answer: Some(answer), decision, confidence })
    }

    /// The server's answer. It is shown as it comes at a terminal, where a cut one can be taken back in words; a pipe,
    /// and somebody who wants no notes, get it when it is whole.
    pub(crate) fn ask(&self, question: &Question, silent: bool, output: &Output) -> Result<RemoteAnswer> {
        let Some(remote) = &self.remote else {
            return Err(crayon_hybrid::HybridError::NoServer.into());
        };
        if remote.endpoint().is_readable_by_others() {
            output.note("the server's address is http: others on the way can read what is sent");
        }
        let live = !silent && output.notes() && io::stdout().is_terminal();
        let mut failed = None;
        let answer = remote.ask(question, &mut |event| {
            match event {
                RemoteEvent::Text(text) if live => failed = output.piece(&harmless(&text)).err(),
                RemoteEvent::Void if live => {
                    failed = output.piece("\n").err();
                    output.note("the server's answer was cut; what stands above does not count");
                }
                RemoteEvent::Retry { reason, .. } => output.note(&format!("{reason}; trying again")),
                _ => {}
            }
            if failed.is_some() { ControlFlow::Break(()) } else { interrupt::flow() }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        match answer {
            Ok(answer) => {
                show_piece(&answer.text, silent || live, output)?;
                Ok(answer)
            }
            Err(RemoteError::Cancelled) => Err(Interrupted.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the device wrote before it was decided who answers.
struct Draft {
    /// The whole answer; `None` when it was broken off or not begun.
    answer: Option<Answer>,
    decision: Decision,
    confidence: Option<f32>,
}

/// What a server is asked. Settings that were not given are left to it.
pub(crate) fn question(messages: Vec<Message>, args: &AnswerArgs) -> Question {
    Question {
        messages,
        max_tokens: args.max_tokens.map(|tokens| tokens as usize),
        temperature: args.temperature,
        top_p: args.top_p,
        presence_penalty: args.presence_penalty,
        seed: args.seed,
        stop: args.stop.clone(),
    }
}

/// Says who answered, where that is not the device as always.
pub(crate) fn explain(decision: &Decision, answer: Option<&RemoteAnswer>, output: &Output) {
    match answer {
        Some(answer) => {
            output.note(&format!("answered by {} on the server: {}", answer.model, decision.reason));
            if answer.finish == "length" {
                output.note("the server stopped at the longest answer allowed");
            }
        }
        None => output.detail(&format!("answered on the device: {}", decision.reason)),
    }
}

/// Times of a server's answer.
pub(crate) fn times(answer: &RemoteAnswer, loading: Duration) -> Times {
    let writing = answer.total.saturating_sub(answer.first);
    Times {
        load_ms: show::millis(loading),
        ttft_ms: show::millis(answer.first),
        prefill_tok_s: None,
        decode_tok_s: answer.written.and_then(|written| show::rate(written, writing)),
    }
}

/// The setting that forbids the network, if one does.
pub(crate) fn offline() -> Result<Option<&'static str>> {
    let settings = crayon_hub::Settings::from_lookup(|name| match name {
        // Where models are kept is of no interest here.
        "CRAYON_HOME" => Some(".".to_owned()),
        name if name == OFFLINE => std::env::var(name).ok(),
        _ => None,
    })?;
    Ok(settings.offline)
}

/// Where the thresholds of a model are kept, customised for what `custom` is the fingerprint of or not at all.
pub(crate) fn thresholds_path(fingerprint: &str, custom: Option<&str>) -> Result<PathBuf> {
    let models = crayon_hub::Settings::from_env()?.cache;
    let short = |text: &str| text.get(..16).unwrap_or(text).to_owned();
    let custom = custom.map(|custom| format!("-{}", short(custom))).unwrap_or_default();
    let name = format!("{}{custom}.json", short(fingerprint));
    Ok(models.parent().unwrap_or(&models).join("routing").join(name))
}

/// The server at `endpoint`, with the key of the file or of the environment.
pub(crate) fn remote(
    endpoint: Endpoint,
    model: &str,
    key_file: Option<&Path>,
    timeout: Duration,
) -> Result<Remote> {
    if model.trim().is_empty() {
        return Err(mistake("--server-model is empty", "name a model of the server"));
    }
    let key = Key::find(key_file, KEY)?;
    Ok(Remote::new(endpoint, model, key, Patience::within(timeout)))
}

fn show_piece(text: &str, silent: bool, output: &Output) -> io::Result<()> {
    if silent || text.is_empty() { Ok(()) } else { output.piece(text) }
}

/// A server's text for a terminal: nothing in it may move the cursor or change the colours.
fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{9b}1m漢"), "a[2Jb\n\tc1m漢");
    }
}
