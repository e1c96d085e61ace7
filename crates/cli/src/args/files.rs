//! `pull`, `models` and `convert`: files of models.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueEnum};

#[derive(Debug, Group)]
#[command(after_help = "\
Ctrl-C keeps what has arrived; the next pull goes on from there. Every file is checked against the hub's checksum.
HF_TOKEN is sent for private models; HF_ENDPOINT names another hub; CRAYON_HOME says where models are kept.

Examples:
  crayon pull Qwen/Qwen2.5-0.5B-Instruct
  crayon pull Qwen/Qwen2.5-0.5B-Instruct-GGUF:q4_k_m
  crayon pull org/name@v1.0")]
pub(crate) struct PullArgs {
    /// org/name, org/name@revision, or org/name:Q4_K_M for one of its GGUF models, by quantisation or file name
    #[arg(value_name = "MODEL")]
    pub(crate) reference: String,
}

#[derive(Debug, Group)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  crayon models
  crayon models --recommended
  crayon models show mini
  crayon models remove Qwen/Qwen2.5-0.5B-Instruct"
)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<ModelsAction>,
    /// Real models worth a download, with size and what they are good for, and which of them fit this machine's memory
    #[arg(long)]
    pub(crate) recommended: bool,
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
  crayon convert ViT-B-32.safetensors -o clip --type w8a8     a CLIP model: a folder in Hugging Face layout

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
    /// Number type of token embedding and output layer [default: as --type says, but q8_0 beside w8a8 and w4a8]
    #[arg(long, value_name = "TYPE")]
    pub(crate) embeddings: Option<String>,
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
