//! Bounds on an answer.

/// Bounds on an answer, set by whoever offers answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of an answer when nobody says how long it may be.
    pub longest: usize,
    /// With less room than this an answer is not worth starting, unless a shorter one is asked for.
    pub shortest: usize,
    /// With less room than this the person is told.
    pub usual: usize,
    /// Tokens of a prompt that are read at most.
    pub prompt: usize,
    /// Tokens of an answer that may be asked for.
    pub answer: usize,
    /// Bytes that what is held of a conversation may take, and those allowed for everything; any number when `None`.
    pub memory: Option<Allowed>,
    /// Whether a text beyond the model's window is distilled without being asked for.
    pub distil: bool,
}

/// Memory that an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Bytes for its session.
    pub bytes: usize,
    /// Bytes for everything, models included.
    pub limit: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            longest: 256,
            shortest: 32,
            usual: 256,
            prompt: usize::MAX,
            answer: usize::MAX,
            memory: None,
            distil: true,
        }
    }
}
