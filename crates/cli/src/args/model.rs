//! Which model, through which adapters, and how it runs.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::PossibleValuesParser;
use clap::{Args as Group, ValueEnum};
use crayon_answer::MemorySize;
use crayon_engine::{FRAMES, KvStorage};

/// The model where none is named.
const MINI: &str = "mini";

/// Which model, and how it runs.
#[derive(Clone, Debug, Group)]
pub(crate) struct ModelArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(short, long, default_value = MINI)]
    pub(crate) model: String,
    /// Answer through an adapter: a PEFT folder, with a weight behind a colon if several are blended (A:0.7); may be
    /// given several times
    #[arg(short, long, value_name = "ADAPTER[:W]")]
    pub(crate) adapter: Vec<AdapterRef>,
    /// Add the adapters into the weights instead of running them beside
    #[arg(long, requires = "adapter")]
    pub(crate) merge: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

impl ModelArgs {
    /// Whether this is what no argument means, too.
    pub(crate) fn is_default(&self) -> bool {
        self.model == MINI && self.adapter.is_empty()
    }
}

/// An adapter and its weight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterRef {
    pub(crate) path: PathBuf,
    pub(crate) weight: f32,
}

impl FromStr for AdapterRef {
    type Err = String;

    fn from_str(text: &str) -> Result<AdapterRef, String> {
        let (path, weight) = match text.rsplit_once(':') {
            Some((path, number)) => match number.parse::<f32>() {
                Ok(weight) if weight.is_finite() => (path, weight),
                Ok(_) => return Err(format!("{number} is not a finite weight")),
                Err(_) => (text, 1.0),
            },
            None => (text, 1.0),
        };
        Ok(AdapterRef { path: path.into(), weight })
    }
}

/// One bound on memory.
#[derive(Clone, Debug, Default, Group)]
#[command(next_help_heading = "Running")]
pub(crate) struct MemoryArgs {
    /// Memory for weights, adapters, conversations and buffers together (2GiB) [default: any]; what does not fit gets a smaller pot or is
    /// refused, with the numbers
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<usize>,
}

/// A size in bytes, written as that of a pot.
fn memory(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(MemorySize::Bytes(bytes)) if bytes > 0 => Ok(bytes),
        _ => Err(format!("{text:?} is not a size: write 2GiB or 512MiB")),
    }
}

/// How a model runs.
#[derive(Clone, Debug, Default, Group)]
#[command(next_help_heading = "Running")]
pub(crate) struct RunArgs {
    /// Threads [default: the machine's cores]; any number gives the same text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Compute in f32 throughout: slower, for comparisons
    #[arg(long)]
    pub(crate) exact: bool,
    /// How keys and values are stored [default: f16 beside quantised weights, else f32]
    #[arg(long, value_enum)]
    pub(crate) kv: Option<Kv>,
    /// How a conversation is written down for a model without a chat template [default: qa]; with a template, instead of it
    #[arg(long, value_name = "FRAME", value_parser = PossibleValuesParser::new(FRAMES.iter().map(|frame| frame.name)))]
    pub(crate) frame: Option<String>,
    /// Read an answer's tokens one by one, also where it copies from the text before: slower there, the same answer
    #[arg(long)]
    pub(crate) no_guess: bool,
}

/// Storage of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// Half the memory
    F16,
    /// Exact
    F32,
    /// A quarter of the memory
    I8,
}

impl From<Kv> for KvStorage {
    fn from(kv: Kv) -> KvStorage {
        match kv {
            Kv::F16 => KvStorage::F16,
            Kv::F32 => KvStorage::F32,
            Kv::I8 => KvStorage::I8,
        }
    }
}
