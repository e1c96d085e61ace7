//! Beginnings of texts in memory, so that what many texts begin with is read once.
//!
//! Keys and values are kept in blocks of tokens, each under a hash of whose they are and of every token up to its end, as vLLM's
//! automatic prefix caching does it (PagedAttention, arXiv 2309.06180). A row of the network depends on the rows before it and not on
//! the pass it is computed in, so that what comes from here is bit for bit what would be read.

use std::cmp::Reverse;
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::{KvStorage, Owner, Pot};

/// Tokens of a block: shorter beginnings are not worth keeping.
const BLOCK: usize = 32;

/// A hash of whose a block is and of every token up to its end.
type Name = [u8; 32];

/// Beginnings of texts that were read.
#[derive(Debug, Default)]
pub struct Prefixes {
    blocks: HashMap<Name, Block>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Block {
    /// `[layer][kv_head]`, keys then values `[BLOCK, dim]`.
    data: Vec<u8>,
    used: u64,
    /// Blocks before it.
    depth: usize,
}

impl Prefixes {
    /// Whether beginnings of texts in `pot` can be kept: it keeps everything, no word counts more than others, and no number depends
    /// on those that came later, as 8-bit keys do, which share a scale.
    pub fn takes(pot: &Pot) -> bool {
        let slab = pot.slab();
        pot.options().is_none() && slab.weights().is_empty() && slab.storage() != KvStorage::I8
    }

    /// Bytes of all blocks.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts what is held of the beginning of `tokens` into `pot`, which is empty and belongs to `owner`; returns how many tokens.
    pub fn find(&mut self, pot: &mut Pot, owner: &Owner, tokens: &[u32]) -> usize {
        self.clock += 1;
        let mut found = 0;
        for name in names(pot, owner, tokens) {
            let Some(block) = self.blocks.get_mut(&name) else { break };
            if pot.slab.load_newest(BLOCK, &block.data).is_none() {
                break;
            }
            block.used = self.clock;
            found += BLOCK;
        }
        found
    }

    /// Keeps the beginning of `tokens`, all of which `pot` has read, in at most `most` bytes for all blocks. What was used longest ago
    /// goes for it.
    pub fn store(&mut self, pot: &Pot, owner: &Owner, tokens: &[u32], most: usize) {
        self.clock += 1;
        for (depth, name) in names(pot, owner, tokens).enumerate() {
            if let Some(block) = self.blocks.get_mut(&name) {
                block.used = self.clock;
                continue;
            }
            let mut data = Vec::new();
            pot.slab().save_slots(depth * BLOCK, BLOCK, &mut data);
            // What this text began with is not given up for its end.
            self.forget(most.saturating_sub(data.len()), self.clock);
            if self.bytes + data.len() > most {
                return;
            }
            self.bytes += data.len();
            self.blocks.insert(name, Block { data, used: self.clock, depth });
        }
    }

    /// Forgets what was used longest ago, ends of texts before their beginnings, until `most` bytes are left.
    pub fn shrink(&mut self, most: usize) {
        self.forget(most, u64::MAX);
    }

    /// The same among what was used before `now`.
    fn forget(&mut self, most: usize, now: u64) {
        if self.bytes <= most {
            return;
        }
        let old = self.blocks.iter().filter(|(_, block)| block.used < now);
        let mut order: Vec<(u64, Reverse<usize>, Name)> =
            old.map(|(name, block)| (block.used, Reverse(block.depth), *name)).collect();
        order.sort_unstable();
        for (_, _, name) in order {
            if self.bytes <= most {
                return;
            }
            self.bytes -= self.blocks.remove(&name).map_or(0, |block| block.data.len());
        }
    }
}

/// Names of the whole blocks of `tokens`, the first one first.
fn names<'t>(pot: &Pot, owner: &Owner, tokens: &'t [u32]) -> impl Iterator<Item = Name> + use<'t> {
    let slab = pot.slab();
    let shape = (owner, slab.storage(), slab.frequencies(slab.length()));
    // Strings always serialise.
    let mut name: Name = Sha256::digest(serde_json::to_vec(&shape).unwrap_or_default()).into();
    tokens.chunks_exact(BLOCK).map(move |block| {
        let mut hash = Sha256::new();
        hash.update(name);
        block.iter().for_each(|token| hash.update(token.to_le_bytes()));
        name = hash.finalize().into();
        name
    })
}
