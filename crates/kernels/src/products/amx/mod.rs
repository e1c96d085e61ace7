//! Products with AMX, the tile multiplier of Sapphire Rapids and its successors.
//!
//! Quantised products of many activation rows run on tiles of bytes, products with bfloat16 weights on tiles of
//! these; everything else is AVX-512's. The integer sums are exact, so quantised products are the plain twin's to the
//! bit here too.

mod channel;
pub(crate) mod detect;
mod float;
mod products;
mod tiles;

use super::avx512;
use super::{Mode, Tile};
use crate::Format;
use crate::activations::{Panels, TILE_ROWS};
use crate::variant::Variant;
use avx512::blocks::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use avx512::channel::{W4A8, W8A8};

/// Activation rows from which on tiles pay: with fewer, most of a tile would be padding.
const ROWS: usize = TILE_ROWS / 2;

/// The table.
pub(crate) static VARIANT: Variant = Variant {
    name: "amx",
    available: || avx512::available() && detect::available(),
    panels: Panels::Sixteen,
    parts: true,
    // SAFETY: this and the function below run only where `available` said yes.
    product: |tile| unsafe { product(tile) },
    // Tiles are faster.
    packed: None,
    // SAFETY: as above.
    peak_int8: || unsafe { peak_int8() },
    describe,
    ..avx512::VARIANT
};

fn describe(format: Format) -> &'static str {
    match format {
        Format::F32 | Format::F16 => avx512::describe(format),
        Format::BF16 => "AMX in tiles of 16, activations in three parts",
        Format::W8A8 | Format::W4A8 => "AVX-512 VNNI by rows, AMX in tiles of 16, one sum a row",
        Format::Q4K | Format::Q5K | Format::Q6K => "AVX-512 maddubs by rows, AMX in tiles of 16",
        _ => "AVX-512 VNNI by rows, AMX in tiles of 16",
    }
}

/// Any product.
///
/// # Safety
/// The variant is available.
unsafe fn product(tile: &Tile<'_>) {
    let format = tile.weight.format;
    // SAFETY: the caller's promise.
    unsafe {
        if format == Format::BF16 {
            return float::product(tile);
        }
        if tile.mode == Mode::Exact || tile.x.m() < ROWS {
            return avx512::product(tile);
        }
        match format {
            Format::F32 | Format::F16 | Format::BF16 => avx512::product(tile),
            Format::Q8_0 => products::small::<Q8_0>(tile),
            Format::Q4_0 => products::small::<Q4_0>(tile),
            Format::Q4_1 => products::small::<Q4_1>(tile),
            Format::Q5_0 => products::small::<Q5_0>(tile),
            Format::Q5_1 => products::small::<Q5_1>(tile),
            Format::Q4K => products::large::<Q4K>(tile),
            Format::Q5K => products::large::<Q5K>(tile),
            Format::Q6K => products::large::<Q6K>(tile),
            Format::W8A8 => channel::product::<W8A8>(tile),
            Format::W4A8 => channel::product::<W4A8>(tile),
        }
    }
}

/// Products of bytes in tiles, the processor's ceiling.
///
/// # Safety
/// The variant is available.
unsafe fn peak_int8() -> u64 {
    // SAFETY: the caller's promise; the only one on this thread.
    unsafe { tiles::Tiles::new(16, 64, 16).spin(4000) }
}
