//! `quantize`.

use std::path::PathBuf;

use clap::Args as Group;

use super::files::FileFormat;
use super::tokens;

#[derive(Debug, Group)]
#[command(after_help = "\
A scheme has the bits of weights and of activations: w8a8, w4a8, w8a6; w8 and w4 leave activations out of account. Weights of 8 bits
have a scale for each output channel, those of 4 bits a grid for each 32. OUT is a folder that this program opens as MODEL; with
--format gguf, a file with the scales folded in and blocks of 32 (q8_0, q4_0) that llama.cpp opens too. The text decides what the
model keeps best: take some that is like what it will read. Without --calibration the model writes the text itself, which keeps more
of all that it knows. Stopped by Ctrl-C or otherwise, the same command goes on where it was.

Examples:
  crayon quantize -m gemma.gguf --scheme w8a8 -o gemma-w8a8
  crayon ask -m gemma-w8a8 \"Why do leaves fall?\"
  crayon quantize -m gemma.gguf --calibration book.txt --scheme w4a8 -o gemma-q4.gguf --format gguf
  crayon quantize --calibration book.txt --scheme w8a8 --activations static --range learned --phases 1,2 -o mini-static")]
pub(crate) struct QuantizeArgs {
    /// Built-in name, folder, .gguf or .bin file, or org/name of a pulled model
    #[arg(short, long, default_value = "mini")]
    pub(crate) model: String,
    /// Text to calibrate by [default: the model writes some]
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Bits of weights and activations: w8a8, w4a8, w8a6, w8, w4
    #[arg(long, value_name = "SCHEME", default_value = "w8a8")]
    pub(crate) scheme: String,
    /// Where scales per channel come from: quadapter (learned), smoothquant (in closed form), equalise (from weights alone), hadamard (none, but
    /// rotations that fold), rtn (none: round to nearest)
    #[arg(long, value_name = "METHOD", default_value = "quadapter")]
    pub(crate) method: String,
    /// What learns: 1 (block by block), 2 (end to end), or both
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1")]
    pub(crate) phases: Vec<String>,
    /// Where scales stand: o (before o alone), paper (norms before q, k, v and before gate, up), no-down (both), all (also down,
    /// which is our extension)
    #[arg(long, value_name = "PLACES", default_value = "all")]
    pub(crate) places: String,
    /// Ranges of activations: token (each has its own, found as it comes), static (one for all, known beforehand)
    #[arg(long, value_name = "WHEN", default_value = "token")]
    pub(crate) activations: String,
    /// How static ranges are found: minmax, percentile, mse, running, learned
    #[arg(long, value_name = "RANGE", default_value = "learned")]
    pub(crate) range: String,
    /// How weights are rounded within their range: max, mse, learned, gptq [default: max for 8 bits, gptq for 4, but mse
    /// beside rtn, GGUF and phase 2]
    #[arg(long, value_name = "HOW")]
    pub(crate) weights: Option<String>,
    /// Number type of token embedding and output layer, which scales do not reach: q8_0, or q5_0 and q4_0 for fewer bytes at some loss
    #[arg(long, value_name = "TYPE", default_value = "q8_0")]
    pub(crate) embeddings: String,
    /// File (GGUF) or folder (safetensors) to write
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Format [default: gguf if OUT ends in .gguf, else safetensors]
    #[arg(long, value_enum)]
    pub(crate) format: Option<FileFormat>,
    /// Sequences to calibrate by
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sequences: u32,
    /// Tokens of a sequence
    #[arg(long, value_name = "W", default_value = "256", value_parser = tokens)]
    pub(crate) window: usize,
    /// SmoothQuant's exponent, 0 to 1; learned scales start there
    #[arg(long, value_name = "A", default_value_t = 0.5)]
    pub(crate) alpha: f32,
    /// Where learned scales start: smooth (at SmoothQuant's), one (at 1)
    #[arg(long, value_name = "WHERE", default_value = "smooth")]
    pub(crate) start: String,
    /// Steps of each block in phase 1 [default: 24, but 64 where weights have 4 bits or activations 6]
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<usize>,
    /// Steps of phase 2
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) final_steps: usize,
    /// Learning rate of phase 1
    #[arg(long, value_name = "R", default_value_t = 2e-2)]
    pub(crate) rate: f64,
    /// Learning rate of phase 2
    #[arg(long, value_name = "R", default_value_t = 2e-3)]
    pub(crate) final_rate: f64,
    /// Everything random follows from it
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}
