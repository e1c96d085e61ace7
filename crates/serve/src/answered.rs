//! One request answered: planned, run, and told to whoever sends it over HTTP. Runs on a thread of its own, which mostly waits.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_answer::{
    AnswerError, Customization, Event, Input, Limits, MemoryRequest, Note, Outcome, Task, ask_server, plan,
    run,
};
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
    let failed = |error: AnswerError| match error {
        AnswerError::Remote(error) => Refusal::of_server(&error),
        error => blame(error),
    };
    let question = asked.request.question();
    // A text to go on with stays here unless the request itself says otherwise.
    let route = match (&question, asked.route) {
        (None, None) if shared.registry.has_bigger() => Some(Route::Auto),
        (_, route) => route,
    };
    let routing = shared.registry.routing(route)?;
    if !routing.router().may_fall_back() {
        if matches!(asked.request.input, Input::Text(_)) {
            return Err(wrong("route", "device: the bigger model takes conversations only"));
        }
        let on_device = !asked.adapter.is_empty()
            || !asked.examples.is_empty()
            || asked.request.memory != MemoryRequest::default()
            || asked.request.cache;
        if on_device {
            let expected = "auto or device with adapter, examples, a pot or the cache, which the device has";
            return Err(wrong("route", expected));
        }
    }
    if matches!((asked.route, &question), (Some(Route::Auto), None)) && routing.may_send() {
        return Err(wrong("route", "device: the bigger model takes conversations only"));
    }
    if asked.request.cache && shared.cache.is_none() {
        let message = "this server keeps no documents; its operator can let it";
        return Err(Refusal::invalid(message).at("cache").code("no_cache"));
    }
    let mut notes = Vec::new();
    let mut sink = |event| {
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
    };
    if let (Some(decision), Some(question)) = (routing.server_only(), &question) {
        let outcome = ask_server(&routing, decision, question, false, &mut sink).map_err(failed)?;
        return Ok(Answered { outcome, weights: Vec::new(), fits: None, notes });
    }
    let limits = &shared.options.limits;
    let limits = Limits {
        longest: limits.answer,
        shortest: 1,
        usual: Limits::default().usual,
        prompt: limits.prompt,
        answer: limits.answer,
        distil: false,
    };
    let mut plan = plan(&shared.engine, &asked.request, &limits).map_err(blame)?;
    let (custom, told) = customization(shared, asked)?;
    let scope = custom.apply(&shared.engine, asked.request.query(), &mut plan)?;
    let doubt = shared.registry.calibrated.doubt(&shared.engine, &custom, &plan);
    let task = Task { plan: &plan, question: question.as_ref(), scope, doubt, live: false };
    let outcome = run(&routing, &task, &mut Queued { shared, client }, &mut sink).map_err(failed)?;
    let alone = plan.outside && outcome.on_device().is_some();
    let weights = if alone { Vec::new() } else { custom.weights().to_vec() };
    let notes = plan.notes.into_iter().chain(told).chain(notes).chain(outcome.note.clone()).collect();
    Ok(Answered { outcome, weights, fits: custom.fits(), notes })
}

/// What a request answers through: adapters by name, or a blend for its examples.
fn customization(shared: &Shared, asked: &ApiRequest) -> Result<(Customization, Option<Note>), Refusal> {
    let (custom, told) = match (asked.adapter.as_slice(), asked.examples.as_slice()) {
        ([], []) => (shared.registry.common(), None),
        ([], prompts) => {
            shared.registry.blend(&shared.engine, asked.pool.as_deref(), prompts, asked.force)?
        }
        (adapters, _) => (shared.registry.adapters(adapters)?, None),
    };
    Ok((if asked.force { custom.always() } else { custom }, told))
}
