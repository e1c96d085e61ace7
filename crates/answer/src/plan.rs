//! From a request to work for the device. Everything that can be wrong with a request is found here, before it waits.

use std::ops::Range;
use std::sync::Arc;

use crayon_engine::{
    Adapter, Engine, EngineError, GenerateOptions, KeyWeights, PotError, PotOptions, Session, Shortage, stays,
};
use crayon_text::{Message, Role, Special};

use crate::limits::{Allowed, Limits};
use crate::memory::{MemoryRequest, MemorySize, PASSES, pinned};
use crate::request::{Input, Request};
use crate::room::{NoRoom, Otherwise, room};
use crate::{AnswerError, Note};

/// Where the keys and values of a prompt are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Memory {
    /// Everything, up to this many tokens.
    Full(usize),
    /// A pot of this shape, in which these places of the prompt stay.
    Pot(PotOptions, Vec<Range<u32>>),
    /// The session the conversation already has; its pot, if it is one, keeps these places.
    Same(Option<Vec<Range<u32>>>),
}

/// What the device does for a request.
#[derive(Clone)]
pub struct Plan {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// How the answer is written.
    pub generate: GenerateOptions,
    /// Where keys and values are kept.
    pub memory: Memory,
    /// Tokens at the beginning of the prompt that another question about the same documents leaves as they are; 0 unless
    /// they are to be kept.
    pub stable: usize,
    /// Weights of the question's words, by places of the prompt.
    pub weights: KeyWeights,
    /// What is answered through instead of the engine's own adapter, if it has one.
    pub adapter: Option<Arc<dyn Adapter>>,
    /// Whether the model alone answers because the question lies outside what it was customized for.
    pub outside: bool,
    /// What the person should know before the answer.
    pub notes: Vec<Note>,
}

impl Plan {
    /// A session as planned. Not for [`Memory::Same`], whose session is there.
    ///
    /// # Errors
    /// When the pot does not fit the model.
    pub fn session<'e>(&self, engine: &'e Engine) -> Result<Session<'e>, AnswerError> {
        let mut session = match &self.memory {
            Memory::Full(tokens) => engine.session(*tokens)?,
            Memory::Pot(options, pins) => {
                let mut session = engine.pot_session(options.clone(), pinned(options, pins))?;
                session.pin(pins.clone())?;
                session
            }
            Memory::Same(_) => engine.session(self.prompt.len() + self.generate.max_tokens)?,
        };
        session.set_adapter(self.through(engine));
        Ok(session)
    }

    /// Bytes that a session as planned takes.
    pub fn bytes(&self, engine: &Engine) -> usize {
        match &self.memory {
            Memory::Full(tokens) => engine.session_bytes(*tokens, false),
            Memory::Pot(options, _) => engine.session_bytes(options.entries, true),
            Memory::Same(_) => engine.session_bytes(self.prompt.len() + self.generate.max_tokens, false),
        }
    }

    /// What a session answers through.
    pub(crate) fn through(&self, engine: &Engine) -> Option<Arc<dyn Adapter>> {
        self.adapter.as_ref().or(engine.adapter()).cloned()
    }
}

/// Plans an answer that stands for itself. Where the memory allowed is too small for what is asked, it gets a smaller pot, which a note
/// says. That depends on what is allowed and not on what others take, so that no answer depends on its company.
///
/// # Errors
/// When the request does not fit the model or the limits, or asks for what cannot be.
pub fn plan(engine: &Engine, request: &Request, limits: &Limits) -> Result<Plan, AnswerError> {
    let plan = as_asked(engine, request, limits)?;
    let (wanted, Some(Allowed { bytes, limit })) = (plan.bytes(engine), limits.memory) else {
        return Ok(plan);
    };
    if wanted <= bytes {
        return Ok(plan);
    }
    let distils = request.memory.distils(engine);
    let shortage = |needed: usize| {
        AnswerError::from(Shortage { needed, free: bytes, limit }.error("what is held of this conversation"))
    };
    let entries = engine.entries_within(bytes, distils);
    let mut smaller = request.clone();
    smaller.memory.size = Some(MemorySize::Entries(entries));
    let mut plan = match as_asked(engine, &smaller, limits) {
        Ok(plan) => plan,
        Err(AnswerError::Engine(EngineError::Pot(error))) => match *error {
            PotError::TooSmall { smallest, .. } => {
                return Err(shortage(engine.session_bytes(smallest, true)));
            }
            error => return Err(EngineError::from(error).into()),
        },
        Err(AnswerError::NoRoom(_)) => return Err(shortage(wanted)),
        Err(error) => return Err(error),
    };
    let distils = matches!(plan.memory, Memory::Pot(..));
    plan.notes.push(Note::SmallMemory { entries, bytes: plan.bytes(engine), wanted, distils });
    Ok(plan)
}

/// Plans an answer without regard to the memory it takes.
fn as_asked(engine: &Engine, request: &Request, limits: &Limits) -> Result<Plan, AnswerError> {
    let plan = read_once(engine, request, limits)?;
    match (&plan.memory, request.memory.passes) {
        (Memory::Pot(..), Some(passes @ 2..)) if !request.documents.is_empty() => {
            let mut again = request.clone();
            again.documents = vec![request.documents.clone(); passes.min(PASSES)].concat();
            read_once(engine, &again, limits)
        }
        _ => Ok(plan),
    }
}

/// The same, each document read as often as it stands in the request.
fn read_once(engine: &Engine, request: &Request, limits: &Limits) -> Result<Plan, AnswerError> {
    let mut plan = beginning(engine, request, limits, !request.cache)?;
    let context = engine.spec().context;
    let asked = request.memory.size.is_some();
    let window = request.memory.entries(engine);
    if window > context {
        return Err(EngineError::from(PotError::BeyondContext { entries: window, context }).into());
    }
    match room(window, plan.prompt.len(), request.max_tokens, limits) {
        Ok(max_tokens) => {
            let little = request.max_tokens.is_none() && max_tokens < limits.longest;
            let scarce = little && max_tokens < limits.usual;
            plan.memory = Memory::Full(plan.prompt.len() + max_tokens);
            plan.generate.max_tokens = max_tokens;
            let beyond = little && asked && request.memory.distils(engine);
            match beyond.then(|| pot(engine, request, &plan.prompt)) {
                // The text fits the pot, and the answer goes on beyond it.
                Some(Ok(memory)) => {
                    plan.memory = memory;
                    plan.generate.max_tokens = limits.longest;
                }
                _ if scarce => plan.notes.push(Note::LittleRoom(max_tokens)),
                _ => {}
            }
        }
        Err(answer) => {
            let distil = limits.distil || asked || request.memory.policy.is_some();
            if !distil || !request.memory.distils(engine) {
                // Where nothing is distilled without being asked for, a size asks for it.
                let distil = limits.distil || asked;
                return Err(no_room(engine, request, plan.prompt.len(), answer, distil)?.into());
            }
            plan.generate.max_tokens = request.max_tokens.unwrap_or(limits.longest);
            plan.memory = pot(engine, request, &plan.prompt)?;
        }
    }
    if request.cache {
        // A letter in front of the question tells where it begins.
        let other = request.tokens(engine, &format!("?{}", request.query()), true)?;
        plan.stable = common(&plan.prompt, &other);
    }
    Ok(plan)
}

/// Plans the next answer of a conversation whose `session` holds what was said before. A conversation that outgrows it is
/// read anew through a pot.
///
/// # Errors
/// As [`plan`].
pub fn plan_turn(
    engine: &Engine,
    request: &Request,
    limits: &Limits,
    session: &Session<'_>,
) -> Result<Plan, AnswerError> {
    let mut plan = beginning(engine, request, limits, false)?;
    plan.generate.max_tokens = request.max_tokens.unwrap_or(limits.longest);
    let places = |options: &PotOptions, notes: &mut Vec<Note>| -> Result<Vec<Range<u32>>, AnswerError> {
        let mut found = places(engine, request, &plan.prompt)?;
        let whole = found.remove(0);
        if options.check(engine.spec(), pinned(options, &whole)).is_ok() {
            return Ok(whole);
        }
        notes.push(Note::LongMessage);
        Ok(found.pop().unwrap_or_default())
    };
    if let Some(options) = session.pot().options() {
        plan.memory = Memory::Same(Some(places(options, &mut plan.notes)?));
        return Ok(plan);
    }
    let window = session.limit().unwrap_or(engine.spec().context);
    match room(window, plan.prompt.len(), request.max_tokens, limits) {
        Ok(max_tokens) => plan.generate.max_tokens = max_tokens,
        Err(answer) if !request.memory.distils(engine) => {
            return Err(no_room(engine, request, plan.prompt.len(), answer, true)?.into());
        }
        Err(_) => {
            plan.notes.push(Note::Outgrown(request.memory.entries(engine)));
            // Later questions are not known yet.
            let options = request.memory.options(engine, None, false, &[])?;
            let pins = places(&options, &mut plan.notes)?;
            plan.memory = Memory::Pot(options, pins);
        }
    }
    Ok(plan)
}

/// What both kinds of plan have in common; `prefer_question` says whether the question is to be the catalyst.
fn beginning(
    engine: &Engine,
    request: &Request,
    limits: &Limits,
    prefer_question: bool,
) -> Result<Plan, AnswerError> {
    let prompt = request.tokens(engine, request.query(), true)?;
    if prompt.len() > limits.prompt {
        return Err(AnswerError::LongPrompt { tokens: prompt.len(), most: limits.prompt });
    }
    if let Some(wanted) = request.max_tokens.filter(|wanted| *wanted > limits.answer) {
        return Err(AnswerError::LongAnswer { wanted, most: limits.answer });
    }
    if request.memory != MemoryRequest::default() && request.memory.distils(engine) {
        // What cannot be is refused even where this text would have no need of it.
        let question = Some(request.query());
        let options = request.memory.options(engine, question, prefer_question, &[])?;
        match options.check(engine.spec(), 0) {
            Ok(_) | Err(PotError::TooSmall { .. }) => {}
            Err(error) => return Err(EngineError::from(error).into()),
        }
    }
    if !request.has_place_for_texts() {
        return Err(AnswerError::NoMessage);
    }
    let generate = GenerateOptions {
        sampling: request.sampling(engine)?,
        stop: request.stop.clone(),
        likeliest: request.likeliest,
        grammar: request.grammar.clone(),
        raw: matches!(request.input, Input::Text(_)),
        begun: request.is_begun(),
        ..GenerateOptions::default()
    };
    let plan = Plan {
        weights: request.key_weights(engine, &prompt)?,
        prompt,
        generate,
        memory: Memory::Same(None),
        stable: 0,
        adapter: None,
        outside: false,
        notes: Vec::new(),
    };
    Ok(plan)
}

/// The refusal of a prompt of so many tokens, with all the numbers.
fn no_room(
    engine: &Engine,
    request: &Request,
    prompt: usize,
    answer: usize,
    distil: bool,
) -> Result<NoRoom, AnswerError> {
    let (tokenizer, mut documents) = (engine.tokenizer()?, 0);
    for document in request.pinned.iter().chain(&request.documents) {
        documents += tokenizer.encode(document, Special::Plain).map_err(EngineError::from)?.len();
    }
    Ok(NoRoom {
        model: engine.name().to_owned(),
        documents,
        prompt,
        answer,
        context: request.memory.entries(engine),
        otherwise: match (crayon_engine::distillable(engine.spec()), distil) {
            (false, _) => Otherwise::AnotherModel,
            (true, true) => Otherwise::AllowForgetting,
            (true, false) => Otherwise::AskForMemory,
        },
    })
}

/// A pot for `prompt`: as much of it stays as is worth staying and fits.
fn pot(engine: &Engine, request: &Request, prompt: &[u32]) -> Result<Memory, AnswerError> {
    // A document that is kept for other questions must not depend on this one.
    let prefer_question = !request.cache;
    let question = request.query();
    let mut last = None;
    let places = places(engine, request, prompt)?;
    for (at, pins) in places.iter().enumerate() {
        // A question that does not stay whole is itself the text, and no catalyst.
        let whole = at == 0 || !request.documents.is_empty();
        let options = request.memory.options(engine, whole.then_some(question), prefer_question, pins)?;
        match options.check(engine.spec(), pinned(&options, pins)) {
            Ok(_) => return Ok(Memory::Pot(options, pins.clone())),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(AnswerError::NoQuestion, |error| EngineError::from(error).into()))
}

/// Places of `prompt` that should stay, from the best choice to the least.
fn places(engine: &Engine, request: &Request, prompt: &[u32]) -> Result<Vec<Vec<Range<u32>>>, EngineError> {
    let end = prompt.len() as u32;
    let query = request.query();
    let messages = match &request.input {
        Input::Text(_) => {
            let [head, tail] = match request.documents.is_empty() {
                true => stays(prompt, &request.tokens(engine, "?", false)?),
                false => stays(prompt, &request.tokens(engine, query, false)?),
            };
            let around = vec![head, tail];
            return Ok(match request.documents.is_empty() {
                true => vec![std::iter::once(0..end).collect(), around],
                false => vec![around],
            });
        }
        Input::Chat(messages) => messages,
    };
    let alone = |query: &str, pinned: &[String]| {
        let mut alone = request.clone();
        alone.pinned = pinned.to_vec();
        let mut short: Vec<Message> =
            messages.iter().filter(|message| message.role == Role::System).cloned().collect();
        short.push(Message::new(Role::User, query));
        alone.input = Input::Chat(short);
        alone.tokens(engine, query, false)
    };
    if !request.documents.is_empty() {
        // All but the documents; then without the earlier turns.
        let [before, question] = stays(prompt, &request.tokens(engine, query, false)?);
        let system = common(prompt, &alone("?", &[])?) as u32;
        let turns = common(prompt, &without_texts(request).tokens(engine, "?", false)?) as u32;
        let least = vec![0..system.min(before.end), turns.min(before.end)..before.end, question.clone()];
        let whole = vec![before, question];
        return Ok(if turns <= system { vec![whole] } else { vec![whole, least] });
    }
    // The instructions and the last message; then what frames it.
    let head = common(prompt, &alone("?", &[])?) as u32;
    let last = (common(prompt, &without_texts(request).tokens(engine, "?", false)?) as u32).max(head);
    let question = (common(prompt, &request.tokens(engine, "?", false)?) as u32).max(last);
    let [_, tail] = stays(prompt, &alone("?", &[])?);
    let tail = tail.start.max(question)..tail.end;
    Ok(vec![vec![0..head, last..end], vec![0..head, last..question, tail]])
}

/// The same conversation with nothing in front of its question.
fn without_texts(request: &Request) -> Request {
    Request { pinned: Vec::new(), documents: Vec::new(), ..request.clone() }
}

/// Tokens that two prompts begin with alike.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
