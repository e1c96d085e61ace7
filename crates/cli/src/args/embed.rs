//! `embed`: texts and pictures as vectors.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

#[derive(Debug, Group)]
pub(crate) struct EmbedArgs {
    #[command(subcommand)]
    pub(crate) command: EmbedCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EmbedCommand {
    /// Embed a text
    #[command(after_help = "\
A text longer than the model reads (75 tokens in CLIP) is refused, never cut.

Examples:
  crayon embed text \"a red heart\" --json
  crayon embed text \"a red heart\" --weight red=2.5
  cat caption.txt | crayon embed text -m clip-vit-base-patch32 -")]
    Text(EmbedTextArgs),
    /// Embed a picture
    #[command(after_help = "\
JPEG, PNG, WebP, GIF (its first frame), BMP and TIFF are read, turned as their EXIF notes say, transparent parts on white.

Examples:
  crayon embed image cat.jpg --json
  crayon embed image -m clip-vit-base-patch32 *.jpg --json")]
    Image(EmbedImageArgs),
}

#[derive(Debug, Group)]
pub(crate) struct EmbedTextArgs {
    /// The text; - reads it from standard input
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
    /// How much a word counts: 1 changes nothing, 2 doubles its share of the attention, 0 hides it; may be given several
    /// times
    #[arg(long, value_name = "WORD=W")]
    pub(crate) weight: Vec<String>,
    /// The first layer in which weights count [default: 0, all]
    #[arg(long, value_name = "LAYER", default_value_t = 0, hide_default_value = true)]
    pub(crate) first_layer: usize,
    #[command(flatten)]
    pub(crate) model: ClipArgs,
}

#[derive(Debug, Group)]
pub(crate) struct EmbedImageArgs {
    /// The picture's file; several give one embedding each
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ClipArgs,
}

/// Which model of texts and pictures, and how it runs.
#[derive(Clone, Debug, Group)]
pub(crate) struct ClipArgs {
    /// Built-in name, folder of a CLIP or SigLIP model, a .safetensors file of OpenAI's or OpenCLIP's, or org/name of a pulled model
    /// [default: mini-clip]
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) run: ClipRunArgs,
}

/// How a model of texts and pictures runs.
#[derive(Clone, Debug, Group)]
#[command(next_help_heading = "Running")]
pub(crate) struct ClipRunArgs {
    /// Number type the weights are brought to, such as f16, q8_0 or w8a8 [default: as they are]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Threads [default: the machine's cores]; any number gives the same embedding
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Compute in f32 throughout, beside quantised weights too, and decode large JPEG files whole
    #[arg(long)]
    pub(crate) exact: bool,
}
