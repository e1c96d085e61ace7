//! What this machine can do at most, measured, and which kernels were chosen for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::{Format, Threads, variant};

/// Measured ceilings of this machine with the pool's threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes read from main memory, in 10^9 a second.
    pub bandwidth_gb_s: f64,
    /// Multiplications and additions of 8-bit integers, in 10^9 operations a second.
    pub int8_gops: f64,
    /// Multiplications and additions of f32, in 10^9 operations a second.
    pub f32_gflops: f64,
}

/// What the processor offers and what runs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Instruction sets that matter here and that this processor has.
    pub processor: Vec<&'static str>,
    /// The variant in use.
    pub variant: &'static str,
    /// For each format, the kernel that multiplies it.
    pub kernels: Vec<(Format, &'static str)>,
}

/// What the processor offers and which kernel was chosen for each format.
pub fn features() -> Features {
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
    let mut processor = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! check {
            ($($name:tt)*) => { $(if is_x86_feature_detected!($name) { processor.push($name); })* };
        }
        check!("avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx512bf16");
        if crate::products::amx::detect::processor_has_tiles() {
            processor.extend(["amx-int8", "amx-bf16"]);
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! check {
            ($($name:tt)*) => { $(if std::arch::is_aarch64_feature_detected!($name) { processor.push($name); })* };
        }
        check!("neon" "fp16" "dotprod" "i8mm" "bf16");
    }
    let chosen = variant::chosen();
    let kernels = Format::ALL.into_iter().map(|format| (format, (chosen.describe)(format))).collect();
    Features { processor, variant: chosen.name, kernels }
}

/// Time given to each of the three measurements.
const EACH: Duration = Duration::from_millis(300);
/// Read for the bandwidth: larger than the caches of one processor core complex many times over.
const BYTES: usize = 256 << 20;
/// Parts of that, one read in each round.
const PARTS: usize = 8;
/// Separate places each thread reads at once: one stream alone does not fill the memory's pipes.
const STREAMS: usize = 8;

/// Measures the three ceilings, in about a second, with all threads of the pool.
pub fn measure(pool: &Threads) -> Limits {
    Limits {
        bandwidth_gb_s: bandwidth(pool),
        int8_gops: rate(pool, variant::chosen().peak_int8),
        f32_gflops: rate(pool, variant::chosen().peak_f32),
    }
}

fn bandwidth(pool: &Threads) -> f64 {
    let words = vec![1u64; BYTES / 8];
    let mut best = 0.0f64;
    let start = Instant::now();
    // Rounds over successive parts: short enough that one of them is not disturbed, and by the time a part's turn
    // comes again the others have driven it out of the caches.
    for part in words.chunks_exact(words.len() / PARTS).cycle() {
        let round = Instant::now();
        // Enough pieces that threads finish together.
        let piece = 1 << 16;
        pool.run(part.len() / piece, |task| {
            black_box(read(&part[task * piece..][..piece]));
        });
        best = best.max(size_of_val(part) as f64 / round.elapsed().as_secs_f64() / 1e9);
        if start.elapsed() > EACH {
            break;
        }
    }
    best
}

/// Adds up all words, walking several streams side by side.
fn read(words: &[u64]) -> u64 {
    let stream = words.len() / STREAMS;
    let streams: [&[u64]; STREAMS] = std::array::from_fn(|i| &words[i * stream..][..stream]);
    let mut sums = [0u64; 8];
    for at in (0..stream).step_by(8) {
        for stream in streams {
            if let Some((line, _)) = stream[at..].split_first_chunk::<8>() {
                for (sum, word) in sums.iter_mut().zip(line) {
                    *sum = sum.wrapping_add(*word);
                }
            }
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// Runs `burst`, which returns how many operations it did, on all threads; 10^9 operations a second.
fn rate(pool: &Threads, burst: fn() -> u64) -> f64 {
    let mut best = 0.0f64;
    let start = Instant::now();
    while start.elapsed() < EACH {
        let done = std::sync::atomic::AtomicU64::new(0);
        let round = Instant::now();
        pool.run(pool.count() * 16, |_| {
            done.fetch_add(burst(), std::sync::atomic::Ordering::Relaxed);
        });
        best = best.max(done.into_inner() as f64 / round.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// Products of bytes in plain loops.
pub(crate) fn portable_int8() -> u64 {
    let (a, b) = (black_box([3i8; 4096]), black_box([5i8; 4096]));
    for _ in 0..64 {
        let sum: i32 = black_box(&a).iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        black_box(sum);
    }
    2 * 64 * 4096
}

/// Products of floats in plain loops.
pub(crate) fn portable_f32() -> u64 {
    let mut lanes = black_box([1.0f32; 64]);
    for _ in 0..4096 {
        for lane in &mut lanes {
            *lane = *lane * 0.999 + 0.001;
        }
    }
    black_box(lanes);
    2 * 64 * 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_positive_and_every_format_has_a_kernel() {
        let limits = measure(&Threads::new(2));
        assert!(
            limits.bandwidth_gb_s > 0.1 && limits.int8_gops > 0.1 && limits.f32_gflops > 0.1,
            "{limits:?}"
        );
        let features = features();
        assert_eq!(features.kernels.len(), Format::ALL.len());
        assert!(variant::ALL.iter().any(|v| v.name == features.variant));
    }
}
