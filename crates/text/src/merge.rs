//! The merging both byte-pair schemes share: join the best neighbouring pair until none can be joined.
//!
//! Symbols form a linked list over the text; candidates wait in a heap by priority, then position, so a text of
//! `n` symbols takes `O(n log n)` however long its words are. A candidate whose symbols changed meanwhile is
//! recognised by its length and dropped when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A piece of the text, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    /// Where it starts.
    pub(crate) start: u32,
    /// Its length; 0 once it was merged into the one before.
    pub(crate) len: u32,
    /// The token it is, if it is one.
    pub(crate) id: Option<u32>,
    /// Never merged (a user-defined token).
    pub(crate) frozen: bool,
    previous: u32,
    next: u32,
}

/// What may be joined.
pub(crate) trait Join {
    /// Priority (lower is joined first) and id of `left` and `right` joined.
    fn join(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)>;
    /// Called when a pair is joined.
    fn joined(&mut self, _left: &Symbol, _right: &Symbol, _id: u32) {}
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    priority: u32,
    left: u32,
    right: u32,
    len: u32,
    id: u32,
}

/// Symbols and candidates; kept between words to save allocations.
#[derive(Default)]
pub(crate) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Starts a new text.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
    }

    /// Appends a symbol of `len` bytes.
    pub(crate) fn push(&mut self, len: usize, id: Option<u32>, frozen: bool) {
        let start = self.symbols.last().map_or(0, |last| last.start + last.len);
        let index = self.symbols.len() as u32;
        let previous = index.checked_sub(1).unwrap_or(NONE);
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol { start, len: len as u32, id, frozen, previous, next: NONE });
    }

    /// The symbols left, in order.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    /// Joins what can be joined.
    pub(crate) fn run<J: Join>(&mut self, join: &mut J) {
        for left in 1..self.symbols.len() {
            self.consider(left as u32 - 1, left as u32, join);
        }
        while let Some(Reverse(candidate)) = self.heap.pop() {
            let (left, right) =
                (self.symbols[candidate.left as usize], self.symbols[candidate.right as usize]);
            if left.len == 0 || left.next != candidate.right || left.len + right.len != candidate.len {
                continue;
            }
            join.joined(&left, &right, candidate.id);
            let merged = &mut self.symbols[candidate.left as usize];
            merged.len = candidate.len;
            merged.id = Some(candidate.id);
            merged.next = right.next;
            self.symbols[candidate.right as usize].len = 0;
            if right.next != NONE {
                self.symbols[right.next as usize].previous = candidate.left;
                self.consider(candidate.left, right.next, join);
            }
            if left.previous != NONE {
                self.consider(left.previous, candidate.left, join);
            }
        }
    }

    fn consider<J: Join>(&mut self, left: u32, right: u32, join: &J) {
        let (a, b) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if a.frozen || b.frozen {
            return;
        }
        if let Some((priority, id)) = join.join(a, b) {
            self.heap.push(Reverse(Candidate { priority, left, right, len: a.len + b.len, id }));
        }
    }
}

/// A score as a priority: higher scores come first.
pub(crate) fn priority_of_score(score: f32) -> u32 {
    // Flipping makes the bit patterns of floats order like the floats; -0.0 and 0.0 must tie.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 3.0, 0.5, 0.0, -1e-9, -2.0, -1e10, f32::NEG_INFINITY];
        for pair in scores.windows(2) {
            assert!(priority_of_score(pair[0]) < priority_of_score(pair[1]), "{pair:?}");
        }
        assert_eq!(priority_of_score(0.0), priority_of_score(-0.0));
    }

    struct AnyTwo;
    impl Join for AnyTwo {
        fn join(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)> {
            (left.len == 1 && right.len == 1).then_some((0, 7))
        }
    }

    #[test]
    fn ties_are_joined_from_the_left() {
        let mut merger = Merger::default();
        for _ in 0..5 {
            merger.push(1, None, false);
        }
        merger.run(&mut AnyTwo);
        let lens: Vec<u32> = merger.symbols().map(|symbol| symbol.len).collect();
        assert_eq!(lens, [2, 2, 1]);
    }

    #[test]
    fn frozen_symbols_stay() {
        let mut merger = Merger::default();
        for frozen in [false, true, false, false] {
            merger.push(1, None, frozen);
        }
        merger.run(&mut AnyTwo);
        let lens: Vec<u32> = merger.symbols().map(|symbol| symbol.len).collect();
        assert_eq!(lens, [1, 1, 2]);
    }
}
