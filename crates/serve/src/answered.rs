//! One request answered: planned, run, and told to whoever sends it over HTTP. Runs on a thread of its own, which mostly waits.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_answer::{
    AnswerError, DeviceEvent, Drawn, Event, Input, Limits, MemoryRequest, Note, Outcome, Request, Sink, Task,
    ask_server, plan, run,
};
use crayon_customize::{Rung, Tried};
use crayon_engine::Engine;
use crayon_errors::Phrase;
use crayon_hybrid::Route;

use crate::examples::{self, Found};
use crate::fields::wrong;
use crate::own;
use crate::queued::Queued;
use crate::refusal::Refusal;
use crate::request::ApiRequest;
use crate::shared::{Asked, Shared};

/// What is told about a request.
#[derive(Debug)]
pub(crate) enum News {
    /// It is waited for, and the client is still wanted.
    Waiting,
    /// Text of the answer.
    Text(String),
    /// A token of it, where these are wanted; its text may follow later.
    Token(Told),
    /// The end.
    Ended(Box<Result<Answered, Refusal>>),
}

/// A token of an answer, spelled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) token: Spelled,
    /// The likeliest tokens at its place.
    pub(crate) likeliest: Vec<Spelled>,
}

/// A token and its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spelled {
    pub(crate) bytes: Vec<u8>,
    pub(crate) logprob: f32,
}

impl Told {
    fn new(engine: &Engine, drawn: Drawn) -> Told {
        let spelled = |id: u32, logprob: f32| {
            let tokenizer = engine.tokenizer().ok();
            let bytes = tokenizer.and_then(|tokenizer| tokenizer.bytes(id));
            Spelled { bytes: bytes.map_or_else(Vec::new, std::borrow::Cow::into_owned), logprob }
        };
        let likeliest = drawn.likeliest.iter().map(|&(id, logprob)| spelled(id, logprob)).collect();
        Told { token: spelled(drawn.id, drawn.logprob), likeliest }
    }
}

/// An answer, with what it came through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    /// Its tokens, where these are wanted.
    pub(crate) tokens: Vec<Told>,
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

/// Answers `request`, one of those of `asked`, for `client`. That `tell` says no is how it is known that nobody waits any more.
pub(crate) fn answered(
    shared: &Shared,
    whom: &Asked,
    client: String,
    (asked, request): (&ApiRequest, &Request),
    tell: &dyn Fn(News) -> bool,
) -> Result<Answered, Refusal> {
    let hosted = &*whom.hosted;
    let (engine, registry) = (&*hosted.engine, &hosted.registry);
    let field = asked.prompt_field();
    let blame = |error: AnswerError| Refusal::of(error, field);
    let failed = |error: AnswerError| match error {
        AnswerError::Remote(error) => Refusal::of_server(&error),
        error => blame(error),
    };
    let question = request.question();
    // A text to go on with stays here unless the request itself says otherwise.
    let route = match (&question, asked.route) {
        (None, None) if registry.has_bigger() => Some(Route::Auto),
        (_, route) => route,
    };
    // A server would not do what it is not told.
    let route =
        if asked.needs_device() && route != Some(Route::Server) { Some(Route::Device) } else { route };
    let routing = registry.routing(route)?;
    if !routing.router().may_fall_back() {
        if matches!(request.input, Input::Text(_)) {
            return Err(wrong("route", "device: the bigger model takes conversations only"));
        }
        let on_device = whom.person.is_some()
            || asked.needs_device()
            || !asked.adapter.is_empty()
            || !asked.examples.is_empty()
            || request.memory != MemoryRequest::default()
            || request.cache;
        if on_device {
            let expected = "auto or device with what only the device has: adapter, examples, a pot, the cache, \
                            logprobs, several answers, an answer's beginning";
            return Err(wrong("route", expected));
        }
    }
    if matches!((asked.route, &question), (Some(Route::Auto), None)) && routing.may_send() {
        return Err(wrong("route", "device: the bigger model takes conversations only"));
    }
    if request.cache && hosted.cache.is_none() {
        let message = "this server keeps no documents; its operator can let it";
        return Err(Refusal::invalid(message).at("cache").code("no_cache"));
    }
    let (mut notes, mut tokens) = (Vec::new(), Vec::new());
    let mut sink = |event| {
        let news = match event {
            Event::Text(text) => News::Text(text),
            Event::Token(drawn) if asked.logprobs => {
                let told = Told::new(engine, drawn);
                tokens.push(told.clone());
                News::Token(told)
            }
            Event::Note(note) => {
                notes.push(note);
                News::Waiting
            }
            _ => News::Waiting,
        };
        match tell(news) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    if let (Some(decision), Some(question)) = (routing.server_only(), &question) {
        let outcome = ask_server(&routing, decision, question, false, &mut sink).map_err(failed)?;
        let notes = notes.iter().map(Note::phrase).collect();
        let (weights, tried) = (Vec::new(), Vec::new());
        return Ok(Answered { outcome, tokens, weights, shown: 0, fits: None, tried, chosen: None, notes });
    }
    let limits = &shared.options.limits;
    let limits = Limits {
        longest: limits.answer,
        shortest: 1,
        usual: Limits::default().usual,
        prompt: limits.prompt,
        answer: limits.answer,
        memory: hosted.allowed(),
        distil: false,
    };
    let mut queued = Queued { hosted, models: &shared.models, client };
    let found = customization(shared, whom, asked, &mut queued, &mut sink)?;
    let (plan, scope) =
        found.custom.plan(engine, request, |request| plan(engine, request, &limits)).map_err(blame)?;
    let doubt = registry.calibrated.doubt(engine, &found.custom, request, &plan);
    let task = Task { plan: &plan, question: question.as_ref(), scope, doubt, live: false };
    let outcome = run(&routing, &task, &mut queued, &mut sink).map_err(failed)?;
    let alone = plan.outside && outcome.on_device().is_some();
    let weights = if alone { Vec::new() } else { found.custom.weights().to_vec() };
    let shown = match (&request.input, outcome.on_device()) {
        (Input::Chat(_), Some(_)) if !alone => found.custom.demonstrations().len(),
        _ => 0,
    };
    let told = found.notes.iter().cloned();
    let said = notes.iter().chain(&outcome.note).map(Note::phrase);
    let notes = plan.notes.iter().map(Note::phrase).chain(told).chain(said).collect();
    let (tried, chosen, fits) = (found.tried.clone(), found.chosen, found.custom.fits());
    Ok(Answered { outcome, tokens, weights, shown, fits, tried, chosen, notes })
}

/// What a request answers through: adapters by name, or what its examples are worth.
fn customization(
    shared: &Shared,
    Asked { hosted, person }: &Asked,
    asked: &ApiRequest,
    queued: &mut Queued<'_>,
    sink: &mut Sink<'_>,
) -> Result<Arc<Found>, Refusal> {
    if let Some(id) = person {
        if !asked.adapter.is_empty() || !asked.examples.is_empty() {
            let name = if asked.examples.is_empty() { "adapter" } else { "examples" };
            return Err(wrong(name, "left out where the model is somebody's own"));
        }
        let custom = own::customization(&shared.people, hosted, id)?;
        let custom = if asked.force { custom.always() } else { custom };
        return Ok(Arc::new(Found { custom, tried: Vec::new(), chosen: None, notes: Vec::new() }));
    }
    let custom = match (asked.adapter.as_slice(), asked.examples.is_empty()) {
        ([], false) => {
            return hosted.examples.get(examples::key(asked), || {
                let watch = &mut |_: DeviceEvent| sink(Event::Waiting);
                examples::find(&hosted.engine, &hosted.registry, asked, queued, watch)
            });
        }
        ([], true) => hosted.registry.common(),
        (adapters, _) => hosted.registry.adapters(adapters)?,
    };
    let custom = if asked.force { custom.always() } else { custom };
    Ok(Arc::new(Found { custom, tried: Vec::new(), chosen: None, notes: Vec::new() }))
}
