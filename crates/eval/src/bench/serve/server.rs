//! A server that is started for a measurement, and ends with it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crayon_net::{Client, RetryPolicy, Url};
use serde_json::Value;

use super::Steps;
use crate::EvalError;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked at meanwhile.
const SLICE: Duration = Duration::from_millis(50);
/// Lines of its stderr that are kept.
const LINES: usize = 12;
/// How long it may be silent: a long prompt is read without a word.
const SILENCE: Duration = Duration::from_secs(600);
/// Largest body that is read whole.
const LARGEST: u64 = 4 << 20;

/// How a server is started.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    /// Where it will be; `None` where its first line tells.
    port: Option<u16>,
}

impl Program {
    /// `crayon serve` of the program at `path`, with `arguments` behind it.
    pub fn ours(path: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        let mut command = Command::new(path);
        command.args(["serve", "--port", "0", "--json"]).args(arguments).stdout(Stdio::piped());
        Program { name: "crayon serve".to_owned(), command, port: None }
    }

    /// Another server, by a command line in which `{port}` and `{model}` are replaced. Words that hold blanks stand in quotes; no
    /// shell reads it.
    ///
    /// # Errors
    /// When the line is not a command, or has no `{port}`.
    pub fn rival(line: &str, model: &str) -> Result<Program, EvalError> {
        let wrong = |what: &str| EvalError::Rival { line: line.to_owned(), what: what.to_owned() };
        let words = words(line).ok_or_else(|| wrong("has a quote that does not end"))?;
        if !words.iter().any(|word| word.contains("{port}")) {
            return Err(wrong("does not say {port}"));
        }
        let port = free_port().map_err(|error| wrong(&format!("gets no port: {error}")))?;
        let mut words =
            words.iter().map(|word| word.replace("{port}", &port.to_string()).replace("{model}", model));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdout(Stdio::null());
        Ok(Program { name: line.to_owned(), command, port: Some(port) })
    }

    /// As it was given.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }
}

/// A port that nobody uses now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The words of a command line; `None` where a quote does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// A server that runs.
pub(super) struct Server {
    name: String,
    child: Mutex<Child>,
    said: Arc<Mutex<VecDeque<String>>>,
    /// The address that paths are put behind.
    base: Url,
    /// The model to ask for.
    pub(super) model: String,
    /// Whether it is this program, and knows its extensions.
    pub(super) is_ours: bool,
    client: Client,
}

impl Server {
    /// Starts `program` and waits until it answers.
    ///
    /// # Errors
    /// When it does not, with what it said, or `steps` stop it.
    pub(super) fn start(mut program: Program, steps: &mut Steps<'_>) -> Result<Server, EvalError> {
        let name = program.name;
        let spawned = program.command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|source| EvalError::NotStarted {
            server: name.clone(),
            what: crayon_errors::describe(&source),
            said: Vec::new(),
        })?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = child.stderr.take() {
            let said = said.clone();
            let keep = move |line| {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.len() == LINES {
                    said.pop_front();
                }
                said.push_back(line);
            };
            thread::spawn(move || lines(stderr, keep));
        }
        let told = child.stdout.take().map(|stdout| {
            let (sender, told) = channel();
            // Nobody wants the lines after the first, but they have to go somewhere.
            thread::spawn(move || lines(stdout, |line| drop(sender.send(line))));
            told
        });
        let policy = RetryPolicy { silence: SILENCE, tries: 1, ..RetryPolicy::default() };
        let base = Url::parse(&format!("http://127.0.0.1:{}/", program.port.unwrap_or_default()));
        let mut server = Server {
            base: base.map_err(|error| EvalError::asked(&name, error.to_string()))?,
            name,
            child: Mutex::new(child),
            said,
            model: String::new(),
            is_ours: program.port.is_none(),
            client: Client::new(policy),
        };
        match told {
            Some(told) => server.hear(&told, steps)?,
            None => server.knock(steps)?,
        }
        Ok(server)
    }

    /// Waits for the line that says where it is.
    fn hear(&mut self, told: &Receiver<String>, steps: &mut Steps<'_>) -> Result<(), EvalError> {
        let until = Instant::now() + PATIENCE;
        let line = loop {
            match told.recv_timeout(SLICE) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) => self.still(until, steps)?,
                // It is ending.
                Err(RecvTimeoutError::Disconnected) => {
                    self.still(until, steps)?;
                    thread::sleep(SLICE);
                }
            }
        };
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        let url =
            told["url"].as_str().and_then(|url| Url::parse(url).ok()).and_then(|url| url.join("/").ok());
        let (Some(url), Some(model)) = (url, told["model"].as_str()) else {
            return Err(self.failed(format!("it said {line:?} instead of its address")));
        };
        (self.base, self.model) = (url, model.to_owned());
        Ok(())
    }

    /// Asks until it answers, and for its model.
    fn knock(&mut self, steps: &mut Steps<'_>) -> Result<(), EvalError> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Some have no page about their health, and those that load say so there.
            let models = match self.status("health") {
                Some(200 | 404) => self.get("v1/models").ok(),
                _ => None,
            };
            if let Some(model) = models.as_ref().and_then(|models| models["data"][0]["id"].as_str()) {
                self.model = model.to_owned();
                return Ok(());
            }
            self.still(until, steps)?;
            thread::sleep(SLICE);
        }
    }

    /// Whether it may still come to answer.
    fn still(&self, until: Instant, steps: &mut Steps<'_>) -> Result<(), EvalError> {
        steps.check()?;
        let ended = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        match ended {
            Ok(Some(status)) => Err(self.failed(format!("it ended before it answered ({status})"))),
            _ if Instant::now() >= until => {
                Err(self.failed(format!("it did not answer within {} s", PATIENCE.as_secs())))
            }
            _ => Ok(()),
        }
    }

    /// That it did not start, and what it said.
    fn failed(&self, what: String) -> EvalError {
        // What was said last may still be on its way.
        thread::sleep(SLICE);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        EvalError::NotStarted { server: self.name.clone(), what, said: said.iter().cloned().collect() }
    }

    fn url(&self, path: &str) -> Result<Url, EvalError> {
        self.base.join(path).map_err(|error| self.refused(error.to_string()))
    }

    fn status(&self, path: &str) -> Option<u16> {
        let url = self.url(path).ok()?;
        self.client.get(&url, &[], None).ok().map(|response| response.status())
    }

    /// The object at `path`.
    pub(super) fn get(&self, path: &str) -> Result<Value, EvalError> {
        let response = self.client.get(&self.url(path)?, &[], None);
        self.whole(response.map_err(|fault| self.refused(fault.to_string()))?)
    }

    /// The object that answers `body`.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, EvalError> {
        self.whole(self.send(path, body)?)
    }

    fn whole(&self, mut response: crayon_net::Response) -> Result<Value, EvalError> {
        let bytes = response.bytes(LARGEST).map_err(|fault| self.refused(fault.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| self.refused(error.to_string()))
    }

    /// Sends `body`; any status but success is an error.
    pub(super) fn send(&self, path: &str, body: &Value) -> Result<crayon_net::Response, EvalError> {
        let headers = [("Content-Type", "application/json")];
        let sent = self.client.post(&self.url(path)?, &headers, &body.to_string(), None);
        let mut response = sent.map_err(|fault| self.refused(fault.to_string()))?;
        if (200..300).contains(&response.status()) {
            return Ok(response);
        }
        let body: Value =
            serde_json::from_slice(&response.bytes(LARGEST).unwrap_or_default()).unwrap_or_default();
        let status = crayon_net::status_words(response.status());
        Err(self.refused(body["error"]["message"].as_str().map_or(status, str::to_owned)))
    }

    /// That it did not answer as it should.
    pub(super) fn refused(&self, what: String) -> EvalError {
        EvalError::asked(&self.name, what)
    }

    /// Ends it. Who waits for an answer is told that there is none.
    pub(super) fn end(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Every line of `from`, to its end.
fn lines(from: impl Read, mut take: impl FnMut(String)) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        take(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_taken_apart() {
        let found = |line| words(line).map(|words| words.join("|"));
        assert_eq!(found("a  -m {model} 'b c' \"d 'e\" f'g'").as_deref(), Some("a|-m|{model}|b c|d 'e|fg"));
        assert_eq!(found("a ''").as_deref(), Some("a|"));
        assert_eq!(found(" ").as_deref(), Some(""));
        assert_eq!(found("a 'b"), None);
    }

    #[test]
    fn a_rival_needs_a_port() {
        let rival = |line| Program::rival(line, "/models/a b.gguf");
        assert!(matches!(rival("server -m {model}"), Err(EvalError::Rival { .. })));
        let program = rival("server -m {model} --port={port}").unwrap();
        let arguments: Vec<_> = program.command.get_args().collect();
        let port = format!("--port={}", program.port.unwrap());
        assert_eq!(arguments, ["-m", "/models/a b.gguf", port.as_str()]);
    }
}
