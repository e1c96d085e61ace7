//! A model that is served, with the queue before it and what its requests may name.

use std::sync::{Arc, OnceLock};

use crayon_engine::{Engine, PrefixCache};
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
    pub(crate) guide: OnceLock<Result<Guide, String>>,
    /// Adapters of people's own that were asked for last.
    pub(crate) own: Own,
    /// Documents that were read, where they may be kept.
    pub(crate) cache: Option<PrefixCache>,
}

impl Hosted {
    /// Whether `name` is its name or short for it.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        is_called(&self.name, name)
    }
}

/// Whether `asked` is `name`, without its ending or without what stands in front of its last part.
fn is_called(name: &str, asked: &str) -> bool {
    let whole = name.strip_suffix(".gguf").unwrap_or(name);
    let stem = whole.rsplit('/').next().unwrap_or(whole);
    [name, whole, stem].contains(&asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_lack_its_ending_and_its_owner() {
        for asked in ["small.gguf", "small"] {
            assert!(is_called("small.gguf", asked), "{asked}");
        }
        for asked in ["org/small@main", "small@main"] {
            assert!(is_called("org/small@main", asked), "{asked}");
        }
        for asked in ["", "smal", "small.ggu", "other/small", "small.gguf.gguf", "Small"] {
            assert!(!is_called("small.gguf", asked), "{asked}");
        }
    }
}
