//! A slab as bytes of a file.

use crayon_model::KvMemory as _;

use super::Slab;
use crate::storage::{Place, floats, take};

impl Slab {
    /// Appends everything that makes up the slab to `out`, but for its sizes.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.extend((self.position as u64).to_le_bytes());
        out.extend(u64::from(self.origin).to_le_bytes());
        self.filled.iter().for_each(|filled| out.extend((*filled as u64).to_le_bytes()));
        for layer in 0..self.layers() {
            for kv_head in 0..self.kv_heads {
                let slots = self.slots(layer, kv_head);
                self.origins[slots.clone()].iter().for_each(|v| out.extend(v.to_le_bytes()));
                self.novelty[slots.clone()].iter().for_each(|v| out.extend(v.to_le_bytes()));
                self.carried[slots].iter().for_each(|v| out.extend(v.to_le_bytes()));
                self.store.save(self.place(layer, kv_head), self.dim, out);
            }
        }
    }

    /// Reads what [`save`](Self::save) wrote into a slab of the same sizes; `None` when that is impossible.
    pub(crate) fn load(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let position = usize::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
        self.origin = u32::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
        for layer in 0..self.layers() {
            let filled = usize::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
            if filled > self.capacity[layer] || filled > position || position > self.longest() {
                return None;
            }
            self.filled[layer] = filled;
        }
        (self.position, self.pending) = (position, 0);
        for layer in 0..self.layers() {
            for kv_head in 0..self.kv_heads {
                let slots = self.slots(layer, kv_head);
                for origin in &mut self.origins[slots.clone()] {
                    *origin = u32::from_le_bytes(take(bytes)?);
                }
                floats(&mut self.novelty[slots.clone()], bytes)?;
                floats(&mut self.carried[slots], bytes)?;
                let place = self.place(layer, kv_head);
                // Files hold no weights: what is kept for others has none.
                if !self.log_weights.is_empty() {
                    self.log_weights[place.first..place.first + place.filled].fill(0.0);
                }
                self.store.load(place, self.dim, bytes)?;
            }
        }
        Some(())
    }
}

/// Blocks of slots of a plain slab, for beginnings of texts that are kept.
impl Slab {
    /// Appends keys and values of `count` slots of every head, from slot `first` on, to `out`.
    pub(crate) fn save_slots(&self, first: usize, count: usize, out: &mut Vec<u8>) {
        for layer in 0..self.layers() {
            for kv_head in 0..self.kv_heads {
                let place = self.place(layer, kv_head);
                self.store.save(Place { first: place.first + first, filled: count, ..place }, self.dim, out);
            }
        }
    }

    /// Takes what [`save_slots`](Self::save_slots) wrote for the next `count` tokens of the text, at the positions they had; `None` when
    /// there are too few bytes or no room.
    pub(crate) fn load_newest(&mut self, count: usize, mut bytes: &[u8]) -> Option<()> {
        if count > self.room() {
            return None;
        }
        for layer in 0..self.layers() {
            for kv_head in 0..self.kv_heads {
                let place = self.place(layer, kv_head);
                let next = Place { first: place.first + place.filled, filled: count, ..place };
                self.store.load(next, self.dim, &mut bytes)?;
            }
        }
        self.advance(count);
        Some(())
    }
}
