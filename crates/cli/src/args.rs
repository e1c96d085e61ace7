//! What can be asked for on the command line. The comments here are the help texts.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use crayon_engine::KvStorage;
use crayon_hybrid::Route;

use crate::commands::long::{self, PotSize};

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
  cat letter.txt | crayon ask -c - \"Who wrote it?\"
  crayon chat                                a conversation
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
    /// Train a pool of adapters, look at it, add to it
    Pool(PoolArgs),
    /// Write a model in another format or number type
    Convert(ConvertArgs),
    /// Measure a model: perplexity, logits, multiple choice
    Eval(EvalArgs),
    /// Measure this machine: tokens a second, kernels
    Bench(BenchArgs),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  crayon completions bash > ~/.local/share/bash-completion/completions/crayon"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which model, and how it runs.
#[derive(Clone, Debug, Group)]
pub(crate) struct ModelArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(short, long, default_value = "mini")]
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
                Ok(_) => return Err(format!("{number} is no weight")),
                Err(_) => (text, 1.0),
            },
            None => (text, 1.0),
        };
        Ok(AdapterRef { path: path.into(), weight })
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

/// An adapter for a person's examples.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Customisation")]
pub(crate) struct CustomArgs {
    /// Examples of what you want, one JSON object a line; a pool's adapters are blended for them
    #[arg(long, value_name = "FILE", conflicts_with = "adapter")]
    pub(crate) examples: Option<PathBuf>,
    /// The pool: a folder of `crayon pool train`, or the address of a server's, which is told similarity scores only [default: the
    /// one built in for mini]
    #[arg(long = "pool", value_name = "DIR|URL", requires = "examples")]
    pub(crate) pool: Option<String>,
    /// Blend even if the examples fit nothing in the pool
    #[arg(long, requires = "examples")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) server: PoolServerArgs,
}

/// A pool on a server.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Customisation")]
pub(crate) struct PoolServerArgs {
    /// Add noise to the scores that are blended by: Gaussian, of this standard deviation
    #[arg(long, value_name = "SIGMA", requires = "pool", allow_negative_numbers = true)]
    pub(crate) noise: Option<f32>,
    /// A file that holds the key of the pool's server [default: the variable CRAYON_POOL_KEY]
    #[arg(long, value_name = "FILE", requires = "pool")]
    pub(crate) pool_key_file: Option<PathBuf>,
    /// Seconds for the pool's server, failed tries included
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) pool_timeout: u32,
}

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
    pub(crate) pot: Option<PotSize>,
    /// What to keep when the pot is full
    #[arg(long, value_name = "P", default_value = "infinipot", value_parser = clap::builder::PossibleValuesParser::new(long::policy_names()))]
    pub(crate) policy: String,
    /// Entries that stay when the pot is distilled [default: half the pot]
    #[arg(long, value_name = "C")]
    pub(crate) keep: Option<usize>,
    /// Share of them that InfiniPot chooses because the past did not predict them, 0 to 1 [default: 0.5]
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) novelty: Option<f32>,
    /// Neighbours over which InfiniPot averages importance, so that phrases stay whole; 1 for none [default: 9]
    #[arg(long, value_name = "K")]
    pub(crate) smooth: Option<usize>,
    /// What the text is searched for when the pot is distilled: `question`, `general`, or a prompt of your own
    #[arg(long, value_name = "TEXT")]
    pub(crate) catalyst: Option<String>,
    /// First tokens that always stay [default: 4]
    #[arg(long, value_name = "K")]
    pub(crate) sinks: Option<usize>,
    /// Latest tokens that always stay [default: 4]
    #[arg(long, value_name = "K")]
    pub(crate) recent: Option<usize>,
}

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
    #[arg(short, long, value_name = "FILE")]
    pub(crate) context: Vec<PathBuf>,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(crate) system: Option<String>,
    /// Go on with the text as it is, without the chat format
    #[arg(long)]
    pub(crate) raw: bool,
    /// A text that is never distilled away, in front of the others; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) pin: Vec<PathBuf>,
    /// Keep what was read of the documents on this device, so that the next question about them starts at once
    #[arg(long)]
    pub(crate) cache: bool,
    #[command(flatten)]
    pub(crate) long: PotArgs,
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

#[derive(Debug, Group)]
#[command(after_help = "\
Inside the conversation /help lists the commands. Ctrl-C stops an answer; at the prompt it clears the line, twice it
leaves. A line that ends in \\ goes on in the next one; pasted lines stay together.

Examples:
  crayon chat
  crayon chat -m Qwen/Qwen2.5-0.5B-Instruct --system \"Answer in one sentence.\"
  printf 'Hello!\\nWhat did I say?\\n' | crayon chat      one message a line")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Go on with a conversation written by /save
    #[arg(long, value_name = "FILE")]
    pub(crate) load: Option<PathBuf>,
    /// Go on with this session, and keep it there: conversation, keys and values
    #[arg(long, value_name = "FILE", conflicts_with = "load")]
    pub(crate) session: Option<PathBuf>,
    /// Keep no history of what was typed
    #[arg(long)]
    pub(crate) no_history: bool,
    #[command(flatten)]
    pub(crate) long: PotArgs,
    #[command(flatten)]
    pub(crate) custom: CustomArgs,
    #[command(flatten)]
    pub(crate) route: RouteArgs,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}

/// A bigger model on a server, for what the device is not sure of.
#[derive(Debug, Group)]
#[command(next_help_heading = "Server")]
pub(crate) struct RouteArgs {
    /// A server with OpenAI's chat interface: its address up to /v1. Its key comes from CRAYON_SERVER_KEY
    #[arg(long, value_name = "URL", requires = "server_model")]
    pub(crate) server: Option<String>,
    /// Name of the model there
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) server_model: Option<String>,
    /// Who answers [default: auto with a server, else the device]
    #[arg(long, value_enum)]
    pub(crate) route: Option<RouteName>,
    /// Nothing of this may leave the device, whatever else is said
    #[arg(long)]
    pub(crate) private: bool,
    /// A file that holds the server's key
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) server_key_file: Option<PathBuf>,
    /// Seconds for the server's answer, failed tries included; then the device answers
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) server_timeout: u32,
    /// Thresholds of `crayon route calibrate` [default: where it writes them]
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) thresholds: Option<PathBuf>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RouteName {
    /// The device; the server where the device is not sure
    Auto,
    /// The device, and no socket is opened
    Device,
    /// The server, or nobody
    Server,
}

impl From<RouteName> for Route {
    fn from(name: RouteName) -> Route {
        match name {
            RouteName::Auto => Route::Auto,
            RouteName::Device => Route::Device,
            RouteName::Server => Route::Server,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Measure from which confidence on the device answers, for a wanted share of the server
    #[command(after_help = "\
The model answers every query as `crayon ask` would; nothing is sent anywhere. The threshold is the confidence below
which the wanted share of the answers lies. With --tokens it is decided after so many tokens of an answer, so that a
sure device shows its answer at once; else after the whole answer.

Example:
  crayon route calibrate --data held-out.jsonl --share 0.3
  crayon ask --server https://api.example/v1 --server-model big \"Why do leaves fall?\"")]
    Calibrate(CalibrateArgs),
}

#[derive(Debug, Group)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Queries nobody trained on: JSON lines of {\"prompt\": str}; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Share of the queries that may go to the server, 0 to 1
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) share: f64,
    /// Decide after so many tokens of an answer [default: after the whole answer]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens: Option<u32>,
    /// Longest answer in tokens [default: 256, or what fits]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// File to write [default: where `ask` looks for it]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) custom: CustomArgs,
}

#[derive(Debug, Group)]
#[command(after_help = "\
It answers POST /v1/chat/completions and /v1/completions, streamed or not, and GET /v1/models. Requests may ask for an
adapter offered with -a NAME=FOLDER, for examples blended from a pool, and, with --server, for a bigger model. Pools are
offered to other devices too, which send scores and get one adapter (/v1/pools). Only this device reaches it unless --host says otherwise, and then a key is needed. One model answers one request after the other; the rest wait
in a queue, by turns of those who ask. What is asked and answered is never logged; --verbose logs that it was.

Examples:
  crayon serve
  crayon serve -m Qwen/Qwen2.5-0.5B-Instruct --port 9000
  crayon serve --host 0.0.0.0 --api-key-file keys.txt
  crayon serve --pool pool -a letters=my-adapter
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"model\": \"mini\", \"messages\": [{\"role\": \"user\", \"content\": \"What is a cat?\"}]}'")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Interface to listen on: its address or name
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Ask for a key: a file with one key a line
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Offer a pool, under the name of its folder or another; may be given several times
    #[arg(long, value_name = "[NAME=]DIR")]
    pub(crate) pool: Vec<String>,
    #[command(flatten)]
    pub(crate) route: RouteArgs,
    /// Largest body of a request in bytes [default: 4194304]
    #[arg(long, value_name = "BYTES", help_heading = "Limits", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_body: Option<u32>,
    /// Longest prompt in tokens [default: 1048576]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_prompt: Option<u32>,
    /// Longest answer in tokens [default: 4096]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Seconds for reading a prompt and writing its answer [default: 600]
    #[arg(long, value_name = "S", help_heading = "Limits", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) time_limit: Option<u32>,
    /// Requests that may wait [default: 32]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) queue: Option<u16>,
}

#[derive(Debug, Group)]
#[command(after_help = "\
An example is a line {\"prompt\": \"…\"}; answers are not looked at. Nothing is trained. With a pool in a folder nothing leaves
this device; a server's pool is told one similarity score for each of its keys, and nothing else.

Examples:
  crayon customize --examples mine.jsonl -o mine                           from the pool built in for mini
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
    /// The pool: a folder of `crayon pool train`, or the address of a server's; built-in is the one for mini
    #[arg(long, value_name = "DIR|URL", default_value = crayon_engine::BUILT_IN)]
    pub(crate) pool: String,
    #[command(flatten)]
    pub(crate) server: PoolServerArgs,
    /// The noise follows from it; who knows it can take the noise off [default: the system's chance]
    #[arg(long, value_name = "S", requires = "noise")]
    pub(crate) seed: Option<u64>,
    /// Write the adapter into this folder, as PEFT files
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
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
    /// Each example trains its nearest adapter only
    #[arg(long)]
    pub(crate) hard: bool,
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

#[derive(Debug, Group)]
#[command(after_help = "\
Ctrl-C keeps what has arrived; the next pull goes on from there. Every file is checked against the hub's checksum.
HF_TOKEN is sent for private models; HF_ENDPOINT names another hub; CRAYON_HOME says where models are kept.

Examples:
  crayon pull Qwen/Qwen2.5-0.5B-Instruct
  crayon pull Qwen/Qwen2.5-0.5B-Instruct-GGUF:q4_k_m
  crayon pull org/name@v1.0")]
pub(crate) struct PullArgs {
    /// org/name, org/name@revision, or org/name:FILE.gguf
    #[arg(value_name = "MODEL")]
    pub(crate) reference: String,
}

#[derive(Debug, Group)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  crayon models
  crayon models show mini
  crayon models remove Qwen/Qwen2.5-0.5B-Instruct"
)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<ModelsAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// Describe one model: network, tokenizer, size by number type, fingerprint
    Show {
        /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
        model: String,
    },
    /// Delete a pulled model from this device
    Remove {
        /// org/name, or org/name@revision for one revision
        #[arg(value_name = "MODEL")]
        reference: String,
    },
}

#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  crayon convert stories260K.bin -o stories.gguf
  crayon convert Qwen/Qwen2.5-0.5B-Instruct -o qwen.gguf --type q8_0
  crayon convert mini -o mini-folder --format safetensors --type f32

Small tensors (norms, biases) keep full precision; a tensor whose rows do not divide into the type's blocks is
written in another type, which is reported.")]
pub(crate) struct ConvertArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(value_name = "MODEL")]
    pub(crate) source: String,
    /// File (GGUF) or folder (safetensors) to write
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Format [default: gguf if OUT ends in .gguf, else safetensors]
    #[arg(long, value_enum)]
    pub(crate) format: Option<FileFormat>,
    /// Number type of the large tensors [default: as they are]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Format of a model on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// One GGUF file
    Gguf,
    /// A folder in Hugging Face layout
    Safetensors,
}

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
    /// A pool's blend beside what else can be done with a few examples
    #[command(after_help = "\
A user is a folder within USERS with train.jsonl, to draw examples from, and test.jsonl, to ask: lines of
{\"prompt\": str, \"choices\": [str], \"answer\": int}. The pool must not have learned from them.

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
Tasks are needle, multikey, multivalue, variables, common and distractors (in the manner of RULER). Standard errors
are over seeds.

Example:
  crayon eval policies --pots 128,256 --length 1500 --questions 10")]
    Policies(PoliciesArgs),
    /// What a share of the questions sent to a server brings: by confidence, by scope, by both, at random
    #[command(after_help = "\
Every question goes to the server, with its choices unless --bare leaves them out. With --examples and --pool the device is customised for them, and
its scope counts too; --outside names prompts that belong to no task, and measures whether they are told apart.

Example:
  crayon eval routing --task questions.jsonl --server http://127.0.0.1:8080/v1 --server-model small --plot routing.svg")]
    Routing(RoutingArgs),
    /// Published sets of questions about long texts: a LongBench file (.jsonl) or LoCoMo's (.json)
    #[command(after_help = "Example:\n  crayon eval long --task hotpotqa.jsonl --pot 4096 -m qwen.gguf")]
    Long(LongArgs),
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
        .ok_or_else(|| format!("{text:?} is no number of tokens (like 500 or 16k)"))
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
    /// Solved examples: put in front of every question, or with --pool what the adapter is blended for
    #[arg(long, value_name = "FILE")]
    pub(crate) examples: Option<PathBuf>,
    /// Answer through the blend of this pool for the examples; built-in is the one for mini
    #[arg(long, value_name = "DIR|URL", requires = "examples", conflicts_with = "adapter")]
    pub(crate) pool: Option<String>,
    /// How questions are put: auto, chat (as a conversation) or plain (as a text to go on with)
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
    /// A server with OpenAI's chat interface: its address up to /v1. Its key comes from CRAYON_SERVER_KEY
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// Name of the model there
    #[arg(long, value_name = "NAME")]
    pub(crate) server_model: String,
    /// A file that holds the server's key
    #[arg(long, value_name = "FILE")]
    pub(crate) server_key_file: Option<PathBuf>,
    /// Do not show the server the choices, for a model that was trained on such prompts
    #[arg(long)]
    pub(crate) bare: bool,
    /// How the device is asked: auto, chat (as a conversation) or plain (as a text to go on with)
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
    /// Folder with a folder for each user
    #[arg(long, value_name = "USERS")]
    pub(crate) users: PathBuf,
    /// The pool
    #[arg(long, value_name = "DIR")]
    pub(crate) pool: PathBuf,
    /// One adapter trained on all of the pool's data, as a pool of one
    #[arg(long, value_name = "DIR")]
    pub(crate) joint: Option<PathBuf>,
    /// base, fewshot, joint, uniform, nearest, arrow, lorahub, oracle, blend [default: all]
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    pub(crate) methods: Vec<String>,
    /// Numbers of examples
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "5,10,20,50")]
    pub(crate) sizes: Vec<usize>,
    /// Draws of the examples at each size
    #[arg(long, value_name = "N", default_value_t = 5)]
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
    /// Learning rate of the adapter trained on a user's examples
    #[arg(long, value_name = "R", default_value_t = 2e-3)]
    pub(crate) oracle_rate: f64,
    /// Steps of that training, 8 examples each
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) oracle_steps: usize,
    /// Keep finished results in this file, and do not repeat those it holds
    #[arg(long, value_name = "FILE")]
    pub(crate) cells: Option<PathBuf>,
    /// Tells pools and settings apart in that file
    #[arg(long, value_name = "TEXT", default_value = "", requires = "cells")]
    pub(crate) label: String,
}

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
    /// What the processor offers, which kernels run on it, and how fast it can be
    Kernels(KernelsArgs),
    /// What blending a pool's adapters costs
    #[command(after_help = "Example:\n  crayon bench blend --shape qwen2.5-0.5b --adapters 8 --rank 8")]
    Blend(BlendBenchArgs),
    /// What reading through a pot costs, and whether it stays the same as the text grows
    #[command(after_help = "Example:\n  crayon bench pot --pot 512 --tokens 1m")]
    Pot(PotBenchArgs),
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
