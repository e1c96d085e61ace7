//! Products with AVX2, FMA and F16C: every x86 processor since Haswell and Zen.
//!
//! - `float`: eight f32 sums an output, for float weights and [`Mode::Exact`].
//! - `rows`: one to three activation rows; eight weight rows walked side by side, straight from their blocks.
//! - `panels`: more rows; sixteen weight rows are unpacked once into a panel and met by all activation rows.
//! - `channel`, `channel_panels`: the same two for weights with one scale for a row.

pub(super) mod blocks;
pub(super) mod channel;
mod channel_panels;
mod dots;
pub(super) mod float;
pub(crate) mod lanes;
mod panels;
mod peak;
mod read;
mod rows;

use super::{Mode, Tile};
use crate::activations::{self, PANEL_ROWS, Panels};
use crate::variant::Variant;
use crate::{Format, attention, ops, quants};
use blocks::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use channel::{W4A8, W8A8};

/// `call` for `left` activation rows of a tile: `N` is the least even number that takes them, `TILE` at most. Panels' inner
/// loops exist once for each, so that a last tile that is not full costs less.
macro_rules! by_rows {
    ($left:expr, $n:ident => $call:expr) => {
        match $left {
            ..=2 => {
                const $n: usize = 2;
                $call
            }
            3..=4 => {
                const $n: usize = 4;
                $call
            }
            _ => {
                const $n: usize = crate::activations::TILE;
                $call
            }
        }
    };
}
pub(in crate::products) use by_rows;

/// The table.
pub(crate) static VARIANT: Variant = Variant {
    name: "avx2",
    available: || {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
    },
    // SAFETY: this and the functions below run only where `available` said yes.
    dequantize: |format, bytes, out| unsafe { dequantize(format, bytes, out) },
    // SAFETY: as above.
    quantize_small: |row, codes| unsafe { activations::avx2::quantize_row::<32, 32>(row, codes) },
    // SAFETY: as above.
    quantize_large: |row, codes| unsafe { activations::avx2::quantize_row::<256, 16>(row, codes) },
    // SAFETY: as above.
    quantize_whole: |row, codes| unsafe { activations::avx2::quantize_whole(row, codes) },
    // SAFETY: as above.
    quantize_as: |rounding, row, codes| unsafe { activations::avx2::quantize_as(rounding, row, codes) },
    panels: Panels::Narrow,
    parts: false,
    lanes: true,
    rows: 16,
    // SAFETY: as above.
    product: |tile| unsafe { product(tile) },
    // SAFETY: as above.
    attend: |head| unsafe { attention::avx2::attend(head) },
    packed: None,
    // SAFETY: as above.
    accumulate: |block| unsafe { crate::accumulate::avx2(block) },
    // SAFETY: as above.
    silu: |x| unsafe { ops::avx2::silu(x) },
    // SAFETY: as above.
    gelu_tanh: |x| unsafe { ops::avx2::gelu_tanh(x) },
    // SAFETY: as above.
    quick_gelu: |x| unsafe { ops::avx2::quick_gelu(x) },
    // SAFETY: as above.
    exp_sum: |x, shift| unsafe { ops::avx2::exp_sum(x, shift) },
    // SAFETY: as above.
    peak_int8: || unsafe { peak::int8() },
    // SAFETY: as above.
    peak_f32: || unsafe { peak::f32() },
    describe,
};

fn describe(format: Format) -> &'static str {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => "AVX2 fma, eight lanes",
        Format::Q8_0 => "AVX2 maddubs by rows, 16-bit madd in panels of 16",
        Format::W8A8 => "AVX2 maddubs by rows, 16-bit madd in panels of 16, one sum a row",
        Format::W4A8 => "AVX2 maddubs by rows and in panels of 16, one sum a row",
        _ => "AVX2 maddubs by rows and in panels of 16",
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 | Format::BF16 => quants::dequantize_portable(format, bytes, out),
        Format::F16 => float::read_f16(bytes, out),
        Format::Q8_0 => read::small::<Q8_0>(bytes, out),
        Format::Q4_0 => read::small::<Q4_0>(bytes, out),
        Format::Q4_1 => read::small::<Q4_1>(bytes, out),
        Format::Q5_0 => read::small::<Q5_0>(bytes, out),
        Format::Q5_1 => read::small::<Q5_1>(bytes, out),
        Format::Q4K => read::large::<Q4K>(bytes, out),
        Format::Q5K => read::large::<Q5K>(bytes, out),
        Format::Q6K => read::large::<Q6K>(bytes, out),
        Format::W8A8 | Format::W4A8 => quants::dequantize_portable(format, bytes, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn product(tile: &Tile<'_>) {
    let format = tile.weight.format;
    if tile.mode == Mode::Exact || format.is_float() {
        return float::product(tile);
    }
    if tile.x.m() < PANEL_ROWS {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => float::product(tile),
            Format::Q8_0 => rows::small::<Q8_0>(tile),
            Format::Q4_0 => rows::small::<Q4_0>(tile),
            Format::Q4_1 => rows::small::<Q4_1>(tile),
            Format::Q5_0 => rows::small::<Q5_0>(tile),
            Format::Q5_1 => rows::small::<Q5_1>(tile),
            Format::Q4K => rows::large::<Q4K>(tile),
            Format::Q5K => rows::large::<Q5K>(tile),
            Format::Q6K => rows::large::<Q6K>(tile),
            Format::W8A8 => channel::product::<W8A8>(tile),
            Format::W4A8 => channel::product::<W4A8>(tile),
        }
    } else {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => float::product(tile),
            Format::Q8_0 => panels::wide::<Q8_0>(tile),
            Format::Q4_0 => panels::small::<Q4_0>(tile),
            Format::Q4_1 => panels::small::<Q4_1>(tile),
            Format::Q5_0 => panels::small::<Q5_0>(tile),
            Format::Q5_1 => panels::small::<Q5_1>(tile),
            Format::Q4K => panels::large::<Q4K>(tile),
            Format::Q5K => panels::large::<Q5K>(tile),
            Format::Q6K => panels::large::<Q6K>(tile),
            Format::W8A8 => channel_panels::product::<channel_panels::W8A8>(tile),
            Format::W4A8 => channel_panels::product::<channel_panels::W4A8>(tile),
        }
    }
}
