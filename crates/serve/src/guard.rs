//! Who may ask: by key, by the name the server was called by, and by the page that asks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use crayon_errors::{Setting, phrase};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::ServeOptions;
use crate::refusal::Refusal;
use crate::reply::IGNORED_FIELDS;
use crate::shared::Shared;

/// Any page may ask.
pub(crate) const ANY: &str = "*";
/// Paths as the log and the numbers call them; what stands behind one may be anybody's business.
const KNOWN: [&str; 13] = [
    "/chat/completions",
    "/completions",
    "/customizations",
    "/detokenize",
    "/embeddings",
    "/health",
    "/metrics",
    "/models",
    "/page",
    "/pools",
    "/responses",
    "/tokenize",
    "/",
];

/// Lets in who may ask, logs and counts every request.
pub(crate) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response<Body> {
    let started = Instant::now();
    let path = known(request.uri().path());
    let method = request.method().clone();
    let response = match admit(&shared, path, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let (millis, status) = (started.elapsed().as_millis(), response.status().as_u16());
    shared.metrics.asked(path, status);
    (shared.log)(&format!("{method} {path}: {status} after {millis} ms"));
    response
}

/// The name of a path in the log: a path nobody serves may hold anything, and the log is for numbers.
fn known(path: &str) -> &'static str {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let is = |known: &&str| {
        path == *known || *known != "/" && path.strip_prefix(known).is_some_and(|rest| rest.starts_with('/'))
    };
    KNOWN.into_iter().find(is).unwrap_or("another path")
}

fn admit(shared: &Shared, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let options = &shared.options;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST);
    let allowed = |host: &str| is_this_device(host) || options.hosts.iter().any(|name| is_named(host, name));
    if shared.loopback && !host.is_none_or(allowed) {
        // A web page whose name was made to point here would otherwise ask from the user's browser.
        let told = phrase![
            "this server answers to localhost only, and another name was asked for; its operator can let more names in (",
            Setting::AllowedHost,
            ")"
        ];
        return Err(Refusal::new(StatusCode::FORBIDDEN, (options.spell)(&told)).code("host_not_allowed"));
    }
    if let Some(origin) = text(header::ORIGIN)
        && !may_ask(options, origin, host)
    {
        let told = phrase![
            format!("pages of {origin} may not ask this server; its operator can let them ("),
            Setting::Cors,
            ")"
        ];
        return Err(Refusal::new(StatusCode::FORBIDDEN, (options.spell)(&told)).code("origin_not_allowed"));
    }
    let Some(keys) = &options.keys else { return Ok(()) };
    // Whoever watches over the server need not be let in, and the page itself holds nothing of anybody's: it asks for the key.
    if ["/health", "/", "/page"].contains(&path) {
        return Ok(());
    }
    let refused =
        |message: &str, code: &'static str| Err(Refusal::new(StatusCode::UNAUTHORIZED, message).code(code));
    let given = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    match given {
        Some(key) if keys.open_for(key) => Ok(()),
        Some(_) => refused("this key is not one of the server's", "invalid_api_key"),
        None => refused("a key is needed: Authorization: Bearer KEY", "missing_api_key"),
    }
}

/// Whether a page of `origin` may ask: one of this server's own, one that was let in, or no page of the web at all.
fn may_ask(options: &ServeOptions, origin: &str, host: Option<&str>) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return true };
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    !web || host.is_some_and(|host| host.eq_ignore_ascii_case(rest))
        || options.origins.iter().any(|allowed| allowed == ANY || allowed.eq_ignore_ascii_case(origin))
}

/// Answers browsers that ask whether a page may ask, and tells them of those that may.
pub(crate) fn cors(options: &ServeOptions) -> CorsLayer {
    let origins = match options.origins.iter().any(|origin| origin == ANY) {
        true => AllowOrigin::any(),
        false => {
            AllowOrigin::list(options.origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()))
        }
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([HeaderName::from_static(IGNORED_FIELDS), header::RETRY_AFTER])
}

/// The name within a `Host`, without its port.
fn name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a `Host` is `allowed`, whatever its port.
fn is_named(host: &str, allowed: &str) -> bool {
    host.eq_ignore_ascii_case(allowed) || name(host).eq_ignore_ascii_case(allowed)
}

/// Whether a `Host` names this device: `localhost` or a loopback address, with or without port.
fn is_this_device(host: &str) -> bool {
    let name = name(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
        assert!(is_named("box.local:8080", "Box.local") && is_named("box.local", "box.local"));
        assert!(!is_named("box.local.example.org", "box.local") && !is_named("x.box.local", "box.local"));
    }

    #[test]
    fn paths_are_known_with_and_without_their_version() {
        assert_eq!(known("/v1/chat/completions"), "/chat/completions");
        assert_eq!(known("/models/org/name"), "/models");
        assert_eq!(known("/"), "/");
        assert_eq!(known("/modelsecret"), "another path");
        assert_eq!(known("/v1/secret"), "another path");
    }
}
