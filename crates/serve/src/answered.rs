//! One request answered: planned, run, and told to whoever sends it over HTTP. Runs on a thread of its own, which mostly waits.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_answer::{AnswerError, Customization, Event, Input, Limits, Note, Outcome, Task, plan, run};
use crayon_hybrid::Route;
use tokio::sync::mpsc::UnboundedSender;

use crate::fields::wrong;
use crate::queued::Queued;
use crate::refusal::Refusal;
use crate::request::ApiRequest;
use crate::shared::Shared;

/// What is told about a request.
#[derive(Debug)]
pub(crate) enum News {
    /// It is waited for, and the client is still wanted.
    Waiting,
    /// Text of the answer.
    Text(String),
    /// The end.
    Ended(Box<Result<Answered, Refusal>>),
}

/// An answer, with what it came through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    /// Adapters and their weights, where the answer came through any.
    pub(crate) weights: Vec<(String, f32)>,
    /// Whether the examples are near to something the pool learned, where there are any.
    pub(crate) fits: Option<bool>,
    /// What else the client should know.
    pub(crate) notes: Vec<Note>,
}

/// Answers `asked` for `client`. That `tell` is closed is how it is known that nobody waits any more.
pub(crate) fn answered(
    shared: &Arc<Shared>,
    client: String,
    asked: &ApiRequest,
    tell: &UnboundedSender<News>,
) -> Result<Answered, Refusal> {
    let field = asked.prompt_field();
    let blame = |error: AnswerError| Refusal::of(error, field);
    let routing = shared.registry.routing(asked.route)?;
    let question = asked.request.question();
    if !routing.router().may_fall_back() {
        if matches!(asked.request.input, Input::Text(_)) {
            return Err(wrong("route", "device: the bigger model takes conversations only"));
        }
        let on_device =
            !asked.adapter.is_empty() || !asked.examples.is_empty() || asked.request.memory.size.is_some();
        if on_device {
            return Err(wrong("route", "auto or device with adapter, examples or pot, which the device has"));
        }
    }
    if matches!((asked.route, &question), (Some(Route::Auto), None)) && routing.may_send() {
        return Err(wrong("route", "device: the bigger model takes conversations only"));
    }
    if asked.request.cache && shared.cache.is_none() {
        let message = "this server keeps no documents; its operator can let it";
        return Err(Refusal::invalid(message).at("cache").code("no_cache"));
    }
    let limits = &shared.options.limits;
    let limits = Limits {
        longest: limits.answer,
        shortest: 1,
        prompt: limits.prompt,
        answer: limits.answer,
        distil: false,
    };
    let mut plan = plan(&shared.engine, &asked.request, &limits).map_err(blame)?;
    let custom = customization(shared, asked)?;
    let scope = custom.apply(&shared.engine, asked.request.query(), &mut plan)?;
    let mut notes = std::mem::take(&mut plan.notes);
    let task = Task { plan: &plan, question: question.as_ref(), scope, live: false };
    let outcome = run(&routing, &task, &mut Queued { shared, client }, &mut |event| {
        let news = match event {
            Event::Text(text) => News::Text(text),
            Event::Note(note) => {
                notes.push(note);
                News::Waiting
            }
            _ => News::Waiting,
        };
        match tell.send(news) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    let outcome = outcome.map_err(|error| match error {
        AnswerError::Remote(error) => Refusal::of_server(&error),
        error => blame(error),
    })?;
    let alone = plan.outside && outcome.on_device().is_some();
    let weights = if alone { Vec::new() } else { custom.weights().to_vec() };
    Ok(Answered { outcome, weights, fits: custom.fits(), notes })
}

/// What a request answers through: adapters by name, or a blend for its examples.
fn customization(shared: &Shared, asked: &ApiRequest) -> Result<Customization, Refusal> {
    let custom = match (asked.adapter.as_slice(), asked.examples.as_slice()) {
        ([], []) => shared.registry.common(),
        ([], prompts) => {
            shared.registry.blend(&shared.engine, asked.pool.as_deref(), prompts, asked.force)?
        }
        (adapters, _) => shared.registry.adapters(adapters)?,
    };
    Ok(if asked.force { custom.always() } else { custom })
}
