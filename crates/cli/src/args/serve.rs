//! `serve`.

use std::path::PathBuf;

use clap::Args as Group;

use super::model::{AdapterRef, MemoryArgs, RunArgs};
use super::route::RouteArgs;

#[derive(Debug, Group)]
#[command(after_help = "\
It answers POST /v1/chat/completions and /v1/completions, streamed or not, and GET /v1/models. Requests may ask for an
adapter offered with -a NAME=FOLDER, for what examples are worth, and, with --server, for a bigger model. Pools are
offered to other devices too, which send scores and get one adapter (/v1/pools). Only this device reaches it unless --host says otherwise, and then a key is needed. A model answers --parallel requests at once; the rest
wait in a queue, by turns of those who ask. What is asked and answered is never logged; --verbose logs that it was.

Examples:
  crayon serve
  crayon serve -m Qwen/Qwen2.5-0.5B-Instruct --port 9000
  crayon serve -m mini -m qwen=Qwen/Qwen2.5-0.5B-Instruct
  crayon serve -m mini -m mini-gpt2 --memory 64MiB
  crayon serve --host 0.0.0.0 --api-key-file keys.txt
  crayon serve --pool pool -a letters=my-adapter
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"model\": \"mini\", \"messages\": [{\"role\": \"user\", \"content\": \"What is a cat?\"}]}'")]
pub(crate) struct ServeArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model, under its own name or another; may be given several
    /// times: the first is the default, the others are opened when they are asked for
    #[arg(short, long, value_name = "[NAME=]MODEL", default_value = "mini")]
    pub(crate) model: Vec<String>,
    /// Offer an adapter to the requests that name it (NAME=FOLDER), or answer the others through it (FOLDER), with a weight behind a
    /// colon; may be given several times. It is offered beside each of the models that it fits
    #[arg(short, long, value_name = "[NAME=]ADAPTER[:W]")]
    pub(crate) adapter: Vec<AdapterRef>,
    /// Add the adapters without a name into the weights instead of running them beside
    #[arg(long, requires = "adapter")]
    pub(crate) merge: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    /// Interface to listen on: its address or name
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Ask for a key: a file with one key a line
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Keep people who have a model of their own (/v1/customizations) in this file; else they are forgotten when the server ends
    #[arg(long, value_name = "FILE")]
    pub(crate) people: Option<PathBuf>,
    /// Let web pages of this origin ask (`https://example.org`, or `*` for any); may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Vec<String>,
    /// Answer to this name besides localhost; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Offer a pool, under the name of its folder or another (`built-in` is mini's own), beside each of the models that it fits; may be
    /// given several times
    #[arg(long, value_name = "[NAME=]DIR")]
    pub(crate) pool: Vec<String>,
    #[command(flatten)]
    pub(crate) route: RouteArgs,
    /// Let requests keep what was read of their documents for later ones (the field "cache")
    #[arg(long)]
    pub(crate) cache: bool,
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
    /// Requests answered at once, in common passes over the weights [default: 8]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: Option<u16>,
    /// Requests that may wait [default: 32]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) queue: Option<u16>,
}
