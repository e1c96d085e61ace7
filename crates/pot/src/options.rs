//! How a pot is shaped, and what can be checked before anything is read.

use crayon_formats::spec::{Positions, Spec};
use crayon_model::Summed;
use serde::{Deserialize, Serialize};

use crate::policy::Attention;
use crate::{KvStorage, PotError, Slab, named};

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
    /// Whether novelty is of the whole vocabulary ([`Summed`]). Its order is nearly the same without, and reading a large
    /// vocabulary for every token costs more than all layers of a small model.
    #[serde(default)]
    pub exact_novelty: bool,
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
            exact_novelty: false,
            smooth: 9,
            policy: "infinipot".to_owned(),
            catalyst,
            storage: KvStorage::F16,
        }
    }

    /// What novelty's softmax is summed over.
    pub(crate) fn summed(&self) -> Summed {
        if self.exact_novelty { Summed::All } else { Summed::Frequent }
    }

    /// Slots that stay free while reading, for the prompts that a policy puts at the end of the text.
    pub(crate) fn reserve(&self, attention: Attention) -> usize {
        self.reserve_of(self.entries, attention)
    }

    /// The same for a pot of another size.
    fn reserve_of(&self, entries: usize, attention: Attention) -> usize {
        match attention {
            Attention::Catalyst => self.catalyst.len(),
            Attention::Repeat | Attention::Medoids => SEGMENT.min(entries / 8).max(1),
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
        if self.smooth == 0 {
            return Err(PotError::Smooth);
        }
        if spec.positions == Positions::Learned {
            return Err(PotError::LearnedPositions);
        }
        if self.entries > spec.context {
            return Err(PotError::BeyondContext { entries: self.entries, context: spec.context });
        }
        let attention = policy.make(self).needs().attention;
        let catalyst = self.reserve(attention);
        let (entries, forced) = (self.entries, self.forced(pinned));
        let least = forced.saturating_add(SPARE);
        if entries < needed(forced, catalyst) {
            return Err(self.too_small(forced, attention));
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

    /// Says that the pot is too small, with the smallest size that works.
    pub(crate) fn too_small(&self, forced: usize, attention: Attention) -> PotError {
        let (catalyst, mut smallest) = (self.reserve(attention), self.entries);
        // What some policies keep free grows with the pot, up to a bound: what is needed is approached from below.
        loop {
            let needed = needed(forced, self.reserve_of(smallest, attention));
            if needed <= smallest {
                break;
            }
            smallest = needed;
        }
        PotError::TooSmall { entries: self.entries, forced, catalyst, smallest }
    }

    /// Takes `catalyst`, as a rule the question, in place of the general prompt: where it is no longer than that, or
    /// takes no more than a quarter of a pot that works with it and `pinned` tokens. A long question would leave no room
    /// to read; the general prompt serves as well then.
    pub fn prefer(&mut self, spec: &Spec, catalyst: Vec<u32>, pinned: usize) {
        if catalyst.len() <= self.catalyst.len() {
            self.catalyst = catalyst;
        } else if catalyst.len().saturating_mul(4) <= self.entries {
            let general = std::mem::replace(&mut self.catalyst, catalyst);
            if matches!(self.check(spec, pinned), Err(PotError::TooSmall { .. })) {
                self.catalyst = general;
            }
        }
    }

    /// Entries, the model's window at most, of a pot whose keys, values and notes take `bytes`.
    pub fn entries_in(spec: &Spec, bytes: usize, storage: KvStorage) -> usize {
        most_entries(spec, |entries| Slab::bytes_for(spec, entries, storage) <= bytes)
    }
}

/// The most entries that fit, the model's window at most. Layers that slide take less than others, so what fits is not a quotient.
pub(crate) fn most_entries(spec: &Spec, fits: impl Fn(usize) -> bool) -> usize {
    let (mut least, mut most) = (0, spec.context + 1);
    while least + 1 < most {
        let middle = usize::midpoint(least, most);
        if fits(middle) { least = middle } else { most = middle }
    }
    least
}

/// Entries that a pot needs to keep `forced` of them and to read on beside a prompt of `catalyst`.
fn needed(forced: usize, catalyst: usize) -> usize {
    forced.saturating_add(2 * SPARE + catalyst).max(2 * (catalyst + SPARE))
}
