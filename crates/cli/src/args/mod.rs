//! What can be asked for on the command line. The comments here are the help texts.

mod adapters;
mod answer;
mod bench;
mod custom;
mod embed;
mod eval;
mod files;
mod images;
mod model;
mod push;
mod quantize;
mod route;
mod serve;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};

pub(crate) use adapters::{
    CustomizeArgs, PoolAddArgs, PoolArgs, PoolCommand, PoolPackArgs, PoolShowArgs, PoolTrainArgs,
};
pub(crate) use answer::{AskArgs, ChatArgs, PotArgs};
#[cfg(feature = "train")]
pub(crate) use bench::TrainBenchArgs;
pub(crate) use bench::{
    BenchArgs, BenchCommand, BlendBenchArgs, ClipBenchArgs, GenerateArgs, KernelsArgs, PotBenchArgs,
    SearchBenchArgs, ServeBenchArgs,
};
pub(crate) use custom::{CustomArgs, PoolServerArgs};
pub(crate) use embed::{ClipArgs, ClipRunArgs, EmbedArgs, EmbedCommand, EmbedImageArgs, EmbedTextArgs};
pub(crate) use eval::{
    ChoiceArgs, EvalArgs, EvalCommand, EvalCustomizeArgs, EvalImagesArgs, EvalQuantizeArgs, LogitsArgs,
    LongArgs, NeedleArgs, NoveltyArgs, PerplexityArgs, PoliciesArgs, RoutingArgs,
};
pub(crate) use files::{ConvertArgs, FileFormat, ModelsAction, ModelsArgs, PullArgs};
#[cfg(feature = "train")]
pub(crate) use images::LearnArgs;
pub(crate) use images::{
    BesideArgs, ClassTextArgs, ClassifyArgs, ImagesArgs, ImagesCommand, ImagesModelArgs, ImportArgs,
    IndexArgs, SearchArgs,
};
pub(crate) use model::{AdapterRef, ModelArgs, RunArgs};
pub(crate) use push::PushArgs;
pub(crate) use quantize::QuantizeArgs;
pub(crate) use route::{CalibrateArgs, RouteArgs, RouteCommand, RouteName};
pub(crate) use serve::ServeArgs;

/// A language model of your own, on your own device.
///
/// Questions are answered by a model that runs here: nothing is sent anywhere, unless you name a server. A small model, `mini`, is built in;
/// larger ones come from the Hugging Face Hub with `crayon pull`.
#[derive(Debug, Parser)]
#[command(
    name = "crayon",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Examples:
  crayon ask \"Why do leaves fall?\"           one answer from the built-in model
  crayon demo                                what it can do, in a minute
  cat letter.txt | crayon ask \"Who wrote it?\"
  crayon chat                                a conversation; so is crayon alone
  crayon pull Qwen/Qwen2.5-0.5B-Instruct     a larger model, once
  crayon ask -m Qwen/Qwen2.5-0.5B-Instruct \"Why do leaves fall?\"

A MODEL is the name of a built-in model (mini, mini-gpt2), a folder in Hugging Face layout,
a .gguf file, a llama2.c .bin file, or org/name of a model that was pulled.

Exit codes: 0 done, 1 a fault, 2 a mistake in what was asked (a hint says what to do), 130 stopped by Ctrl-C."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Group)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// Print exactly one JSON object on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No notes and no progress on stderr
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say on stderr how the work was done: kernels, threads, memory, speed
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A tour: what this program does, shown by its own commands
    Demo(DemoArgs),
    /// One answer, written as it comes
    Ask(AskArgs),
    /// A conversation
    Chat(ChatArgs),
    /// Answer other programs: a server with OpenAI's interface
    Serve(ServeArgs),
    /// When a bigger model on a server is asked
    #[command(subcommand)]
    Route(RouteCommand),
    /// Download a model from the Hugging Face Hub
    Pull(PullArgs),
    /// List the models that are here; show or remove one
    Models(ModelsArgs),
    /// Blend an adapter from a pool for a few examples of what you want
    Customize(CustomizeArgs),
    /// Have a server of many adapters (vLLM, SGLang) answer through an adapter made here
    Push(PushArgs),
    /// Train a pool of adapters, look at it, add to it
    Pool(PoolArgs),
    /// Find pictures by words with weights, by other pictures, or both
    Images(ImagesArgs),
    /// Texts and pictures as vectors of one space, from a CLIP or SigLIP model
    Embed(EmbedArgs),
    /// Write a model in another format or number type
    Convert(ConvertArgs),
    /// Make a model smaller and faster: integers for weights and activations
    Quantize(QuantizeArgs),
    /// Measure a model: perplexity, logits, multiple choice
    Eval(EvalArgs),
    /// Measure this machine: tokens a second, kernels
    Bench(BenchArgs),
    /// Measure everything on this machine, as one page with tables and pictures
    Report(ReportArgs),
    /// What this machine has and can do at most, and what would make it faster
    Doctor(DoctorArgs),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  crayon completions bash > ~/.local/share/bash-completion/completions/crayon"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a manual page for every command
    #[command(hide = true, after_help = "Example:\n  crayon man -o pages && man pages/crayon-ask.1")]
    Man {
        /// Folder of the pages
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
}

/// Arguments of `demo`.
#[derive(Debug, Group)]
#[command(after_help = "\
Runs on the built-in models in a folder of its own and opens no socket. It takes about a minute.

Examples:
  crayon demo
  crayon demo -o tour      keeps the files, to try the commands on")]
pub(crate) struct DemoArgs {
    /// Keep the files of the tour in this folder [default: a folder that goes when the tour ends]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Debug, Group)]
#[command(after_help = "\
Runs the commands that measure (doctor, bench generate, eval …) and writes report.html, which needs nothing else. With the built-in model it takes
about a minute.

Examples:
  crayon report -o report
  crayon report -o report -m qwen.gguf --text book.txt --examples mine.jsonl")]
pub(crate) struct ReportArgs {
    /// Folder of the page and of what it was made from
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(short, long, default_value = "mini")]
    pub(crate) model: String,
    /// A text to predict
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Multiple-choice questions, as `eval choice` reads them
    #[arg(long, value_name = "FILE")]
    pub(crate) task: Option<PathBuf>,
    /// Examples to customize for [default: twenty of things said to a house]
    #[arg(long, value_name = "FILE")]
    pub(crate) examples: Option<PathBuf>,
}

/// Arguments of `doctor`.
#[derive(Debug, Group)]
#[command(after_help = "Example:\n  crayon doctor")]
pub(crate) struct DoctorArgs {
    /// Threads [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// The words on the command line as they are meant: a question without a command is asked, and nothing at all, at a terminal,
/// is a conversation.
pub(crate) fn as_meant(mut words: Vec<OsString>) -> Vec<OsString> {
    let Some(first) = words.iter().skip(1).position(|word| !word.to_string_lossy().starts_with('-')) else {
        if words.len() == 1 && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            words.push("chat".into());
        }
        return words;
    };
    // A command is one word. One that does not exist gets a suggestion.
    if words[first + 1].to_string_lossy().trim().contains(char::is_whitespace) {
        words.insert(first + 1, "ask".into());
    }
    words
}

/// Whole numbers with k (1,024) or m (1,048,576) behind them.
fn tokens(text: &str) -> Result<usize, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, factor) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => (lower.as_str(), 1),
    };
    let number: Option<usize> = digits.parse().ok().and_then(|number: usize| number.checked_mul(factor));
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("{text:?} is not a number of tokens (like 500 or 16k)"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_weight_stands_behind_the_last_colon() {
        let parse = |text: &str| {
            text.parse::<AdapterRef>().map(|found| (found.path.display().to_string(), found.weight))
        };
        assert_eq!(parse("a/b"), Ok(("a/b".to_owned(), 1.0)));
        assert_eq!(parse("a/b:0.7"), Ok(("a/b".to_owned(), 0.7)));
        assert_eq!(parse("c:\\a"), Ok(("c:\\a".to_owned(), 1.0)));
        assert_eq!(parse("a:b:-1"), Ok(("a:b".to_owned(), -1.0)));
        assert!(parse("a:inf").is_err());
    }

    #[test]
    fn negative_numbers_reach_the_check_that_explains_them() {
        let args = Args::try_parse_from(["crayon", "ask", "--temperature", "-1", "why", "not"]).unwrap();
        let Command::Ask(ask) = args.command else { panic!("not ask") };
        assert_eq!((ask.answer.temperature, ask.prompt.join(" ").as_str()), (Some(-1.0), "why not"));
    }
}
