//! The memory of a command that answers alone: what the model holds, and what is left for a conversation.

use crayon_answer::{Allowed, Customization, Limits, MemoryRequest, MemorySize, Note};
use crayon_engine::{Budget, Engine, Held, Holder, Session};

use crate::answering::note;
use crate::failure::Result;
use crate::output::Output;

/// The account of one model that answers one at a time.
pub(crate) struct Account {
    budget: Budget,
    /// The model, what it answers through, and buffers.
    _fixed: [Held; 3],
}

impl Account {
    /// The account of `engine`, which answers through `custom`, in `memory` bytes or in any number.
    ///
    /// # Errors
    /// When they are too few for the model alone.
    pub(crate) fn open(memory: Option<usize>, engine: &Engine, custom: &Customization) -> Result<Account> {
        let budget = Budget::new(memory);
        let adapter = custom.adapter().map_or(0, |adapter| adapter.bytes());
        let reserve = |holder: Holder, bytes: usize, what: &str| {
            let reserved = budget.reserve(holder, bytes);
            reserved.map_err(|shortage| shortage.error(format!("{what} of {}", engine.name())))
        };
        let fixed = [
            reserve(Holder::Weights, engine.checkpoint().bytes(), "the weights")?,
            reserve(Holder::Adapters, adapter, "the adapter")?,
            reserve(Holder::Scratch, Session::scratch_for(engine), "the buffers")?,
        ];
        Ok(Account { budget, _fixed: fixed })
    }

    /// The usual bounds on an answer, and what is left.
    pub(crate) fn limits(&self) -> Limits {
        Limits { memory: self.allowed(), ..Limits::default() }
    }

    fn allowed(&self) -> Option<Allowed> {
        self.budget.limit().map(|limit| Allowed { bytes: self.budget.free(), limit })
    }

    /// The size of the memory that a conversation can have, which is said where it is smaller than what is asked for.
    ///
    /// # Errors
    /// When nothing is left.
    pub(crate) fn fit(&self, memory: &mut MemoryRequest, engine: &Engine, output: &Output) -> Result {
        let (distils, wanted) = (memory.distils(engine), memory.entries(engine));
        let distilled = memory.size.is_some() && distils;
        let wanted = engine.session_bytes(wanted, distilled);
        let Some(Allowed { bytes, limit }) = self.allowed().filter(|allowed| wanted > allowed.bytes) else {
            return Ok(());
        };
        let entries = engine.entries_within(bytes, distils);
        if entries == 0 {
            let shortage = crayon_engine::Shortage { needed: wanted, free: bytes, limit };
            return Err(shortage.error("a conversation").into());
        }
        memory.size = Some(MemorySize::Entries(entries));
        let bytes = engine.session_bytes(entries, distils);
        note(&Note::SmallMemory { entries, bytes, wanted, distils }, output);
        Ok(())
    }

    /// Accounts for a conversation of so many bytes, and tells with `--verbose` who holds what.
    pub(crate) fn hold(&self, bytes: usize, output: &Output) -> Held {
        let held = self.budget.hold(Holder::Sessions, bytes);
        output.detail(&format!("memory: {}", self.budget.told()));
        held
    }
}
