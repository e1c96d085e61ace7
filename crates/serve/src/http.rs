//! What can be asked over HTTP.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Method, Response, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Extension, Router};
use crayon_answer::AnswerError;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::answered::{News, answered};
use crate::body::{object, read_body};
use crate::page;
use crate::pools;
use crate::refusal::Refusal;
use crate::reply::{Kind, Reply, model};
use crate::request::ApiRequest;
use crate::shared::{Peer, Shared};

/// How often a stream without news shows that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

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
        .route("/", get(page::page))
        .route("/page/{name}", get(page::file))
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
    let path = match request.uri().path() {
        path if page::is_page(path) => "the page",
        path => known.into_iter().find(|known| path.starts_with(known)).unwrap_or("another path"),
    };
    let method = request.method().clone();
    let response = match admit(&shared, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let millis = started.elapsed().as_millis();
    (shared.log)(&format!("{method} {path}: {} after {millis} ms", response.status().as_u16()));
    response
}

fn admit(shared: &Shared, request: &Request) -> Result<(), Refusal> {
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if shared.loopback && !text(header::HOST).is_none_or(is_this_device) {
        // A web page whose name was made to point here would otherwise ask from the user's browser.
        let message = "this server answers to localhost only; another name was asked for";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    let Some(keys) = &shared.options.keys else { return Ok(()) };
    if page::is_page(request.uri().path()) {
        return Ok(());
    }
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
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    let asked = match kind {
        Kind::Chat => ApiRequest::chat(&body)?,
        Kind::Completion => ApiRequest::completion(&body)?,
    };
    drop(body);
    this_model(&shared, &asked.model)?;
    let client = format!("{} {}", peer.0, asked.user);
    let (stream, usage) = (asked.stream, asked.usage);
    let reply = Reply::new(kind, &shared.options.model);
    let (tell, mut news) = unbounded_channel();
    // It waits for the model, for a server, for the person who reads: other connections go on meanwhile.
    tokio::task::spawn_blocking(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| answered(&shared, client, &asked, &tell)));
        let ended = ended.unwrap_or_else(|_| Err(AnswerError::Crashed.into()));
        // Whoever asked may have gone.
        let _ = tell.send(News::Ended(Box::new(ended)));
    });
    loop {
        match news.recv().await {
            Some(News::Ended(ended)) => {
                let ended = (*ended)?;
                return Ok(match stream {
                    false => object(&reply.whole(&ended)),
                    true => events(reply, Some(News::Ended(Box::new(Ok(ended)))), news, usage),
                });
            }
            // A stream begins when it is clear that there is a place for it.
            Some(first) if stream => return Ok(events(reply, Some(first), news, usage)),
            Some(_) => {}
            None => return Err(Refusal::stopping()),
        }
    }
}

/// Server-sent events until the answer ends. When the client goes, the stream is dropped, and the channel with it.
fn events(reply: Reply, first: Option<News>, news: UnboundedReceiver<News>, usage: bool) -> Response<Body> {
    let beginning: Vec<Event> = reply.first(usage).iter().map(event).collect();
    let state = (reply, first, news, beginning, false);
    let events = stream::unfold(state, move |(reply, mut first, mut news, mut ready, mut over)| async move {
        loop {
            if !ready.is_empty() {
                let next = ready.remove(0);
                return Some((Ok::<_, Infallible>(next), (reply, first, news, ready, over)));
            }
            if over {
                return None;
            }
            let next = match first.take() {
                Some(first) => Some(first),
                None => news.recv().await,
            };
            match next {
                Some(News::Waiting) => {}
                Some(News::Text(text)) => ready.push(event(&reply.piece(&text, usage))),
                Some(News::Ended(ended)) => {
                    over = true;
                    match *ended {
                        Ok(ended) => {
                            ready.push(event(&reply.last(&ended, usage)));
                            if usage {
                                ready.push(event(&reply.usage(&ended)));
                            }
                            ready.push(Event::default().data("[DONE]"));
                        }
                        Err(refusal) => ready.push(event(&refusal.object())),
                    }
                }
                None => {
                    over = true;
                    ready.push(event(&Refusal::stopping().object()));
                }
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE).text("still here")).into_response()
}

fn event(value: &Value) -> Event {
    Event::default().data(value.to_string())
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
