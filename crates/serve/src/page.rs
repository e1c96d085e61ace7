//! The web page at `/`: files that are part of the program, so that a browser needs nothing but this server.
//!
//! They are given without a key. Nothing in them is secret, and it is the page that asks a person for the key.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

/// What a browser may do for the page: load its own files and ask this server. Nothing that a model writes can load, send or run anything,
/// and scripts cannot turn texts into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Files of the folder `page`.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../page/", $name)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 28] = files![
    "announce.js",
    "api.js",
    "chat.js",
    "clipboard.js",
    "conversations.js",
    "crayonbox.js",
    "crayons.js",
    "documents.js",
    "dom.js",
    "dropping.js",
    "early.js",
    "examples.js",
    "facts.js",
    "icon.svg",
    "index.html",
    "kept.js",
    "ladder.js",
    "main.js",
    "markdown.js",
    "messages.css",
    "messages.js",
    "panels.css",
    "settings.js",
    "sidebar.js",
    "sse.js",
    "style.css",
    "theme.js",
    "weights.js",
];
/// Examples to begin with, the same that the documents show.
const HOME: (&str, &[u8]) = ("home.jsonl", include_bytes!("../../../examples/home.jsonl"));

/// A file as it is served.
struct Asset {
    name: &'static str,
    bytes: &'static [u8],
    /// Tells versions of it apart.
    tag: HeaderValue,
}

static ASSETS: LazyLock<Vec<Asset>> =
    LazyLock::new(|| FILES.into_iter().chain([HOME]).map(Asset::new).collect());

impl Asset {
    fn new((name, bytes): (&'static str, &'static [u8])) -> Asset {
        let digest = Sha256::digest(bytes);
        let tag: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::try_from(format!("\"{tag}\"")).expect("hexadecimal digits fit into a header");
        Asset { name, bytes, tag }
    }

    fn kind(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// The file, or that the browser's copy, by the tag it names, is still true.
    fn answer(&self, asked: &HeaderMap) -> Response<Body> {
        let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let same = known.is_some_and(|tags| {
            tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag || tag.trim() == "*")
        });
        let mut response = match same {
            true => Response::new(Body::empty()),
            false => Response::new(Body::from(self.bytes)),
        };
        if same {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind()),
            // A program of another version brings another page, and its files belong together.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// `GET /`.
pub(crate) async fn page(headers: HeaderMap) -> Response<Body> {
    named("index.html", &headers)
}

/// `GET /page/NAME`.
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response<Body> {
    named(&name, &headers)
}

fn named(name: &str, headers: &HeaderMap) -> Response<Body> {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.answer(headers),
        None => {
            let refusal = Refusal::new(StatusCode::NOT_FOUND, "the page has no such file");
            refusal.code("not_found").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_part_of_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let here: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, here);
    }
}
