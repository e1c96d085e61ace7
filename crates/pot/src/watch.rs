//! Collects attention while a pass runs.

use std::sync::Mutex;

use crayon_model::ScoreTap;

use crate::slab::Slab;

/// How attention of several tokens becomes one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reduce {
    Sum,
    Max,
}

/// Sums or maxima of attention, `[layer][head][slot]`; nothing of layers that slide. One thread at a time works on a head, and a head's rows come
/// in order: the result does not depend on threads.
pub(crate) struct Watch {
    heads: Vec<Mutex<Vec<f32>>>,
    query_heads: usize,
    group: usize,
    reduce: Reduce,
    /// Rows of the pass before this one are not looked at.
    from_row: usize,
}

impl Watch {
    pub(crate) fn new(slab: &Slab, query_heads: usize) -> Watch {
        let heads = (0..slab.layers() * query_heads)
            .map(|at| at / query_heads)
            .map(|layer| if slab.slides(layer) { 0 } else { slab.capacity(layer) })
            .map(|slots| Mutex::new(vec![0.0; slots]))
            .collect();
        let group = query_heads / slab.kv_heads();
        Watch { heads, query_heads, group, reduce: Reduce::Sum, from_row: 0 }
    }

    /// Starts anew.
    pub(crate) fn clear(&mut self, reduce: Reduce) {
        self.reduce = reduce;
        for head in &mut self.heads {
            get(head).fill(0.0);
        }
    }

    /// Forgets what was collected for slots that hold nothing.
    pub(crate) fn forget_beyond(&mut self, slab: &Slab) {
        for (at, head) in self.heads.iter_mut().enumerate() {
            if let Some(rest) = get(head).get_mut(slab.len(at / self.query_heads)..) {
                rest.fill(0.0);
            }
        }
    }

    /// Everything collected, `[layer][head][slot]`, for a file.
    pub(crate) fn values(&mut self) -> impl Iterator<Item = &mut f32> {
        self.heads.iter_mut().flat_map(|head| get(head).iter_mut())
    }

    /// Looks only at rows from `row` on in the next pass.
    pub(crate) fn look_from(&mut self, row: usize) {
        self.from_row = row;
    }

    /// The collected attention on the first `out.len()` slots of a KV head, averaged over its query heads.
    pub(crate) fn read(&mut self, layer: usize, kv_head: usize, out: &mut [f32]) {
        out.fill(0.0);
        let first = layer * self.query_heads + kv_head * self.group;
        for head in &mut self.heads[first..first + self.group] {
            for (out, value) in out.iter_mut().zip(get(head).iter()) {
                *out += value / self.group as f32;
            }
        }
    }

    /// The same, averaged over all heads of the layer.
    pub(crate) fn read_layer(&mut self, layer: usize, out: &mut [f32]) {
        let kv_heads = self.query_heads / self.group;
        let mut one = vec![0.0; out.len()];
        out.fill(0.0);
        for kv_head in 0..kv_heads {
            self.read(layer, kv_head, &mut one);
            out.iter_mut().zip(&one).for_each(|(out, one)| *out += one / kv_heads as f32);
        }
    }
}

fn get(head: &mut Mutex<Vec<f32>>) -> &mut Vec<f32> {
    // A panic of another thread ends the program's use of this pot anyway.
    head.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl ScoreTap for Watch {
    fn scores(&self, layer: usize, head: usize, row: usize, first: usize, probabilities: &[f32]) {
        if row < self.from_row {
            return;
        }
        let place = &self.heads[layer * self.query_heads + head];
        let mut sums = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if first >= sums.len() {
            return;
        }
        let seen = first..(first + probabilities.len()).min(sums.len());
        for (sum, p) in sums[seen].iter_mut().zip(probabilities) {
            *sum = match self.reduce {
                Reduce::Sum => *sum + p,
                Reduce::Max => sum.max(*p),
            };
        }
    }
}
