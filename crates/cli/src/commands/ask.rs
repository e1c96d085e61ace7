//! `crayon ask`: one question, perhaps about documents, one answer.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crayon_engine::{Engine, EngineError, Finish, GenerateOptions, PotError, Session};
use crayon_hybrid::{Decision, Question, RemoteAnswer};
use crayon_text::{Message, Role, Special};
use serde::Serialize;

use super::answering::{self, Size, Times};
use super::customize::Weights;
use super::routing::{self, By, Request as Work, Routing};
use super::{customize, long};
use crate::args::AskArgs;
use crate::failure::{Interrupted, Result, mistake};
use crate::output::Output;
use crate::{input, interrupt, model, show};

/// What is asked, once files and stdin are read.
#[derive(Debug)]
struct Request {
    /// Documents that are never distilled away.
    pinned: Vec<String>,
    documents: Vec<String>,
    question: String,
}

/// The answer as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    text: &'a str,
    finish: &'a str,
    model: &'a str,
    #[serde(rename = "where")]
    place: &'static str,
    reason: &'a str,
    confidence: Option<f32>,
    /// How near the question is to what the adapter was customised for.
    scope: Option<f32>,
    /// Adapters the device answers through, with their weights.
    adapter: Option<Weights<'a>>,
    seed: Option<u64>,
    tokens: Tokens,
    timing: Times,
    peak_rss_mb: Option<f64>,
}

/// What became of the tokens. A server does not always say.
#[derive(Serialize)]
struct Tokens {
    read: Option<usize>,
    kept: Option<usize>,
    evicted: Option<usize>,
    generated: Option<usize>,
}

/// Runs the command.
pub(crate) fn run(args: &AskArgs, output: &Output) -> Result {
    customize::check(&args.custom, &args.route)?;
    let routing = Routing::new(&args.route)?;
    if args.raw && routing.may_send() {
        return Err(mistake(
            "--raw goes on with a text, and a server takes conversations only",
            "--route device goes on with it here",
        ));
    }
    let request = Request::gather(args, output)?;
    if let Some(decision) = routing.server_only() {
        interrupt::watch();
        let answer = routing.ask(&request.question(args), output.json, output)?;
        let (decision, loading) = (&decision, Duration::ZERO);
        let told = Told { decision, confidence: None, scope: None, adapter: None, loading };
        return finish_remote(args, told, &answer, output);
    }
    let mut engine = model::open(&args.model, output)?;
    let custom = customize::apply(&mut engine, &args.model, &args.custom, output)?;
    let sampling = answering::sampling(&args.answer, &engine)?;
    let seed = sampling.seed;
    let prompt = request.tokens(args, &engine)?;
    let routing = routing.for_model(&engine, &custom, output)?;
    let scope = custom.scope(&engine, &request.question)?;

    let wanted = args.answer.max_tokens.map(|tokens| tokens as usize);
    interrupt::watch();
    let (mut session, max_tokens) = request.session(args, &engine, &prompt, wanted, output)?;
    let (read, reading) = match args.cache {
        // The device reads only if the server fails.
        _ if routing.skips_device(scope) => (0, Duration::ZERO),
        true => {
            answering::read_cached(&mut session, &prompt, request.stable(args, &engine, &prompt)?, output)?
        }
        false => answering::read(&mut session, &prompt, output)?,
    };
    let options = GenerateOptions { sampling, max_tokens, stop: args.answer.stop.clone(), ignore_end: false };
    let question = request.question(args);
    let work = Work { prompt: &prompt, options: &options, question: &question, scope };
    let routed = routing.write(&mut session, &work, output.json, output)?;
    let answer = match &routed.by {
        By::Device(answer) => answer,
        By::Server(answer) => {
            let told = Told {
                decision: &routed.decision,
                confidence: routed.confidence,
                scope,
                adapter: custom.weights(),
                loading: engine.loading(),
            };
            return finish_remote(args, told, answer, output);
        }
    };
    let times = Times::new(&engine, read, reading, answer);
    // Tokens of the answer may have pushed others out as well.
    let evicted = (session.pot().tokens_read() - session.pot().kept()).min(prompt.len());

    if output.json {
        let tokens = Tokens {
            read: Some(prompt.len()),
            kept: Some(prompt.len() - evicted),
            evicted: Some(evicted),
            generated: Some(answer.tokens.len()),
        };
        output.object(&Report {
            text: &answer.text,
            finish: answer.finish.name(),
            model: engine.name(),
            place: routed.decision.place.name(),
            reason: &routed.decision.reason,
            confidence: answer.confidence,
            scope,
            adapter: custom.weights(),
            seed: Some(seed),
            tokens,
            timing: times,
            peak_rss_mb: show::peak_rss_mb(),
        })?;
    } else {
        output.piece("\n")?;
    }
    output.detail(&times.line(read, answer));
    if args.answer.seed.is_none() && options.sampling.temperature > 0.0 {
        output.detail(&format!("--seed {seed} gives this answer again"));
    }
    routing::explain(&routed.decision, None, output);
    answering::explain(answer, output);
    long::explain(&session, output);
    match answer.finish {
        Finish::Cancelled => Err(Interrupted.into()),
        _ => Ok(()),
    }
}

/// What the device knows of a query that the server answered.
struct Told<'a> {
    decision: &'a Decision,
    confidence: Option<f32>,
    scope: Option<f32>,
    adapter: Option<Weights<'a>>,
    loading: Duration,
}

/// Ends a command whose answer came from the server.
fn finish_remote(args: &AskArgs, told: Told<'_>, answer: &RemoteAnswer, output: &Output) -> Result {
    let Told { decision, confidence, scope, adapter, loading } = told;
    if output.json {
        let (read, generated) = (answer.prompt_tokens, answer.written);
        output.object(&Report {
            text: &answer.text,
            finish: &answer.finish,
            model: &answer.model,
            place: decision.place.name(),
            reason: &decision.reason,
            confidence,
            scope,
            adapter,
            seed: args.answer.seed,
            tokens: Tokens { read, kept: read, evicted: read.map(|_| 0), generated },
            timing: routing::times(answer, loading),
            peak_rss_mb: show::peak_rss_mb(),
        })?;
    } else {
        output.piece("\n")?;
    }
    routing::explain(decision, Some(answer), output);
    Ok(())
}

impl Request {
    /// Reads documents and the question; stdin serves one of them.
    fn gather(args: &AskArgs, output: &Output) -> Result<Request> {
        let piped = args.context.iter().filter(|path| is_stdin(path)).count();
        if piped > 1 {
            return Err(mistake("--context - is given more than once", "stdin holds one document"));
        }
        let mut question = args.prompt.join(" ");
        if args.prompt.is_empty() {
            if piped == 1 {
                let hint = "write the question after the options: crayon ask --context - \"Who wrote it?\"";
                return Err(mistake("stdin is the document, and no question is given", hint));
            }
            if io::stdin().is_terminal() {
                return Err(EngineError::EmptyPrompt.into());
            }
            question = input::stdin("the question", output)?;
        }
        // A text to go on with keeps its blanks, but for the line end that `echo` adds.
        let question = match args.raw {
            true if args.prompt.is_empty() => {
                question.strip_suffix('\n').map(str::to_owned).unwrap_or(question)
            }
            true => question,
            false => question.trim().to_owned(),
        };
        if question.is_empty() && !args.raw {
            return Err(EngineError::EmptyPrompt.into());
        }
        let documents = documents(&args.context, output)?;
        Ok(Request { pinned: documents_pinned(args, output)?, documents, question })
    }

    /// Pinned documents, the others, then the question, with blank lines between.
    fn text(&self) -> String {
        let parts: Vec<&str> =
            self.pinned.iter().chain(&self.documents).chain([&self.question]).map(String::as_str).collect();
        parts.join("\n\n")
    }

    fn tokens(&self, args: &AskArgs, engine: &Engine) -> Result<Vec<u32>, EngineError> {
        match args.raw {
            true => engine.text_prompt(&self.text()),
            false => engine.chat_prompt(&self.messages(args)),
        }
    }

    fn messages(&self, args: &AskArgs) -> Vec<Message> {
        let mut messages = Vec::new();
        messages.extend(args.system.iter().map(|text| Message::new(Role::System, text.as_str())));
        messages.push(Message::new(Role::User, self.text()));
        messages
    }

    /// What a server would be asked.
    fn question(&self, args: &AskArgs) -> Question {
        routing::question(self.messages(args), &args.answer)
    }

    /// The prompt without what may be distilled: where it agrees with the whole prompt, tokens stay.
    fn frame(&self, args: &AskArgs, engine: &Engine) -> Result<Vec<u32>, EngineError> {
        // Without documents it is the question that is too long to stay whole.
        let question = if self.documents.is_empty() { "?".to_owned() } else { self.question.clone() };
        Request { pinned: self.pinned.clone(), documents: Vec::new(), question }.tokens(args, engine)
    }

    /// Tokens at the beginning of the prompt that another question leaves as they are.
    fn stable(&self, args: &AskArgs, engine: &Engine, prompt: &[u32]) -> Result<usize, EngineError> {
        let other = Request {
            pinned: self.pinned.clone(),
            documents: self.documents.clone(),
            question: format!("?{}", self.question),
        };
        let other = other.tokens(args, engine)?;
        Ok(prompt.iter().zip(&other).take_while(|(a, b)| a == b).count())
    }

    /// A session with room for the prompt and the answer, or one with a pot, and the longest answer.
    fn session<'e>(
        &self,
        args: &AskArgs,
        engine: &'e Engine,
        prompt: &[u32],
        wanted: Option<usize>,
        output: &Output,
    ) -> Result<(Session<'e>, usize)> {
        let context = engine.spec().context;
        let window = if args.long.given() { args.long.entries(engine) } else { context };
        if window > context {
            return Err(EngineError::from(PotError::BeyondContext { entries: window, context }).into());
        }
        let size = Size { documents: self.document_tokens(engine)?, prompt: prompt.len() };
        let no_room = match answering::room(window, size, wanted) {
            Ok(max_tokens) => {
                if wanted.is_none() && max_tokens < answering::LONGEST {
                    let left = show::count(max_tokens);
                    output.note(&format!("{left} tokens of the context are left for the answer"));
                }
                return Ok((engine.session(prompt.len() + max_tokens)?, max_tokens));
            }
            Err(no_room) => no_room,
        };
        if !long::possible(engine, &args.long) {
            return Err(no_room.into_error(engine));
        }
        let max_tokens = wanted.unwrap_or(answering::LONGEST);
        // A cached document must not depend on the question.
        let options = args.long.options(engine, Some(self.question.as_str()), !args.cache)?;
        if self.documents.is_empty() {
            // Nothing but a question: it stays whole if it can; one that is a text itself is distilled.
            let whole = std::iter::once(0..prompt.len() as u32).collect();
            if let Ok(session) = long::session(engine, options, whole) {
                return Ok((session, max_tokens));
            }
        }
        let [head, tail] = crayon_engine::stays(prompt, &self.frame(args, engine)?);
        let question = (!self.documents.is_empty()).then_some(self.question.as_str());
        let options = args.long.options(engine, question, !args.cache)?;
        Ok((long::session(engine, options, vec![head, tail])?, max_tokens))
    }

    fn document_tokens(&self, engine: &Engine) -> Result<usize, EngineError> {
        let tokenizer = engine.tokenizer()?;
        let mut tokens = 0;
        for document in self.pinned.iter().chain(&self.documents) {
            tokens += tokenizer.encode(document, Special::Plain)?.len();
        }
        Ok(tokens)
    }
}

fn documents(paths: &[PathBuf], output: &Output) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in paths {
        let text = if is_stdin(path) { input::stdin("the document", output)? } else { input::file(path)? };
        if text.trim().is_empty() {
            let name = if is_stdin(path) { "stdin".into() } else { path.display().to_string() };
            output.note(&format!("{name} is empty"));
            continue;
        }
        documents.push(text.trim().to_owned());
    }
    Ok(documents)
}

fn documents_pinned(args: &AskArgs, output: &Output) -> Result<Vec<String>> {
    if args.pin.iter().any(|path| is_stdin(path)) {
        return Err(mistake("--pin reads files, not stdin", "save the text to a file"));
    }
    documents(&args.pin, output)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_before_the_question_with_blank_lines_between() {
        let request = Request {
            pinned: vec!["zero".into()],
            documents: vec!["one".into(), "two".into()],
            question: "which?".into(),
        };
        assert_eq!(request.text(), "zero\n\none\n\ntwo\n\nwhich?");
        let alone = Request { pinned: vec![], documents: vec![], question: "which?".into() };
        assert_eq!(alone.text(), "which?");
    }
}
