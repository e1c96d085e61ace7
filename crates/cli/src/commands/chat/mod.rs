//! `crayon chat`: a conversation. Answers go to stdout, everything about the conversation to stderr.

mod conversation;
mod reader;
mod slash;

use std::path::Path;
use std::time::Duration;

use crayon_engine::{Engine, Finish, GenerateOptions, Session};
use crayon_text::{Message, Role};

use self::conversation::Conversation;
use self::reader::{Line, Reader};
use self::slash::Slash;
use super::answering::{self, NoRoom, Size, Times};
use super::customize::Customised;
use super::routing::{self, By, Request, Routed, Routing};
use super::{customize, long};
use crate::args::{AnswerArgs, ChatArgs, PotArgs};
use crate::failure::{self, Failure, Result, mistake};
use crate::output::Output;
use crate::{interrupt, model, show};

/// A conversation in progress.
struct Chat<'e> {
    engine: &'e Engine,
    session: Session<'e>,
    conversation: Conversation,
    options: GenerateOptions,
    max_tokens: Option<usize>,
    last: Option<String>,
    long: &'e PotArgs,
    routing: Routing,
    custom: Customised,
    /// What was asked for; what was not is left to the server.
    asked: AnswerArgs,
    /// Where the conversation is kept with its memory.
    file: Option<&'e Path>,
}

/// What a line of input led to.
enum Step {
    Next,
    Leave,
}

/// Runs the command.
pub(crate) fn run(args: &ChatArgs, output: &Output) -> Result {
    if output.json {
        return Err(mistake("chat has no --json", "crayon ask --json prints one answer as an object"));
    }
    customize::check(&args.custom, &args.route)?;
    let routing = Routing::new(&args.route)?;
    let mut engine = model::open(&args.model, output)?;
    let custom = customize::apply(&mut engine, &args.model, &args.custom, output)?;
    let routing = routing.for_model(&engine, &custom, output)?;
    let sampling = answering::sampling(&args.answer, &engine)?;
    let session = match args.long.given() && !args.long.keeps_everything() {
        true => engine.pot_session(args.long.options(&engine, None, false)?, 0)?,
        false => engine.session(args.long.entries(&engine))?,
    };
    let mut chat = Chat {
        engine: &engine,
        session,
        conversation: Conversation::default(),
        options: GenerateOptions { sampling, stop: args.answer.stop.clone(), ..GenerateOptions::default() },
        max_tokens: args.answer.max_tokens.map(|tokens| tokens as usize),
        last: None,
        long: &args.long,
        routing,
        custom,
        asked: args.answer.clone(),
        file: args.session.as_deref(),
    };
    if let Some(path) = &args.load {
        chat.load(path, output)?;
    }
    if let Some(path) = args.session.as_deref().filter(|path| path.exists()) {
        chat.resume(path, output)?;
    }
    if let Some(text) = &args.system {
        chat.conversation.set_system(text);
    }
    let mut reader = Reader::new(!args.no_history)?;
    if reader.interactive() {
        let name = engine.name();
        output.aside(&format!(
            "{name}, context {} tokens. /help lists the commands.",
            show::count(engine.spec().context)
        ));
        if engine.template().is_none() {
            output
                .note(&format!("{name} has no chat template: it goes on with a text rather than answering"));
        }
    }
    interrupt::watch();
    let result = chat.talk(&mut reader, output);
    reader.close(output);
    result
}

impl Chat<'_> {
    /// Line after line until the end. Errors of single lines are told and do not end a conversation; with piped
    /// input the first of them is what the program ends with.
    fn talk(&mut self, reader: &mut Reader, output: &Output) -> Result {
        let mut first = None;
        loop {
            let step = match reader.next(output)? {
                Line::Text(text) => self.line(&text, reader.interactive(), output),
                Line::End => break,
            };
            match step {
                Ok(Step::Next) => {}
                Ok(Step::Leave) => break,
                Err(error) if error.is_closed() => return Err(error),
                Err(error) if error.is_interrupt() && !reader.interactive() => return Err(error),
                Err(error) if reader.interactive() => failure::show(&error, output),
                Err(error) => {
                    failure::show(&error, output);
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(_) => Err(mistake("not every line of the input could be used", "the errors above say why")),
            None => Ok(()),
        }
    }

    fn line(&mut self, line: &str, interactive: bool, output: &Output) -> Result<Step> {
        let line = line.trim_end();
        match Slash::parse(line)? {
            Some(slash) => self.obey(slash, output),
            None if line.trim().is_empty() => Ok(Step::Next),
            None => {
                self.answer(line.trim(), output)?;
                if interactive {
                    output.aside("");
                }
                Ok(Step::Next)
            }
        }
    }

    fn obey(&mut self, slash: Slash, output: &Output) -> Result<Step> {
        match slash {
            Slash::Help => output.aside(slash::HELP),
            Slash::System(text) if text.is_empty() => match self.conversation.system() {
                Some(text) => output.aside(&format!("the system text is: {text}")),
                None => output.aside("there is no system text; /system TEXT sets one"),
            },
            Slash::System(text) => {
                self.conversation.set_system(&text);
                output.aside("the system text is set");
            }
            Slash::Reset => {
                self.conversation.forget_turns();
                self.last = None;
                output.aside("the conversation starts anew");
            }
            Slash::Save(path) if is_session(&path) => {
                self.keep(&path)?;
                output.aside(&format!("saved {} and its memory to {}", self.messages(), path.display()));
            }
            Slash::Save(path) => {
                self.conversation.save(&path, self.engine.name())?;
                output.aside(&format!("saved {} to {}", self.messages(), path.display()));
            }
            Slash::Load(path) if is_session(&path) => self.resume(&path, output)?,
            Slash::Load(path) => self.load(&path, output)?,
            Slash::Temperature(temperature) => {
                let mut sampling = self.options.sampling.clone();
                sampling.temperature = temperature;
                sampling.check()?;
                self.options.sampling = sampling;
                self.asked.temperature = Some(temperature);
                output.aside(&format!("the temperature is {temperature}"));
            }
            Slash::Stats => self.stats(output),
            Slash::Quit => return Ok(Step::Leave),
        }
        Ok(Step::Next)
    }

    fn load(&mut self, path: &Path, output: &Output) -> Result {
        self.conversation = Conversation::load(path)?;
        self.last = None;
        output.aside(&format!("loaded {} from {}", self.messages(), path.display()));
        Ok(())
    }

    /// Writes the conversation with its keys and values.
    fn keep(&mut self, path: &Path) -> Result {
        let note = self.conversation.to_json(self.engine.name())?;
        Ok(self.session.save(path, &note)?)
    }

    /// Goes on with what [`keep`](Self::keep) wrote.
    fn resume(&mut self, path: &Path, output: &Output) -> Result {
        let (session, saved) = self.engine.resume(path)?;
        let shape = saved.options.as_ref().map(|options| (options.entries, options.policy.as_str()));
        let asked = (self.long.entries(self.engine), self.long.policy.as_str());
        if self.long.given() && shape != Some(asked) {
            let (now, held) = (format!("{} of {}", asked.1, asked.0), shape);
            let held =
                held.map_or("a full cache".to_owned(), |(entries, policy)| format!("{policy} of {entries}"));
            return Err(mistake(
                format!("{} was saved with another pot: {held}, now {now}", path.display()),
                "leave out --pot and --policy to go on as it was",
            ));
        }
        self.conversation = Conversation::from_json(&path.display().to_string(), &saved.note)?;
        self.session = session;
        self.last = None;
        output.aside(&format!(
            "goes on with {} from {}, {} tokens read",
            self.messages(),
            path.display(),
            show::count(saved.tokens),
        ));
        Ok(())
    }

    /// Adds the question and its answer to the conversation, or neither.
    fn answer(&mut self, question: &str, output: &Output) -> Result {
        interrupt::forget();
        self.conversation.ask(question);
        match self.write(output) {
            Ok(routed) => {
                self.conversation.answer(routed.text().trim());
                match &routed.by {
                    By::Device(answer) => {
                        routing::explain(&routed.decision, None, output);
                        answering::explain(answer, output);
                    }
                    By::Server(answer) => routing::explain(&routed.decision, Some(answer), output),
                }
                match self.file {
                    Some(path) => self.keep(path),
                    None => Ok(()),
                }
            }
            Err(error) => {
                self.conversation.take_back();
                if error.is_interrupt() {
                    output.aside("stopped before the answer began; the message is not kept");
                }
                Err(error)
            }
        }
    }

    fn write(&mut self, output: &Output) -> Result<Routed> {
        let question = routing::question(self.conversation.messages().to_vec(), &self.asked);
        if let Some(decision) = self.routing.server_only() {
            let answer = self.routing.ask(&question, false, output)?;
            output.piece("\n")?;
            return Ok(Routed { decision, confidence: None, by: By::Server(answer) });
        }
        let prompt = self.engine.chat_prompt(self.conversation.messages())?;
        let size = Size { documents: 0, prompt: prompt.len() };
        let max_tokens = match self.session.limit() {
            Some(context) => match answering::room(context, size, self.max_tokens) {
                Ok(max_tokens) => max_tokens,
                Err(no_room) if !long::possible(self.engine, self.long) => return Err(self.full(no_room)),
                Err(_) => {
                    let entries = show::count(self.long.entries(self.engine));
                    output.note(&format!(
                        "the conversation outgrows the model's window: from here on it is read through a pot of {entries} \
                         entries, and older parts are distilled"
                    ));
                    self.session =
                        self.engine.pot_session(self.long.options(self.engine, None, false)?, 0)?;
                    self.max_tokens.unwrap_or(answering::LONGEST)
                }
            },
            None => self.max_tokens.unwrap_or(answering::LONGEST),
        };
        if self.session.limit().is_none() {
            self.pin(&prompt, output)?;
        }
        let distilled = self.session.pot().distillations();
        let asked = self.conversation.messages().last().map_or("", |message| message.content.as_str());
        let scope = self.custom.scope(self.engine, asked)?;
        let (read, reading) = match self.routing.skips_device(scope) {
            // The device reads only if the server fails.
            true => (0, Duration::ZERO),
            false => answering::read(&mut self.session, &prompt, output)?,
        };
        let options = GenerateOptions { max_tokens, ..self.options.clone() };
        let request = Request { prompt: &prompt, options: &options, question: &question, scope };
        let routed = self.routing.write(&mut self.session, &request, false, output)?;
        output.piece("\n")?;
        // The next answer draws other random numbers than this one; the first seed still fixes them all.
        self.options.sampling.seed = self.options.sampling.seed.wrapping_add(1);
        let By::Device(answer) = &routed.by else { return Ok(routed) };
        if answer.finish == Finish::Cancelled {
            output.aside("stopped; what was said is kept");
        }
        if self.session.pot().distillations() > distilled {
            long::explain(&self.session, output);
        }
        let times = Times::new(self.engine, read, reading, answer);
        let line = times.line(read, answer);
        output.detail(&line);
        self.last = Some(line);
        Ok(routed)
    }

    /// Makes the system text and the newest question stay in the pot.
    fn pin(&mut self, prompt: &[u32], output: &Output) -> Result {
        let messages = self.conversation.messages();
        let with_last = |content: &str, rest: &[Message]| {
            let mut messages = rest.to_vec();
            messages.push(Message::new(Role::User, content));
            self.engine.chat_prompt(&messages)
        };
        let system: Vec<Message> = messages.iter().filter(|m| m.role == Role::System).cloned().collect();
        let common = |other: &[u32]| prompt.iter().zip(other).take_while(|(a, b)| a == b).count() as u32;
        let head = common(&with_last("?", &system)?);
        let before = messages.len().saturating_sub(1);
        let question = common(&with_last("?", &messages[..before])?).max(head);
        let whole = vec![0..head, question..prompt.len() as u32];
        if self.session.pin(whole).is_err() {
            output.note("the message is too long to stay in the pot whole");
            self.session.pin(std::iter::once(0..head).collect())?;
        }
        Ok(())
    }

    fn full(&self, no_room: NoRoom) -> Failure {
        if self.conversation.len() <= 1 {
            return no_room.into_error(self.engine);
        }
        mistake(
            format!("the conversation no longer fits: {}", no_room.into_error(self.engine)),
            "/save FILE keeps it, /reset starts anew; nothing was dropped",
        )
    }

    fn messages(&self) -> String {
        show::counted(self.conversation.len(), "message")
    }

    fn stats(&self, output: &Output) {
        let held = self.session.tokens().len();
        let pot = self.session.pot();
        let memory = match (pot.limit(), pot.options()) {
            (Some(limit), _) => format!("{} of {} tokens in memory", show::count(held), show::count(limit)),
            (None, options) => format!(
                "{} tokens read, {} kept in a pot of {}, distilled {}",
                show::count(held),
                show::count(pot.kept()),
                show::count(options.map_or(0, |options| options.entries)),
                show::counted(pot.distillations(), "time"),
            ),
        };
        output.aside(&format!(
            "{}: {}, {memory}, {} for keys and values",
            self.engine.name(),
            self.messages(),
            show::bytes(self.session.kv_bytes() as u64),
        ));
        if let Some(last) = &self.last {
            output.aside(&format!("last answer: {last}"));
        }
    }
}

/// Whether /save and /load mean a session with its memory rather than the messages alone.
fn is_session(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "pot")
}
