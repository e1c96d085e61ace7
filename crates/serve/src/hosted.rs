//! A model that is served, with the queue before it and what its requests may name.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crayon_answer::Allowed;
use crayon_engine::{Budget, Engine, Held, Holder, PrefixCache, Prefixes, own_rss_bytes};
use crayon_guided::Guide;

use crate::examples::Remembered;
use crate::own::Own;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::registry::Registry;
use crate::worker::Job;

/// A model that is served.
pub(crate) struct Hosted {
    /// Its name in requests.
    pub(crate) name: String,
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Queue<Job>,
    pub(crate) pace: Pace,
    pub(crate) registry: Registry,
    /// What was found for examples asked with before.
    pub(crate) examples: Remembered,
    /// How answers are kept to a form, once one is asked for.
    pub(crate) guide: OnceLock<Result<(Guide, Held), String>>,
    /// Adapters of people's own that were asked for last.
    pub(crate) own: Own,
    /// Documents that were read, where they may be kept.
    pub(crate) cache: Option<PrefixCache>,
    /// Beginnings of texts that were read, of all models.
    pub(crate) prefixes: Arc<Prefixes>,
    /// The account of memory.
    pub(crate) budget: Budget,
    /// Its weights and adapters in that account.
    pub(crate) held: [Held; 2],
    /// Bytes of the buffers of its passes.
    pub(crate) scratch: AtomicUsize,
    /// Bytes that the next request waits for, if it does.
    pub(crate) short: AtomicUsize,
}

impl Hosted {
    /// What a request may have when it is alone.
    pub(crate) fn allowed(&self) -> Option<Allowed> {
        let limit = self.budget.limit()?;
        let held: usize = self.held.iter().map(Held::bytes).sum();
        let program = self.budget.of(Holder::Program);
        let bytes = limit.saturating_sub(held + program + self.scratch.load(Ordering::Relaxed));
        Some(Allowed { bytes, limit })
    }

    /// How answers are kept to a form: made when one is first asked for, and accounted for with what it takes, which is much beside a
    /// large vocabulary.
    ///
    /// # Errors
    /// When the model's tokenizer does not serve for it.
    pub(crate) fn guide(&self) -> Result<&Guide, String> {
        let made = self.guide.get_or_init(|| {
            let before = own_rss_bytes();
            let guide = Guide::new(&self.engine).map_err(|error| error.to_string())?;
            let taken = own_rss_bytes().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
            Ok((guide, self.budget.hold(Holder::Program, taken)))
        });
        made.as_ref().map(|(guide, _)| guide).map_err(Clone::clone)
    }
}
