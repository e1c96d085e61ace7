//! Memory of passes, used again by the next one: given back, the system would have to find and clear it each time.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that nobody uses at the moment. Copies share them.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Vec<Vec<f32>>>>);

impl Memory {
    /// So many values, which may be anything.
    pub(super) fn buffer(&self, len: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, or the largest, which then grows.
        let enough = |at: &usize| free[*at].capacity() >= len;
        let size = |at: &usize| free[*at].capacity();
        let at = (0..free.len()).filter(enough).min_by_key(size).or_else(|| (0..free.len()).max_by_key(size));
        let mut values = at.map(|at| free.swap_remove(at)).unwrap_or_default();
        drop(free);
        if values.capacity() < len {
            values = Vec::with_capacity(len);
        }
        values.resize(len, 0.0);
        Buffer { values, home: self.clone() }
    }

    /// A copy of `values`.
    pub(super) fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.buffer(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

/// Values that go back to the memory they came from.
pub(super) struct Buffer {
    values: Vec<f32>,
    home: Memory,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_used_again() {
        let memory = Memory::default();
        let (large, small) = (memory.copy(&[1.0; 100]), memory.copy(&[2.0; 10]));
        let at = (large.as_ptr(), small.as_ptr());
        drop((large, small));
        let (small, large) = (memory.copy(&[3.0; 7]), memory.buffer(90));
        assert_eq!((large.as_ptr(), small.as_ptr()), at);
        assert_eq!((&small[..], large.len()), (&[3.0; 7][..], 90));
        drop((large, small));
        // What is too small is given up for what is needed.
        drop(memory.buffer(200));
        let sizes: Vec<usize> = memory.0.lock().unwrap().iter().map(Vec::capacity).collect();
        assert_eq!(sizes, [10, 200]);
    }
}
