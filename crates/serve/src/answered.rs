//! One request answered: planned, run, and told to whoever sends it over HTTP. Runs on a thread of its own, which mostly waits.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_answer::{
    AnswerError, DeviceEvent, Event, Input, Limits, MemoryRequest, Note, Outcome, Sink, Task, ask_server,
    plan, run,
};
use crayon_customize::{Rung, Tried};
use crayon_errors::Phrase;
use crayon_hybrid::Route;
use tokio::sync::mpsc::UnboundedSender;

use crate::examples::{self, Found};
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
    /// Examples in the prompt.
    pub(crate) shown: usize,
    /// Candidates that the examples' answers judged, the simplest first, and the one taken.
    pub(crate) tried: Vec<Tried>,
    pub(crate) chosen: Option<Rung>,
    /// What else the client should know.
    pub(crate) notes: Vec<Phrase>,
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
        let notes = notes.iter().map(Note::phrase).collect();
        let (weights, tried) = (Vec::new(), Vec::new());
        return Ok(Answered { outcome, weights, shown: 0, fits: None, tried, chosen: None, notes });
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
    let mut queued = Queued { shared, client };
    let found = customization(shared, asked, &mut queued, &mut sink)?;
    let (plan, scope) = found
        .custom
        .plan(&shared.engine, &asked.request, |request| plan(&shared.engine, request, &limits))
        .map_err(blame)?;
    let doubt = shared.registry.calibrated.doubt(&shared.engine, &found.custom, &plan);
    let task = Task { plan: &plan, question: question.as_ref(), scope, doubt, live: false };
    let outcome = run(&routing, &task, &mut queued, &mut sink).map_err(failed)?;
    let alone = plan.outside && outcome.on_device().is_some();
    let weights = if alone { Vec::new() } else { found.custom.weights().to_vec() };
    let shown = match (&asked.request.input, outcome.on_device()) {
        (Input::Chat(_), Some(_)) if !alone => found.custom.demonstrations().len(),
        _ => 0,
    };
    let told = found.notes.iter().cloned();
    let said = notes.iter().chain(&outcome.note).map(Note::phrase);
    let notes = plan.notes.iter().map(Note::phrase).chain(told).chain(said).collect();
    let (tried, chosen, fits) = (found.tried.clone(), found.chosen, found.custom.fits());
    Ok(Answered { outcome, weights, shown, fits, tried, chosen, notes })
}

/// What a request answers through: adapters by name, or what its examples are worth.
fn customization(
    shared: &Shared,
    asked: &ApiRequest,
    queued: &mut Queued<'_>,
    sink: &mut Sink<'_>,
) -> Result<Arc<Found>, Refusal> {
    let custom = match (asked.adapter.as_slice(), asked.examples.is_empty()) {
        ([], false) => {
            return shared.examples.get(examples::key(asked), || {
                let watch = &mut |_: DeviceEvent| sink(Event::Waiting);
                examples::find(&shared.engine, &shared.registry, asked, queued, watch)
            });
        }
        ([], true) => shared.registry.common(),
        (adapters, _) => shared.registry.adapters(adapters)?,
    };
    let custom = if asked.force { custom.always() } else { custom };
    Ok(Arc::new(Found { custom, tried: Vec::new(), chosen: None, notes: Vec::new() }))
}
