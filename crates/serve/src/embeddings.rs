//! `/v1/embeddings`: texts as vectors, the mean of the model's last states.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::body::read_body;
use crate::fields::{Fields, wrong};
use crate::http::on_the_side;
use crate::refusal::Refusal;
use crate::reply::short;
use crate::shared::Shared;

/// Texts of one request.
const MOST: usize = 256;
/// Requests that are embedded at once; each has a memory of its own.
pub(crate) const AT_ONCE: usize = 2;

/// What is asked for.
struct Asked {
    model: String,
    input: Vec<Input>,
    base64: bool,
    dimensions: Option<usize>,
}

enum Input {
    Text(String),
    Tokens(Vec<u32>),
}

impl Asked {
    fn parse(body: &[u8]) -> Result<Asked, Refusal> {
        let mut fields = Fields::parse(body)?;
        let expected = format!("a text, token ids, or a list of at most {MOST} of them, none of them empty");
        let input = fields.value("input").ok_or_else(|| wrong("input", &expected))?;
        let one = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => Some(Input::Text(text.clone())),
            Value::Array(ids) if !ids.is_empty() => {
                serde_json::from_value(value.clone()).ok().map(Input::Tokens)
            }
            _ => None,
        };
        let input: Option<Vec<Input>> = match &input {
            Value::Array(list) if !list.iter().all(Value::is_number) => list.iter().map(one).collect(),
            input => one(input).map(|input| vec![input]),
        };
        let input = input
            .filter(|input| (1..=MOST).contains(&input.len()))
            .ok_or_else(|| wrong("input", &expected))?;
        let base64 = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(wrong("encoding_format", "float or base64")),
        };
        let asked = Asked {
            model: fields.text("model")?.ok_or_else(|| wrong("model", "given"))?,
            input,
            base64,
            dimensions: fields.count("dimensions", 1)?,
        };
        fields.ignore("user");
        fields.finish()?;
        Ok(asked)
    }
}

pub(crate) async fn embeddings(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Refusal> {
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    let asked = Asked::parse(&body)?;
    let Ok(_place) = shared.embedding.acquire().await else { return Err(Refusal::stopping()) };
    let owner = shared.clone();
    on_the_side(move || embedded(&owner, &asked)).await
}

fn embedded(shared: &Shared, asked: &Asked) -> Result<Value, Refusal> {
    let hosted = shared.model(Some(&asked.model))?;
    let (engine, width) = (&hosted.engine, hosted.engine.spec().hidden);
    if asked.dimensions.is_some_and(|dimensions| dimensions != width) {
        return Err(wrong("dimensions", &format!("{width}, as the model has them")));
    }
    let (mut data, mut tokens) = (Vec::with_capacity(asked.input.len()), 0);
    for (index, input) in asked.input.iter().enumerate() {
        let refused = |error: crayon_engine::EngineError| Refusal::of(error.into(), "input");
        let made;
        let ids = match input {
            Input::Tokens(ids) => ids,
            Input::Text(text) => {
                made = engine.text_prompt(text).map_err(refused)?;
                &made
            }
        };
        let vector = engine.embed(ids).map_err(refused)?;
        tokens += ids.len();
        let vector = match asked.base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(BASE64_STANDARD.encode(bytes))
            }
            false => vector.into_iter().map(short).collect(),
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": vector}));
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json!({"object": "list", "model": hosted.name, "data": data, "usage": usage}))
}
