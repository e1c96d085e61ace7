//! `bench`: how fast it is.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::answer::PotArgs;
use super::embed::ClipRunArgs;
use super::model::ModelArgs;
use super::tokens;

#[derive(Debug, Group)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) what: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Tokens a second of a model, beside this machine's limits
    #[command(after_help = "\
Examples:
  crayon bench generate
  crayon bench generate -m qwen.gguf --prompt 512 --tokens 128
  crayon bench generate --shape qwen2.5-0.5b --scheme q8_0      made-up weights: speed does not depend on values")]
    Generate(GenerateArgs),
    /// What the processor offers, how fast it can be, and how fast every kernel is that runs on it
    Kernels(KernelsArgs),
    /// What blending a pool's adapters costs
    #[command(after_help = "Example:\n  crayon bench blend --shape qwen2.5-0.5b --adapters 8 --rank 8")]
    Blend(BlendBenchArgs),
    /// What reading through a pot costs, and whether it stays the same as the text grows
    #[command(after_help = "Example:\n  crayon bench pot --pot 512 --tokens 1m")]
    Pot(PotBenchArgs),
    /// How long a search among many pictures takes
    #[command(
        after_help = "Example:\n  crayon bench search --pictures 1000k --dim 512\n  crayon bench search --pictures 100k --approximate"
    )]
    Search(SearchBenchArgs),
    /// Texts and pictures that a CLIP or SigLIP model embeds a second
    #[command(after_help = "\
Examples:
  crayon bench clip --shape vit-b-32                 made-up weights: speed does not depend on values
  crayon bench clip --shape vit-b-32 --type w8a8     and how near 8-bit products stay to f32
  crayon bench clip -m clip-vit-base-patch32 --files *.jpg")]
    Clip(ClipBenchArgs),
    /// A server under load: requests at once, people with models of their own, a short question behind a long prompt
    #[command(after_help = "\
It starts `crayon serve` and, with --rival, another server with OpenAI's interface, and sends both the same load in turns. The command
of the other one is started without a shell; {port} and {model} in it become a free port and the model's file. What stands behind -- is for
`crayon serve`.

Examples:
  crayon bench serve
  crayon bench serve -m gemma.gguf --rival 'llama-server -m {model} --port {port} -np 8'
  crayon bench serve --rival 'crayon serve -m {model} --port {port} --parallel 1'
  crayon bench serve -m gemma.gguf --people 8 -- --pool my-pool")]
    Serve(ServeBenchArgs),
    /// What training an adapter on a person's examples costs
    #[cfg(feature = "train")]
    #[command(after_help = "\
Examples:
  crayon bench train
  crayon bench train -m gemma.gguf --examples 20 --tokens 40 --rounds 12
  crayon bench train -m gemma.gguf --shared 20                  a prompt that all examples begin with")]
    Train(TrainBenchArgs),
}

#[cfg(feature = "train")]
#[derive(Debug, Group)]
pub(crate) struct TrainBenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Examples to learn from, made up
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) examples: u16,
    /// Tokens of each
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(2..))]
    pub(crate) tokens: u16,
    /// Tokens of each that are its answer
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) answer: u16,
    /// Tokens at the start of each that all have in common
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) shared: u16,
    /// Times the examples are read
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// Examples of a step
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// Rank of the adapter
    #[arg(long, value_name = "R", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) rank: u16,
    /// The shape of a known model with made-up weights, instead of a model
    #[arg(long, conflicts_with = "model")]
    pub(crate) shape: Option<String>,
    /// Number type of the made-up weights [default: q8_0]
    #[arg(long, value_name = "TYPE", requires = "shape")]
    pub(crate) scheme: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ServeBenchArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(short, long, default_value = "mini")]
    pub(crate) model: String,
    /// Command of another server to be sent the same load in turns
    #[arg(long, value_name = "CMD")]
    pub(crate) rival: Option<String>,
    /// Requests at once, a row each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,4,8,32", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) at_once: Vec<u16>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) tokens: u16,
    /// Rounds; every server has its turns in each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// People with models of their own who ask at once, beside the same requests to the model as it is; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub(crate) people: u16,
    /// Tokens of the long prompts that a short question waits behind; 0 leaves them out
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "800,4000")]
    pub(crate) behind: Vec<u32>,
    /// Arguments of `crayon serve`
    #[arg(last = true, value_name = "ARGUMENTS OF SERVE")]
    pub(crate) serve: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct SearchBenchArgs {
    /// Pictures of the made-up index
    #[arg(long, value_name = "N", value_parser = thousands, default_value = "1000k")]
    pub(crate) pictures: usize,
    /// Numbers of a vector
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(8..=4096))]
    pub(crate) dim: u16,
    /// Timed searches; medians are printed
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Centres that the vectors lie around; 0 scatters them without any
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) centres: u32,
    /// Also make a graph and search through it, beside the search of all
    #[arg(long)]
    pub(crate) approximate: bool,
    /// Threads [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// Whole numbers with k (1,000) behind them.
fn thousands(text: &str) -> Result<usize, String> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    let number = digits.parse().ok().and_then(|number: usize| number.checked_mul(factor));
    number
        .filter(|number| (1..=100_000_000).contains(number))
        .ok_or_else(|| format!("{text:?} is not a number of pictures (like 500 or 100k)"))
}

#[derive(Debug, Group)]
pub(crate) struct BlendBenchArgs {
    /// The shape of a known model, for which adapters are made up
    #[arg(long, default_value = "qwen2.5-0.5b")]
    pub(crate) shape: String,
    /// Adapters in the pool
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) adapters: u16,
    /// Rank of each
    #[arg(long, value_name = "R", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) rank: u16,
    /// Timed runs; the medians are printed
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Threads [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Group)]
pub(crate) struct ClipBenchArgs {
    /// Built-in name, folder of a CLIP or SigLIP model, a .safetensors file of OpenAI's or OpenCLIP's, or org/name of a pulled model
    /// [default: mini-clip]
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// The shape of a known model with made-up weights, instead of a model: vit-b-32, vit-b-16 or siglip-b-16
    #[arg(long, conflicts_with = "model")]
    pub(crate) shape: Option<String>,
    #[command(flatten)]
    pub(crate) run: ClipRunArgs,
    /// Pictures embedded together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) pictures: u16,
    /// Texts embedded together
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) texts: u16,
    /// Tokens of a text, start and end among them
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..))]
    pub(crate) tokens: u16,
    /// Timed runs; the medians are printed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Picture files to decode and embed, too
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct PotBenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) long: PotArgs,
    /// Tokens of the long text
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "100k")]
    pub(crate) tokens: usize,
    /// Tokens to write at a time for decoding speed [default: from one distillation through the next]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) decode: Option<u32>,
    /// Timed runs of the comparisons; medians are printed, 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub(crate) runs: u16,
    /// The shape of a known model with made-up weights, instead of a model
    #[arg(long, conflicts_with = "model")]
    pub(crate) shape: Option<String>,
    /// Number type of the made-up weights [default: q8_0]
    #[arg(long, value_name = "TYPE", requires = "shape")]
    pub(crate) scheme: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Tokens to read
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) prompt: u32,
    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens: u32,
    /// Tokens the session has room for [default: prompt and answer]
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<u32>,
    /// Timed runs; the medians are printed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) runs: u16,
    /// The shape of a known model with made-up weights, instead of a model
    #[arg(long, conflicts_with = "model")]
    pub(crate) shape: Option<String>,
    /// Number type of the made-up weights [default: q8_0]
    #[arg(long, value_name = "TYPE", requires = "shape")]
    pub(crate) scheme: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct KernelsArgs {
    /// Threads [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}
