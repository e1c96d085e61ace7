//! What an answer may be made of, where its form is given.

use std::fmt;
use std::sync::Arc;

/// A form that answers can follow.
pub trait Grammar: Send + Sync {
    /// Begins an answer.
    fn begin(&self) -> Box<dyn Constraint>;
}

/// An answer that follows a form, token by token.
pub trait Constraint: Send {
    /// What may come next.
    ///
    /// # Errors
    /// When the form asks for too much work; the answer ends there.
    fn allowed(&mut self) -> Result<Allowed, String>;

    /// Takes the token that came, one of those that were allowed.
    ///
    /// # Errors
    /// As [`allowed`](Self::allowed).
    fn take(&mut self, id: u32) -> Result<(), String>;
}

/// What may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing: the answer is complete.
    End,
    /// These tokens.
    Tokens {
        /// A bit for each token id, 32 to a word, the lowest first.
        mask: Vec<u32>,
        /// Whether the answer may end here.
        end: bool,
    },
}

impl Allowed {
    /// Whether `mask` has a bit for `id`.
    pub(crate) fn has(mask: &[u32], id: u32) -> bool {
        mask.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
    }
}

/// The form of an answer, as a setting: two are the same where they are one.
#[derive(Clone)]
pub struct Constrained(pub Arc<dyn Grammar>);

impl fmt::Debug for Constrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constrained")
    }
}

impl PartialEq for Constrained {
    fn eq(&self, other: &Constrained) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
