//! Bodies of requests and answers.

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use tokio::time::timeout;

use crate::Limits;
use crate::refusal::Refusal;

/// The body of a request, `most` bytes at most.
pub(crate) async fn read_body(limits: &Limits, request: Request, most: usize) -> Result<Bytes, Refusal> {
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
    let too_large = |size: String| {
        let message = format!("the body is {size}; {most} bytes are read here");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    // A body that says it is too large need not be waited for.
    let declared = request.body().size_hint().lower();
    if declared > most as u64 {
        return Err(too_large(format!("{declared} bytes")));
    }
    match timeout(limits.sending, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(too_large("cut or larger".to_owned())),
        Err(_) => {
            let message = format!("the body took longer than {} s", limits.sending.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// An answer of one JSON object.
pub(crate) fn object(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
