//! The one owner of memory: what may be held in all, and who holds how much.
//!
//! Accounting only: bytes are reserved before they are taken and given back when their [`Held`] is dropped. Those who find no room wait
//! in one line, so that nobody is overtaken for ever by smaller ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crayon_errors::size;

use crate::EngineError;

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Weights of models, in memory or mapped.
    Weights,
    /// Adapters and pools beside them.
    Adapters,
    /// Keys and values of conversations, pots or whole.
    Sessions,
    /// Buffers of passes.
    Scratch,
    /// Beginnings of texts that were read, kept for others.
    Prefixes,
    /// The program itself: its code, tokenizers, threads.
    Program,
}

impl Holder {
    /// All of them.
    pub const ALL: [Holder; 6] = [
        Holder::Weights,
        Holder::Adapters,
        Holder::Sessions,
        Holder::Scratch,
        Holder::Prefixes,
        Holder::Program,
    ];

    /// The word reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Holder::Weights => "weights",
            Holder::Adapters => "adapters",
            Holder::Sessions => "sessions",
            Holder::Scratch => "scratch",
            Holder::Prefixes => "prefixes",
            Holder::Program => "program",
        }
    }
}

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Bytes asked for.
    pub needed: usize,
    /// Bytes free.
    pub free: usize,
    /// Bytes that may be held in all.
    pub limit: usize,
}

impl Shortage {
    /// The refusal of `what` needs more.
    pub fn error(self, what: impl Into<String>) -> EngineError {
        let Shortage { needed, free, limit } = self;
        EngineError::NoMemory { what: what.into(), needed, free, limit }
    }
}

/// What may be held, and who holds it. Clones share one account.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<Mutex<Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    /// Bytes that may be held in all; any number when `None`.
    limit: Option<usize>,
    /// By [`Holder::ALL`].
    held: [usize; Holder::ALL.len()],
    /// Those who wait for room, the first in front.
    line: VecDeque<u64>,
    /// Places in the line that were ever given.
    places: u64,
}

impl Ledger {
    fn free(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.held.iter().sum()))
    }
}

impl Budget {
    /// At most `limit` bytes; any number when `None`.
    pub fn new(limit: Option<usize>) -> Budget {
        Budget(Arc::new(Mutex::new(Ledger { limit, ..Ledger::default() })))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic elsewhere leaves the numbers whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that may be held in all.
    pub fn limit(&self) -> Option<usize> {
        self.ledger().limit
    }

    /// Bytes that are free; `usize::MAX` without a limit.
    pub fn free(&self) -> usize {
        self.ledger().free()
    }

    /// Bytes of each holder.
    pub fn held(&self) -> [(Holder, usize); Holder::ALL.len()] {
        let held = self.ledger().held;
        std::array::from_fn(|at| (Holder::ALL[at], held[at]))
    }

    /// Bytes of one holder.
    pub fn of(&self, holder: Holder) -> usize {
        self.ledger().held[holder as usize]
    }

    /// Who holds how much and what is free, in words.
    pub fn told(&self) -> String {
        let held = self.held().into_iter().filter(|(_, bytes)| *bytes > 0);
        let held: Vec<String> =
            held.map(|(holder, bytes)| format!("{} {}", holder.name(), size(bytes))).collect();
        let held = if held.is_empty() { "nothing held".to_owned() } else { held.join(", ") };
        match self.limit() {
            Some(limit) => format!("{held}; {} of {} free", size(self.free()), size(limit)),
            None => held,
        }
    }

    /// Accounts for bytes that are there whatever the limit says.
    pub fn hold(&self, holder: Holder, bytes: usize) -> Held {
        self.ledger().held[holder as usize] += bytes;
        Held { budget: self.clone(), holder, bytes }
    }

    /// Bytes for `holder`, if they are free and nobody waits for them.
    ///
    /// # Errors
    /// [`Shortage`] when there is no room now.
    pub fn reserve(&self, holder: Holder, bytes: usize) -> Result<Held, Shortage> {
        self.reserve_in_turn(holder, bytes, &mut None)
    }

    /// The same for those who try again until there is room: `turn` is their place in the line, where they have one, which ends with
    /// success.
    ///
    /// # Errors
    /// [`Shortage`] when there is no room now, or others came first.
    pub fn reserve_in_turn(
        &self,
        holder: Holder,
        bytes: usize,
        turn: &mut Option<Turn>,
    ) -> Result<Held, Shortage> {
        let mut ledger = self.ledger();
        let own = turn.as_ref().map(|turn| turn.place);
        // Where no conversation is in progress waiting frees nothing, and whoever fits goes on.
        let idle = ledger.held[Holder::Sessions as usize] == 0;
        let first = idle || ledger.line.front().is_none_or(|front| Some(*front) == own);
        let free = ledger.free();
        if first && bytes <= free {
            ledger.held[holder as usize] += bytes;
            drop(ledger);
            *turn = None;
            return Ok(Held { budget: self.clone(), holder, bytes });
        }
        Err(Shortage { needed: bytes, free, limit: ledger.limit.unwrap_or(usize::MAX) })
    }

    /// The last place in the line of those who wait for room.
    pub fn wait(&self) -> Turn {
        let mut ledger = self.ledger();
        let place = ledger.places;
        ledger.places += 1;
        ledger.line.push_back(place);
        Turn { budget: self.clone(), place }
    }
}

/// A place in the line of those who wait for room.
#[derive(Debug)]
pub struct Turn {
    budget: Budget,
    place: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.budget.ledger().line.retain(|place| *place != self.place);
    }
}

/// Bytes that somebody holds. Dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    holder: Holder,
    bytes: usize,
}

impl Held {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Accounts for so many bytes instead, whatever the limit says.
    pub fn set(&mut self, bytes: usize) {
        let mut ledger = self.budget.ledger();
        let held = &mut ledger.held[self.holder as usize];
        *held = *held - self.bytes + bytes;
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.ledger().held[self.holder as usize] -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_reserved_counted_and_given_back() {
        let budget = Budget::new(Some(100));
        let weights = budget.hold(Holder::Weights, 60);
        let mut session = budget.reserve(Holder::Sessions, 30).unwrap();
        let shortage = Shortage { needed: 11, free: 10, limit: 100 };
        assert_eq!(budget.reserve(Holder::Sessions, 11).unwrap_err(), shortage);
        session.set(20);
        assert_eq!(budget.free(), 20);
        assert_eq!(budget.held()[2], (Holder::Sessions, 20));
        assert_eq!(budget.told(), "weights 60 B, sessions 20 B; 20 B of 100 B free");
        drop((weights, session));
        assert_eq!((budget.free(), budget.limit()), (100, Some(100)));
        assert!(Budget::new(None).reserve(Holder::Scratch, usize::MAX / 2).is_ok());
    }

    #[test]
    fn who_waits_is_not_overtaken() {
        let budget = Budget::new(Some(100));
        let held = budget.reserve(Holder::Sessions, 70).unwrap();
        let mut turn = Some(budget.wait());
        assert!(budget.reserve_in_turn(Holder::Sessions, 50, &mut turn).is_err());
        assert!(
            budget.reserve(Holder::Sessions, 10).is_err(),
            "there is room, but not for those who come later"
        );
        drop(held);
        let large = budget.reserve_in_turn(Holder::Sessions, 50, &mut turn).unwrap();
        assert!(turn.is_none() && budget.reserve(Holder::Sessions, 50).is_ok());
        drop(large);
        let turn = budget.wait();
        assert!(
            budget.reserve(Holder::Sessions, 10).is_ok(),
            "nobody is in progress whose end could be waited for"
        );
        drop(turn);
        // Who gives up lets the others through.
        let (first, _second) = (budget.wait(), budget.reserve(Holder::Scratch, 1));
        drop(first);
        assert!(budget.reserve(Holder::Sessions, 10).is_ok());
    }
}
