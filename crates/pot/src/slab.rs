//! The memory itself: a fixed number of slots for each layer, each with what its policy wants to know.
//!
//! Layout is `[layer][kv_head][slot]`, keys and values `[.., dim]` behind it. All heads of a layer hold equally many
//! entries, but each head its own. Entries stand in the order of the text. An entry's rotary position is its slot,
//! shifted so that the newest entries of all layers share a position: layers may differ in size.

mod saved;

use crayon_formats::spec::Spec;
use crayon_model::{HeadView, KvMemory, ModelError};

use crate::KeyWeights;
use crate::sliding::Sliding;
use crate::storage::{KvStorage, Numbers, Place};
use crate::turns::{Turn, Turns};

/// Bytes of what policies want to know of an entry.
const NOTES: usize = 12;

/// Keys and values in fixed memory. See the module's text for the layout.
pub struct Slab {
    store: Numbers,
    /// Place of the entry's token in the whole text, `[layer][kv_head][slot]`.
    origins: Vec<u32>,
    /// `-ln p` of the entry's token when it was read, same shape.
    novelty: Vec<f32>,
    /// Evidence a policy carries with an entry, same shape.
    carried: Vec<f32>,
    /// `ln w` of the entry's token, same shape as the store's slots; empty where all weights are 1.
    log_weights: Vec<f32>,
    weights: KeyWeights,
    /// Tokens from here on are not part of the text: prompts of a policy, which have no weights.
    text_end: u32,
    /// Slots of each layer.
    capacity: Vec<usize>,
    /// Of each layer, how it slides; none in a plain slab.
    sliding: Vec<Option<Sliding>>,
    /// First slot of each layer in the whole slab.
    first: Vec<usize>,
    /// Entries of each layer, the same in all its heads.
    filled: Vec<usize>,
    /// Rows of the pass under way.
    pending: usize,
    /// Rotary position of the next token.
    position: usize,
    /// Place in the text of the next token.
    origin: u32,
    kv_heads: usize,
    dim: usize,
    vocab: usize,
    turns: Turns,
    /// Length of the text these entries belong to, as far as it is known.
    length: usize,
}

impl Slab {
    /// A slab with `capacity` slots for each head of every layer and nothing but keys and values, for a text of so many
    /// tokens that is kept whole.
    pub fn plain(spec: &Spec, capacity: usize, storage: KvStorage) -> Slab {
        let sliding = vec![None; spec.layers];
        let slab = Slab::make(spec, vec![capacity; spec.layers], sliding, storage, false);
        Slab { length: capacity, ..slab }
    }

    /// A slab whose layers have `capacity[layer]` slots for each head, or what those that slide need, with what policies want to know of
    /// each entry.
    pub(crate) fn with_layers(
        spec: &Spec,
        mut capacity: Vec<usize>,
        sliding: Vec<Option<Sliding>>,
        storage: KvStorage,
    ) -> Slab {
        for (capacity, sliding) in capacity.iter_mut().zip(&sliding) {
            *capacity = sliding.map_or(*capacity, |sliding| sliding.capacity);
        }
        Slab::make(spec, capacity, sliding, storage, true)
    }

    fn make(
        spec: &Spec,
        capacity: Vec<usize>,
        sliding: Vec<Option<Sliding>>,
        storage: KvStorage,
        noted: bool,
    ) -> Slab {
        assert_eq!(capacity.len(), spec.layers, "one capacity for each layer");
        let mut first = Vec::with_capacity(spec.layers);
        let mut slots = 0;
        for capacity in &capacity {
            first.push(slots);
            slots += capacity * spec.kv_heads;
        }
        let span = capacity.iter().copied().max().unwrap_or(0);
        let notes = if noted { slots } else { 0 };
        Slab {
            store: Numbers::new(storage, spec.layers * spec.kv_heads, slots, spec.head_dim),
            origins: vec![0; notes],
            novelty: vec![0.0; notes],
            carried: vec![0.0; notes],
            log_weights: Vec::new(),
            weights: KeyWeights::default(),
            text_end: u32::MAX,
            filled: vec![0; spec.layers],
            pending: 0,
            position: 0,
            origin: 0,
            kv_heads: spec.kv_heads,
            dim: spec.head_dim,
            vocab: spec.vocab,
            turns: Turns::new(spec, span),
            length: 0,
            capacity,
            sliding,
            first,
        }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.capacity.len()
    }

    /// Key and value heads of a layer.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.dim
    }

    /// How keys and values are stored.
    pub fn storage(&self) -> KvStorage {
        self.store.kind()
    }

    /// Entries of each head of `layer`.
    pub fn len(&self, layer: usize) -> usize {
        self.filled[layer]
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.origin == 0
    }

    /// Slots of each head of `layer`.
    pub fn capacity(&self, layer: usize) -> usize {
        self.capacity[layer]
    }

    /// Whether `layer` holds its latest entries only, because it sees no others.
    pub fn slides(&self, layer: usize) -> bool {
        self.sliding[layer].is_some()
    }

    /// How `layer` slides, if it does.
    pub(crate) fn sliding(&self, layer: usize) -> Option<Sliding> {
        self.sliding[layer]
    }

    /// The layers that do not slide: those that hold the past.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.layers()).filter(|layer| self.sliding[*layer].is_none())
    }

    /// Tokens that fit into every layer that holds the past before something has to go.
    pub fn room(&self) -> usize {
        self.lasting().map(|layer| self.capacity[layer] - self.filled[layer]).min().unwrap_or(0)
    }

    /// The same without changing the frequencies by which keys turn.
    pub(crate) fn room_alike(&self) -> usize {
        self.room().min(self.turns.alike(self.read()))
    }

    /// Rows of a pass at most, so that layers that slide hold all that the first of them sees.
    pub(crate) fn most_rows(&self) -> usize {
        self.sliding.iter().flatten().map(|sliding| sliding.rows).min().unwrap_or(usize::MAX)
    }

    /// Makes room for `rows` more entries in the layers that slide.
    fn slide(&mut self, rows: usize) {
        for layer in 0..self.layers() {
            let (Some(sliding), filled) = (self.sliding[layer], self.filled[layer]) else { continue };
            if filled + rows > self.capacity[layer] {
                let keep = sliding.keep.min(self.capacity[layer].saturating_sub(rows));
                let kept: Vec<usize> = (filled.saturating_sub(keep)..filled).collect();
                for kv_head in 0..self.kv_heads {
                    self.compact(layer, kv_head, &kept, self.position);
                }
                self.filled[layer] = kept.len();
            }
        }
    }

    /// Whether the newest `count` tokens can be forgotten so that every layer still holds all it sees.
    pub(crate) fn can_pop(&self, count: usize) -> bool {
        let left = self.position - count;
        self.sliding.iter().zip(&self.filled).all(|(sliding, filled)| {
            sliding.is_none_or(|sliding| *filled >= count + sliding.window.min(left))
        })
    }

    /// Tokens read so far, kept or not.
    pub fn read(&self) -> usize {
        self.origin as usize
    }

    /// Mean number of entries of a head, of the layers that hold the past.
    pub fn kept(&self) -> usize {
        let all: usize = self.lasting().map(|layer| self.filled[layer]).sum();
        all / self.lasting().count().max(1)
    }

    /// Takes what is held for the beginning of a text of `length` tokens. Networks with longrope scaling turn all keys
    /// of a text beyond their original context by other frequencies; false when the entries here were turned by those
    /// of the other kind, so that they have to be made again.
    pub(crate) fn expect(&mut self, length: usize) -> bool {
        if !self.is_empty() && self.turns.is_long(length) != self.turns.is_long(self.length) {
            return false;
        }
        self.length = length;
        true
    }

    /// The first angles of the rotation of a text of `length` tokens, as a word: networks with longrope scaling use
    /// other frequencies in longer texts, and keys of one kind are nonsense in the other.
    pub(crate) fn frequencies(&self, length: usize) -> String {
        let mixed = self.turns.sines(length).fold(0xcbf2_9ce4_8422_2325u64, |hash, sine| {
            (hash ^ u64::from(sine.to_bits())).wrapping_mul(0x100_0000_01b3)
        });
        format!("{mixed:016x}")
    }

    /// Entries of the vocabulary of the network this belongs to.
    pub(crate) fn vocab(&self) -> usize {
        self.vocab
    }

    /// Bytes taken by keys, values and what goes with the entries.
    pub fn bytes(&self) -> usize {
        self.store.bytes() + self.origins.len() * NOTES + self.log_weights.len() * 4
    }

    /// Bytes of the slab of a pot of `entries`, notes included.
    pub fn bytes_for(spec: &Spec, entries: usize, storage: KvStorage) -> usize {
        let slots = crate::sliding::layers(spec, entries)
            .iter()
            .map(|sliding| sliding.map_or(entries, |sliding| sliding.capacity))
            .fold(0, usize::saturating_add);
        let slots = slots.saturating_mul(spec.kv_heads);
        slots
            .saturating_mul(storage.slot_bytes(spec.head_dim) + NOTES)
            .saturating_add(scale_bytes(spec, storage))
    }

    /// Bytes of a [`plain`](Self::plain) slab.
    pub fn plain_bytes(spec: &Spec, capacity: usize, storage: KvStorage) -> usize {
        let slots = spec.layers * spec.kv_heads * capacity;
        slots * storage.slot_bytes(spec.head_dim) + scale_bytes(spec, storage)
    }

    fn place(&self, layer: usize, kv_head: usize) -> Place {
        Place {
            head: layer * self.kv_heads + kv_head,
            first: self.first[layer] + kv_head * self.capacity[layer],
            filled: self.filled[layer],
        }
    }

    /// Where the notes on a head's entries are; nowhere in a slab without them.
    fn slots(&self, layer: usize, kv_head: usize) -> std::ops::Range<usize> {
        let place = self.place(layer, kv_head);
        if self.origins.is_empty() { 0..0 } else { place.first..place.first + place.filled }
    }

    /// Places in the text of a head's entries, ascending; empty, like the next two, in a plain slab.
    pub fn origins(&self, layer: usize, kv_head: usize) -> &[u32] {
        &self.origins[self.slots(layer, kv_head)]
    }

    /// Novelty of a head's entries.
    pub fn novelty(&self, layer: usize, kv_head: usize) -> &[f32] {
        &self.novelty[self.slots(layer, kv_head)]
    }

    /// What a policy carries with a head's entries.
    pub fn carried(&self, layer: usize, kv_head: usize) -> &[f32] {
        &self.carried[self.slots(layer, kv_head)]
    }

    /// The same, to be changed.
    pub fn carried_mut(&mut self, layer: usize, kv_head: usize) -> &mut [f32] {
        let slots = self.slots(layer, kv_head);
        &mut self.carried[slots]
    }

    /// Sets the novelty of the newest `novelty.len()` tokens in every head.
    pub fn set_novelty(&mut self, novelty: &[f32]) {
        for layer in 0..self.layers() {
            for kv_head in 0..self.kv_heads {
                let slots = self.slots(layer, kv_head);
                let newest = slots.end - novelty.len().min(slots.len())..slots.end;
                let skip = novelty.len() - newest.len();
                self.novelty[newest].copy_from_slice(&novelty[skip..]);
            }
        }
    }

    /// Raises the novelty of the oldest token read since `origin` to the largest of those after it: nothing could
    /// predict the first token of a text.
    pub fn first_novelty(&mut self, value: f32, origin: u32) {
        for layer in 0..self.layers() {
            for kv_head in 0..self.kv_heads {
                let slots = self.slots(layer, kv_head);
                if let Ok(at) = self.origins[slots.clone()].binary_search(&origin) {
                    self.novelty[slots.start + at] = value;
                }
            }
        }
    }

    /// Gives keys weights by the places of their tokens in the text. Nothing that is held may lie in a place of these weights or of
    /// those before.
    pub(crate) fn weigh(&mut self, weights: KeyWeights) {
        let slots = self.capacity.iter().sum::<usize>() * self.kv_heads;
        self.log_weights = if weights.is_empty() { Vec::new() } else { vec![0.0; slots] };
        self.weights = weights;
    }

    /// The weights of keys.
    pub(crate) fn weights(&self) -> &KeyWeights {
        &self.weights
    }

    /// Says where the text ends in what is read next: what follows has no weights.
    pub(crate) fn text_ends(&mut self, end: u32) {
        self.text_end = end;
    }

    /// `ln w` of a head's entries; empty where all weights are 1.
    pub fn log_weights(&self, layer: usize, kv_head: usize) -> &[f32] {
        let place = self.place(layer, kv_head);
        let none = self.log_weights.is_empty();
        if none { &[] } else { &self.log_weights[place.first..place.first + place.filled] }
    }

    /// The key of an entry at its present position.
    pub fn key(&self, layer: usize, kv_head: usize, slot: usize, out: &mut [f32]) {
        let place = self.place(layer, kv_head);
        self.store.key(place.head, place.first + slot, out);
    }

    /// Rotary position of the first entry of `layer`.
    pub fn offset(&self, layer: usize) -> usize {
        self.position - self.filled[layer]
    }

    /// One more than the largest position.
    pub(crate) fn longest(&self) -> usize {
        self.capacity.iter().copied().max().unwrap_or(0)
    }

    /// The length of text whose frequencies turned the keys.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Forgets the newest `count` tokens, which every head must still hold.
    pub fn pop(&mut self, count: usize) {
        for filled in &mut self.filled {
            assert!(count <= *filled, "fewer entries than tokens to forget");
            *filled -= count;
        }
        self.pending = 0;
        self.position -= count;
        self.origin -= count as u32;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.filled.fill(0);
        (self.pending, self.position, self.origin, self.length) = (0, 0, 0, 0);
        self.store.forget_scales();
    }

    /// Keeps of head `kv_head` of `layer` the entries `kept` (slots, ascending) and moves them to positions that end
    /// just below `end`. Every head of a layer has to keep equally many; [`settle`](Self::settle) comes last.
    pub(crate) fn compact(&mut self, layer: usize, kv_head: usize, kept: &[usize], end: usize) {
        let place = self.place(layer, kv_head);
        let (old, new) = (self.offset(layer), end - kept.len());
        let (mut key, mut turn) = (vec![0.0; self.dim], Turn::default());
        for (to, &from) in kept.iter().enumerate() {
            let (source, target) = (place.first + from, place.first + to);
            let turn = self.turns.between(self.length, layer, old + from, new + to, &mut turn);
            self.store.relocate(place.head, source, target, self.dim, turn, &mut key);
            if !self.origins.is_empty() {
                self.origins[target] = self.origins[source];
                self.novelty[target] = self.novelty[source];
                self.carried[target] = self.carried[source];
            }
            if !self.log_weights.is_empty() {
                self.log_weights[target] = self.log_weights[source];
            }
        }
    }

    /// Ends a compaction: layer `l` holds `kept[l]` entries, and the next token takes position `end`.
    pub(crate) fn settle(&mut self, kept: &[usize], end: usize) {
        self.filled.copy_from_slice(kept);
        self.position = end;
    }
}

/// Bytes of the scales of keys.
fn scale_bytes(spec: &Spec, storage: KvStorage) -> usize {
    let heads = if storage == KvStorage::I8 { spec.layers * spec.kv_heads } else { 0 };
    heads * spec.head_dim * size_of::<f32>()
}

impl KvMemory for Slab {
    fn position(&self) -> usize {
        self.position
    }

    fn span(&self) -> usize {
        self.length
    }

    fn reserve(&mut self, rows: usize) -> Result<(), ModelError> {
        if rows > self.room().min(self.most_rows()) {
            let capacity = self.filled.iter().max().unwrap_or(&0) + self.room();
            return Err(ModelError::MemoryFull { needed: capacity - self.room() + rows, capacity });
        }
        self.slide(rows);
        self.pending = rows;
        Ok(())
    }

    fn append(&mut self, layer: usize, keys: &[f32], values: &[f32], rows: usize) {
        let dim = self.dim;
        for kv_head in 0..self.kv_heads {
            let mut place = self.place(layer, kv_head);
            for row in 0..rows {
                let from = (row * self.kv_heads + kv_head) * dim..(row * self.kv_heads + kv_head + 1) * dim;
                self.store.push(place, &keys[from.clone()], &values[from], self.turns.pairing());
                if !self.origins.is_empty() {
                    let slot = place.first + place.filled;
                    self.origins[slot] = self.origin + row as u32;
                    self.novelty[slot] = 0.0;
                    self.carried[slot] = 0.0;
                }
                if !self.log_weights.is_empty() {
                    let origin = self.origin + row as u32;
                    let log = if origin < self.text_end { self.weights.log(origin) } else { 0.0 };
                    self.log_weights[place.first + place.filled] = log;
                }
                place.filled += 1;
            }
        }
    }

    fn head(&self, layer: usize, kv_head: usize) -> HeadView<'_> {
        let mut place = self.place(layer, kv_head);
        place.filled += self.pending;
        let (keys, values) = self.store.slices(place, self.dim);
        let key_bias = (!self.log_weights.is_empty())
            .then(|| &self.log_weights[place.first..place.first + place.filled]);
        HeadView { keys, values, slots: place.filled, key_bias }
    }

    fn advance(&mut self, rows: usize) {
        for filled in &mut self.filled {
            *filled += rows;
        }
        self.position += rows;
        self.origin += rows as u32;
        self.pending = 0;
    }
}
