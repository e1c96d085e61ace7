//! Pulls from a hub on this machine, well and badly behaved.

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crayon_errors::Explain as _;
use crayon_hub::{Format, Hub, HubError, Reference, RetryPolicy, Settings, Stage, Token};
use support::{COMMIT, Reply, Repository, Request, Server, range};

const SIZE: usize = 700_000;

fn settings(endpoint: &str, cache: &Path) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        token: None,
        cache: cache.to_owned(),
        offline: None,
        retry: retry(Duration::from_secs(20)),
    }
}

/// Six tries with short pauses, for a server that may be silent for `silence`.
fn retry(silence: Duration) -> RetryPolicy {
    RetryPolicy {
        budget: Duration::MAX,
        silence,
        connecting: silence,
        tries: 6,
        backoff: Duration::from_millis(5),
        longest_pause: Duration::from_secs(600),
    }
}

fn model() -> Reference {
    "org/name".parse().unwrap()
}

fn pull(hub: &Hub) -> Result<PathBuf, HubError> {
    hub.pull(&hub.plan(&model())?, &mut |_| ControlFlow::Continue(()))
}

/// A server of `repository` whose answers `twist` may replace, a hub that asks it and a folder for the models.
fn start(
    repository: &Repository,
    twist: impl Fn(&Request, &Repository) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, Hub, tempfile::TempDir) {
    let repository = repository.clone();
    let server = Server::start(move |request| {
        twist(request, &repository).unwrap_or_else(|| repository.answer(request))
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new(settings(&server.address, cache.path()));
    (server, hub, cache)
}

/// A twist that applies to the first `times` requests for the weights.
fn first(
    times: usize,
    reply: impl Fn(&Request, &Repository) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Request, &Repository) -> Option<Reply> + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move |request, repository| {
        let hit =
            request.path.ends_with("/model.safetensors") && count.fetch_add(1, Ordering::SeqCst) < times;
        hit.then(|| reply(request, repository))
    }
}

fn weights(path: &Path) -> Vec<u8> {
    std::fs::read(path.join("model.safetensors")).unwrap()
}

/// The folder of the model's commit in the cache.
fn folder(cache: &tempfile::TempDir) -> PathBuf {
    cache.path().join("org--name").join(COMMIT)
}

#[test]
fn pulls_a_model_and_finds_it_again() {
    let repository = Repository::new(SIZE);
    let (server, hub, _cache) = start(&repository, |_, _| None);
    assert_eq!(hub.find(&model()), None);
    let plan = hub.plan(&model()).unwrap();
    let total = (SIZE + repository.file("config.json").len()) as u64;
    assert_eq!((plan.bytes(), hub.missing(&plan)), (total, total));

    let mut seen = Vec::new();
    let path = hub
        .pull(&plan, &mut |progress| {
            seen.push(progress.bytes);
            assert_eq!(progress.total, total);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&total), "{seen:?}");
    assert_eq!(weights(&path), repository.file("model.safetensors"));
    let mut names: Vec<_> = path.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "crayon.json", "model.safetensors"]);

    assert_eq!(hub.find(&model()), Some(path.clone()));
    for revision in [COMMIT, &COMMIT[..8]] {
        assert_eq!(hub.find(&format!("org/name@{revision}").parse().unwrap()), Some(path.clone()));
    }
    assert_eq!(hub.find(&"org/name@other".parse().unwrap()), None);
    let local = hub.list();
    assert_eq!(local.len(), 1);
    assert_eq!(
        (&local[0].reference, &local[0].path, local[0].bytes, local[0].format, local[0].complete),
        (&model(), &path, total, Format::Safetensors, true)
    );

    let before = server.requests().len();
    assert_eq!(hub.pull(&plan, &mut |_| ControlFlow::Continue(())).unwrap(), path);
    assert_eq!(server.requests().len(), before, "a model that is here was asked for again");

    assert!(hub.remove(&model()).unwrap() >= total);
    assert_eq!((hub.find(&model()), hub.list().len()), (None, 0));
    assert!(matches!(hub.remove(&model()), Err(HubError::NotHere { .. })));
}

#[test]
fn goes_on_after_a_cut() {
    let repository = Repository::new(SIZE);
    let (server, hub, _cache) =
        start(&repository, first(2, |request, repository| repository.answer(request).cut(200_000)));
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
    let starts: Vec<_> = server.requests_for("/model.safetensors").iter().map(Request::start).collect();
    assert_eq!(starts.len(), 3);
    assert_eq!(starts[0], None);
    assert!(starts[1] > Some(0) && starts[2] > starts[1], "{starts:?}");
}

#[test]
fn goes_on_after_a_silence() {
    let repository = Repository::new(SIZE);
    let (server, _, cache) = start(
        &repository,
        first(1, |request, repository| Reply {
            silence: Duration::from_secs(4),
            ..repository.answer(request).cut(300_000)
        }),
    );
    let retry = retry(Duration::from_millis(700));
    let hub = Hub::new(Settings { retry, ..settings(&server.address, cache.path()) });
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
    assert!(server.requests_for("/model.safetensors")[1].start().is_some());
}

#[test]
fn starts_over_when_the_server_ignores_ranges() {
    let repository = Repository::new(SIZE);
    let (server, hub, _cache) = start(&repository, {
        let count = AtomicUsize::new(0);
        move |request, repository| {
            let whole = request.path.ends_with("/model.safetensors");
            let reply = Reply::new(200, repository.file("model.safetensors"));
            whole.then(|| if count.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(300_000) } else { reply })
        }
    });
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
    assert!(server.requests_for("/model.safetensors")[1].start().is_some());
}

#[test]
fn starts_over_when_the_file_has_changed() {
    let repository = Repository::new(SIZE);
    let (server, hub, cache) = start(&repository, |_, _| None);
    std::fs::create_dir_all(folder(&cache)).unwrap();
    std::fs::write(folder(&cache).join("model.safetensors.part"), vec![9; 1000]).unwrap();
    std::fs::write(folder(&cache).join("model.safetensors.part.etag"), "\"zero\"").unwrap();
    let mut ends = 0;
    let plan = hub.plan(&model()).unwrap();
    let path = hub
        .pull(&plan, &mut |progress| {
            ends += usize::from(progress.file_bytes == SIZE as u64);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(weights(&path), repository.file("model.safetensors"));
    let starts: Vec<_> = server.requests_for("/model.safetensors").iter().map(Request::start).collect();
    assert_eq!(
        (starts, ends),
        (vec![Some(1000), None], 1),
        "the rest was downloaded before the change was seen"
    );
}

#[test]
fn refuses_a_range_that_was_not_asked_for() {
    let repository = Repository::new(SIZE);
    let (_server, hub, _cache) = start(&repository, {
        let count = AtomicUsize::new(0);
        move |request, repository| {
            let bytes = repository.file("model.safetensors");
            match (request.path.ends_with("/model.safetensors"), count.load(Ordering::SeqCst)) {
                (true, 0) => {
                    count.store(1, Ordering::SeqCst);
                    Some(range(request, bytes).cut(300_000))
                }
                (true, 1) => {
                    count.store(2, Ordering::SeqCst);
                    let wrong = format!("bytes 5-{}/{SIZE}", SIZE - 1);
                    Some(Reply::new(206, &bytes[5..]).with("Content-Range", wrong))
                }
                _ => None,
            }
        }
    });
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
}

#[test]
fn a_wrong_checksum_removes_the_file() {
    let repository = Repository::new(SIZE);
    let (_server, hub, cache) = start(
        &repository,
        first(1, |_, repository| {
            let mut bytes = repository.file("model.safetensors").to_vec();
            bytes[SIZE / 2] ^= 1;
            Reply::new(200, bytes)
        }),
    );
    let error = pull(&hub).unwrap_err();
    assert!(matches!(&error, HubError::Checksum { file, .. } if file == "model.safetensors"), "{error}");
    assert!(error.hint().unwrap().contains("try again"));
    assert_eq!(hub.find(&model()), None);
    assert!(folder(&cache).join("config.json").exists());
    assert!(!folder(&cache).join("model.safetensors.part").exists());
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
}

#[test]
fn a_small_file_is_checked_too() {
    let repository = Repository::new(10);
    let (_server, hub, _cache) = start(&repository, |request, _| {
        let same_length = b"{\"model_type\":\"gpt2!\"}";
        request.path.ends_with("config.json").then(|| Reply::new(200, *same_length))
    });
    assert!(matches!(pull(&hub), Err(HubError::Checksum { file, .. }) if file == "config.json"));
}

#[test]
fn a_file_of_another_size_is_refused() {
    for declared in [true, false] {
        let (_server, hub, _cache) = start(
            &Repository::new(SIZE),
            first(9, move |_, repository| {
                let mut bytes = repository.file("model.safetensors").to_vec();
                bytes.extend([0; 4096]);
                // Without a length the body ends with the connection.
                if declared {
                    Reply::new(200, bytes)
                } else {
                    Reply::new(200, bytes).with("Content-Length", "")
                }
            }),
        );
        let error = pull(&hub).unwrap_err();
        let shown = error.to_string();
        assert!(matches!(error, HubError::Answer { .. }), "{shown}");
        assert_eq!(hub.find(&model()), None);
    }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let repository = Arc::new(Repository::new(SIZE));
    let files = repository.clone();
    let elsewhere = Server::start(move |request| range(request, files.file("model.safetensors")));
    let target = format!("{}/signed/model.safetensors?signature=secret", elsewhere.address);
    let (server, _, cache) = start(&repository, move |request, repository| {
        if request.header("authorization") != Some("Bearer hf_secret") {
            return Some(Reply::new(401, ""));
        }
        match request.path.as_str() {
            // Renamed: the hub redirects to itself.
            path if path.ends_with("/model.safetensors") && !path.contains("renamed") => {
                Some(Reply::new(307, "").with("Location", "/renamed/model.safetensors"))
            }
            "/renamed/model.safetensors" => Some(Reply::new(302, "").with("Location", target.clone())),
            _ => Some(repository.answer(request)),
        }
    });
    let token = Some(Token::new("hf_secret\n", "HF_TOKEN").unwrap());
    let hub = Hub::new(Settings { token, ..settings(&server.address, cache.path()) });
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
    assert_eq!(server.requests_for("/renamed/model.safetensors").len(), 1);
    let there = elsewhere.requests();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].header("authorization"), None);
    assert!(!format!("{hub:?}").contains("hf_secret"));
}

#[test]
fn a_signed_address_that_ran_out_is_asked_for_again() {
    let repository = Arc::new(Repository::new(SIZE));
    let (files, count) = (repository.clone(), AtomicUsize::new(0));
    let elsewhere = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(403, "expired"),
        _ => range(request, files.file("model.safetensors")),
    });
    let target = format!("{}/x", elsewhere.address);
    let (server, hub, _cache) = start(&repository, move |request, _| {
        let moved = request.path.ends_with("/model.safetensors");
        moved.then(|| Reply::new(302, "").with("Location", target.clone()))
    });
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
    assert_eq!((server.requests_for("/model.safetensors").len(), elsewhere.requests().len()), (2, 2));
}

#[test]
fn redirects_have_an_end() {
    let (_server, hub, _cache) = start(&Repository::new(10), |request, _| {
        Some(Reply::new(302, "").with("Location", request.path.clone()))
    });
    let error = pull(&hub).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn refusals_are_explained() {
    let check = |status: u16, code: &'static str, token: Option<&str>, message: &str, hint: &str| {
        let (server, _, cache) =
            start(&Repository::new(10), move |_, _| Some(Reply::new(status, "").with("X-Error-Code", code)));
        let token = token.map(|token| Token::new(token, "HF_TOKEN").unwrap());
        let hub = Hub::new(Settings { token, ..settings(&server.address, cache.path()) });
        let error = pull(&hub).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}: {:?}", error.hint());
        assert!(error.is_mistake());
        assert_eq!(server.requests().len(), 1, "{error} was tried again");
    };
    check(401, "GatedRepo", None, "gated", "then set HF_TOKEN");
    check(403, "GatedRepo", Some("t"), "gated", "account of the token of HF_TOKEN");
    check(401, "RepoNotFound", None, "no model org/name, or it is private", "set HF_TOKEN");
    check(404, "RepoNotFound", Some("t"), "no model org/name", "check the spelling");
    check(404, "", None, "no model org/name", "check the spelling");
    check(404, "RevisionNotFound", None, "no revision `main`", "leave out");
    check(401, "", Some("t"), "the token of HF_TOKEN", "expired");
    check(403, "", None, "no token", "set HF_TOKEN");
}

#[test]
fn a_gated_file_is_explained_though_the_list_is_open() {
    let (_server, hub, _cache) =
        start(&Repository::new(10), first(9, |_, _| Reply::new(403, "").with("X-Error-Code", "GatedRepo")));
    assert!(matches!(pull(&hub), Err(HubError::Gated { .. })));
}

#[test]
fn offline_opens_no_socket() {
    let (server, online, cache) = start(&Repository::new(SIZE), |_, _| None);
    let offline = Some("HF_HUB_OFFLINE");
    let hub = Hub::new(Settings { offline, ..settings(&server.address, cache.path()) });
    let error = hub.plan(&model()).unwrap_err();
    assert!(
        error.to_string().contains("HF_HUB_OFFLINE") && error.to_string().contains("org/name"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("list of models"));
    assert_eq!((server.requests().len(), hub.find(&model())), (0, None));

    let plan = online.plan(&model()).unwrap();
    assert!(matches!(hub.pull(&plan, &mut |_| ControlFlow::Continue(())), Err(HubError::Offline { .. })));
    assert_eq!(server.requests().len(), 1);
    let path = pull(&online).unwrap();
    let before = server.requests().len();
    assert_eq!(hub.find(&model()), Some(path.clone()));
    assert_eq!(hub.pull(&plan, &mut |_| ControlFlow::Continue(())).unwrap(), path);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_cancelled_pull_goes_on_where_it_stopped() {
    let repository = Repository::new(SIZE);
    let (server, hub, cache) = start(&repository, |_, _| None);
    let plan = hub.plan(&model()).unwrap();
    let stop = hub.pull(&plan, &mut |progress| {
        let far = progress.file == "model.safetensors" && progress.file_bytes > 200_000;
        if far { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stop, Err(HubError::Cancelled)));
    assert_eq!(hub.find(&model()), None);
    let part = std::fs::metadata(folder(&cache).join("model.safetensors.part")).unwrap().len();
    assert!(part > 200_000 && part < SIZE as u64);
    assert_eq!(hub.missing(&plan), SIZE as u64 - part);
    let local = hub.list();
    assert_eq!((local.len(), local[0].complete), (1, false));

    let other = Hub::new(settings(&server.address, cache.path()));
    let mut checked = false;
    let path = other
        .pull(&plan, &mut |progress| {
            checked |= progress.stage == Stage::Checking;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(checked);
    assert_eq!(weights(&path), repository.file("model.safetensors"));
    let last = server.requests_for("/model.safetensors").pop().unwrap();
    assert_eq!(last.start(), Some(part as usize));
    assert_eq!(server.requests_for("/config.json").len(), 1, "a finished file was downloaded again");
}

#[test]
fn a_hostile_list_touches_nothing() {
    let mut repository = Repository::new(10);
    repository.files.push(("../../../outside.safetensors".to_owned(), b"x".to_vec()));
    let (server, hub, cache) = start(&repository, |_, _| None);
    let error = pull(&hub).unwrap_err();
    assert!(error.to_string().contains("outside the repository"), "{error}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(cache.path().read_dir().unwrap().count(), 0);
}

#[test]
fn waits_as_long_as_the_server_asks() {
    let repository = Repository::new(SIZE);
    let (server, hub, _cache) =
        start(&repository, first(1, |_, _| Reply::new(429, "").with("Retry-After", "1")));
    let plan = hub.plan(&model()).unwrap();
    let (begin, mut waited) = (Instant::now(), false);
    let path = hub
        .pull(&plan, &mut |progress| {
            waited |= matches!(progress.stage, Stage::Waiting { reason: "too many requests", .. });
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(waited && begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(weights(&path), repository.file("model.safetensors"));
    assert_eq!(server.requests_for("/model.safetensors").len(), 2);
}

#[test]
fn does_not_wait_for_hours() {
    let (server, hub, _cache) =
        start(&Repository::new(10), |_, _| Some(Reply::new(429, "").with("Retry-After", "86400")));
    let error = pull(&hub).unwrap_err();
    assert!(error.to_string().contains("1440 minutes"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn gives_up_on_a_server_that_stays_broken() {
    let (server, hub, _cache) = start(&Repository::new(10), first(99, |_, _| Reply::new(503, "")));
    let error = pull(&hub).unwrap_err();
    assert!(matches!(error, HubError::GaveUp { tries: 6, .. }), "{error}");
    assert_eq!(server.requests_for("/model.safetensors").len(), 6);
}

#[test]
fn a_pause_can_be_ended() {
    let (_server, hub, _cache) =
        start(&Repository::new(10), first(99, |_, _| Reply::new(503, "").with("Retry-After", "300")));
    let plan = hub.plan(&model()).unwrap();
    let ended = hub.pull(&plan, &mut |progress| match progress.stage {
        Stage::Waiting { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(ended, Err(HubError::Cancelled)));
}

#[test]
fn one_pull_of_a_model_at_a_time() {
    let (server, hub, cache) = start(&Repository::new(SIZE), |_, _| None);
    let plan = hub.plan(&model()).unwrap();
    let other = Hub::new(settings(&server.address, cache.path()));
    let mut refused = 0;
    hub.pull(&plan, &mut |_| {
        let second = other.pull(&plan, &mut |_| ControlFlow::Continue(()));
        refused += usize::from(matches!(second, Err(HubError::Busy { .. })));
        assert!(matches!(other.remove(&model()), Err(HubError::Busy { .. })));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(refused > 0);
    assert!(other.pull(&plan, &mut |_| ControlFlow::Continue(())).is_ok());
}

#[test]
fn nobody_there() {
    let cache = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{free}"), "http://hub.invalid".to_owned()] {
        let hub =
            Hub::new(Settings { retry: retry(Duration::from_secs(5)), ..settings(&endpoint, cache.path()) });
        let error = hub.plan(&model()).unwrap_err();
        let host = endpoint.trim_start_matches("http://");
        assert!(
            matches!(&error, HubError::Unreachable { .. }) && error.to_string().contains(host),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("HF_ENDPOINT"));
    }
}

#[test]
fn a_new_commit_brings_only_what_changed() {
    let old = Repository::new(SIZE);
    let mut new = old.clone();
    new.commit = COMMIT.replace('0', "f");
    new.files[0].1 = b"{\"model_type\":\"mistral\"}".to_vec();
    let (_server, hub, cache) = start(&old, |_, _| None);
    let before = pull(&hub).unwrap();
    let (server, _, _) = start(&new, |_, _| None);
    let hub = Hub::new(settings(&server.address, cache.path()));
    let after = pull(&hub).unwrap();
    assert_eq!(server.requests_for("/model.safetensors").len(), 0);
    assert_eq!(weights(&after), weights(&before));
    assert_eq!(hub.find(&model()), Some(after));
    assert_eq!(hub.find(&format!("org/name@{COMMIT}").parse().unwrap()), Some(before));
    let names: Vec<_> = hub.list().iter().map(|local| local.reference.to_string()).collect();
    assert_eq!(names, ["org/name".to_owned(), format!("org/name@{COMMIT}")]);
    assert!(hub.remove(&format!("org/name@{COMMIT}").parse().unwrap()).is_ok());
    assert_eq!(hub.list().len(), 1);
}

#[test]
fn gguf_files_come_one_by_one() {
    let repository = Repository {
        commit: COMMIT.to_owned(),
        files: ["m-Q4_0.gguf", "m-Q8_0.gguf"]
            .map(|name| (name.to_owned(), name.as_bytes().to_vec()))
            .to_vec(),
    };
    let (server, hub, cache) = start(&repository, |_, _| None);
    assert!(matches!(pull(&hub), Err(HubError::Choice { offers, .. }) if offers.len() == 2));
    let get = |text: &str| {
        let plan = hub.plan(&text.parse().unwrap()).unwrap();
        hub.pull(&plan, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let small = get("org/name:q4_0");
    assert_eq!(small, folder(&cache).join("m-Q4_0.gguf"));
    assert_eq!(hub.find(&model()), Some(small.clone()), "the only one here needs no name");
    get("org/name:m-Q8_0.gguf");
    assert_eq!((hub.find(&model()), hub.find(&"org/name:Q4_0".parse().unwrap())), (None, Some(small)));
    assert_eq!(hub.list().iter().filter(|local| local.format == Format::Gguf && local.complete).count(), 2);
    assert_eq!(hub.remove(&"org/name:m-Q4_0.gguf".parse().unwrap()).unwrap(), 11);
    assert_eq!(hub.list().len(), 1);
    assert_eq!(server.requests_for("m-Q4_0.gguf").len(), 1);
}

#[test]
fn a_split_gguf_comes_and_goes_as_one() {
    let names = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"];
    let repository = Repository {
        commit: COMMIT.to_owned(),
        files: names.map(|name| (name.to_owned(), name.as_bytes().to_vec())).to_vec(),
    };
    let (server, hub, cache) = start(&repository, |_, _| None);
    let large: Reference = "org/name:Q8_0".parse().unwrap();
    let plan = hub.plan(&large).unwrap();
    let bytes = (names[0].len() + names[1].len()) as u64;
    assert_eq!((plan.files.len(), plan.bytes(), hub.missing(&plan)), (2, bytes, bytes));
    let path = hub.pull(&plan, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(path, folder(&cache).join("m-Q8_0-00001-of-00002.gguf"));
    assert_eq!(
        std::fs::read(folder(&cache).join("m-Q8_0-00002-of-00002.gguf")).unwrap(),
        names[1].as_bytes()
    );
    assert_eq!(server.requests_for("/Q8_0/m-Q8_0-00002-of-00002.gguf").len(), 1);
    assert_eq!((hub.find(&model()), hub.find(&large)), (Some(path.clone()), Some(path.clone())));
    let listed = hub.list();
    assert_eq!((listed.len(), listed[0].bytes, &listed[0].path), (1, bytes, &path));
    assert_eq!(hub.find(&listed[0].reference), Some(path), "what the list calls it finds it");
    // Without a part it is not there, and comes again.
    std::fs::remove_file(folder(&cache).join("m-Q8_0-00002-of-00002.gguf")).unwrap();
    assert_eq!((hub.find(&large), hub.missing(&plan)), (None, names[1].len() as u64));
    hub.pull(&plan, &mut |_| ControlFlow::Continue(())).unwrap();
    hub.pull(&hub.plan(&"org/name:Q4_0".parse().unwrap()).unwrap(), &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(hub.remove(&large).unwrap(), bytes);
    assert_eq!(folder(&cache).read_dir().unwrap().count(), 2, "the other model and the manifest stay");
}

#[test]
fn a_damaged_manifest_or_file_is_not_a_model() {
    let (_server, hub, cache) = start(&Repository::new(SIZE), |_, _| None);
    let path = pull(&hub).unwrap();
    std::fs::write(path.join("model.safetensors"), b"short").unwrap();
    assert_eq!(hub.find(&model()), None);
    assert!(!hub.list()[0].complete);
    pull(&hub).unwrap();
    assert!(hub.find(&model()).is_some());
    std::fs::write(folder(&cache).join("crayon.json"), b"{").unwrap();
    assert_eq!(hub.find(&model()), None);
    pull(&hub).unwrap();
    assert!(hub.find(&model()).is_some());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_says_so() {
    let (_server, hub, cache) = start(&Repository::new(SIZE), |_, _| None);
    std::fs::create_dir_all(folder(&cache)).unwrap();
    // A device without room stands in for the disk.
    std::os::unix::fs::symlink("/dev/full", folder(&cache).join("model.safetensors.part")).unwrap();
    let error = pull(&hub).unwrap_err();
    assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
    assert!(error.hint().unwrap().contains("kept"));
    assert!(!error.is_mistake());
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_disk_took_before_it_took_no_more_is_gone_on_with() {
    const ENDPOINT: &str = "CRAYON_HUB_TEST";
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        let cache = std::env::var_os("CRAYON_HOME").unwrap();
        let error = pull(&Hub::new(settings(&endpoint, Path::new(&cache)))).unwrap_err();
        assert!(error.to_string().contains("model.safetensors.part"), "{error}");
        assert!(error.hint().unwrap().contains("kept") && !error.is_mistake(), "{error}");
        return;
    }
    let repository = Repository::new(SIZE);
    let (server, hub, cache) = start(&repository, |_, _| None);
    // The test once more, in a process whose files end at 300 or 600 KB, as the shell counts.
    let shell = "trap '' XFSZ; ulimit -f 600; exec \"$0\" --exact \"$1\"";
    let output = Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().unwrap())
        .arg("what_the_disk_took_before_it_took_no_more_is_gone_on_with")
        .env(ENDPOINT, &server.address)
        .env("CRAYON_HOME", cache.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let part = std::fs::metadata(folder(&cache).join("model.safetensors.part")).unwrap().len();
    assert!(part > 0 && part < SIZE as u64, "{part}");
    assert_eq!(hub.find(&model()), None);
    assert_eq!(weights(&pull(&hub).unwrap()), repository.file("model.safetensors"));
    assert_eq!(server.requests_for("/model.safetensors").last().unwrap().start(), Some(part as usize));
}
