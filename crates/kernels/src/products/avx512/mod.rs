//! Products with AVX-512 and its byte dot products (VNNI): Ice Lake, Sapphire Rapids, Zen 4 and their successors.
//!
//! - `float`: f32, 32 weight rows in a panel, one lane of the columns after another, for float weights and [`Mode::Exact`].
//! - `rows`: one to three activation rows; eight or sixteen weight rows walked side by side, straight from their blocks.
//! - `panels`: more rows; 32 weight rows are unpacked once into a panel and met by all activation rows.
//! - `channel`, `channel_panels`: the same two for weights with one scale for a row.
//!
//! Sums of `vpdpbusd` are exact in 32 bits, so quantised products are the plain twin's to the bit. Float products
//! are those of AVX2 to the bit: the same eight lanes, only two outputs at a time.

pub(super) mod blocks;
pub(super) mod channel;
mod channel_panels;
mod float;
pub(crate) mod lanes;
mod packed;
pub(super) mod panels;
pub(super) mod peak;
mod rows;

use super::avx2;
use super::{Mode, Tile};
use crate::activations::{PANEL_ROWS, Panels};
use crate::variant::Variant;
use crate::{Format, attention, ops};
use blocks::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use channel::{W4A8, W8A8};

/// Whether the processor and the system have what the functions here use.
pub(crate) fn available() -> bool {
    (avx2::VARIANT.available)()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// The table.
pub(crate) static VARIANT: Variant = Variant {
    name: "avx512",
    available,
    dequantize: avx2::VARIANT.dequantize,
    quantize_small: avx2::VARIANT.quantize_small,
    quantize_large: avx2::VARIANT.quantize_large,
    quantize_whole: avx2::VARIANT.quantize_whole,
    quantize_as: avx2::VARIANT.quantize_as,
    panels: Panels::None,
    parts: false,
    lanes: true,
    rows: panels::WIDE,
    // SAFETY: this and the functions below run only where `available` said yes.
    product: |tile| unsafe { product(tile) },
    // SAFETY: as above.
    attend: |head| unsafe { attention::avx512::attend(head) },
    // SAFETY: as above.
    packed: Some(|task| unsafe { packed::product(task) }),
    // SAFETY: as above.
    accumulate: |block| unsafe { crate::accumulate::avx512::accumulate(block) },
    // SAFETY: as above.
    silu: |x| unsafe { ops::avx512::silu(x) },
    // SAFETY: as above.
    gelu_tanh: |x| unsafe { ops::avx512::gelu_tanh(x) },
    // SAFETY: as above.
    quick_gelu: |x| unsafe { ops::avx512::quick_gelu(x) },
    // SAFETY: as above.
    exp_sum: |x, shift| unsafe { ops::avx512::exp_sum(x, shift) },
    // SAFETY: as above.
    peak_int8: || unsafe { peak::int8() },
    // SAFETY: as above.
    peak_f32: || unsafe { peak::f32() },
    describe,
};

pub(super) fn describe(format: Format) -> &'static str {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => "AVX-512 fma in panels of 32, lane by lane",
        Format::Q4K | Format::Q5K | Format::Q6K => "AVX-512 maddubs by rows, VNNI in panels of 32",
        _ => "AVX-512 VNNI by rows and in panels of 32",
    }
}

/// Any product.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn product(tile: &Tile<'_>) {
    let format = tile.weight.format;
    if tile.mode == Mode::Exact || format.is_float() {
        return float::product(tile);
    }
    if tile.x.m() < PANEL_ROWS {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => float::product(tile),
            Format::Q8_0 => rows::small::<Q8_0>(tile),
            Format::Q4_0 => rows::nibbles::<Q4_0>(tile),
            Format::Q4_1 => rows::nibbles::<Q4_1>(tile),
            Format::Q5_0 => rows::nibbles::<Q5_0>(tile),
            Format::Q5_1 => rows::nibbles::<Q5_1>(tile),
            Format::Q4K => rows::large::<Q4K>(tile),
            Format::Q5K => rows::large::<Q5K>(tile),
            Format::Q6K => rows::large::<Q6K>(tile),
            Format::W8A8 => channel::product::<W8A8>(tile),
            Format::W4A8 => channel::product::<W4A8>(tile),
        }
    } else {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => float::product(tile),
            Format::Q8_0 => panels::small::<Q8_0>(tile),
            Format::Q4_0 => panels::small::<Q4_0>(tile),
            Format::Q4_1 => panels::small::<Q4_1>(tile),
            Format::Q5_0 => panels::small::<Q5_0>(tile),
            Format::Q5_1 => panels::small::<Q5_1>(tile),
            Format::Q4K => panels::large::<Q4K>(tile),
            Format::Q5K => panels::large::<Q5K>(tile),
            Format::Q6K => panels::large::<Q6K>(tile),
            Format::W8A8 => channel_panels::product::<W8A8>(tile),
            Format::W4A8 => channel_panels::product::<W4A8>(tile),
        }
    }
}
