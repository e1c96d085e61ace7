//! `crayon ask`: one question, perhaps about documents, one answer.

use std::io::{self, IsTerminal};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crayon_answer::{Input, Outcome, Request, SessionDevice, Task, ask_server, plan, run as answer};
use crayon_engine::{EngineError, Finish, PrefixCache};
use crayon_text::{Message, Role};
use serde::{Serialize, Serializer};

use crate::answering::{self, Account, Customized, Shown, Times, TriedRow, rows};
use crate::args::AskArgs;
use crate::failure::{Interrupted, Result, mistake};
use crate::output::Output;
use crate::{input, interrupt, model, show};

/// The answer as `--json` prints it.
#[derive(Serialize)]
struct AskReport<'a> {
    text: &'a str,
    finish: &'a str,
    model: &'a str,
    #[serde(rename = "where")]
    place: &'static str,
    reason: &'a str,
    confidence: Option<f32>,
    /// How likely the question belongs to what the adapter was customized for.
    scope: Option<f32>,
    /// Whether the model is sure of its answer, where that was measured.
    sure: Option<bool>,
    /// Adapters the device answers through, with their weights; none where it answered a question from outside without them.
    adapter: Option<Weights<'a>>,
    /// Examples in the prompt.
    shown: usize,
    /// Candidates that the examples' answers judged, the simplest first, and the one taken.
    tried: &'a [TriedRow],
    chosen: Option<&'static str>,
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

/// Adapters and their weights, as an object.
struct Weights<'a>(&'a [(String, f32)]);

impl Serialize for Weights<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, weight)| (name, weight)))
    }
}

/// What is known of the device's model when an answer is reported.
struct Device<'a> {
    model: &'a str,
    weights: &'a [(String, f32)],
    shown: usize,
    tried: &'a [TriedRow],
    chosen: Option<&'static str>,
    loading: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &AskArgs, output: &Output) -> Result {
    answering::check_pool(&args.custom, &args.route)?;
    let routing = answering::routing(&args.route)?;
    if args.raw && routing.may_send() {
        return Err(mistake(
            "--raw goes on with a text, and a server takes conversations only",
            "--route device goes on with it here",
        ));
    }
    let request = gather(args, output)?;
    let question = request.question();
    let mut shown = Shown::new(output.json, output);
    let live = shown.live();
    if let (Some(decision), Some(question)) = (routing.server_only(), &question) {
        interrupt::watch();
        let outcome = ask_server(&routing, decision, question, live, &mut |event| shown.event(event));
        let device =
            Device { model: "", weights: &[], shown: 0, tried: &[], chosen: None, loading: Duration::ZERO };
        return finish(args, &shown.end(outcome)?, &device, args.answer.seed, output);
    }
    let mut engine = match args.raw {
        true => model::open_beside(&args.model, output)?,
        false => model::open_to_answer(&args.model, output)?,
    };
    let Customized { custom, tried, chosen } =
        answering::customize(&mut engine, &args.model, &args.custom, output)?;
    let account = Account::open(args.memory.memory, &engine, &custom)?;
    let limits = account.limits();
    let (plan, scope) = custom.plan(&engine, &request, |request| plan(&engine, request, &limits))?;
    let (routing, calibrated) = answering::calibrated(routing, &args.route, &engine, &custom, output)?;
    answering::notes(&plan, output);
    interrupt::watch();
    let cache = match args.cache {
        true => Some(PrefixCache::new(answering::cache_folder()?, answering::CACHE_BYTES)),
        false => None,
    };
    let _held = account.hold(plan.bytes(&engine), output);
    let mut session = plan.session(&engine)?;
    let mut device = SessionDevice { session: &mut session, cache: cache.as_ref() };
    let doubt = calibrated.doubt(&engine, &custom, &request, &plan);
    let task = Task { plan: &plan, question: question.as_ref(), scope, doubt, live };
    shown.reading();
    let outcome = answer(&routing, &task, &mut device, &mut |event| shown.event(event));
    let outcome = shown.end(outcome)?;
    let alone = plan.outside && outcome.on_device().is_some();
    let weights = if alone { &[] } else { custom.weights() };
    let shown = match outcome.on_device() {
        Some(_) if !alone && !args.raw => custom.demonstrations().len(),
        _ => 0,
    };
    let (tried, chosen) = (rows(&tried), chosen.map(|rung| rung.name()));
    let device =
        Device { model: engine.name(), weights, shown, tried: &tried, chosen, loading: engine.loading() };
    let seed = plan.generate.sampling.seed;
    finish(args, &outcome, &device, Some(seed), output)?;
    if args.answer.seed.is_none() && plan.generate.sampling.temperature > 0.0 {
        output.detail(&format!("--seed {seed} gives this answer again"));
    }
    match outcome.finish() == Finish::Cancelled.name() {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

/// Prints what an answer was, behind its text.
fn finish(
    args: &AskArgs,
    outcome: &Outcome,
    device: &Device<'_>,
    seed: Option<u64>,
    output: &Output,
) -> Result {
    let times = Times::new(outcome, device.loading);
    let (counts, on_device) = (outcome.counts(), outcome.on_device());
    if output.json {
        output.object(&AskReport {
            text: outcome.text(),
            finish: outcome.finish(),
            model: outcome.model().unwrap_or(device.model),
            place: outcome.decision.place.name(),
            reason: &outcome.decision.reason,
            confidence: outcome.confidence,
            scope: outcome.scope,
            sure: outcome.sure,
            adapter: (!device.weights.is_empty()).then_some(Weights(device.weights)),
            shown: device.shown,
            tried: device.tried,
            chosen: device.chosen,
            seed: if on_device.is_some() { seed } else { args.answer.seed },
            tokens: Tokens {
                read: counts.read,
                kept: counts.kept,
                evicted: counts.evicted,
                generated: counts.generated,
            },
            timing: times,
            peak_rss_mb: show::peak_rss_mb(),
        })?;
    } else {
        output.piece("\n")?;
    }
    if let Some(written) = on_device {
        output.detail(&times.line(written.read, written.answer.tokens.len()));
    }
    answering::explain(outcome, true, output);
    Ok(())
}

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
        true if args.prompt.is_empty() => question.strip_suffix('\n').map(str::to_owned).unwrap_or(question),
        true => question,
        false => question.trim().to_owned(),
    };
    if question.is_empty() && !args.raw {
        return Err(EngineError::EmptyPrompt.into());
    }
    let (question, weights) = match args.weights {
        true => weighted(&question)?,
        false => (question, Vec::new()),
    };
    let mut documents = documents(&args.context, output)?;
    if args.context.is_empty() && !args.prompt.is_empty() && !args.raw {
        let text = input::piped(output)?.map(|text| text.trim().to_owned());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let letters = show::counted(text.chars().count(), "character");
            output.note(&format!("the text on stdin is the document: {letters}"));
            documents.push(text);
        }
    }
    if args.pin.iter().any(|path| is_stdin(path)) {
        return Err(mistake("--pin reads files, not stdin", "save the text to a file"));
    }
    let input = match args.raw {
        true => Input::Text(question),
        false => {
            let system = args.system.iter().map(|text| Message::new(Role::System, text.as_str()));
            Input::Chat(system.chain([Message::new(Role::User, question)]).collect())
        }
    };
    Ok(Request {
        pinned: self::documents(&args.pin, output)?,
        documents,
        sampling: args.answer.sampling(),
        seed: args.answer.seed,
        max_tokens: args.answer.max_tokens.map(|tokens| tokens as usize),
        stop: args.answer.stop.clone(),
        memory: args.long.request(),
        cache: args.cache,
        weights,
        ..Request::new(input)
    })
}

/// Bytes of a question, and how much they count.
type WordWeights = Vec<(Range<usize>, f32)>;

/// A question without its brackets, and the weights they give.
fn weighted(question: &str) -> Result<(String, WordWeights)> {
    let prompt = crayon_images::parse_as_written(question)?;
    if prompt.text.is_empty() {
        return Err(EngineError::EmptyPrompt.into());
    }
    Ok((prompt.text, prompt.weights.into_iter().map(|one| (one.range, one.weight)).collect()))
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

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
