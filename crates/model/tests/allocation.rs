//! A pass over one token takes no memory once its buffers have grown.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::named;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, LowRank, LowRankPair, Projection, Scratch, Site, Step};
use crayon_pot::{KvStorage, Slab};

/// The system's allocator with a count of calls.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only a number is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn single_tokens_allocate_nothing() {
    for name in ["qwen2", "gpt2", "gemma3", "llama-yarn"] {
        let case = named(name);
        let decoder = Decoder::open(&case.checkpoint, Mode::Fast).unwrap();
        let spec = decoder.spec().clone();
        let mut adapter = LowRank::default();
        for layer in 0..spec.layers {
            let pair = LowRankPair {
                a: vec![0.1; 2 * spec.hidden],
                b: vec![0.1; spec.heads * spec.head_dim * 2],
                rank: 2,
                scale: 1.0,
            };
            adapter.insert(&spec, Site { layer, projection: Projection::Q }, pair).unwrap();
        }
        let (pool, mut scratch) = (Threads::new(1), Scratch::new());
        let mut memory = Slab::plain(&spec, 24, KvStorage::F16);
        let mut pass = |token: u32| {
            let tokens = [token];
            let mut steps = [Step { adapter: Some(&adapter), ..Step::new(&tokens, &mut memory) }];
            decoder.forward(&pool, &mut steps, &mut scratch).unwrap();
        };
        // Seventeen, so that what grows with the sequence by doubling has room for the rest.
        (0..17).for_each(|token| pass(token % 7));
        let before = CALLS.load(Ordering::Relaxed);
        (0..7).for_each(|token| pass(token % 7));
        assert_eq!(CALLS.load(Ordering::Relaxed) - before, 0, "{name}");
    }
}
