//! Products in plain loops: the definition the vector variants are tested against.

use std::cell::RefCell;

use super::{Mode, Tile, sum_lanes};
use crate::Format;
use crate::quants::{
    self, LARGE, LargeBlock, SMALL, SmallBlock, channel, q4_0::Q4_0, q4_1::Q4_1, q4_k::Q4K, q5_0::Q5_0,
    q5_1::Q5_1, q5_k::Q5K, q6_k::Q6K, q8_0::Q8_0,
};

thread_local! {
    /// One dequantised weight row.
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Some rows of one product.
pub(crate) fn product(tile: &Tile<'_>) {
    let format = tile.weight.format;
    if tile.mode == Mode::Exact || format.is_float() {
        return exact(tile);
    }
    match format {
        Format::F32 | Format::F16 | Format::BF16 => exact(tile),
        Format::Q8_0 => small::<Q8_0>(tile),
        Format::Q4_0 => small::<Q4_0>(tile),
        Format::Q4_1 => small::<Q4_1>(tile),
        Format::Q5_0 => small::<Q5_0>(tile),
        Format::Q5_1 => small::<Q5_1>(tile),
        Format::Q4K => large::<Q4K>(tile),
        Format::Q5K => large::<Q5K>(tile),
        Format::Q6K => large::<Q6K>(tile),
        Format::W8A8 | Format::W4A8 => per_channel(tile),
    }
}

fn exact(tile: &Tile<'_>) {
    ROW.with_borrow_mut(|weights| {
        weights.resize(tile.weight.cols, 0.0);
        for row in 0..tile.weight.rows {
            quants::dequantize_portable(tile.weight.format, tile.weight.row(row), weights);
            for i in 0..tile.x.m() {
                tile.store(i, row, dot(weights, tile.x.row(i)));
            }
        }
    });
}

/// Eight lanes along the columns.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    let (a, a_tail) = a.as_chunks::<8>();
    let (b, b_tail) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *lane += a * b;
    }
    sum_lanes(lanes)
}

fn small<B: SmallBlock>(tile: &Tile<'_>) {
    let form = &tile.x.small;
    let (cols, blocks) = (tile.weight.cols, tile.weight.cols / SMALL);
    for row in 0..tile.weight.rows {
        for i in 0..tile.x.m() {
            let mut sum = 0.0f32;
            for (j, block) in tile.weight.row(row).chunks_exact(B::BYTES).enumerate() {
                let mut weights = [0; SMALL];
                B::codes(block, &mut weights);
                let x = &form.codes[i * cols + j * SMALL..][..SMALL];
                let codes: i32 = weights.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
                let scale = form.scales[i * blocks + j];
                let mut term = codes as f32 * (B::scale(block) * scale);
                if B::HAS_MINIMUM {
                    term += f32::from(form.sums[i * blocks + j]) * (B::minimum(block) * scale);
                }
                sum += term;
            }
            tile.store(i, row, sum);
        }
    }
}

fn large<B: LargeBlock>(tile: &Tile<'_>) {
    let form = &tile.x.large;
    let (cols, blocks) = (tile.weight.cols, tile.weight.cols / LARGE);
    for row in 0..tile.weight.rows {
        for i in 0..tile.x.m() {
            let mut sum = 0.0f32;
            for (j, block) in tile.weight.row(row).chunks_exact(B::BYTES).enumerate() {
                let mut weights = [0; LARGE];
                B::codes(block, &mut weights);
                let scales = B::scales(block);
                let x = &form.codes[i * cols + j * LARGE..][..LARGE];
                let x_sums = &form.sums[(i * blocks + j) * (LARGE / 16)..][..LARGE / 16];
                let (mut codes, mut offsets) = (0i32, 0i32);
                for sub in 0..LARGE / B::SUB {
                    let part = sub * B::SUB..(sub + 1) * B::SUB;
                    let pairs = weights[part.clone()].iter().zip(&x[part]);
                    let dot: i32 = pairs.map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
                    codes += i32::from(scales.factors[sub]) * dot;
                    let x_sum: i32 = x_sums[sub * B::SUB / 16..(sub + 1) * B::SUB / 16]
                        .iter()
                        .copied()
                        .map(i32::from)
                        .sum();
                    offsets += i32::from(scales.minimums[sub]) * x_sum;
                }
                let scale = form.scales[i * blocks + j];
                let mut term = codes as f32 * (scales.scale * scale);
                if B::HAS_MINIMUM {
                    term -= offsets as f32 * (scales.minimum * scale);
                }
                sum += term;
            }
            tile.store(i, row, sum);
        }
    }
}

/// One integer sum over the whole row. With at most [`Format::LONGEST_ROW`] codes it fits 32 bits.
fn per_channel(tile: &Tile<'_>) {
    thread_local! {
        static CODES: RefCell<Vec<i8>> = const { RefCell::new(Vec::new()) };
    }
    let form = &tile.x.whole;
    let cols = tile.weight.cols;
    CODES.with_borrow_mut(|weights| {
        weights.resize(cols, 0);
        for row in 0..tile.weight.rows {
            let bytes = tile.weight.row(row);
            channel::codes(tile.weight.format, bytes, 0, weights);
            let scale = channel::scale(bytes);
            for i in 0..tile.x.m() {
                let x = &form.codes[i * form.stride..][..cols];
                let sum: i32 = weights.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
                tile.store(i, row, sum as f32 * (scale * form.scales[i]));
            }
        }
    });
}
