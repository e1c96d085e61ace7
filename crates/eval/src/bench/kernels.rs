//! How fast each kernel multiplies, beside what this machine can do at most.

use std::ops::ControlFlow;
use std::time::Duration;

use crayon_adapters::Random;
use crayon_engine::EngineError;
use crayon_formats::Format;
use crayon_kernels::limits::{self, Limits};
use crayon_kernels::timing::{self, Timed};
use crayon_kernels::{Matrix, Threads};
use serde::Serialize;

use super::blocks::fill;
use crate::{EvalError, Progress};

/// Values in a row of weights.
const COLS: usize = 4096;
/// Bytes of the weights of one activation row: more than caches hold, so that memory decides.
const BYTES: usize = 96 << 20;
/// Weight rows that many activation rows meet, and how many these are: enough that arithmetic decides.
const ROWS: usize = 1024;
const MANY: usize = 128;
/// Time given to each product.
const EACH: Duration = Duration::from_millis(60);

/// One kernel's speed.
#[derive(Clone, Debug, Serialize)]
pub struct KernelBench {
    /// Number type of the weights.
    pub weights: &'static str,
    /// Variant of the kernels.
    pub variant: &'static str,
    /// Whether it is in use.
    pub chosen: bool,
    /// What it does, in words.
    pub kernel: &'static str,
    /// Bytes of weights read for one activation row, in 10^9 a second.
    pub one_row_gb_s: f64,
    /// Share of the measured bandwidth.
    pub one_row_share: f64,
    /// Multiplications and additions with 128 activation rows, in 10^9 a second.
    pub many_rows_gops: f64,
    /// Share of the measured rate: of f32 for float weights, else of int8.
    pub many_rows_share: f64,
}

/// Times every available variant on every number type, best variant first, and measures the machine's limits before and
/// after: what other programs leave of the memory changes from second to second, and the larger one counts.
///
/// # Errors
/// When it is interrupted.
pub fn kernels(pool: &Threads, progress: &mut Progress<'_>) -> Result<(Limits, Vec<KernelBench>), EvalError> {
    let before = limits::measure(pool);
    let mut timed = Vec::new();
    let mut random = Random::seeded(1);
    for (at, format) in Format::ALL.into_iter().enumerate() {
        if progress(at, Format::ALL.len()) == ControlFlow::Break(()) {
            return Err(EngineError::Cancelled.into());
        }
        let row_bytes = format.row_bytes(COLS).unwrap_or(4 * COLS);
        let count = (BYTES / row_bytes).max(ROWS);
        let mut bytes = vec![0; count * row_bytes];
        fill(format, COLS, &mut random, &mut bytes);
        let matrix = |rows: usize| Matrix { format, rows, cols: COLS, data: &bytes[..rows * row_bytes] };
        let one = timing::time(pool, matrix(count), 1, EACH);
        let many = timing::time(pool, matrix(ROWS), MANY, EACH);
        timed.extend(one.into_iter().zip(many).map(|(one, many)| (format, bytes.len(), one, many)));
    }
    let after = limits::measure(pool);
    let limits = Limits {
        bandwidth_gb_s: before.bandwidth_gb_s.max(after.bandwidth_gb_s),
        int8_gops: before.int8_gops.max(after.int8_gops),
        f32_gflops: before.f32_gflops.max(after.f32_gflops),
    };
    let row = |(format, bytes, one, many): (Format, usize, Timed, Timed)| {
        let most = if format.is_float() { limits.f32_gflops } else { limits.int8_gops };
        let one_row = bytes as f64 / one.seconds / 1e9;
        let many_rows = 2.0 * (ROWS * COLS * MANY) as f64 / many.seconds / 1e9;
        KernelBench {
            weights: format.name(),
            variant: one.variant,
            chosen: one.chosen,
            kernel: one.kernel,
            one_row_gb_s: round(one_row, 10.0),
            one_row_share: round(one_row / limits.bandwidth_gb_s, 1e3),
            many_rows_gops: round(many_rows, 10.0),
            many_rows_share: round(many_rows / most, 1e3),
        }
    };
    Ok((limits, timed.into_iter().map(row).collect()))
}

/// To a multiple of one over `steps`.
fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}
