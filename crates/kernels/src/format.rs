//! Storage formats of weights: how many values a block holds and how many bytes it takes.
//!
//! Block layouts are those of GGUF (ggml's `block_q8_0` and so on), so a mapped file needs no conversion. The
//! per-channel formats are this project's own; their rows are described in `quants/channel.rs`.

use crate::quants::channel;

/// How the values of a tensor are stored.
///
/// Floats are little-endian. A row of a block format is a sequence of blocks; its length must be a multiple of
/// [`Format::block_len`]. A row of a per-channel format is one f32 scale and the codes of any number of values, up to
/// [`Format::LONGEST_ROW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// 32 signed bytes and one f16 scale: 34 bytes.
    Q8_0,
    /// 32 nibbles and one f16 scale: 18 bytes.
    Q4_0,
    /// 32 nibbles, f16 scale and f16 minimum: 20 bytes.
    Q4_1,
    /// 32 five-bit values, f16 scale: 22 bytes.
    Q5_0,
    /// 32 five-bit values, f16 scale and f16 minimum: 24 bytes.
    Q5_1,
    /// 256 nibbles with 6-bit scales and minimums per 32: 144 bytes.
    Q4K,
    /// 256 five-bit values with 6-bit scales and minimums per 32: 176 bytes.
    Q5K,
    /// 256 six-bit values with 8-bit scales per 16: 210 bytes.
    Q6K,
    /// One f32 scale for a row (an output channel) and a signed byte for each value; activations are quantised to 8
    /// bits with one scale for a row (a token).
    W8A8,
    /// The same with a nibble for each value, and a step and a low end in whole multiples of that scale for each 32.
    W4A8,
}

impl Format {
    /// The longest row of a per-channel format: products of such rows are summed in 32 bits, and 2^17 products of -128
    /// and 127 still fit.
    pub const LONGEST_ROW: usize = 1 << 17;

    /// Every format, for tables and tests.
    pub const ALL: [Format; 13] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::W8A8,
        Format::W4A8,
    ];

    /// Values in one block (1 for floats and for per-channel formats, whose rows have any length).
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 | Format::W8A8 | Format::W4A8 => 1,
            Format::Q8_0 | Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 => 32,
            Format::Q4K | Format::Q5K | Format::Q6K => 256,
        }
    }

    /// Bytes of one block; 0 for per-channel formats, whose rows have none.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::W8A8 | Format::W4A8 => 0,
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q8_0 => 34,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Q4K => 144,
            Format::Q5K => 176,
            Format::Q6K => 210,
        }
    }

    /// Bytes of a row of `cols` values, or `None` when `cols` is not a whole number of blocks, the size does not fit
    /// a `usize`, or a row of a per-channel format is longer than [`Format::LONGEST_ROW`].
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if self.is_per_channel() {
            return if cols <= Format::LONGEST_ROW { Some(channel::row_bytes(self, cols)) } else { None };
        }
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether a row has one scale rather than one for each block.
    pub const fn is_per_channel(self) -> bool {
        matches!(self, Format::W8A8 | Format::W4A8)
    }

    /// Whether values are plain floats, so that nothing was rounded to a block scale.
    pub const fn is_float(self) -> bool {
        matches!(self, Format::F32 | Format::F16 | Format::BF16)
    }

    /// The name users and files know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::BF16 => "bf16",
            Format::Q8_0 => "q8_0",
            Format::Q4_0 => "q4_0",
            Format::Q4_1 => "q4_1",
            Format::Q5_0 => "q5_0",
            Format::Q5_1 => "q5_1",
            Format::Q4K => "q4_k",
            Format::Q5K => "q5_k",
            Format::Q6K => "q6_k",
            Format::W8A8 => "w8a8",
            Format::W4A8 => "w4a8",
        }
    }

    /// The format called `name`, in any case.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
