//! `crayon pull` from a hub on this device.

#[allow(dead_code, unreachable_pub, reason = "the hub's tests use all of it")]
#[path = "../../hub/tests/support/mod.rs"]
mod hub;
mod support;

use std::process::Output;

use hub::{COMMIT, Repository, Server};
use support::{Place, check_mistake, stderr};

/// Files that hold their own names.
fn serve(names: &[&str]) -> Server {
    let files = names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect();
    let repository = Repository { commit: COMMIT.to_owned(), files };
    Server::start(move |request| repository.answer(request))
}

fn pull(place: &Place, server: &Server, model: &str) -> Output {
    let mut command = place.crayon(&["pull", model]);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.env("HF_ENDPOINT", &server.address).output().unwrap()
}

const GGUFS: [&str; 6] = [
    "m-F16.gguf",
    "m-Q4_K_M.gguf",
    "large/m-Q8_0-00001-of-00002.gguf",
    "large/m-Q8_0-00002-of-00002.gguf",
    "mmproj-m-F16.gguf",
    "README.md",
];

#[test]
fn several_ggufs_are_listed_with_their_sizes_and_how_to_choose() {
    let (place, server) = (Place::online(), serve(&GGUFS));
    let output = pull(&place, &server, "org/name");
    check_mistake(&output, "org/name: it has 3 GGUF models", "`crayon pull org/name:Q4_K_M`");
    let text = stderr(&output);
    let table: Vec<&str> = text.lines().skip(1).take(4).collect();
    assert_eq!(
        table,
        ["NAME    SIZE", "F16     10 B  1 file", "Q4_K_M  13 B  1 file", "Q8_0    64 B  2 files"],
        "{text}"
    );
    let output = pull(&place, &server, "org/name:Q5_0");
    check_mistake(&output, "no GGUF file is called `Q5_0`", "crayon pull org/name:Q4_K_M");
    assert!(stderr(&output).contains("Q8_0    64 B"), "{}", stderr(&output));
    assert_eq!(server.requests_for(".gguf").len(), 0, "something was downloaded");
}

#[test]
fn what_will_come_is_told_and_comes() {
    let (place, server) = (Place::online(), serve(&GGUFS));
    let output = pull(&place, &server, "org/name:q8_0");
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let told = "org/name:q8_0: 2 files, 64 B\n  m-Q8_0-00001-of-00002.gguf  32 B\n  m-Q8_0-00002-of-00002.gguf  32 B\n";
    assert!(text.starts_with(told), "{text}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.starts_with("org/name:q8_0 is here: 64 B in ") && stdout.contains("00001-of-00002.gguf"),
        "{stdout}"
    );
    assert!(text.contains("crayon ask -m org/name:q8_0"), "{text}");
    // What is here is not announced again, and what is missing in part is.
    let again = pull(&place, &server, "org/name:Q8_0");
    assert!(!stderr(&again).contains("files"), "{}", stderr(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("was here already"), "{again:?}");
    std::fs::remove_file(place.path(&format!("home/models/org--name/{COMMIT}/m-Q8_0-00002-of-00002.gguf")))
        .unwrap();
    let rest = pull(&place, &server, "org/name:Q8_0");
    assert!(stderr(&rest).contains("64 B, 32 B of it not here yet"), "{}", stderr(&rest));
    let list = place.json(&["models"]);
    let names: Vec<&str> =
        list["models"].as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("org/name:")).count(), 1, "{names:?}");
}
