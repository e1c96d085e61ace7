//! Products of ours and of candle's `QMatMul` on the same weights, turn by turn.
//!
//! `cargo bench -p crayon-kernels [-- FORMAT...]`. Shapes are those of Qwen2.5-0.5B's layers (K-quants need rows of
//! whole 256-blocks, so 896 becomes 1024); beside a per-channel format candle multiplies the block format with as many
//! bits. One activation row: all layers' weights go by, more than caches hold, and
//! the speed is weight bytes read a second. 512 rows: operations a second.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use crayon_kernels::{Activations, Format, Matrix, Mode, Product, Threads, limits, matmul, quantize_rows};

const LAYERS: usize = 24;
const ROUNDS: usize = 7;

fn candle_type(format: Format) -> GgmlDType {
    match format {
        Format::F32 => GgmlDType::F32,
        Format::F16 => GgmlDType::F16,
        Format::BF16 => GgmlDType::BF16,
        Format::Q8_0 | Format::W8A8 => GgmlDType::Q8_0,
        Format::Q4_0 | Format::W4A8 => GgmlDType::Q4_0,
        Format::Q4_1 => GgmlDType::Q4_1,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q5_1 => GgmlDType::Q5_1,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q5K => GgmlDType::Q5K,
        Format::Q6K => GgmlDType::Q6K,
    }
}

/// What candle multiplies beside a format of ours.
fn counterpart(format: Format) -> Format {
    match format {
        Format::W8A8 => Format::Q8_0,
        Format::W4A8 => Format::Q4_0,
        same => same,
    }
}

fn noise(n: usize) -> Vec<f32> {
    let mut state = 0x1234_5678_9abc_def1u64;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> candle_core::Result<()> {
    let named: Vec<Format> = std::env::args().filter_map(|arg| Format::from_name(&arg)).collect();
    let usual = vec![Format::Q8_0, Format::W8A8, Format::Q4_0, Format::W4A8, Format::Q4K];
    let formats = if named.is_empty() { usual } else { named };
    let threads = std::thread::available_parallelism()?.get();
    let pool = Threads::new(threads);
    let limits = limits::measure(&pool);
    println!("{threads} threads, {:?}", limits::features());
    println!(
        "limits: {:.1} GB/s, int8 {:.0} GOP/s, f32 {:.0} GFLOP/s",
        limits.bandwidth_gb_s, limits.int8_gops, limits.f32_gflops
    );
    println!("{:8} {:>5} {:>14} {:>10} {:>10} {:>7}", "format", "m", "shape", "ours", "candle", "ratio");
    for format in formats {
        let hidden = if format.block_len() == 256 { 1024 } else { 896 };
        for (rows, cols) in [(hidden, hidden), (4864, hidden), (hidden, 4864)] {
            let (mut bytes, mut their_bytes) = (Vec::new(), Vec::new());
            quantize_rows(format, cols, &noise(rows * cols), &mut bytes);
            quantize_rows(counterpart(format), cols, &noise(rows * cols), &mut their_bytes);
            // Enough layers that caches cannot hold them.
            let layers = LAYERS.max((96 << 20) / bytes.len());
            let ours: Vec<Vec<u8>> = vec![bytes.clone(); layers];
            let theirs = (0..layers)
                .map(|_| {
                    let bytes = Cow::Borrowed(&their_bytes[..]);
                    let storage = QStorage::from_data(bytes, &Device::Cpu, candle_type(format))?;
                    QMatMul::from_arc(Arc::new(QTensor::new(storage, (rows, cols))?))
                })
                .collect::<candle_core::Result<Vec<_>>>()?;
            for m in [1, 2, 4, 512] {
                let values = noise(m * cols);
                let tensor = Tensor::from_slice(&values, (m, cols), &Device::Cpu)?;
                let layers = if m > 1 { 24.min(layers) / (m / 100 + 1) } else { layers };
                let mut x = Activations::new();
                let mut out = vec![0.0; m * rows];
                let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
                for _ in 0..ROUNDS {
                    let start = Instant::now();
                    for bytes in &ours[..layers] {
                        let Ok(weight) = Matrix::new(format, rows, cols, bytes) else { continue };
                        x.set(&values, m, cols);
                        x.prepare(&pool, [format].into_iter(), Mode::Fast);
                        matmul(&pool, &x, &mut [Product { weight, out: &mut out }], Mode::Fast);
                    }
                    our_times.push(start.elapsed().as_secs_f64() / layers as f64);
                    let start = Instant::now();
                    for weight in &theirs[..layers] {
                        weight.forward(&tensor)?;
                    }
                    their_times.push(start.elapsed().as_secs_f64() / layers as f64);
                }
                let (a, b) = (median(our_times), median(their_times));
                let operations = 2.0 * (m * rows * cols) as f64 / 1e9;
                let work = |bytes: &[u8]| if m < 100 { bytes.len() as f64 / 1e9 } else { operations };
                let unit = if m < 100 { "GB/s" } else { "GOP/s" };
                println!(
                    "{:8} {m:5} {:>14} {:10.1} {:10.1} {:7.2}  {unit}",
                    format.name(),
                    format!("{cols}->{rows}"),
                    work(&bytes) / a,
                    work(&their_bytes) / b,
                    b / a
                );
            }
        }
    }
    Ok(())
}
