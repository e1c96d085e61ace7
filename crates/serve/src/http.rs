//! What can be asked over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::body::{object, read_body};
use crate::guard::{cors, guard};
use crate::page;
use crate::refusal::Refusal;
use crate::reply::model;
use crate::shared::Shared;
use crate::{asking, customizing, embeddings, pools, responses, tokens};

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let paths = Router::new()
        .route("/chat/completions", post(asking::chat))
        .route("/completions", post(asking::completion))
        .route("/customizations", get(customizing::list).post(customizing::create))
        .route("/customizations/{id}", get(customizing::one).delete(customizing::delete))
        .route("/embeddings", post(embeddings::embeddings))
        .route("/responses", post(responses::respond))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/models", get(models))
        .route("/models/{*name}", get(one_model))
        .route("/pools", get(pools::list))
        .route("/pools/{name}", get(pools::one))
        .route("/pools/{name}/keys", get(pools::keys))
        .route("/pools/{name}/blend", post(pools::blend));
    let router = Router::new()
        // Programs differ in whether the version is part of the address they are given.
        .nest("/v1", paths.clone())
        .merge(paths)
        .route("/", get(page::page))
        .route("/page/{name}", get(page::file))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(nowhere)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(shared.clone(), guard));
    // Where no page may ask, browsers that ask whether one may are refused like the page itself, with the reason.
    let router = match shared.options.origins.is_empty() {
        true => router,
        false => router.layer(cors(&shared.options)),
    };
    router.with_state(shared)
}

async fn nowhere(uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path())).code("not_found")
}

async fn other_method(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed")
}

async fn models(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let data: Vec<Value> = shared.models.entries().iter().map(|entry| model(entry, shared.began)).collect();
    object(&json!({"object": "list", "data": data}))
}

async fn one_model(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response<Body>, Refusal> {
    Ok(object(&model(shared.models.find(Some(&name))?, shared.began)))
}

/// Whether requests are taken.
async fn health(State(shared): State<Arc<Shared>>) -> Response<Body> {
    match shared.models.is_stopping() {
        true => Refusal::stopping().into_response(),
        false => object(&json!({"status": "ok"})),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let mut response = Response::new(Body::from(shared.metrics.text(
        shared.models.counts(),
        shared.models.budget(),
        shared.models.prefixes().counts(),
    )));
    // What the encoder writes.
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn tokenize(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response<Body>, Refusal> {
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    on_the_side(move || tokens::tokenize(&shared, &body)).await
}

async fn detokenize(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response<Body>, Refusal> {
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    on_the_side(move || tokens::detokenize(&shared, &body)).await
}

/// The object that `work` makes; it may take its time, and other connections go on meanwhile.
pub(crate) async fn on_the_side(
    work: impl FnOnce() -> Result<Value, Refusal> + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(made) => Ok(object(&made?)),
        Err(_) => Err(crayon_answer::AnswerError::Crashed.into()),
    }
}
