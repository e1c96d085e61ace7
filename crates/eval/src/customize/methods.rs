//! What can be done with a person's examples.

use crayon_customize::Effort;
use serde::{Deserialize, Serialize};

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident => $word:literal,)+) => {
        /// A row of the comparison.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Method {
            $($(#[$doc])* $variant,)+
        }

        impl Method {
            /// All, in the order of tables.
            pub const ALL: &[Method] = &[$(Method::$variant),+];

            /// The name on the command line and in results.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Method::$variant => $word,)+
                }
            }
        }
    };
}

methods! {
    /// Nothing: the model alone.
    Base => "base",
    /// The examples in front of every question, as many as fit.
    Prompt => "prompt",
    /// One adapter trained on all of the pool's data.
    Joint => "joint",
    /// The pool's adapters in equal parts.
    Uniform => "uniform",
    /// The adapter with the nearest key.
    Nearest => "nearest",
    /// Every token picks its adapters in every layer (Arrow).
    Arrow => "arrow",
    /// Weights found without gradients by the loss on the examples (LoRAHub).
    LoraHub => "lorahub",
    /// The pool's adapters weighed by the nearness of their keys (Crayon).
    Blend => "blend",
    /// What customization takes with the effort `instant`: the blend behind its gate.
    Instant => "instant",
    /// What it takes with the effort `fit`: fitted weights, where the examples speak for them.
    Fitted => "fitted",
    /// What it takes with the effort `train`: an adapter trained on the examples, where they speak for it.
    Trained => "trained",
    /// What it takes by default.
    Auto => "auto",
    /// An adapter trained on all of the user's training data, which no person has: what there is to gain.
    Oracle => "oracle",
}

impl Method {
    /// The method called `name`.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.iter().copied().find(|method| method.name() == name)
    }

    /// The ladder that is climbed for it.
    pub(super) const fn effort(self) -> Option<Effort> {
        match self {
            Method::Instant => Some(Effort::Instant),
            Method::Fitted => Some(Effort::Fit),
            Method::Trained => Some(Effort::Train),
            Method::Auto => Some(Effort::Auto),
            _ => None,
        }
    }

    /// Whether something learns for it, which needs a program built with training.
    pub const fn trains(self) -> bool {
        matches!(self, Method::LoraHub | Method::Fitted | Method::Trained | Method::Auto | Method::Oracle)
    }

    /// Whether its result depends on the few examples.
    pub const fn looks_at_examples(self) -> bool {
        !matches!(self, Method::Base | Method::Joint | Method::Uniform | Method::Arrow | Method::Oracle)
    }

    /// Whether there is nothing to do for it without a pool.
    pub const fn needs_pool(self) -> bool {
        matches!(
            self,
            Method::Uniform
                | Method::Nearest
                | Method::Arrow
                | Method::LoraHub
                | Method::Blend
                | Method::Fitted
        )
    }

    /// Whether its result depends on a pool.
    pub const fn looks_at_pool(self) -> bool {
        !matches!(self, Method::Base | Method::Prompt | Method::Oracle)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
