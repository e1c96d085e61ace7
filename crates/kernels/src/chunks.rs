//! Parallel work over the pieces of one buffer.

use crate::Threads;

/// The start of a buffer whose disjoint pieces go to different threads.
struct Start<T>(*mut T);

// SAFETY: the pointer is only used to make pieces that do not overlap, each claimed by one task.
unsafe impl<T: Send> Sync for Start<T> {}

impl Threads {
    /// Calls `f(i, piece)` for every piece of `chunk` values of `data` (the last may be shorter), spread over the
    /// threads.
    ///
    /// # Panics
    /// When `chunk` is 0 and `data` is not empty.
    pub fn for_each_chunk<T: Send>(&self, data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        if data.is_empty() {
            return;
        }
        let len = data.len();
        let start = Start(data.as_mut_ptr());
        let start = &start;
        self.run(len.div_ceil(chunk), |i| {
            let from = i * chunk;
            let size = chunk.min(len - from);
            // SAFETY: `from + size <= len`, and each `i` is run once, so pieces neither overlap nor outlive `data`.
            let piece = unsafe { std::slice::from_raw_parts_mut(start.0.add(from), size) };
            f(i, piece);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_seen_once() {
        for threads in [1, 2, 3] {
            let pool = Threads::new(threads);
            for (len, chunk) in [(0, 4), (1, 4), (8, 4), (9, 4), (1000, 7)] {
                let mut data = vec![0usize; len];
                pool.for_each_chunk(&mut data, chunk, |i, piece| {
                    for (at, value) in piece.iter_mut().enumerate() {
                        *value += i * chunk + at + 1;
                    }
                });
                assert!(
                    data.iter().enumerate().all(|(at, value)| *value == at + 1),
                    "{threads} {len} {chunk}"
                );
            }
        }
    }
}
