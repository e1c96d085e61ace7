//! Pools for other devices: which there are, their keys, and one adapter for scores. A device sends N numbers; anything
//! else in such a request is refused, so that nothing else is ever sent by mistake.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use crayon_engine::adapters::Form;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::body::read_body;
use crate::fields::{Fields, wrong};
use crate::hosted::Hosted;
use crate::http::on_the_side;
use crate::refusal::Refusal;
use crate::registry::OfferedPool;
use crate::reply::short;
use crate::shared::Shared;

/// Largest request for a blend, in bytes.
const LARGEST: usize = 1 << 16;
/// Requests that are blended at once; each holds an adapter in memory.
pub(crate) const AT_ONCE: usize = 2;

pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Refusal> {
    on_the_side(move || {
        let mut pools: Vec<Value> = Vec::new();
        for entry in shared.models.entries().iter().filter(|entry| !entry.pools.is_empty()) {
            let hosted = shared.models.open(entry)?;
            pools.extend(hosted.registry.pools.iter().map(described));
        }
        Ok(json!({"object": "list", "data": pools}))
    })
    .await
}

pub(crate) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response<Body>, Refusal> {
    on_the_side(move || with(&shared, &name, |_, pool| described(pool))).await
}

/// Keys, mean query and description in one safetensors file.
pub(crate) async fn keys(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response<Body>, Refusal> {
    let (keys, digest) =
        block_in_place(|| with(&shared, &name, |_, pool| (pool.keys.clone(), pool.digest.clone())))?;
    let mut response = bytes(keys);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{digest}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// One adapter for scores.
pub(crate) async fn blend(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response<Body>, Refusal> {
    let adapters = block_in_place(|| with(&shared, &name, |_, pool| pool.pool.members.len()))?;
    let body = read_body(&shared.options.limits, request, LARGEST.min(shared.options.limits.body)).await?;
    let asked = BlendRequest::parse(&body, adapters)?;
    // Who waits here holds some numbers; who is served holds an adapter.
    let Ok(_place) = shared.blends.acquire().await else { return Err(Refusal::stopping()) };
    let (owner, failed) = (shared.clone(), "the adapter could not be made");
    let made = tokio::task::spawn_blocking(move || {
        with(&owner, &name, |hosted, pool| {
            pool.blend(&hosted.engine, &asked.scores, asked.form, asked.temperature)
        })?
    });
    let made = made.await.map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, failed))?;
    Ok(bytes(made?))
}

/// What is asked of a pool.
#[derive(Debug, PartialEq)]
struct BlendRequest {
    scores: Vec<f32>,
    form: Form,
    temperature: Option<f32>,
}

impl BlendRequest {
    /// Reads a body for a pool of so many adapters.
    fn parse(body: &[u8], adapters: usize) -> Result<BlendRequest, Refusal> {
        let mut fields = Fields::parse(body)?;
        let expected = format!("a list of {adapters} numbers from -1 to 1, one for each key of this pool");
        let list = match fields.value("scores") {
            Some(Value::Array(list)) if list.len() == adapters => list,
            _ => return Err(wrong("scores", &expected)),
        };
        let cosine = |value: &Value| value.as_f64().filter(|score| (-1.0..=1.0).contains(score));
        let scores: Option<Vec<f32>> =
            list.iter().map(|value| cosine(value).map(|score| score as f32)).collect();
        let scores = scores.ok_or_else(|| wrong("scores", &expected))?;
        let form = match fields.text("form")? {
            None => Form::Exact,
            Some(name) => Form::from_name(&name).ok_or_else(|| wrong("form", "exact, svd or factor"))?,
        };
        let temperature = fields.number("temperature", f64::from(f32::MIN_POSITIVE), 1e6)?;
        fields.finish()?;
        Ok(BlendRequest { scores, form, temperature })
    }
}

/// What `look` makes of the pool called `name` and its model, the first that offers one of this name; it is opened where it is not.
fn with<T>(shared: &Shared, name: &str, look: impl FnOnce(&Hosted, &OfferedPool) -> T) -> Result<T, Refusal> {
    let entries = shared.models.entries();
    let Some(entry) = entries.iter().find(|entry| entry.pools.iter().any(|pool| pool == name)) else {
        let names = entries.iter().flat_map(|entry| &entry.pools).map(String::as_str);
        let refusal =
            Refusal::unknown("pool", format!("no pool {name:?} here"), names).code("pool_not_found");
        return Err(Refusal { status: StatusCode::NOT_FOUND, ..refusal });
    };
    let hosted = shared.models.open(entry)?;
    let pool = hosted.registry.pool(Some(name))?;
    Ok(look(&hosted, pool))
}

/// A pool as `/v1/pools` lists it.
fn described(offered: &OfferedPool) -> Value {
    let pool = &offered.pool;
    let names: Vec<&str> = pool.members.iter().map(|member| member.name.as_str()).collect();
    json!({
        "id": offered.name,
        "object": "pool",
        "base": pool.base,
        "base_name": pool.base_name,
        "adapters": names.len(),
        "names": names,
        "rank": pool.rank(),
        "temperature": short(pool.temperature),
        "width": pool.keys.mean.len(),
        "digest": offered.digest,
        "key_bytes": offered.keys.len(),
    })
}

fn bytes(bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_nothing_else_are_taken() {
        let parse = |body: &str| BlendRequest::parse(body.as_bytes(), 2);
        let asked = parse(r#"{"scores":[ 0.5,-1],"form":"svd","temperature":0.2}"#).unwrap();
        assert_eq!(asked, BlendRequest { scores: vec![0.5, -1.0], form: Form::Svd, temperature: Some(0.2) });
        assert_eq!(parse(r#"{"scores":[0,0]}"#).unwrap().form, Form::Exact);
        for (body, param) in [
            (r#"{}"#, "scores"),
            (r#"{"scores":[0.5]}"#, "scores"),
            (r#"{"scores":[0.5,0.5,0.5]}"#, "scores"),
            (r#"{"scores":[0.5,1.5]}"#, "scores"),
            (r#"{"scores":[0.5,null]}"#, "scores"),
            (r#"{"scores":[0.5,"0.5"]}"#, "scores"),
            (r#"{"scores":[0.5,0.5],"form":"merge"}"#, "form"),
            (r#"{"scores":[0.5,0.5],"temperature":0}"#, "temperature"),
            (r#"{"scores":[0.5,0.5],"examples":["a"]}"#, "examples"),
            (r#"{"scores":[0.5,0.5],"query":[0.1]}"#, "query"),
        ] {
            assert_eq!(parse(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        // JSON has no infinity; a number too large for it is refused with the body.
        assert!(parse(r#"{"scores":[0.5,1e999]}"#).is_err());
    }
}
