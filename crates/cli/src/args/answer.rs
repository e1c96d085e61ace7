//! `ask` and `chat`: what answers share.

use std::path::PathBuf;

use clap::Args as Group;
use crayon_answer::{Catalyst, MemoryRequest, MemorySize, PASSES, policy_names};
use crayon_engine::SamplingOverrides;

use super::custom::CustomArgs;
use super::model::{MemoryArgs, ModelArgs};
use super::route::RouteArgs;

/// How an answer is written. What is not given comes from the model's makers, or is plain and repeatable.
#[derive(Clone, Debug, Default, Group)]
#[command(next_help_heading = "Answer")]
pub(crate) struct AnswerArgs {
    /// Longest answer in tokens [default: 256, or what fits]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// 0 takes the likeliest token each time; 1 draws by the model's own probabilities
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// Draw among the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw among the likeliest tokens that reach this probability together; 1 for all
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the likeliest; 0 for none
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Make tokens already in the answer less likely; 1 for no [default: 1.1]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,
    /// Subtract this from the logits of tokens already in the answer
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f32>,
    /// Subtract this from the logits of tokens for every time they occur in the answer
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: Option<f32>,
    /// Same seed, same answer [default: another each time, told by --verbose and --json]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
}

/// Context of any length in fixed memory.
#[derive(Debug, Group)]
#[command(next_help_heading = "Long texts")]
pub(crate) struct PotArgs {
    /// Read through a memory of fixed size: entries (4096) or memory (64MiB) [default: the model's window, once a
    /// text outgrows it]
    #[arg(long, value_name = "SIZE")]
    pub(crate) pot: Option<MemorySize>,
    /// What to keep when the pot is full
    #[arg(long, value_name = "P", default_value = "infinipot", value_parser = clap::builder::PossibleValuesParser::new(policy_names()))]
    pub(crate) policy: String,
    /// Entries that stay when the pot is distilled [default: half the pot]
    #[arg(long, value_name = "C")]
    pub(crate) keep: Option<usize>,
    /// Share of them that InfiniPot chooses because the past did not predict them, 0 to 1 [default: 0.5, beside a question 0.25]
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) novelty: Option<f32>,
    /// Compute how surprising a token is with the whole vocabulary instead of its frequent part: slower, keeps nearly the same
    #[arg(long)]
    pub(crate) novelty_exact: bool,
    /// Neighbours over which InfiniPot averages importance, so that phrases stay whole; 1 for none [default: 9]
    #[arg(long, value_name = "K")]
    pub(crate) smooth: Option<usize>,
    /// What the text is searched for when the pot is distilled: `question`, `general`, or a prompt of your own
    #[arg(long, value_name = "TEXT")]
    pub(crate) catalyst: Option<String>,
    /// Read documents that are distilled so often, each time with what was kept before [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=PASSES as i64))]
    pub(crate) passes: Option<u8>,
    /// First tokens that always stay [default: 4]
    #[arg(long, value_name = "K")]
    pub(crate) sinks: Option<usize>,
    /// Latest tokens that always stay [default: 4]
    #[arg(long, value_name = "K")]
    pub(crate) recent: Option<usize>,
}

impl AnswerArgs {
    /// How tokens are drawn.
    pub(crate) fn sampling(&self) -> SamplingOverrides {
        SamplingOverrides {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
        }
    }
}

impl PotArgs {
    /// What is asked of the memory.
    pub(crate) fn request(&self) -> MemoryRequest {
        MemoryRequest {
            size: self.pot,
            policy: Some(self.policy.clone()),
            keep: self.keep,
            novelty: self.novelty,
            exact_novelty: self.novelty_exact,
            smooth: self.smooth,
            sinks: self.sinks,
            recent: self.recent,
            catalyst: self.catalyst.as_deref().map_or(Catalyst::Usual, Catalyst::from),
            passes: self.passes.map(usize::from),
        }
    }
}

/// Heading of what belongs to the question.
const QUESTION: &str = "Question";

#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  crayon ask \"Why do leaves fall?\"
  crayon ask -c report.txt -c notes.txt \"What was decided?\"
  cat letter.txt | crayon ask --context - \"Who wrote this letter?\"
  echo \"Why do leaves fall?\" | crayon ask
  crayon ask --temperature 0.8 --seed 7 \"Tell me a story about a fox.\"
  crayon ask --raw \"Once upon a time\"        go on with a text

  crayon ask -c novel.txt --pot 512 \"Who wrote the letter?\"     any length, in fixed memory
  crayon ask --server https://api.example/v1 --server-model big \"Why do leaves fall?\"   a bigger model where unsure

A document that outgrows the model's window is read through a pot: what matters for the question is kept, the rest is
distilled away, and the numbers are told. With --policy full it is refused instead; nothing is ever cut silently.")]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// A text to answer about, `-` for stdin; may be given several times
    #[arg(short, long, value_name = "FILE", help_heading = QUESTION)]
    pub(crate) context: Vec<PathBuf>,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT", conflicts_with = "raw", help_heading = QUESTION)]
    pub(crate) system: Option<String>,
    /// Go on with the text as it is, without the chat format
    #[arg(long, help_heading = QUESTION)]
    pub(crate) raw: bool,
    /// Words of the question in brackets count more, or less: `(word:1.5)`, `(word)`, `[word]`, as in `images search`
    #[arg(long, help_heading = QUESTION)]
    pub(crate) weights: bool,
    /// A text that is never distilled away, in front of the others; may be given several times
    #[arg(long, value_name = "FILE", help_heading = QUESTION)]
    pub(crate) pin: Vec<PathBuf>,
    /// Keep what was read of the documents on this device, so that the next question about them starts at once
    #[arg(long, help_heading = QUESTION)]
    pub(crate) cache: bool,
    #[command(flatten)]
    pub(crate) long: PotArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    #[command(flatten)]
    pub(crate) custom: CustomArgs,
    #[command(flatten)]
    pub(crate) route: RouteArgs,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
    /// The question; read from stdin when absent
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,
}

/// Heading of what concerns the conversation as a whole.
const CONVERSATION: &str = "Conversation";

#[derive(Debug, Group)]
#[command(after_help = "\
Inside the conversation /help lists the commands. Ctrl-C stops an answer; at the prompt it clears the line, twice it
leaves. A line that ends in \\ goes on in the next one; pasted lines stay together.

Examples:
  crayon chat
  crayon chat -m Qwen/Qwen2.5-0.5B-Instruct --system \"Answer in one sentence.\"
  crayon chat --session work                             kept, and gone on with the next time
  printf 'Hello!\\nWhat did I say?\\n' | crayon chat      one message a line")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT", help_heading = CONVERSATION)]
    pub(crate) system: Option<String>,
    /// Go on with a conversation that /save wrote to a file
    #[arg(long, value_name = "FILE", help_heading = CONVERSATION)]
    pub(crate) load: Option<String>,
    /// Go on with this session, or begin it, and keep it: the conversation and the model's memory of it. A NAME is kept in the
    /// user's data folder; a path such as talk.pot names a file
    #[arg(long, value_name = "NAME", conflicts_with = "load", help_heading = CONVERSATION)]
    pub(crate) session: Option<String>,
    /// List the sessions kept by name, the latest first
    #[arg(long, conflicts_with_all = ["load", "session"], help_heading = CONVERSATION)]
    pub(crate) sessions: bool,
    /// Delete a session
    #[arg(long, value_name = "NAME", conflicts_with_all = ["load", "session", "sessions"], help_heading = CONVERSATION)]
    pub(crate) delete_session: Option<String>,
    /// Do not keep what is typed for the next time
    #[arg(long, help_heading = CONVERSATION)]
    pub(crate) no_history: bool,
    #[command(flatten)]
    pub(crate) long: PotArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    #[command(flatten)]
    pub(crate) custom: CustomArgs,
    #[command(flatten)]
    pub(crate) route: RouteArgs,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}
