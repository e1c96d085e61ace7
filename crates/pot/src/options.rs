//! How a pot is shaped, and what can be checked before anything is read.

use crayon_formats::spec::{Positions, Spec};
use serde::{Deserialize, Serialize};

use crate::policy::Attention;
use crate::{KvStorage, PotError, named};

/// The catalyst prompt when nobody gives another (InfiniPot's CaP-G).
pub const GENERAL_CATALYST: &str = "Summarize the previous context highlighting the most important parts.";

/// Tokens repeated at a time by policies that let text of the context ask for what it needs.
const SEGMENT: usize = 32;
/// Free entries and free slots that a pot needs at least to be of use.
const SPARE: usize = 8;

/// Shape and policy of a pot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PotOptions {
    /// |M|: entries of each head at most, on average over the layers.
    pub entries: usize,
    /// |C|: entries that stay after a distillation; half of `entries` when `None`, more where pinned text needs it.
    pub keep: Option<usize>,
    /// First tokens of the text that always stay.
    pub sinks: usize,
    /// Latest tokens that always stay.
    pub recent: usize,
    /// α: share of the kept entries that InfiniPot chooses by novelty, 0 to 1.
    pub novelty: f32,
    /// Neighbouring entries over which InfiniPot averages the attention of the catalyst, so that phrases stay whole; 1
    /// for none.
    pub smooth: usize,
    /// Name of the policy, see [`crate::POLICIES`].
    pub policy: String,
    /// Token ids of the prompt that asks for what matters.
    pub catalyst: Vec<u32>,
    /// How keys and values are stored.
    pub storage: KvStorage,
}

impl PotOptions {
    /// A pot of `entries` with InfiniPot and everything else as usual.
    pub fn new(entries: usize, catalyst: Vec<u32>) -> PotOptions {
        PotOptions {
            entries,
            keep: None,
            sinks: 4,
            recent: 4,
            novelty: 0.5,
            smooth: 9,
            policy: "infinipot".to_owned(),
            catalyst,
            storage: KvStorage::F16,
        }
    }

    /// Slots that stay free while reading, for the prompts that a policy puts at the end of the text.
    pub(crate) fn reserve(&self, attention: Attention) -> usize {
        match attention {
            Attention::Catalyst => self.catalyst.len(),
            Attention::Repeat | Attention::Medoids => SEGMENT.min(self.entries / 8).max(1),
            Attention::None | Attention::Every | Attention::Last(_) => 0,
        }
    }

    /// Checks everything that does not depend on the text and returns |C|. `pinned` tokens are going to be pinned.
    ///
    /// # Errors
    /// With the smallest size that works, or the largest, or what else to change.
    pub fn check(&self, spec: &Spec, pinned: usize) -> Result<usize, PotError> {
        let policy = named(&self.policy).ok_or_else(|| PotError::Policy { name: self.policy.clone() })?;
        if !(0.0..=1.0).contains(&self.novelty) {
            return Err(PotError::Novelty { found: self.novelty });
        }
        if spec.positions == Positions::Learned {
            return Err(PotError::LearnedPositions);
        }
        if self.entries > spec.context {
            return Err(PotError::BeyondContext { entries: self.entries, context: spec.context });
        }
        let catalyst = self.reserve(policy.make(self).needs().attention);
        let (entries, forced) = (self.entries, self.forced(pinned));
        let least = forced.saturating_add(SPARE);
        if let error @ PotError::TooSmall { smallest, .. } = self.too_small(forced, catalyst)
            && entries < smallest
        {
            return Err(error);
        }
        match self.keep {
            None => Ok((entries / 2).max(least)),
            Some(keep) if keep < least => Err(PotError::KeepTooFew { keep, forced, least }),
            Some(keep) if keep.saturating_add(catalyst + SPARE) > entries => {
                Err(PotError::Keep { keep, entries, catalyst, most: entries - catalyst - SPARE })
            }
            Some(keep) => Ok(keep),
        }
    }

    /// Entries that stay whatever their score, with `pinned` tokens.
    pub(crate) fn forced(&self, pinned: usize) -> usize {
        self.sinks.saturating_add(self.recent).saturating_add(pinned)
    }

    pub(crate) fn too_small(&self, forced: usize, catalyst: usize) -> PotError {
        let smallest = forced.saturating_add(2 * SPARE + catalyst).max(2 * (catalyst + SPARE));
        PotError::TooSmall { entries: self.entries, forced, catalyst, smallest }
    }

    /// Entries of a pot whose keys, values and notes take `bytes`.
    pub fn entries_in(spec: &Spec, bytes: usize, storage: KvStorage) -> usize {
        let scales = crate::Slab::bytes_for(spec, 0, storage);
        let entry = crate::Slab::bytes_for(spec, 1, storage) - scales;
        bytes.saturating_sub(scales) / entry.max(1)
    }
}
