//! The web page over a local socket: it and every file it names are served, with headers that let nothing else in.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use crayon_answer::policy_names;
use crayon_serve::{Keys, Limits};

use support::{Answer, Running, start};

const LOCAL: &str = "Host: localhost\r\n";

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Paths in `text` that are quoted behind `before`.
fn quoted(text: &str, before: &str) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// Paths of all that the page loads: what it names, and what that names in turn.
fn loaded(server: &Running) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        if !found.insert(path.clone()) {
            continue;
        }
        let answer = server.get(&path, LOCAL);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(header(&answer, "cache-control"), Some("no-cache"), "{path}");
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"), "{path}");
        let kind = match path.rsplit('.').next().unwrap() {
            "/" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{path}: {other}"),
        };
        assert_eq!(header(&answer, "content-type"), Some(kind), "{path}");
        if path == "/" {
            open.extend(quoted(&answer.body, "src=\""));
            open.extend(quoted(&answer.body, "href=\"").into_iter().filter(|path| !path.starts_with('#')));
        } else if path.ends_with(".js") {
            open.extend(quoted(&answer.body, "from \"./").into_iter().map(|name| format!("/page/{name}")));
        }
    }
    found
}

#[test]
fn the_page_and_all_it_names_are_served() {
    let server = start(Limits::default(), None);
    let found = loaded(&server);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| if name == "index.html" { "/".to_owned() } else { format!("/page/{name}") })
        .collect();
    assert_eq!(found, there, "files of the page, and files it loads");
    let home = server.get("/page/home.jsonl", LOCAL);
    assert_eq!((home.status, home.body.lines().count()), (200, 20));
    for wrong in ["/page/", "/page/none.js", "/page/../src/page.rs", "/page/%2e%2e/Cargo.toml", "/index.html"]
    {
        assert_eq!(server.get(wrong, LOCAL).status, 404, "{wrong}");
    }
}

#[test]
fn nothing_but_its_own_files_may_run() {
    let server = start(Limits::default(), None);
    let answer = server.get("/", LOCAL);
    let policy = header(&answer, "content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|given| given == part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    // What the policy forbids, the page does not try.
    for inline in ["<style", "style=\"", "onclick=\"", "<script>", "http://", "https://"] {
        assert!(!answer.body.contains(inline), "{inline}");
    }
    assert_eq!(server.get("/", "Host: evil.example\r\n").status, 403);
}

#[test]
fn a_browser_that_has_it_is_told_so() {
    let server = start(Limits::default(), None);
    let tag = header(&server.get("/", LOCAL), "etag").unwrap().to_owned();
    let again = |tag: &str| server.get("/", &format!("{LOCAL}If-None-Match: {tag}\r\n"));
    let known = again(&tag);
    assert_eq!((known.status, known.body.as_str(), header(&known, "etag")), (304, "", Some(tag.as_str())));
    assert_eq!(again(&format!("\"other\", W/{tag}")).status, 304);
    assert_eq!(again("\"other\"").status, 200);
}

#[test]
fn the_page_needs_no_key_and_what_it_asks_for_does() {
    let path = std::env::temp_dir().join(format!("crayon-page-keys-{}", std::process::id()));
    std::fs::write(&path, "secret\n").unwrap();
    let server = start(Limits::default(), Some(Keys::open(&path).unwrap()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(server.get("/", LOCAL).status, 200);
    assert_eq!(server.get("/page/main.js", LOCAL).status, 200);
    assert_eq!(server.get("/v1/models", LOCAL).status, 401);
    assert_eq!(server.get("/page/../v1/models", LOCAL).status, 404);
}

#[test]
fn the_settings_offer_every_policy() {
    let server = start(Limits::default(), None);
    let body = server.get("/", LOCAL).body;
    let select = body.split("<select name=\"policy\">").nth(1).unwrap().split("</select>").next().unwrap();
    let offered: Vec<String> =
        quoted(select, "value=\"").into_iter().filter(|name| !name.is_empty()).collect();
    assert_eq!(offered, policy_names());
}
