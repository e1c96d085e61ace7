//! Requests to servers on 127.0.0.1 that cut, stall, drip and lie, and the settings that keep requests away from them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crayon_net::{Aborted, Client, Fault, OFFLINE, RetryPolicy, Url, address, in_background, status_words};

/// Tells a test that it runs in a process of its own, and what to ask there.
const CHILD: &str = "CRAYON_NET_TEST";

/// Pieces of an answer, each with the pause after it.
type Pieces = Vec<(&'static str, Duration)>;

/// A server that writes what `answer` gives for the first line of a request, piece by piece with pauses between.
struct Server {
    address: String,
    /// Connections, as the first line and the headers that came over them.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Pieces + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        // The thread ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = head(&stream);
                log.lock().unwrap().push(head.clone());
                for (piece, pause) in answer(head.lines().next().unwrap_or_default()) {
                    // The client may be gone at any point.
                    let _ = stream.write_all(piece.as_bytes()).and_then(|()| stream.flush());
                    std::thread::sleep(pause);
                }
            }
        });
        Server { address, requests }
    }

    fn url(&self) -> Url {
        address::parse(&self.address).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn head(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap_or(0) > 0 && !head.ends_with("\r\n\r\n") {}
    head
}

const NOW: Duration = Duration::ZERO;

/// Answers with `text` and closes the connection.
fn with(text: &'static str) -> impl Fn(&str) -> Pieces {
    move |_| vec![(text, NOW)]
}

fn policy() -> RetryPolicy {
    RetryPolicy { silence: Duration::from_millis(300), ..RetryPolicy::default() }
}

/// The body, of at most 20 bytes, that has to come within a second.
fn ask(url: &Url) -> Result<(u16, Vec<u8>), Fault> {
    let until = Instant::now() + Duration::from_secs(1);
    let mut response = Client::new(policy()).get(url, &[], Some(until))?;
    Ok((response.status(), response.bytes(20)?))
}

#[test]
fn an_answer_is_had_whatever_its_status() {
    let text = "HTTP/1.1 503 x\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy";
    let server = Server::start(with(text));
    let client = Client::new(policy());
    let headers = [("Authorization", "Bearer k"), ("Accept", "text/plain")];
    let mut response = client.post(&server.url(), &headers, "{}", None).unwrap();
    assert_eq!((response.status(), response.may_pass()), (503, true));
    assert_eq!(response.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(response.header("CONTENT-LENGTH"), Some("4"));
    assert_eq!(response.bytes(4).unwrap(), b"busy");
    let request = server.requests().remove(0).to_ascii_lowercase();
    for wanted in ["post / http/1.1", "authorization: bearer k", "accept: text/plain", "user-agent: crayon/"]
    {
        assert!(request.contains(wanted), "{request}");
    }
    assert_eq!(status_words(429), "too many requests");
    assert!(status_words(503).contains("503"));
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Server::start(with("HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n"));
    let to = elsewhere.url().join("/x").unwrap();
    let head = format!("HTTP/1.1 307 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(with(head.leak()));
    let response = Client::new(policy()).post(&server.url(), &[], "secret", None).unwrap();
    assert_eq!((response.status(), response.location(&server.url())), (307, Ok(to)));
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn faults_are_told_apart() {
    let second = Duration::from_secs(1);
    let drip = || {
        let head = "HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n";
        let mut pieces = vec![(head, Duration::ZERO)];
        pieces.extend([("x", Duration::from_millis(150)); 20]);
        pieces
    };
    let check = |answer: Box<dyn Fn(&str) -> Pieces + Send>, right: fn(&Fault) -> bool| {
        let began = Instant::now();
        let fault = ask(&Server::start(answer).url()).unwrap_err();
        assert!(right(&fault), "{fault:?}");
        assert!(!fault.to_string().contains("os error"), "{fault}");
        assert!(began.elapsed() < 3 * second, "{fault} after {:?}", began.elapsed());
    };
    check(Box::new(|_| vec![]), |fault| matches!(fault, Fault::Cut { .. }));
    check(Box::new(with("HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf")), |fault| {
        matches!(fault, Fault::Cut { .. })
    });
    check(Box::new(with("220 mail.example ESMTP\r\n")), |fault| matches!(fault, Fault::Broken { .. }));
    check(Box::new(with("HTTP/1.1 200 x\r\n\r\na body of more than 20 bytes")), |fault| {
        *fault == Fault::TooLong { limit: 20 }
    });
    let silent = |fault: &Fault| *fault == Fault::Silent { after: Duration::from_millis(300) };
    check(Box::new(move |_| vec![("", 2 * second)]), silent);
    check(Box::new(move |_| vec![("HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf", 2 * second)]), silent);
    check(Box::new(move |_| drip()), |fault| *fault == Fault::OutOfTime);

    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = ask(&address::parse(&format!("http://{free}")).unwrap()).unwrap_err();
    assert_eq!(nobody, Fault::NoConnection { reason: "nobody listens there".to_owned() });
    let unsafe_server = Server::start(with("HTTP/1.1 400 no TLS here\r\n\r\n"));
    let https = unsafe_server.address.replace("http://", "https://");
    let fault = ask(&address::parse(&https).unwrap()).unwrap_err();
    assert!(matches!(fault, Fault::NotSafe { .. }), "{fault:?}");
}

#[test]
fn work_can_be_left_at_any_time() {
    let go_on = |_: Option<u32>| ControlFlow::Continue(());
    let mut heard = Vec::new();
    let end = in_background(None, |send| (0..3).all(|event| send(event).is_continue()), &mut |event| {
        heard.extend(event);
        ControlFlow::Continue(())
    });
    assert_eq!((end, heard), (Ok(true), vec![0, 1, 2]));

    let slow = |_: &dyn Fn(u32) -> ControlFlow<()>| std::thread::sleep(Duration::from_secs(5));
    let began = Instant::now();
    let until = Some(began + Duration::from_millis(100));
    assert_eq!(in_background(until, slow, &mut { go_on }), Err(Aborted::OutOfTime));
    assert_eq!(in_background(None, slow, &mut |_| ControlFlow::Break(())), Err(Aborted::Stopped));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    // Who was left is told so.
    let (sender, told) = std::sync::mpsc::channel();
    let left = in_background(
        None,
        move |send| {
            while send(0).is_continue() {}
            sender.send(()).unwrap();
        },
        &mut |_| ControlFlow::Break(()),
    );
    assert_eq!(left, Err(Aborted::Stopped));
    told.recv_timeout(Duration::from_secs(5)).unwrap();
}

/// Runs `test` of this file again in a process with these variables and no others that concern the network.
fn again(test: &str, url: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    command.env_remove(OFFLINE).env(CHILD, url).envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[expect(clippy::print_stdout, reason = "the test that started the process reads it")]
/// What such a process does: it asks in every way there is, and prints what came of it.
fn asks_in_a_process_of_its_own() -> bool {
    let Ok(url) = std::env::var(CHILD) else { return false };
    let url = address::parse(&url).unwrap();
    let client = Client::new(RetryPolicy { silence: Duration::from_secs(5), ..policy() });
    let background = client.clone();
    let there = url.clone();
    let asked = [
        client.get(&url, &[], None),
        client.post(&url, &[], "{}", None),
        in_background(None, move |_: &dyn Fn(()) -> _| background.get(&there, &[], None), &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap(),
    ];
    for outcome in asked {
        match outcome {
            Ok(response) => println!("outcome: {}", response.status()),
            Err(fault) => println!("outcome: {fault:?}"),
        }
    }
    true
}

/// The outcomes that such a process printed.
fn outcomes(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| Some(line.split_once("outcome: ")?.1)).collect()
}

const EMPTY: &str = "HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

#[test]
fn where_the_network_is_forbidden_no_socket_is_opened() {
    if asks_in_a_process_of_its_own() {
        return;
    }
    let (server, proxy) = (Server::start(with(EMPTY)), Server::start(with(EMPTY)));
    let test = "where_the_network_is_forbidden_no_socket_is_opened";
    for value in ["1", "true", "YES", " on "] {
        for url in [server.address.as_str(), "http://server.invalid", "https://192.0.2.1"] {
            let output = again(test, url, &[(OFFLINE, value), ("ALL_PROXY", &proxy.address)]);
            let forbidden = format!("{:?}", Fault::Forbidden { variable: OFFLINE });
            assert_eq!(outcomes(&output), [forbidden.as_str(); 3], "{url}");
        }
    }
    assert_eq!((server.requests().len(), proxy.requests().len()), (0, 0));
    // The servers would have noticed.
    assert_eq!(outcomes(&again(test, &server.address, &[(OFFLINE, "0")])), ["200"; 3]);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn proxies_come_from_the_environment() {
    if asks_in_a_process_of_its_own() {
        return;
    }
    let test = "proxies_come_from_the_environment";
    let server = Server::start(with(EMPTY));
    let elsewhere = "http://server.invalid";
    for (url, variable, no_proxy, wanted) in [
        (elsewhere, "ALL_PROXY", "", true),
        (elsewhere, "HTTPS_PROXY", "other.invalid", true),
        (elsewhere, "HTTP_PROXY", "", true),
        (elsewhere, "http_proxy", "", true),
        ("https://server.invalid", "HTTPS_PROXY", "", true),
        (elsewhere, "HTTP_PROXY", "server.invalid", false),
        (elsewhere, "HTTP_PROXY", "other.invalid,.invalid", false),
        (elsewhere, "HTTP_PROXY", "*", false),
        // This device is never asked through another.
        (server.address.as_str(), "ALL_PROXY", "", false),
    ] {
        let proxy = Server::start(with("HTTP/1.1 407 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        let output = again(test, url, &[(variable, &proxy.address), ("NO_PROXY", no_proxy)]);
        let asked = proxy.requests();
        assert_eq!(asked.len(), if wanted { 3 } else { 0 }, "{url} {variable} {no_proxy}: {asked:?}");
        assert!(asked.iter().all(|head| head.starts_with("CONNECT server.invalid:")), "{asked:?}");
        let refused = |outcome: &&str| outcome.contains("NoConnection") && outcome.contains("proxy");
        assert_eq!(
            outcomes(&output).iter().filter(|outcome| refused(outcome)).count(),
            asked.len(),
            "{output}"
        );
    }
    assert_eq!(server.requests().len(), 3);
}
