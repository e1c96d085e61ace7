//! Layers with a sliding window in a pot: they see their latest entries only, so they hold no others. Nothing is chosen in them, and
//! what they hold does not grow with the pot.

use crayon_formats::spec::Spec;

/// Entries beyond the window that a layer keeps when it slides, so that as many tokens can be taken back; and room for as many
/// before it slides again.
const SLACK: usize = 512;

/// What a sliding layer holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sliding {
    /// Entries that it sees.
    pub(crate) window: usize,
    /// Entries that stay when it is full.
    pub(crate) keep: usize,
    /// Slots.
    pub(crate) capacity: usize,
    /// Rows of a pass at most, so that the first of them sees all it should.
    pub(crate) rows: usize,
}

/// The layers that slide in a pot of `entries`: those whose window is smaller, of a network that has others beside them. In a small pot
/// they have as many slots as the others and are never full before those.
pub(crate) fn layers(spec: &Spec, entries: usize) -> Vec<Option<Sliding>> {
    let window = |layer: usize| spec.windows.get(layer).copied().flatten();
    let mixed = (0..spec.layers).any(|layer| window(layer).is_none());
    let slides = |window: &usize| mixed && *window < entries;
    let sliding = |window: usize| {
        let capacity = entries.min(window + 2 * SLACK);
        let rows = if capacity < entries { SLACK } else { usize::MAX };
        Sliding { window, keep: window + SLACK, capacity, rows }
    };
    (0..spec.layers).map(|layer| window(layer).filter(slides).map(sliding)).collect()
}
