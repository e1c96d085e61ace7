//! `crayon chat`: a conversation. Answers go to stdout, everything about the conversation to stderr.

mod again;
mod conversation;
mod kept;
mod reader;
mod sessions;
mod slash;

use std::path::PathBuf;

use crayon_answer::{
    AnswerError, Calibrated, Customization, Input, Limits, Memory, NoRoom, Outcome, Plan, Request, Routing,
    SessionDevice, Task, ask_server, plan, plan_turn, run as answer,
};
use crayon_engine::{Engine, Finish, Session};
use serde::Serialize;

use self::conversation::Conversation;
use self::reader::{Line, Reader};
use self::slash::Slash;
use crate::answering::{self, Account, Shown, Times};
use crate::args::{ChatArgs, ModelArgs};
use crate::failure::{self, Failure, Result, mistake};
use crate::output::Output;
use crate::{interrupt, model, show, typing};

/// A conversation in progress.
struct Chat<'e> {
    engine: &'e Engine,
    session: Session<'e>,
    conversation: Conversation,
    /// What every answer is asked for like, but for the conversation itself.
    request: Request,
    /// Answers so far: each draws other random numbers than the one before; the first seed still fixes them all.
    answers: u64,
    last: Option<String>,
    routing: Routing,
    calibrated: Calibrated,
    custom: Customization,
    /// The model, as it is found again from any folder.
    model: String,
    /// Where the conversation is kept with its memory.
    file: Option<PathBuf>,
    /// Whether adapters or examples make the model what it is.
    customized: bool,
    /// Whether the next answer is to a conversation that is read anew.
    anew: bool,
    /// Whether it was said that this can be done.
    told: bool,
}

/// What a line of input led to.
enum Step {
    Next,
    Leave,
    /// Somebody is to edit this message, which is answered in place of the last one.
    Edit(String),
    /// The conversation goes on with this model.
    Model(String),
}

/// How a conversation ended.
enum End {
    Left,
    /// With another model.
    Model(String),
}

/// What `--delete-session` prints with `--json`.
#[derive(Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
    bytes: u64,
}

/// Runs the command.
pub(crate) fn run(args: &ChatArgs, output: &Output) -> Result {
    if args.sessions {
        return sessions::list(output);
    }
    if let Some(name) = &args.delete_session {
        let bytes = sessions::delete(name)?;
        return match output.json {
            true => Ok(output.object(&Deleted { deleted: name, bytes })?),
            false => Ok(output.line(&format!("session {name} is deleted: {}", show::bytes(bytes)))?),
        };
    }
    if output.json {
        return Err(mistake("chat has no --json", "crayon ask --json prints one answer as an object"));
    }
    answering::check_pool(&args.custom, &args.route)?;
    let mut reader = Reader::new(!args.no_history)?;
    let mut chosen = args.model.clone();
    if chosen.is_default()
        && let Some(text) = &args.session
        && let Some(model) = sessions::model_of(&sessions::file(text)?).filter(|model| *model != chosen.model)
    {
        output.note(&format!("the session was held with {model}, and goes on with it"));
        chosen.model = model;
    }
    let mut engine = model::open_to_answer(&chosen, output)?;
    let (mut so_far, mut unusable) = (None, false);
    while let (End::Model(name), conversation) =
        converse(args, &chosen, engine, so_far.take(), &mut reader, &mut unusable, output)?
    {
        so_far = Some(conversation);
        let other = ModelArgs { model: name, ..chosen.clone() };
        engine = match model::open_to_answer(&other, output) {
            Ok(engine) => {
                chosen = other;
                engine
            }
            Err(error) => {
                failure::show(&error, output);
                unusable |= !reader.interactive();
                model::open_to_answer(&chosen, output)?
            }
        };
    }
    match unusable {
        true => Err(mistake("not every line of the input could be used", "the errors above say why")),
        false => Ok(()),
    }
}

/// Talks with one model, from where a conversation with another left off if there was one. `unusable` becomes true where a line of
/// piped input led to an error.
fn converse(
    args: &ChatArgs,
    chosen: &ModelArgs,
    mut engine: Engine,
    so_far: Option<Conversation>,
    reader: &mut Reader,
    unusable: &mut bool,
    output: &Output,
) -> Result<(End, Conversation)> {
    let routing = answering::routing(&args.route)?;
    let custom = answering::customize(&mut engine, chosen, &args.custom, output)?.custom;
    let (routing, calibrated) = answering::calibrated(routing, &args.route, &engine, &custom, output)?;
    let mut request = Request {
        sampling: args.answer.sampling(),
        seed: args.answer.seed,
        max_tokens: args.answer.max_tokens.map(|tokens| tokens as usize),
        stop: args.answer.stop.clone(),
        memory: args.long.request(),
        ..Request::new(Input::Chat(Vec::new()))
    };
    // One seed for the whole conversation.
    request.seed = Some(request.sampling(&engine)?.seed);
    let account = Account::open(args.memory.memory, &engine, &custom)?;
    account.fit(&mut request.memory, &engine, output)?;
    let session = match request.memory.size.is_some() && !request.memory.keeps_everything() {
        true => engine.pot_session(request.memory.options(&engine, None, false, &[])?, 0)?,
        false => engine.session(request.memory.entries(&engine))?,
    };
    let _held = account.hold(session.bytes(), output);
    let mut chat = Chat {
        engine: &engine,
        session,
        conversation: Conversation::default(),
        request,
        answers: 0,
        last: None,
        routing,
        calibrated,
        custom,
        model: model::lasting_name(&chosen.model)?,
        file: args.session.as_deref().map(sessions::file).transpose()?,
        customized: args.custom.examples.is_some() || !args.model.adapter.is_empty(),
        anew: false,
        told: false,
    };
    match so_far {
        Some(conversation) => chat.conversation = conversation,
        None => chat.begin(args, output)?,
    }
    if reader.interactive() {
        let name = engine.name();
        output.aside(&format!(
            "{name}, context {} tokens. /help lists the commands.",
            show::count(engine.spec().context)
        ));
    }
    interrupt::watch();
    let result = chat.talk(reader, unusable, output);
    reader.close(output);
    Ok((result?, chat.conversation))
}

impl Chat<'_> {
    /// What the arguments say about a conversation that begins here.
    fn begin(&mut self, args: &ChatArgs, output: &Output) -> Result {
        if let Some(path) = &args.load {
            self.load(path, output)?;
        }
        match self.file.clone() {
            Some(path) if path.exists() => self.resume(&path, output)?,
            Some(path) => output.aside(&format!("{} is new", sessions::called(&path))),
            None => {}
        }
        if let Some(text) = &args.system {
            self.conversation.set_system(text);
        }
        Ok(())
    }

    /// Line after line until the end. Errors of single lines are told and do not end a conversation.
    fn talk(&mut self, reader: &mut Reader, unusable: &mut bool, output: &Output) -> Result<End> {
        loop {
            let step = match interrupt::typing(|| reader.next(output))? {
                Line::Text(text) => self.line(&text, reader.interactive(), output),
                Line::End => return Ok(End::Left),
            };
            let step = match step {
                Ok(Step::Edit(text)) => self.edited(&text, reader, output),
                step => step,
            };
            match step {
                Ok(Step::Next | Step::Edit(_)) => {}
                Ok(Step::Leave) => return Ok(End::Left),
                Ok(Step::Model(name)) => return Ok(End::Model(name)),
                Err(error) if error.is_closed() => return Err(error),
                Err(error) if error.is_interrupt() && !reader.interactive() => return Err(error),
                Err(error) if reader.interactive() => failure::show(&error, output),
                Err(error) => {
                    failure::show(&error, output);
                    *unusable = true;
                }
            }
        }
    }

    /// Has the last message edited and answers it.
    fn edited(&mut self, text: &str, reader: &mut Reader, output: &Output) -> Result<Step> {
        match interrupt::typing(|| reader.edit(text, output))? {
            Line::Text(text) if !text.trim().is_empty() => {
                self.answer_instead(text.trim(), output)?;
                output.aside("");
                Ok(Step::Next)
            }
            Line::Text(_) => Ok(Step::Next),
            Line::End => Ok(Step::Leave),
        }
    }

    /// Goes on with another model, if it is there and nothing here belongs to this one.
    fn change(&self, name: String) -> Result<Step> {
        let belongs = match (self.customized, &self.file) {
            (true, _) => "adapters and examples belong",
            (false, Some(_)) => "the session belongs",
            (false, None) => {
                model::resolve(&name)?;
                return Ok(Step::Model(name));
            }
        };
        Err(mistake(format!("{belongs} to this model"), "/save FILE, then crayon chat -m NAME --load FILE"))
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
            Slash::Retry => return self.retry(output),
            Slash::Reread => return self.reread(output),
            Slash::Edit(text) => return self.edit(&text, output),
            Slash::Undo => return self.undo(output),
            Slash::Model(name) => return self.change(name),
            Slash::Tokens => self.tokens(output),
            Slash::Save(text) => return self.save(&text, output),
            Slash::Load(text) => return self.load(&text, output),
            Slash::Delete(name) => return self.delete(&name, output),
            Slash::Sessions => sessions::tell(output)?,
            Slash::Temperature(temperature) => {
                let mut request = self.request.clone();
                request.sampling.temperature = Some(temperature);
                request.sampling(self.engine)?;
                self.request = request;
                output.aside(&format!("the temperature is {temperature}"));
            }
            Slash::Stats => self.stats(output),
            Slash::Quit => return Ok(Step::Leave),
        }
        Ok(Step::Next)
    }

    /// Adds the question and its answer to the conversation, or neither.
    fn answer(&mut self, question: &str, output: &Output) -> Result {
        interrupt::forget();
        let _hidden = typing::hide();
        self.conversation.ask(question);
        match self.write(output) {
            Ok(outcome) => {
                self.conversation.answer(outcome.text().trim());
                answering::explain(&outcome, false, output);
                match self.file.clone() {
                    Some(path) => self.keep(&path),
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

    fn write(&mut self, output: &Output) -> Result<Outcome> {
        let mut request = self.request.clone();
        request.input = Input::Chat(self.conversation.messages().to_vec());
        let question = request.question();
        // The device counts its answers; a server gets the seed as it was given.
        request.seed = request.seed.map(|seed| seed.wrapping_add(self.answers));
        let mut shown = Shown::new(false, output);
        let live = shown.live();
        if let (Some(decision), Some(question)) = (self.routing.server_only(), &question) {
            let outcome =
                ask_server(&self.routing, decision, question, live, &mut |event| shown.event(event));
            let outcome = shown.end(outcome)?;
            output.piece("\n")?;
            return Ok(outcome);
        }
        let (plan, scope) = self.custom.plan(self.engine, &request, |request| self.plan(request))?;
        answering::notes(&plan, output);
        if self.anew || matches!(plan.memory, Memory::Pot(..)) {
            // Never both at once.
            self.session = self.engine.session(0)?;
            self.session = plan.session(self.engine)?;
        }
        let mut device = SessionDevice { session: &mut self.session, cache: None };
        let doubt = self.calibrated.doubt(self.engine, &self.custom, &request, &plan);
        let task = Task { plan: &plan, question: question.as_ref(), scope, doubt, live };
        shown.reading();
        let outcome = answer(&self.routing, &task, &mut device, &mut |event| shown.event(event));
        let outcome = shown.end(outcome)?;
        output.piece("\n")?;
        self.answers += 1;
        let Some(written) = outcome.on_device() else { return Ok(outcome) };
        if written.answer.finish == Finish::Cancelled {
            output.aside("stopped; what was said is kept");
        }
        if self.session.pot().distillations() > 0 && !std::mem::replace(&mut self.told, true) {
            output.aside("older parts are distilled; /reread reads all of it again for the last message");
        }
        let times = Times::new(&outcome, self.engine.loading());
        let line = times.line(written.read, written.answer.tokens.len());
        output.detail(&line);
        self.last = Some(line);
        Ok(outcome)
    }

    fn plan(&self, request: &Request) -> Result<Plan> {
        let planned = match self.anew {
            true => plan(self.engine, request, &Limits::default()),
            false => plan_turn(self.engine, request, &Limits::default(), &self.session),
        };
        match planned {
            Err(AnswerError::NoRoom(no_room)) => Err(self.full(*no_room)),
            plan => Ok(plan?),
        }
    }

    fn full(&self, no_room: NoRoom) -> Failure {
        let error = AnswerError::from(no_room);
        if self.conversation.len() <= 1 {
            return error.into();
        }
        mistake(
            format!("the conversation no longer fits: {error}"),
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
