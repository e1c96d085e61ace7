//! `customize` and `pool`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::custom::PoolServerArgs;
use super::model::ModelArgs;

#[derive(Debug, Group)]
#[command(after_help = "\
An example is a line {\"prompt\": \"…\", \"answer\": \"…\"}. Candidates are judged by how well they give the answers: the model as it
is (base), the pool's blend and its nearest adapter (which see the words of prompts and answers), the pool's adapters under fitted weights, the
examples in the prompt, and an adapter trained on the examples. The simplest that is about as good as the best is taken; where nothing
is better than the base, nothing is written. Ctrl-C takes the best so far, and the same command goes on. Without answers the blend is taken if the examples are near to what the pool learned. With a pool in a folder
nothing leaves this device; a server's pool is told one similarity score for each of its keys, and nothing else.

Examples:
  crayon customize --examples mine.jsonl -o mine                           the best within a minute
  crayon customize --examples mine.jsonl --effort instant -o mine          nothing is trained
  crayon customize --examples mine.jsonl --pool pool -o mine
  crayon ask -a mine \"Where is my parcel?\"
  crayon ask --examples mine.jsonl --pool pool \"Where is my parcel?\"      the same at once
  crayon customize --examples mine.jsonl --pool https://pools.example/v1/pools/pool --noise 0.05 -o mine")]
pub(crate) struct CustomizeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Examples of what you want, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) examples: PathBuf,
    /// The pool: a folder of `crayon pool train`, or the address of a server's [default: the one built in for mini, none beside
    /// other models]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) pool: Option<String>,
    #[command(flatten)]
    pub(crate) server: PoolServerArgs,
    /// The noise follows from it; who knows it can take the noise off [default: the system's chance]
    #[arg(long, value_name = "S", requires = "noise")]
    pub(crate) seed: Option<u64>,
    /// Write what is taken into this folder, for -a: an adapter as PEFT files, or examples for the prompt; nothing is written where
    /// the model is best as it is
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// How far candidates go: instant (nothing learns), fit (weights of the pool's adapters too), train (an adapter of its own too),
    /// auto (as train, up to the first that gives every answer)
    #[arg(long, default_value = "auto", value_parser = ["instant", "fit", "train", "auto"])]
    pub(crate) effort: String,
    /// Seconds for all candidates; what would take longer is not begun
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub(crate) budget: f64,
    /// How the weighted sum is held: exact (rank N·r), svd (cut back to rank r), factor (A and B averaged)
    #[arg(long, default_value = "exact", value_parser = ["exact", "svd", "factor"])]
    pub(crate) form: String,
    /// Temperature of the weights: small takes the nearest adapter, large mixes all [default: the pool's]
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Blend even if the examples fit nothing in the pool
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Group)]
pub(crate) struct PoolArgs {
    #[command(subcommand)]
    pub(crate) what: PoolCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Train adapters together on data of several kinds
    #[command(after_help = "\
A line of data is {\"prompt\": \"…\", \"answer\": \"…\"}, with \"task\" where files hold several; otherwise a file's name is its
task. Stopped by Ctrl-C or otherwise, the same command goes on where it was.

Example:
  crayon pool train --data banking.jsonl --data travel.jsonl -n 4 -o pool")]
    Train(PoolTrainArgs),
    /// Describe a pool
    #[command(after_help = "Example:\n  crayon pool show pool --plot keys.svg")]
    Show(PoolShowArgs),
    /// Let a PEFT adapter trained elsewhere join
    #[command(
        after_help = "Example:\n  crayon pool add pool my-adapter --data what-it-learned.jsonl --name letters"
    )]
    Add(PoolAddArgs),
    /// Write a pool into one file, its adapters in half precision; the file serves as a pool as well
    #[command(after_help = "Example:\n  crayon pool pack pool -o pool.safetensors")]
    Pack(PoolPackArgs),
}

#[derive(Debug, Group)]
pub(crate) struct PoolTrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Examples with answers, one JSON object a line; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Adapters
    #[arg(short = 'n', long, value_name = "N", default_value_t = 8)]
    pub(crate) adapters: usize,
    /// Rank of each
    #[arg(long, value_name = "R", default_value_t = 8)]
    pub(crate) rank: usize,
    /// Folder of the pool
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Go on from this pool's adapters and keys; their number, rank and layers count then
    #[arg(long, value_name = "DIR", conflicts_with_all = ["adapters", "rank", "alpha", "targets"])]
    pub(crate) from: Option<PathBuf>,
    /// LoRA's alpha; the factor is alpha / rank
    #[arg(long, value_name = "A", default_value_t = 16.0)]
    pub(crate) alpha: f32,
    /// Adapted layers: q, k, v, o, gate, up, down, or all
    #[arg(long, value_name = "LAYER,…", value_delimiter = ',', default_value = "q,v")]
    pub(crate) targets: Vec<String>,
    /// Times the data is read at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) epochs: usize,
    /// Examples of a step
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) batch: usize,
    /// Learning rate
    #[arg(long, value_name = "R", default_value_t = 3e-4)]
    pub(crate) rate: f64,
    /// Temperature of the weights between adapters
    #[arg(long, value_name = "T", default_value_t = 0.1)]
    pub(crate) temperature: f32,
    /// Examples of a task, at most, whose mean query weighs the adapters while one of them is learned; 1: each by itself
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) episode: usize,
    /// Share of the examples that are read with another task's labels; the keys learn from them where no adapter helps
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub(crate) strangers: f64,
    /// Every example trains the one nearest adapter only
    #[arg(long)]
    pub(crate) hard: bool,
    /// Keys that look at prompts alone and not at answers, to see what that does
    #[arg(long)]
    pub(crate) prompt_keys: bool,
    /// Keys that stay the centres of groups of examples, and always adapters, to see what that does
    #[arg(long)]
    pub(crate) fixed_keys: bool,
    /// Do not subtract the mean query, to see what that does: all queries are nearly alike then
    #[arg(long)]
    pub(crate) uncentred: bool,
    /// Share of the data held out to see when to stop
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) validation: f64,
    /// Epochs without improvement after which training ends
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) patience: usize,
    /// Everything random follows from it
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where it is computed: cpu, or with a program built for it cuda, cuda:1 or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Replace the pool that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Group)]
pub(crate) struct PoolShowArgs {
    /// Folder of the pool, or the file of a packed one
    #[arg(value_name = "DIR", default_value = crayon_engine::BUILT_IN)]
    pub(crate) pool: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Draw a map of the keys as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct PoolPackArgs {
    /// Folder of the pool
    #[arg(value_name = "DIR")]
    pub(crate) pool: PathBuf,
    /// The file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

#[derive(Debug, Group)]
pub(crate) struct PoolAddArgs {
    /// Folder of the pool
    #[arg(value_name = "DIR")]
    pub(crate) pool: PathBuf,
    /// PEFT folder of the adapter
    #[arg(value_name = "ADAPTER")]
    pub(crate) joining: PathBuf,
    /// Examples of what it learned; their mean query becomes its key
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// What it learned, in a word [default: the name of its folder]
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}
