//! What is told while an answer is made.

use std::ops::ControlFlow;

use crayon_engine::Fed;
use crayon_errors::{Command, Phrase, Setting, count, phrase, size};

use crate::device::Drawn;

/// Something that happens on the way to an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The device reads the prompt.
    Reading(Fed),
    /// The device has read the prompt: it writes now.
    Read,
    /// Text of the answer.
    Text(String),
    /// A token of the device's answer, whose text may follow later. Not told where the answer is held back.
    Token(Drawn),
    /// The device wrote something that is held back until it is decided who answers.
    HeldBack,
    /// All text so far does not count: a server's answer was cut.
    Discard,
    /// Nothing new; whoever listens may stop the work.
    Waiting,
    /// Something worth knowing that is not the answer.
    Note(Note),
}

/// Where events go. It may stop the work.
pub type Sink<'a> = dyn FnMut(Event) -> ControlFlow<()> + 'a;

/// Something a person should know beside an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// Fewer tokens than usual are left for the answer.
    LittleRoom(usize),
    /// The memory allowed has room for so many entries only; those wanted would take so many bytes. Whether what is beyond is
    /// distilled.
    SmallMemory {
        /// Entries that there are.
        entries: usize,
        /// Bytes of them.
        bytes: usize,
        /// Bytes that were wanted.
        wanted: usize,
        /// Whether what goes beyond is distilled; else the answer ends there.
        distils: bool,
    },
    /// A conversation outgrows the window and goes on in a pot of this many entries.
    Outgrown(usize),
    /// The last message is too long to stay in the pot whole.
    LongMessage,
    /// This many tokens came from the cache.
    Cached(usize),
    /// What was read could not be kept in the cache.
    NotKept(String),
    /// A server is asked again.
    Again(String),
    /// A server's answer was cut; what was shown of it does not count.
    Cut,
    /// The server failed, and the device answers.
    FellBack(String),
    /// The server's address does not hide what is sent.
    OpenServer,
    /// The pool's address does not hide the scores.
    OpenPool,
    /// There are no thresholds for this model.
    NoThresholds,
    /// The thresholds are those of the model before it was customized.
    ThresholdsOfBase,
    /// No example is near to what the pool learned; whether it is blended all the same.
    NothingFits(bool),
    /// So many of all examples are near to nothing the pool learned.
    SomeOutside(usize, usize),
    /// The question lies outside what the model was customized for, and it answers without the adapter.
    Outside,
    /// The answer's confidence, and the one below which the model's answers are mostly wrong.
    Unsure(f32, f32),
    /// The examples for the prompt are not shown, because the text to go on with has no turns.
    NoTurns,
    /// The keys of a server's pool are others than last time.
    OtherKeys(String),
}

impl Note {
    /// In words.
    pub fn phrase(&self) -> Phrase {
        match self {
            Note::LittleRoom(tokens) => {
                format!("{} tokens of the context are left for the answer", count(*tokens)).into()
            }
            Note::SmallMemory { entries, bytes, wanted, distils } => format!(
                "the memory allowed has room for {} entries ({} of the {} wanted): {}",
                count(*entries),
                size(*bytes),
                size(*wanted),
                match distils {
                    true => "what goes beyond is distilled",
                    false => "the answer ends there",
                }
            )
            .into(),
            Note::Outgrown(entries) => format!(
                "the conversation outgrows the model's window: from here on it is read through a pot of {} \
                 entries, and older parts are distilled",
                count(*entries)
            )
            .into(),
            Note::LongMessage => "the message is too long to stay in the pot whole".into(),
            Note::Cached(tokens) => {
                format!("{} tokens were read before and came from the cache", count(*tokens)).into()
            }
            Note::NotKept(why) => format!("nothing was kept for later questions: {why}").into(),
            Note::Again(reason) => format!("{reason}; trying again").into(),
            Note::Cut => "the server's answer was cut; what stands above does not count".into(),
            Note::FellBack(failed) => format!("{failed}; the device answers").into(),
            Note::OpenServer => {
                "the server's address is http: others on the way can read what is sent".into()
            }
            Note::OpenPool => "the pool's address is http: others on the way can read the scores".into(),
            Note::NoThresholds => phrase![
                "no thresholds for this model: the server answers below a confidence of 0.5; ",
                Command::CalibrateRoute,
                " measures better ones"
            ],
            Note::ThresholdsOfBase => phrase![
                "thresholds of the model as it is, not as it is customized; ",
                Command::CalibrateRoute,
                " with the same ",
                Setting::Examples,
                " or ",
                Setting::Adapter,
                " measures better ones"
            ],
            Note::NothingFits(true) => {
                "the examples fit nothing that this pool learned; blending all the same".into()
            }
            Note::NothingFits(false) => phrase![
                "the examples fit nothing that this pool learned; the base model answers (",
                Setting::Force,
                " blends all the same)"
            ],
            Note::SomeOutside(outside, examples) => {
                format!("{outside} of {examples} examples fit nothing that this pool learned").into()
            }
            Note::Outside => phrase![
                "the question lies outside the customized task: the model answers as it is (",
                Setting::Force,
                " customizes every answer)"
            ],
            Note::Unsure(confidence, below) => format!(
                "the model is not sure of this answer: its confidence is {confidence:.2}, and below {below:.2} most of its \
                 answers were wrong when that was measured"
            )
            .into(),
            Note::NoTurns => {
                "a text to go on with has no turns for the examples: the model goes on without them".into()
            }
            Note::OtherKeys(pool) => format!(
                "the keys of {pool} have changed since they were last used: the scores say something else about the \
                 examples than before"
            )
            .into(),
        }
    }
}
