//! The client against servers on 127.0.0.1 that cut, stall, lie and refuse.

mod support;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_errors::Explain as _;
use crayon_hybrid::{Endpoint, Event, Key, Question, Remote, RemoteAnswer, RemoteError, RetryPolicy};
use crayon_text::{Message, Role};
use support::{Reply, Server, chunk, end, whole};

fn policy() -> RetryPolicy {
    RetryPolicy {
        budget: Duration::from_secs(20),
        silence: Duration::from_secs(10),
        backoff: Duration::from_millis(20),
        ..RetryPolicy::default()
    }
}

fn question() -> Question {
    Question { messages: vec![Message::new(Role::User, "Why?")], ..Question::default() }
}

fn remote(server: &Server, policy: RetryPolicy) -> Remote {
    Remote::new(Endpoint::parse(&server.address).unwrap(), "big", None, policy)
}

/// What a caller who shows pieces as they come has on the screen, and how often it was told to wipe it.
#[derive(Default)]
struct Screen {
    text: String,
    discards: usize,
    retries: Vec<(String, Duration)>,
}

fn ask(remote: &Remote) -> (Result<RemoteAnswer, RemoteError>, Screen) {
    let mut screen = Screen::default();
    let answer = remote.ask(&question(), &mut |event| {
        match event {
            Event::Text(piece) => screen.text += &piece,
            Event::Discard => {
                screen.text.clear();
                screen.discards += 1;
            }
            Event::Retry { reason, pause } => screen.retries.push((reason, pause)),
            Event::Waiting => {}
        }
        ControlFlow::Continue(())
    });
    (answer, screen)
}

fn check_whole(answer: Result<RemoteAnswer, RemoteError>, screen: &Screen, text: &str) -> RemoteAnswer {
    let answer = answer.unwrap();
    assert_eq!((answer.text.as_str(), screen.text.as_str()), (text, text));
    answer
}

#[test]
fn an_answer_streams_in_whole_characters_however_it_is_cut_into_packets() {
    let text = "Füchse 🦊 mögen 漢字.";
    let body = [chunk("Füchse 🦊"), chunk(" mögen 漢字."), end("stop")].concat();
    for packet in [1, 2, 3, 7, 1000] {
        let body = body.clone();
        let server = Server::start(move |_| Reply { packet, ..Reply::events(&body) });
        let (answer, screen) = ask(&remote(&server, policy()));
        let answer = check_whole(answer, &screen, text);
        assert_eq!((answer.finish.as_str(), answer.tries, screen.discards), ("stop", 1, 0));
        assert_eq!(
            (answer.prompt_tokens, answer.written, answer.model.as_str()),
            (Some(3), Some(5), "big-2")
        );
    }
}

#[test]
fn the_request_is_openais_and_carries_the_key() {
    let server = Server::start(|_| Reply::events(&whole("ok")));
    let key = Key::new("sk-secret", "X").unwrap();
    let remote = Remote::new(Endpoint::parse(&server.address).unwrap(), "big", Some(key), policy());
    let asked = Question {
        max_tokens: Some(9),
        temperature: Some(0.7),
        seed: Some(3),
        stop: vec!["END".to_owned()],
        ..question()
    };
    remote.ask(&asked, &mut |_| ControlFlow::Continue(())).unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.header("authorization"), Some("Bearer sk-secret"));
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["messages"], serde_json::json!([{"role": "user", "content": "Why?"}]));
    assert_eq!(
        (&body["model"], &body["stream"], &body["temperature"]),
        (&"big".into(), &true.into(), &0.7.into())
    );
    assert_eq!((&body["max_tokens"], &body["seed"], &body["stop"][0]), (&9.into(), &3.into(), &"END".into()));
    assert!(body.get("top_p").is_none() && body.get("presence_penalty").is_none());
}

#[test]
fn a_cut_stream_is_asked_for_again_and_never_mixed() {
    let server = Server::start(|count| match count {
        0 => Reply::events(&(chunk("Half an") + "data: {\"choices\"")),
        // The length is promised, and not kept.
        1 => Reply { cut: Some(60), length: true, ..Reply::events(&whole("Half an answer.")) },
        _ => Reply::events(&whole("Another, whole.")),
    });
    let (answer, screen) = ask(&remote(&server, policy()));
    assert_eq!(check_whole(answer, &screen, "Another, whole.").tries, 3);
    assert!(screen.discards == 1 && screen.retries.len() == 2, "{:?}", screen.retries);
}

#[test]
fn a_stream_that_is_always_cut_gives_no_answer_at_all() {
    let server = Server::start(|_| Reply::events(&chunk("Half")));
    let (answer, screen) = ask(&remote(&server, policy()));
    let error = answer.unwrap_err();
    assert!(
        matches!(&error, RemoteError::GaveUp { tries: 4, reason, .. } if reason.contains("cut")),
        "{error}"
    );
    assert_eq!((screen.text.as_str(), screen.discards, server.requests().len()), ("", 4, 4));
    assert!(error.hint().is_some() && !error.is_mistake());
}

#[test]
fn busy_and_failing_servers_are_asked_again() {
    let server = Server::start(|count| match count {
        0 => Reply::error(503, "overloaded"),
        1 => Reply::error(500, "oops"),
        2 => Reply::events("data: {\"error\":{\"message\":\"lost the GPU\"}}\n\n"),
        _ => Reply::events(&whole("At last.")),
    });
    let (answer, screen) = ask(&remote(&server, policy()));
    assert_eq!(check_whole(answer, &screen, "At last.").tries, 4);
    let reasons: Vec<&str> = screen.retries.iter().map(|(reason, _)| reason.as_str()).collect();
    assert!(reasons[0].contains("503") && reasons[0].contains("overloaded"), "{reasons:?}");
    assert!(reasons[2].contains("lost the GPU"), "{reasons:?}");
    // The pauses double, give or take a quarter.
    assert!(screen.retries[2].1 > screen.retries[0].1, "{:?}", screen.retries);
}

#[test]
fn the_pause_a_busy_server_asks_for_is_kept_if_there_is_time() {
    let busy = || Reply { headers: vec![("Retry-After", "1".to_owned())], ..Reply::error(429, "slow down") };
    let server = Server::start(move |count| if count == 0 { busy() } else { Reply::events(&whole("Now.")) });
    let (answer, screen) = ask(&remote(&server, policy()));
    let answer = check_whole(answer, &screen, "Now.");
    assert!(answer.total >= Duration::from_secs(1), "{:?}", answer.total);
    assert_eq!(screen.retries, [("too many requests (slow down)".to_owned(), Duration::from_secs(1))]);

    let server = Server::start(|_| Reply {
        headers: vec![("Retry-After", "3600".to_owned())],
        ..Reply::error(429, "")
    });
    let began = Instant::now();
    let (answer, _) = ask(&remote(&server, policy()));
    assert!(matches!(answer, Err(RemoteError::GaveUp { tries: 1, .. })), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn refusals_for_good_are_not_repeated_and_their_words_are_made_harmless() {
    let words = "Incorrect key sk-secret.\u{1b}[2J\nmore";
    let server = Server::start(move |_| Reply::error(401, words));
    let key = Key::new("sk-secret", "X").unwrap();
    let remote = Remote::new(Endpoint::parse(&server.address).unwrap(), "big", Some(key), policy());
    let error = ask(&remote).0.unwrap_err();
    assert!(matches!(error, RemoteError::Refused { status: 401, .. }) && error.is_mistake());
    let text = format!("{error} {error:?} {remote:?}");
    assert!(!text.contains("sk-secret") && !text.contains('\u{1b}') && text.contains("***"), "{text}");
    assert_eq!(server.requests().len(), 1);

    let other = Server::start(|_| Reply::events(&whole("stolen")));
    let to = format!("{}/v1/chat/completions", other.address);
    let server =
        Server::start(move |_| Reply { headers: vec![("Location", to.clone())], ..Reply::error(307, "") });
    assert!(matches!(ask(&self::remote(&server, policy())).0, Err(RemoteError::Answer { .. })));
    assert!(other.requests().is_empty());
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    for body in
        ["<html>hello</html>", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":"  "}}]}"#]
    {
        let server = Server::start(move |_| Reply { kind: "application/json", ..Reply::events(body) });
        let (answer, _) = ask(&remote(&server, policy()));
        assert!(matches!(answer, Err(RemoteError::Answer { .. })), "{body}: {answer:?}");
    }
    let (none, nonsense) = (end("stop"), "data: \u{0}nonsense\n\n".to_owned());
    for body in [none, nonsense] {
        let server = Server::start(move |_| Reply::events(&body));
        assert!(ask(&remote(&server, policy())).0.is_err());
    }
    let endless = "data: ".to_owned() + &"x".repeat(3 << 20);
    let server = Server::start(move |_| Reply::events(&endless));
    assert!(ask(&remote(&server, RetryPolicy { tries: 1, ..policy() })).0.is_err());
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let body =
        r#"{"choices":[{"message":{"role":"assistant","content":"All at once."},"finish_reason":"length"}]}"#;
    let server = Server::start(move |_| Reply { kind: "application/json", ..Reply::events(body) });
    let (answer, screen) = ask(&remote(&server, policy()));
    let answer = check_whole(answer, &screen, "All at once.");
    assert_eq!((answer.finish.as_str(), answer.written, answer.model.as_str()), ("length", None, "big"));
}

#[test]
fn silence_and_dripping_end_with_the_budget() {
    let budget = Duration::from_millis(1500);
    let silent = Server::start(|_| Reply { before: Duration::from_secs(5), ..Reply::events(&whole("late")) });
    let drip = Server::start(|_| Reply {
        packet: 1,
        between: Duration::from_millis(100),
        ..Reply::events(&whole("a very long answer"))
    });
    let mute = RetryPolicy { silence: Duration::from_millis(200), ..policy() };
    for (server, policy) in [
        (&silent, RetryPolicy { budget, ..policy() }),
        (&drip, RetryPolicy { budget, ..policy() }),
        (&silent, RetryPolicy { budget, ..mute }),
    ] {
        let began = Instant::now();
        let (answer, screen) = ask(&remote(server, policy));
        assert!(matches!(answer, Err(RemoteError::GaveUp { .. })), "{answer:?}");
        assert_eq!(screen.text, "");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
}

#[test]
fn a_server_that_is_down_is_given_up_and_one_that_comes_up_is_found() {
    // A port that was free a moment ago.
    let address = Server::start(|_| Reply::events("")).address.clone();
    let remote = Remote::new(Endpoint::parse(&address).unwrap(), "big", None, policy());
    let (answer, screen) = ask(&remote);
    assert!(matches!(answer, Err(RemoteError::GaveUp { tries: 4, .. })), "{answer:?}");
    assert_eq!(screen.retries.len(), 3);
    let nowhere = Endpoint::parse("http://no-such-host.invalid").unwrap();
    let error = ask(&Remote::new(nowhere, "big", None, policy())).0.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. } | RemoteError::GaveUp { .. }), "{error}");
}

#[test]
fn the_caller_can_stop_at_any_time() {
    let server = Server::start(|_| Reply { before: Duration::from_secs(5), ..Reply::events(&whole("late")) });
    let began = Instant::now();
    let mut events = 0;
    let answer = remote(&server, policy()).ask(&question(), &mut |_| {
        events += 1;
        if events == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(answer, Err(RemoteError::Cancelled));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
