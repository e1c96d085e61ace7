//! Attention of one token after a long context, and of a block of a prompt.
//!
//! `cargo bench -p crayon-kernels --bench attention [-- SLOTS [THREADS]]`. Heads are those of Llama-3.2-1B and of Qwen2.5-0.5B, keys
//! and values have half precision. One token: the keys and values of all layers go by, and the speed is their bytes a
//! second. A block of 256 rows: multiplications and additions a second, what a row does not see left out.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;
use std::time::Instant;

use crayon_kernels::{AttentionShape, KvSlice, Threads, attend, attend_heads, limits};
use half::f16;

/// Name, query heads, key-value heads, width of a head, layers.
const SHAPES: [(&str, usize, usize, usize, usize); 2] =
    [("llama-3.2-1b", 32, 8, 64, 16), ("qwen2.5-0.5b", 14, 2, 64, 24)];
const ROWS: usize = 256;
const ROUNDS: usize = 9;

fn noise(n: usize, seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed | 1;
    (0..n).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 * 4.0 - 2.0
    })
}

/// The shortest time of some rounds, in seconds.
fn least(mut f: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let slots = numbers.first().copied().unwrap_or(4096);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Threads::new(numbers.get(1).copied().unwrap_or(threads));
    let limits = limits::measure(&pool);
    println!("{:.1} GB/s, {:.0} Gflop/s of f32", limits.bandwidth_gb_s, limits.f32_gflops);
    for (name, heads, kv_heads, dim, layers) in SHAPES {
        let group = heads / kv_heads;
        let shape = AttentionShape {
            dim,
            scale: (dim as f32).powf(-0.5),
            softcap: None,
            window: None,
            key_bias: None,
        };
        let count = layers * kv_heads * slots * dim;
        let [keys, values]: [Vec<f16>; 2] =
            [3, 5].map(|seed| noise(count, seed).map(f16::from_f32).collect());
        let head = |layer: usize, kv_head: usize| {
            let at = (layer * kv_heads + kv_head) * slots * dim;
            (KvSlice::F16(&keys[at..at + slots * dim]), KvSlice::F16(&values[at..at + slots * dim]))
        };

        let q: Vec<f32> = noise(heads * dim, 7).collect();
        let mut out = vec![0.0; heads * dim];
        let seconds = least(|| {
            for layer in 0..layers {
                pool.for_each_chunk(&mut out, group * dim, |kv_head, out| {
                    let (keys, values) = head(layer, kv_head);
                    let q = &q[kv_head * group * dim..];
                    SCRATCH.with_borrow_mut(|scratch| {
                        attend_heads(&shape, q, group, slots, keys, values, out, scratch, None);
                    });
                });
            }
            black_box(&out);
        });
        let bytes = 4 * count;
        println!(
            "{name}: one token after {slots}: {:.2} ms, {:.1} GB/s",
            seconds * 1e3,
            bytes as f64 / seconds / 1e9
        );

        let q: Vec<f32> = noise(ROWS * heads * dim, 9).collect();
        let mut out = vec![0.0; ROWS * heads * dim];
        let seconds = least(|| {
            pool.for_each_chunk(&mut out, ROWS * dim, |head_at, out| {
                let (keys, values) = head(0, head_at / group);
                let (q, stride) = (&q[head_at * dim..], heads * dim);
                SCRATCH.with_borrow_mut(|scratch| {
                    attend(&shape, q, stride, ROWS, slots - ROWS, keys, values, out, dim, scratch, None);
                });
            });
            black_box(&out);
        });
        let operations = 4.0 * (heads * dim) as f64 * (ROWS as f64) * (slots as f64 - ROWS as f64 / 2.0);
        println!(
            "{name}: {ROWS} rows up to {slots}: {:.2} ms, {:.0} Gflop/s",
            seconds * 1e3,
            operations / seconds / 1e9
        );
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}
