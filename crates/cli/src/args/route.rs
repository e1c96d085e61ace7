//! Who answers: the device or a server.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueEnum};
use crayon_hybrid::Route;

use super::custom::CustomArgs;
use super::model::ModelArgs;

/// A bigger model on a server, for what the device is not sure of.
#[derive(Clone, Debug, Group)]
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
    #[arg(long, value_name = "FILE")]
    pub(crate) thresholds: Option<PathBuf>,
    /// Do not say where the model is not sure of its answer
    #[arg(long)]
    pub(crate) no_doubt: bool,
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

Where the right answers are given (10 and more), the confidence is measured below which most of the model's answers are
wrong. That is the threshold without --share, and `ask`, `chat` and `serve` say of an answer below it that the model is not sure.

Examples:
  crayon route calibrate --data questions.jsonl
  crayon route calibrate --data held-out.jsonl --share 0.3
  crayon ask --server https://api.example/v1 --server-model big \"Why do leaves fall?\"")]
    Calibrate(CalibrateArgs),
}

#[derive(Debug, Group)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Queries nobody trained on: JSON lines of {\"prompt\": str}, with \"answer\": str where that is known; may be given several
    /// times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Share of the queries that may go to the server, 0 to 1 [default: those whose answers are mostly wrong]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) share: Option<f64>,
    /// Share of the doubted answers that must be wrong, 0 to 1
    #[arg(long, value_name = "R", default_value_t = 0.8, allow_negative_numbers = true)]
    pub(crate) wrong: f64,
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
