//! `crayon ask`: one question, perhaps about documents, one answer.

use std::io::{self, IsTerminal};
use std::path::Path;

use crayon_engine::{Answer, Engine, EngineError, Finish, Options};
use crayon_text::{Message, Role, Special};
use serde::Serialize;

use super::answering::{self, Size, Times};
use crate::args::AskArgs;
use crate::failure::{Interrupted, mistake};
use crate::output::Output;
use crate::{input, interrupt, model, show};

/// What is asked, once files and stdin are read.
#[derive(Debug)]
struct Request {
    documents: Vec<String>,
    question: String,
}

/// The answer as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    text: &'a str,
    finish: &'static str,
    model: &'a str,
    #[serde(rename = "where")]
    place: &'static str,
    reason: &'static str,
    confidence: Option<f32>,
    scope: Option<f32>,
    seed: u64,
    tokens: Tokens,
    timing: Times,
    peak_rss_mb: Option<f64>,
}

#[derive(Serialize)]
struct Tokens {
    read: usize,
    kept: usize,
    evicted: usize,
    generated: usize,
}

/// Runs the command.
pub(crate) fn run(args: &AskArgs, output: &Output) -> anyhow::Result<()> {
    let request = Request::gather(args, output)?;
    let engine = model::open(&args.model, output)?;
    let sampling = answering::sampling(&args.answer, &engine)?;
    let seed = sampling.seed;
    let prompt = request.tokens(args, &engine)?;

    let size = Size { documents: request.document_tokens(&engine)?, prompt: prompt.len() };
    let wanted = args.answer.max_tokens.map(|tokens| tokens as usize);
    let max_tokens = answering::room(engine.spec().context, size, wanted)
        .map_err(|no_room| no_room.into_error(engine.name()))?;
    if wanted.is_none() && max_tokens < answering::LONGEST {
        output.note(&format!("{} tokens of the context are left for the answer", show::count(max_tokens)));
    }

    interrupt::watch();
    let mut session = engine.session(prompt.len() + max_tokens)?;
    let (read, reading) = answering::read(&mut session, &prompt, output)?;
    let options = Options { sampling, max_tokens, stop: args.answer.stop.clone(), ignore_end: false };
    let answer = answering::write(&mut session, &options, output.json, output)?;
    let times = Times::new(&engine, read, reading, &answer);

    if output.json {
        output.object(&report(&engine, &answer, seed, read, times))?;
    } else {
        output.piece("\n")?;
    }
    output.detail(&times.line(read, &answer));
    if args.answer.seed.is_none() && options.sampling.temperature > 0.0 {
        output.detail(&format!("--seed {seed} gives this answer again"));
    }
    answering::explain(&answer, output);
    match answer.finish {
        Finish::Cancelled => Err(Interrupted.into()),
        _ => Ok(()),
    }
}

fn report<'a>(engine: &'a Engine, answer: &'a Answer, seed: u64, read: usize, timing: Times) -> Report<'a> {
    Report {
        text: &answer.text,
        finish: answer.finish.name(),
        model: engine.name(),
        place: "device",
        reason: "no server is set up",
        confidence: answer.confidence,
        scope: None,
        seed,
        tokens: Tokens { read, kept: read, evicted: 0, generated: answer.tokens.len() },
        timing,
        peak_rss_mb: show::peak_rss_mb(),
    }
}

impl Request {
    /// Reads documents and the question; stdin serves one of them.
    fn gather(args: &AskArgs, output: &Output) -> anyhow::Result<Request> {
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
        let mut documents = Vec::new();
        for path in &args.context {
            let text =
                if is_stdin(path) { input::stdin("the document", output)? } else { input::file(path)? };
            if text.trim().is_empty() {
                output.note(&format!(
                    "{} is empty",
                    if is_stdin(path) { "stdin".into() } else { path.display().to_string() }
                ));
                continue;
            }
            documents.push(text.trim().to_owned());
        }
        Ok(Request { documents, question })
    }

    /// Documents, then a blank line, then the question.
    fn text(&self) -> String {
        let parts: Vec<&str> = self.documents.iter().chain([&self.question]).map(String::as_str).collect();
        parts.join("\n\n")
    }

    fn tokens(&self, args: &AskArgs, engine: &Engine) -> Result<Vec<u32>, EngineError> {
        if args.raw {
            return engine.text_prompt(&self.text());
        }
        let mut messages = Vec::new();
        messages.extend(args.system.iter().map(|text| Message::new(Role::System, text.as_str())));
        messages.push(Message::new(Role::User, self.text()));
        engine.chat_prompt(&messages)
    }

    fn document_tokens(&self, engine: &Engine) -> Result<usize, EngineError> {
        let tokenizer = engine.tokenizer()?;
        let mut tokens = 0;
        for document in &self.documents {
            tokens += tokenizer.encode(document, Special::Plain)?.len();
        }
        Ok(tokens)
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_before_the_question_with_blank_lines_between() {
        let request = Request { documents: vec!["one".into(), "two".into()], question: "which?".into() };
        assert_eq!(request.text(), "one\n\ntwo\n\nwhich?");
        assert_eq!(Request { documents: vec![], question: "which?".into() }.text(), "which?");
    }
}
