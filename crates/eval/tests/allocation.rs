//! Writing takes no memory that grows with the answer.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use crayon_engine::{Event, GenerateOptions};

/// The system's allocator with a count of live bytes.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Token ids, text and places of 450 more tokens, vectors growing by doubling; keys and values of them would be 230 kB.
const CONSTANT: usize = 16 * 1024;

#[test]
fn live_bytes_do_not_grow_with_the_answer() {
    let engine = common::long_engine();
    let mut session = engine.session(600).unwrap();
    let prompt = engine.text_prompt("the thing is a").unwrap();
    session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
    let options = GenerateOptions { max_tokens: 510, ignore_end: true, ..GenerateOptions::default() };
    let (mut written, mut early, mut late) = (0, 0, 0);
    let answer = session.generate(&options, &mut |event| {
        if let Event::Token { .. } = event {
            written += 1;
            match written {
                50 => early = LIVE.load(Ordering::Relaxed),
                500 => late = LIVE.load(Ordering::Relaxed),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!(answer.unwrap().tokens.len(), 510);
    assert!(early > 0 && late > 0);
    assert!(late < early + CONSTANT, "{early} bytes after 50 tokens, {late} after 500");
}
