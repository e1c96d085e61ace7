//! What the model is customized for.

use std::path::PathBuf;

use clap::Args as Group;

/// An adapter for a person's examples.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Customization")]
pub(crate) struct CustomArgs {
    /// Examples of what you want, one JSON object a line; their answers choose among the model as it is, a pool's blend and the examples
    /// in the prompt
    #[arg(long, value_name = "FILE", conflicts_with = "adapter")]
    pub(crate) examples: Option<PathBuf>,
    /// The pool: a folder of `crayon pool train`, or the address of a server's, which is told similarity scores only [default: the
    /// one built in for mini]
    #[arg(long = "pool", value_name = "DIR|URL", requires = "examples")]
    pub(crate) pool: Option<String>,
    /// Blend even if the examples fit nothing in the pool, and customize every answer, wherever its question lies
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) server: PoolServerArgs,
}

/// A pool on a server.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Customization")]
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
