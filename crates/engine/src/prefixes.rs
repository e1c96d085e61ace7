//! Beginnings of texts that many sessions share: system prompts, documents, earlier turns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Budget, EngineError, Held, Holder, Session};

/// Bytes of beginnings where no limit is set.
const USUAL: usize = 64 << 20;

/// Beginnings of texts that were read, kept for all sessions of a program. They take what is left of its memory, or 64 MiB where it has no
/// limit, and give way to whoever needs room.
#[derive(Debug)]
pub struct Prefixes {
    kept: Mutex<(crayon_pot::Prefixes, Held)>,
    budget: Budget,
    hits: AtomicUsize,
    saved: AtomicUsize,
}

impl Prefixes {
    /// None yet, accounted for in `budget`.
    pub fn new(budget: &Budget) -> Prefixes {
        let kept = Mutex::new((crayon_pot::Prefixes::default(), budget.hold(Holder::Prefixes, 0)));
        Prefixes { kept, budget: budget.clone(), hits: AtomicUsize::new(0), saved: AtomicUsize::new(0) }
    }

    fn kept(&self) -> MutexGuard<'_, (crayon_pot::Prefixes, Held)> {
        // After a panic the worst is a number that is off; blocks are whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a text began with one that was kept, and how many tokens had not to be read for it.
    pub fn counts(&self) -> (usize, usize) {
        (self.hits.load(Ordering::Relaxed), self.saved.load(Ordering::Relaxed))
    }

    /// Forgets enough for `bytes` to be free, or everything.
    pub fn make_room(&self, bytes: usize) {
        let mut kept = self.kept();
        let (prefixes, held) = &mut *kept;
        let lacking = bytes.saturating_sub(self.budget.free());
        if lacking > 0 && prefixes.bytes() > 0 {
            prefixes.shrink(prefixes.bytes().saturating_sub(lacking));
            held.set(prefixes.bytes());
        }
    }
}

impl Session<'_> {
    /// Like [`begin_text`](Self::begin_text), with the beginning from `prefixes` where they have it: what follows is the same, bit for bit.
    /// Texts read through a pot with a policy, with weighted words or into 8-bit keys are read anew.
    ///
    /// # Errors
    /// When the session is too small for it.
    pub fn begin_shared(&mut self, prompt: &[u32], prefixes: &Prefixes) -> Result<usize, EngineError> {
        if !self.tokens.is_empty() || !crayon_pot::Prefixes::takes(&self.pot) {
            return self.begin_text(prompt);
        }
        self.pot.expect(prompt.len());
        // The last token is always read, because its logits are wanted.
        let most = prompt.len().saturating_sub(1);
        let owner = self.owner();
        let found = prefixes.kept().0.find(&mut self.pot, &owner, &prompt[..most]);
        if found > 0 {
            prefixes.hits.fetch_add(1, Ordering::Relaxed);
            prefixes.saved.fetch_add(found, Ordering::Relaxed);
        }
        self.tokens.extend_from_slice(&prompt[..found]);
        self.begin(&prompt[found..], prompt.len(), false)?;
        Ok(prompt.len() - found)
    }

    /// Keeps the beginning of what this session has read in `prefixes`, for others.
    pub fn share(&self, prefixes: &Prefixes) {
        if !crayon_pot::Prefixes::takes(&self.pot) {
            return;
        }
        let owner = self.owner();
        let mut kept = prefixes.kept();
        let (blocks, held) = &mut *kept;
        let most = match prefixes.budget.limit() {
            Some(_) => blocks.bytes().saturating_add(prefixes.budget.free()),
            None => USUAL,
        };
        blocks.store(&self.pot, &owner, &self.tokens, most);
        held.set(blocks.bytes());
    }
}
