//! `eval`: how good it is.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::answer::PotArgs;
use super::custom::CustomArgs;
use super::embed::ClipArgs;
use super::model::{Kv, ModelArgs};
use super::tokens;

#[derive(Debug, Group)]
pub(crate) struct EvalArgs {
    #[command(subcommand)]
    pub(crate) what: EvalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// How well a model predicts a text
    #[command(after_help = "\
The text is cut into windows of W tokens that are scored alone; the first token of each is not scored.

Examples:
  crayon eval perplexity --text book.txt
  crayon eval perplexity --text book.txt -m qwen.gguf --window 1024")]
    Perplexity(PerplexityArgs),
    /// The logits after the last token of a sequence, or after every token
    #[command(after_help = "\
A file of token ids is a JSON list, or numbers with blanks or commas between them.

Example:
  echo '[1, 5, 9]' > ids.json && crayon eval logits --token-ids ids.json --json")]
    Logits(LogitsArgs),
    /// Multiple choice by the likelihood of each choice
    #[command(after_help = "\
A task is JSON lines: {\"prompt\": str, \"choices\": [str], \"answer\": int}, the first choice being 0. MMLU's csv,
CLINC150's data_full.json, LLM-Adapters' json and CommonsenseQA's jsonl are read too.

Example:
  crayon eval choice --task questions.jsonl")]
    Choice(ChoiceArgs),
    /// A pool's blend and what customize takes, beside what else can be done with a few examples
    #[command(after_help = "\
A user is a folder within USERS with train.jsonl, examples to draw from as customize reads them, and test.jsonl, to ask:
lines of {\"prompt\": str, \"choices\": [str], \"answer\": int}. The pool must not have learned from them. Questions are answered
by the likeliest choice, and in writing.

Example:
  crayon eval customize --users users --pool pool --sizes 5,20 --seeds 3 --cells cells.jsonl")]
    Customize(EvalCustomizeArgs),
    /// Whether a fact is found again: at every depth of texts of every length
    #[command(after_help = "\
Examples:
  crayon eval needle --pot 256
  crayon eval needle --lengths 1k,16k,1m --depths 0,0.5,1 --pot 512 --plot needle.svg
  crayon eval needle --pot 256 --policy snapkv --text novel.txt      a novel as the haystack")]
    Needle(NeedleArgs),
    /// All policies at equal memory, on the same questions
    #[command(after_help = "\
Tasks are needle, multikey, multivalue, variables, common and distractors (in the manner of RULER), and conversation (of two people over
several sessions, in the manner of LoCoMo). Standard errors
are over seeds.

Example:
  crayon eval policies --pots 128,256 --length 1500 --questions 10")]
    Policies(PoliciesArgs),
    /// Whether the cheap novelty of a pot keeps what the exact one keeps, and what both cost
    #[command(after_help = "\
Novelty is how surprising a token is. Its softmax is summed over the frequent part of a large vocabulary unless --novelty-exact asks
for all. Both are computed for windows of TEXT.

Example:
  crayon eval novelty --text alice.txt -m gemma-3-270m.gguf")]
    Novelty(NoveltyArgs),
    /// What a share of the questions sent to a server brings: by confidence, by scope, by both, at random
    #[command(after_help = "\
Every question goes to the server, with its choices unless --bare leaves them out. With --examples and --pool the device is customized for them, and
its scope counts too; --outside names prompts that belong to no task, and measures whether they are told apart.

Example:
  crayon eval routing --task questions.jsonl --server http://127.0.0.1:8080/v1 --server-model small --plot routing.svg")]
    Routing(RoutingArgs),
    /// Ways to quantise side by side, on text like that of the calibration and on other text
    #[command(after_help = "\
Perplexity and divergence from the exact path (KL, in nats) of every result as it would run. The first --text is of the kind of the
calibration (ID), the others are not (OOD). Windows are spread over each text.

Example:
  crayon eval quantize --calibration valid.txt --text wiki=test.txt --text alice=alice.txt \\
    --variants exact,rtn,smoothquant,quadapter --activations static --cells cells.jsonl")]
    Quantize(EvalQuantizeArgs),
    /// Whether word weights steer a search of pictures, beside other ways to stress a word
    #[command(after_help = "\
A line of GALLERY is {\"picture\": path, \"facts\": [str]}, paths beginning at its folder. A line of CAPTIONS is {\"text\", \"word\",
\"stressed\", \"other\"}: a caption, the word of it that is stressed, the fact this word says, and the other fact of the caption.
Average precision (AP) of both facts is printed for every strength, and what the stressed one gains where the other has lost so much.

Example:
  crayon eval images --gallery gallery.jsonl --captions captions.jsonl --plot control.svg")]
    Images(EvalImagesArgs),
    /// Published sets of questions about long texts: a LongBench file (.jsonl) or LoCoMo's (.json)
    #[command(after_help = "Example:\n  crayon eval long --task hotpotqa.jsonl --pot 4096 -m qwen.gguf")]
    Long(LongArgs),
}

#[derive(Debug, Group)]
pub(crate) struct EvalQuantizeArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(short, long, default_value = "mini")]
    pub(crate) model: String,
    /// Text to calibrate by [default: the model writes some]
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// A text to measure on, with a name before it; may be given several times, the first being like the calibration
    #[arg(long, value_name = "NAME=FILE", required = true)]
    pub(crate) text: Vec<String>,
    /// Ways to quantise [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) variants: Vec<String>,
    /// Bits of weights and activations
    #[arg(long, value_name = "SCHEME,…", value_delimiter = ',', default_value = "w8a8")]
    pub(crate) schemes: Vec<String>,
    /// Ranges of activations: static, token
    #[arg(long, value_name = "WHEN,…", value_delimiter = ',', default_value = "static")]
    pub(crate) activations: Vec<String>,
    /// Who shares a range of weights: channel, tensor, or a number of neighbours in a row [default: as the integers have it]
    #[arg(long, value_name = "WHO")]
    pub(crate) groups: Option<String>,
    /// Sequences to calibrate by
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "16")]
    pub(crate) sequences: Vec<usize>,
    /// Number of seeds
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: u64,
    /// Tokens of a sequence and of a window
    #[arg(long, value_name = "W", default_value = "256", value_parser = tokens)]
    pub(crate) window: usize,
    /// Windows of each text
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) windows: usize,
    /// Steps of each block in phase 1
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) steps: usize,
    /// Steps of phase 2, and of training all weights
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) final_steps: usize,
    /// Learning rates of training all weights, chosen on held-out sequences of the calibration text
    #[arg(long, value_name = "R,…", value_delimiter = ',', default_value = "1e-4")]
    pub(crate) tune_rates: Vec<f64>,
    /// Exponents of SmoothQuant, chosen on held-out sequences of the calibration text
    #[arg(long, value_name = "A,…", value_delimiter = ',', default_value = "0.5")]
    pub(crate) alphas: Vec<f32>,
    /// Answer through an adapter of the model in every row: a PEFT folder, as customize writes; scales fold into it too
    #[arg(short, long, value_name = "ADAPTER")]
    pub(crate) adapter: Option<PathBuf>,
    /// How keys and values are stored in every row [default: f16 beside quantised weights, else f32]
    #[arg(long, value_enum)]
    pub(crate) kv: Option<Kv>,
    /// Read texts through a pot of so many entries in every row
    #[arg(long, value_name = "N")]
    pub(crate) pot: Option<usize>,
    /// Plant outliers: a few channels so many times larger, the weights behind them smaller
    #[arg(long, value_name = "X")]
    pub(crate) plant: Option<f32>,
    /// Keep every finished row in this file; the same command goes on from it
    #[arg(long, value_name = "FILE")]
    pub(crate) cells: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct EvalImagesArgs {
    #[command(flatten)]
    pub(crate) model: ClipArgs,
    /// Pictures with what is true of them
    #[arg(long, value_name = "FILE")]
    pub(crate) gallery: PathBuf,
    /// Captions with the word that is stressed
    #[arg(long, value_name = "FILE")]
    pub(crate) captions: PathBuf,
    /// Draw average precision of the stressed fact over that of the other as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct NeedleArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) long: PotArgs,
    /// Lengths of the texts in tokens
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = tokens, default_value = "1k,2k,4k")]
    pub(crate) lengths: Vec<usize>,
    /// Places of the fact: share of the text before it
    #[arg(long, value_name = "D,…", value_delimiter = ',', default_value = "0,0.25,0.5,0.75,1")]
    pub(crate) depths: Vec<f64>,
    /// Questions for each length and depth
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) samples: usize,
    /// Kinds of facts: passkey, number, word, attribute, hiding, activity, journey, colour [default: all, by turns]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub(crate) kinds: Vec<String>,
    /// A text to hide the facts in [default: generated prose]
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Draw the grid as SVG; a second picture beside it shows the choices
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Everything random follows from it
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Group)]
pub(crate) struct NoveltyArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The text, or `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Tokens of a window
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "1024")]
    pub(crate) window: usize,
    /// Windows at most, spread over the text
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) windows: usize,
    /// Tokens of a chunk, of which a quarter is kept
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "512")]
    pub(crate) chunk: usize,
}

#[derive(Debug, Group)]
pub(crate) struct PoliciesArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Sizes of pots in entries
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = tokens, default_value = "128,256,512")]
    pub(crate) pots: Vec<usize>,
    /// Tokens of a text
    #[arg(long, value_name = "N", value_parser = tokens, default_value = "1500")]
    pub(crate) length: usize,
    /// Questions of each task for each seed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) questions: usize,
    /// Number of seeds
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Only variants whose name begins so
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Only these tasks
    #[arg(long, value_name = "TASK,…", value_delimiter = ',')]
    pub(crate) tasks: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct LongArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) long: PotArgs,
    /// The file with texts and questions
    #[arg(long, value_name = "FILE")]
    pub(crate) task: PathBuf,
    /// Ask only the first N questions
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Group)]
pub(crate) struct PerplexityArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// A text in UTF-8, `-` for stdin
    #[arg(long, value_name = "FILE", required_unless_present = "token_ids", conflicts_with = "token_ids")]
    pub(crate) text: Option<PathBuf>,
    /// Token ids instead of a text
    #[arg(long, value_name = "FILE")]
    pub(crate) token_ids: Option<PathBuf>,
    /// Tokens a window [default: the model's context]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) window: Option<u32>,
    #[command(flatten)]
    pub(crate) long: PotArgs,
}

#[derive(Debug, Group)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Token ids
    #[arg(long, value_name = "FILE")]
    pub(crate) token_ids: PathBuf,
    /// Of every position, not only the last
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Group)]
pub(crate) struct ChoiceArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Questions with their choices
    #[arg(long, value_name = "FILE")]
    pub(crate) task: PathBuf,
    /// Solved examples: put in front of every question, or with --pool or --effort what the model is customized for
    #[arg(long, value_name = "FILE")]
    pub(crate) examples: Option<PathBuf>,
    /// Answer through what customize takes for the examples with this pool; built-in is the one for mini
    #[arg(long, value_name = "DIR|URL", requires = "examples", conflicts_with = "adapter")]
    pub(crate) pool: Option<String>,
    /// How far customize goes for that: instant, fit, train, auto [default with --pool: auto]
    #[arg(long, requires = "examples", conflicts_with = "adapter", value_parser = ["instant", "fit", "train", "auto"])]
    pub(crate) effort: Option<String>,
    /// Seconds that it may take
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub(crate) budget: f64,
    /// How questions are put: auto, chat (as a conversation, in the model's template or --frame) or plain (as a text to go on with)
    #[arg(long, default_value = "auto")]
    pub(crate) framing: String,
    /// Ask only N of the questions, drawn by --seed
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Which questions --limit draws
    #[arg(long, value_name = "S", default_value_t = 0, requires = "limit")]
    pub(crate) seed: u64,
}

#[derive(Debug, Group)]
pub(crate) struct RoutingArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) custom: CustomArgs,
    /// Questions with their choices; can be given several times
    #[arg(long = "task", value_name = "FILE", required = true)]
    pub(crate) tasks: Vec<PathBuf>,
    /// Prompts that belong to none of the tasks
    #[arg(long, value_name = "FILE")]
    pub(crate) outside: Option<PathBuf>,
    /// A server with OpenAI's chat interface: its address up to /v1. Its key comes from CRAYON_SERVER_KEY [default: the device
    /// is measured alone]
    #[arg(long, value_name = "URL", requires = "server_model")]
    pub(crate) server: Option<String>,
    /// Name of the model there
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) server_model: Option<String>,
    /// A file that holds the server's key
    #[arg(long, value_name = "FILE")]
    pub(crate) server_key_file: Option<PathBuf>,
    /// Do not show the server the choices, for a model that was trained on such prompts
    #[arg(long)]
    pub(crate) bare: bool,
    /// Show the server solved examples as earlier turns: a folder with a file of each task's name
    #[arg(long, value_name = "DIR")]
    pub(crate) solved: Option<PathBuf>,
    /// Keep this server's answers in a file, so that a stopped run goes on
    #[arg(long, value_name = "FILE")]
    pub(crate) cells: Option<PathBuf>,
    /// Have the device write its answers as `ask` does, instead of taking the likeliest choice; tasks may be examples then
    #[arg(long)]
    pub(crate) written: bool,
    /// Longest written answer in tokens [default: 48]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Thresholds of `crayon route calibrate`, below which written answers are doubted [default: where it writes them]
    #[arg(long, value_name = "FILE", requires = "written")]
    pub(crate) thresholds: Option<PathBuf>,
    /// How the device is asked: auto, chat (as a conversation, in the model's template or --frame) or plain (as a text to go on with)
    #[arg(long, default_value = "auto")]
    pub(crate) framing: String,
    /// Ask only N of each task's questions, drawn by --seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Which questions --limit draws
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Draw accuracy over the server's share into an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct EvalCustomizeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Folder with a folder for each user; can be given several times
    #[arg(long, value_name = "USERS", required = true)]
    pub(crate) users: Vec<PathBuf>,
    /// The pool; without one, methods that need none are compared
    #[arg(long, value_name = "DIR")]
    pub(crate) pool: Option<PathBuf>,
    /// One adapter trained on all of the pool's data, as a pool of one
    #[arg(long, value_name = "DIR")]
    pub(crate) joint: Option<PathBuf>,
    /// base, prompt, joint, uniform, nearest, arrow, lorahub, blend, instant, fitted, trained, auto, oracle [default: all that can be]
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    pub(crate) methods: Vec<String>,
    /// Numbers of examples
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "5,20")]
    pub(crate) sizes: Vec<usize>,
    /// Draws of the examples at each size
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Questions of each user
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) questions: usize,
    /// Temperature of the blend [default: the pool's]
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// How the blend is held: exact, svd, factor
    #[arg(long, default_value = "exact", value_parser = ["exact", "svd", "factor"])]
    pub(crate) form: String,
    /// Seconds that instant, fitted, trained and auto may take for a user's examples
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub(crate) budget: f64,
    /// Examples of the user's that the oracle learns from at most
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub(crate) oracle_examples: usize,
    /// Times it reads them
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) oracle_epochs: usize,
    /// Its learning rate
    #[arg(long, value_name = "R", default_value_t = 2e-3)]
    pub(crate) oracle_rate: f64,
    /// Keep finished results in this file, and do not repeat those it holds
    #[arg(long, value_name = "FILE")]
    pub(crate) cells: Option<PathBuf>,
    /// Tells pools and settings apart in that file
    #[arg(long, value_name = "TEXT", default_value = "", requires = "cells")]
    pub(crate) label: String,
}
