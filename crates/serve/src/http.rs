//! What can be asked over HTTP.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use crayon_engine::Engine;
use crayon_hybrid::{Question, Route, Router as Decider};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::ServeOptions;
use crate::fields::wrong;
use crate::offers::Shelf;
use crate::pools;
use crate::prepare::{Work, prepare};
use crate::queue::{NoPlace, Queue};
use crate::refusal::Refusal;
use crate::reply::{Kind, Reply, model};
use crate::request::{Asked, Input};
use crate::routed::{self, Routed};
use crate::worker::{Ending, Job, Pace, Said};

/// How often a stream without news shows that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Who is on the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) options: ServeOptions,
    /// Whether only this device reaches the port.
    pub(crate) loopback: bool,
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Arc<Queue<Job>>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) shelf: Shelf,
    /// Places of those who are blended for at once.
    pub(crate) blends: Semaphore,
    /// Places of those for whom the bigger model is asked at once.
    pub(crate) asking: Semaphore,
    pub(crate) log: Box<dyn Fn(&str) + Send + Sync>,
    /// When the server began, in Unix seconds.
    pub(crate) began: u64,
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(one_model))
        .route("/v1/pools", get(pools::list))
        .route("/v1/pools/{name}", get(pools::one))
        .route("/v1/pools/{name}/keys", get(pools::keys))
        .route("/v1/pools/{name}/blend", post(pools::blend))
        .fallback(nowhere)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
}

/// Lets in who may ask, and logs every request.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response<Body> {
    let started = Instant::now();
    // A path nobody serves may hold anything; the log is for numbers.
    let known = ["/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/pools"];
    let path =
        known.into_iter().find(|path| request.uri().path().starts_with(path)).unwrap_or("another path");
    let method = request.method().clone();
    let response = match admit(&shared, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let millis = started.elapsed().as_millis();
    (shared.log)(&format!("{method} {path}: {} after {millis} ms", response.status().as_u16()));
    response
}

fn admit(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if shared.loopback && !text(header::HOST).is_none_or(is_this_device) {
        // A web page whose name was made to point here would otherwise ask from the user's browser.
        let message = "this server answers to localhost only; another name was asked for";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    let Some(keys) = &shared.options.keys else { return Ok(()) };
    let given = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    match given {
        Some(key) if keys.open_for(key) => Ok(()),
        _ => {
            let message = "a key is needed: Authorization: Bearer KEY";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
        }
    }
}

/// Whether a `Host` names this device: `localhost` or a loopback address, with or without port.
fn is_this_device(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn nowhere(uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path())).code("not_found")
}

async fn other_method(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed")
}

async fn models(State(shared): State<Arc<Shared>>) -> Response<Body> {
    object(&json!({"object": "list", "data": [model(&shared.options.model, shared.began)]}))
}

async fn one_model(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response<Body> {
    match this_model(&shared, &name) {
        Ok(()) => object(&model(&shared.options.model, shared.began)),
        Err(refusal) => refusal.into_response(),
    }
}

fn this_model(shared: &Shared, name: &str) -> Result<(), Refusal> {
    let served = &shared.options.model;
    if name == served {
        return Ok(());
    }
    let message = format!("there is no model {name:?} here; this server has {served:?}");
    Err(Refusal::new(StatusCode::NOT_FOUND, message).at("model").code("model_not_found"))
}

async fn chat(shared: State<Arc<Shared>>, peer: Extension<Peer>, request: Request) -> Response<Body> {
    answer(shared.0, peer.0, request, Kind::Chat).await.unwrap_or_else(IntoResponse::into_response)
}

async fn completion(shared: State<Arc<Shared>>, peer: Extension<Peer>, request: Request) -> Response<Body> {
    answer(shared.0, peer.0, request, Kind::Completion).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    request: Request,
    kind: Kind,
) -> Result<Response<Body>, Refusal> {
    let body = read_body(&shared, request, shared.options.limits.body).await?;
    let asked = match kind {
        Kind::Chat => Asked::chat(&body)?,
        Kind::Completion => Asked::completion(&body)?,
    };
    drop(body);
    this_model(&shared, &asked.model)?;
    let routed = routed(&shared, &asked)?;
    let client = format!("{} {}", peer.0, asked.user);
    let (stream, usage) = (asked.stream, asked.usage);
    // A long text takes a while to tokenise; other connections go on meanwhile.
    let owner = shared.clone();
    let work = tokio::task::spawn_blocking(move || {
        prepare(&owner.engine, &owner.shelf, &owner.options.limits, &asked)
    });
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the prompt could not be prepared");
    let (work, custom) = work.await.map_err(failed)??;

    let mut said = match routed {
        None => submit(&shared, client, work)?,
        Some((router, question)) => {
            let routed = Routed { router, question, scope: custom.scope };
            routed::start(&shared, client, work, routed)?
        }
    };
    let reply = Reply::new(kind, &shared.options.model, custom);
    if stream {
        return Ok(events(reply, said, usage));
    }
    let mut text = String::new();
    loop {
        match said.recv().await {
            Some(Said::Read) => {}
            Some(Said::Text(piece)) => text.push_str(&piece),
            Some(Said::Done(ending)) => return Ok(object(&reply.whole(&text, &ending))),
            Some(Said::Refused(refusal)) => return Err(refusal),
            None => return Err(Refusal::stopping()),
        }
    }
}

/// Puts work into the queue; what is said about it comes through the channel.
pub(crate) fn submit(
    shared: &Shared,
    client: String,
    work: Work,
) -> Result<UnboundedReceiver<Said>, Refusal> {
    let (tell, said) = unbounded_channel();
    let pushed = shared.queue.push(client, Job { work, tell }, |job| job.tell.is_closed());
    pushed.map_err(|no| match no {
        NoPlace::Full(waiting) => Refusal::busy(shared.pace.seconds(waiting)),
        NoPlace::Closed => Refusal::stopping(),
    })?;
    Ok(said)
}

/// Who decides about a request, and what the bigger model would be asked; `None` where there is only the device.
fn routed(shared: &Shared, asked: &Asked) -> Result<Option<(Decider, Question)>, Refusal> {
    let Some(bigger) = &shared.shelf.bigger else {
        return match asked.route {
            None | Some(Route::Device) => Ok(None),
            Some(_) => {
                let message = "no bigger model is set up here; the operator's --server sets one up";
                Err(Refusal::invalid(message).at("route").code("no_server"))
            }
        };
    };
    let router = bigger.router(asked.route)?;
    let Input::Chat(messages) = &asked.input else {
        // A text to go on with is nothing a chat server takes.
        return match asked.route {
            None | Some(Route::Device) => Ok(None),
            Some(_) => Err(wrong("route", "device: the bigger model takes conversations only")),
        };
    };
    let on_device = !asked.adapter.is_empty() || !asked.examples.is_empty() || asked.pot.is_some();
    if !router.may_fall_back() && on_device {
        return Err(wrong("route", "auto or device with adapter, examples or pot, which the device has"));
    }
    let question = Question {
        messages: messages.clone(),
        max_tokens: asked.max_tokens,
        temperature: asked.temperature,
        top_p: asked.top_p,
        presence_penalty: asked.presence_penalty,
        seed: asked.seed,
        stop: asked.stop.clone(),
    };
    Ok(Some((router, question)))
}

pub(crate) async fn read_body(shared: &Shared, request: Request, most: usize) -> Result<Bytes, Refusal> {
    let limits = &shared.options.limits;
    let headers = request.headers();
    let json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
    if !json {
        // Web pages may send other types to any server without asking it first.
        let message = "the body's Content-Type must be application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    match timeout(limits.sending, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let message = format!("the body is cut or larger than {most} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_) => {
            let message = format!("the body took longer than {} s", limits.sending.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

pub(crate) fn object(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Server-sent events until the answer ends. When the client goes, the stream is dropped, and the channel with it.
fn events(reply: Reply, said: UnboundedReceiver<Said>, usage: bool) -> Response<Body> {
    let first = reply.first(usage).map(|value| event(&value)).unwrap_or_default();
    let state = (reply, said, Some(first), false);
    let body = stream::unfold(state, move |(reply, mut said, first, over)| async move {
        if over {
            return None;
        }
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            return Some((Ok::<_, Infallible>(first), (reply, said, None, false)));
        }
        let (text, over) = match timeout(SIGN_OF_LIFE, said.recv()).await {
            Err(_) | Ok(Some(Said::Read)) => (": still here\n\n".to_owned(), false),
            Ok(Some(Said::Text(text))) => (event(&reply.piece(&text, usage)), false),
            Ok(Some(Said::Done(ending))) => (end(&reply, &ending, usage), true),
            Ok(Some(Said::Refused(refusal))) => (event(&refusal.object()), true),
            Ok(None) => (event(&Refusal::stopping().object()), true),
        };
        Some((Ok(text), (reply, said, None, over)))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn end(reply: &Reply, ending: &Ending, usage: bool) -> String {
    let mut text = event(&reply.last(ending, usage));
    if usage {
        text += &event(&reply.usage(ending));
    }
    text + "data: [DONE]\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_device_are_let_in() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(is_this_device(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org:80", "127.0.0.1.example.org", "10.0.0.1:80", ""] {
            assert!(!is_this_device(host), "{host}");
        }
    }
}
