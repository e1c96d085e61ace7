//! What can be done with a person's examples.

use serde::{Deserialize, Serialize};

/// A row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Nothing: the model alone.
    Base,
    /// The examples in front of every question, as many as fit.
    FewShot,
    /// One adapter trained on all of the pool's data.
    Joint,
    /// The pool's adapters in equal parts.
    Uniform,
    /// The adapter with the nearest key.
    Nearest,
    /// Every token picks its adapters in every layer (Arrow).
    Arrow,
    /// Weights found without gradients by the loss on the examples (LoRAHub).
    LoraHub,
    /// An adapter trained on the examples.
    Oracle,
    /// The pool's adapters weighed by the nearness of their keys (Crayon).
    Blend,
}

impl Method {
    /// All, in the order of tables.
    pub const ALL: [Method; 9] = [
        Method::Base,
        Method::FewShot,
        Method::Joint,
        Method::Uniform,
        Method::Nearest,
        Method::Arrow,
        Method::LoraHub,
        Method::Oracle,
        Method::Blend,
    ];

    /// The name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Base => "base",
            Method::FewShot => "fewshot",
            Method::Joint => "joint",
            Method::Uniform => "uniform",
            Method::Nearest => "nearest",
            Method::Arrow => "arrow",
            Method::LoraHub => "lorahub",
            Method::Oracle => "oracle",
            Method::Blend => "blend",
        }
    }

    /// The method called `name`.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether it needs the losses of the examples, and with them a program built with training.
    pub const fn trains(self) -> bool {
        matches!(self, Method::LoraHub | Method::Oracle)
    }

    /// Whether its result depends on the examples.
    pub const fn looks_at_examples(self) -> bool {
        !matches!(self, Method::Base | Method::Joint | Method::Uniform | Method::Arrow)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
