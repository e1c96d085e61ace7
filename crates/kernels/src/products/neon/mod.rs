//! Products with NEON and a multiplication of bytes, on 64-bit ARM: SDOT (`dotprod`, Cortex-A76, Apple M1 and their
//! successors), or besides for many activation rows SMMLA (`i8mm`, Cortex-X2, Neoverse V1, Apple M2 and theirs).
//!
//! - `float`: f32 lanes along the columns, for float weights and [`Mode::Exact`].
//! - `rows`: one to three activation rows; four weight rows walked side by side, straight from their blocks.
//! - `panels`: more rows; sixteen weight rows are unpacked once into panels and met by all activation rows.
//! - `channel`: the same two for weights with one scale for a row.
//! - `multiply`: the instructions, and how each wants its panels.
//!
//! Integer sums are exact and scales are applied as the plain twin does, so quantised products are its to the bit.

mod blocks;
mod channel;
mod float;
mod lanes;
pub(crate) mod load;
mod multiply;
mod panels;
mod peak;
mod rows;

use std::arch::is_aarch64_feature_detected;

use super::{Mode, Tile};
use crate::activations::PANEL_ROWS;
use crate::variant::{PORTABLE, Variant};
use crate::{Format, attention, quants};
use blocks::{Large, Small};
use channel::{Codes, W4A8, W8A8};
use load::Load;
use multiply::{Multiply, Sdot, Smmla};
use quants::{q4_0::Q4_0, q4_1::Q4_1, q4_k::Q4K, q5_0::Q5_0, q5_1::Q5_1, q5_k::Q5K, q6_k::Q6K, q8_0::Q8_0};

/// The table with SDOT.
pub(crate) static DOTPROD: Variant = Variant {
    name: "dotprod",
    available: || is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod"),
    // SAFETY: this and the functions below run only where `available` said yes.
    dequantize: |format, bytes, out| unsafe { dequantize(format, bytes, out) },
    rows: panels::WIDE,
    // SAFETY: as above.
    product: |tile| unsafe { product::<Sdot>(tile) },
    // SAFETY: as above.
    attend: |head| unsafe { attention::neon::attend(head) },
    packed: None,
    accumulate: crate::accumulate::portable,
    // SAFETY: as above.
    peak_int8: || unsafe { peak::by_sdot() },
    // SAFETY: as above.
    peak_f32: || unsafe { peak::f32() },
    describe: |format| match format {
        Format::F32 | Format::F16 | Format::BF16 => "NEON fma, eight lanes",
        _ => "SDOT by rows and in panels of 16",
    },
    // Every build for this architecture compiles the plain loops with NEON.
    ..PORTABLE
};

/// The table with SMMLA.
pub(crate) static I8MM: Variant = Variant {
    name: "i8mm",
    available: || (DOTPROD.available)() && is_aarch64_feature_detected!("i8mm"),
    // SAFETY: this and the function below run only where `available` said yes.
    product: |tile| unsafe { product::<Smmla>(tile) },
    // SAFETY: as above.
    peak_int8: || unsafe { peak::by_smmla() },
    describe: |format| match format {
        Format::F32 | Format::F16 | Format::BF16 => "NEON fma, eight lanes",
        _ => "SDOT by rows, SMMLA in panels of 16",
    },
    ..DOTPROD
};

#[target_feature(enable = "neon")]
fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    if format != Format::F16 {
        return quants::dequantize_portable(format, bytes, out);
    }
    let (bytes, tail) = bytes.as_chunks::<16>();
    let (out, out_tail) = out.as_chunks_mut::<8>();
    for (bytes, out) in bytes.iter().zip(out) {
        // SAFETY: eight numbers on both sides.
        *out =
            unsafe { std::mem::transmute::<load::Eight, [f32; 8]>(half::f16::load(bytes.as_ptr().cast())) };
    }
    quants::floats::read_f16(tail, out_tail);
}

/// Any product.
///
/// # Safety
/// The processor has `dotprod` and the instruction.
#[target_feature(enable = "neon")]
unsafe fn product<I: Multiply>(tile: &Tile<'_>) {
    let format = tile.weight.format;
    if tile.mode == Mode::Exact {
        return float::product(tile);
    }
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => float::product(tile),
            Format::Q8_0 => small::<Q8_0, I>(tile),
            Format::Q4_0 => small::<Q4_0, I>(tile),
            Format::Q4_1 => small::<Q4_1, I>(tile),
            Format::Q5_0 => small::<Q5_0, I>(tile),
            Format::Q5_1 => small::<Q5_1, I>(tile),
            Format::Q4K => large::<Q4K, I>(tile),
            Format::Q5K => large::<Q5K, I>(tile),
            Format::Q6K => large::<Q6K, I>(tile),
            Format::W8A8 => per_channel::<W8A8, I>(tile),
            Format::W4A8 => per_channel::<W4A8, I>(tile),
        }
    }
}

/// # Safety
/// As for [`product`].
#[target_feature(enable = "neon")]
unsafe fn small<K: Small, I: Multiply>(tile: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { if tile.x.m() < PANEL_ROWS { rows::small::<K>(tile) } else { panels::small::<K, I>(tile) } }
}

/// # Safety
/// As for [`product`].
#[target_feature(enable = "neon")]
unsafe fn large<K: Large, I: Multiply>(tile: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { if tile.x.m() < PANEL_ROWS { rows::large::<K>(tile) } else { panels::large::<K, I>(tile) } }
}

/// # Safety
/// As for [`product`].
#[target_feature(enable = "neon")]
unsafe fn per_channel<K: Codes, I: Multiply>(tile: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { if tile.x.m() < PANEL_ROWS { channel::few::<K>(tile) } else { channel::many::<K, I>(tile) } }
}
