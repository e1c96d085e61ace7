//! Crayon beside candle's quantised path: the same GGUF file, the same prompt, the same machine, in turns.
//!
//! `compare` writes a file of a known shape with made-up weights, runs `candle` and `crayon` on it one after the
//! other, each in a process of its own, several times, and prints the pairs and their ratios as Markdown. Both
//! sides also report logits after the prompt, so that a wrong network cannot pass for a fast one.

mod compare;
mod measure;
mod rival;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use crayon_eval::bench::{MadeUp, Scheme, Shape};

#[derive(Parser)]
#[command(about = "Crayon beside candle's quantised path")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Both in turns, on a shape with made-up weights.
    Compare(Compare),
    /// Writes the file of a shape with made-up weights and leaves it there, for other rivals.
    Write(Write),
    /// One run of candle on a file, as JSON.
    Candle(Single),
    /// One run of crayon on a file, as JSON.
    Crayon(Single),
}

#[derive(Args)]
struct Compare {
    /// qwen2.5-0.5b or llama-3.2-1b.
    #[arg(long, default_value = "qwen2.5-0.5b")]
    shape: String,
    /// q8_0, q4_0, q4_k, …
    #[arg(long, value_delimiter = ',', default_value = "q8_0")]
    schemes: Vec<String>,
    /// Times each side runs.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    #[command(flatten)]
    work: Work,
    /// Where the file is written; the system's folder for temporary files by default.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Args)]
struct Write {
    /// qwen2.5-0.5b or llama-3.2-1b.
    #[arg(long, default_value = "qwen2.5-0.5b")]
    shape: String,
    /// q8_0, q4_0, q4_k, …
    #[arg(long, default_value = "q8_0")]
    scheme: String,
    /// Where the file goes; its path is printed.
    #[arg(long)]
    folder: PathBuf,
}

#[derive(Args)]
struct Single {
    /// GGUF file.
    #[arg(long)]
    file: PathBuf,
    #[command(flatten)]
    work: Work,
}

#[derive(Args, Clone, Copy)]
struct Work {
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens of the answer.
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Threads; the machine's cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// How candle attends.
    #[arg(long, value_enum, default_value_t = Attention::Flash)]
    attention: Attention,
}

/// candle's two ways to attend on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Attention {
    /// `candle_nn::attention::flash_attn`, causal.
    Flash,
    /// Products and a softmax over whole score matrices, as in candle's examples.
    Matmul,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Write(arguments) => write(&arguments),
        Command::Candle(arguments) => measure::print(&measure::candle(&arguments.file, arguments.work)?),
        Command::Crayon(arguments) => measure::print(&measure::crayon(&arguments.file, arguments.work)?),
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn write(arguments: &Write) -> anyhow::Result<()> {
    let (shape, scheme) = (Shape::from_name(&arguments.shape)?, Scheme::from_name(&arguments.scheme)?);
    println!("{}", MadeUp::write(&arguments.folder, &shape, scheme)?.keep().display());
    Ok(())
}
