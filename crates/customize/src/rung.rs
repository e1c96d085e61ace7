//! The rungs of the ladder, and how far it is climbed.

use std::fmt;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$own:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$own])* $variant,)+
        }

        impl $name {
            /// All, in order.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The name on the command line and in results.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }

            /// The one called `name`.
            pub fn from_name(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// A candidate, the simplest first.
    Rung {
        /// The model as it is.
        Base => "base",
        /// The pool's adapters weighed by the nearness of their keys (Crayon).
        Blend => "blend",
        /// The adapter with the nearest key.
        Nearest => "nearest",
        /// The pool's adapters under weights fitted to the answers.
        Fitted => "fitted",
        /// The examples in the prompt, read before every question.
        Prompt => "prompt",
        /// An adapter trained on the examples.
        Trained => "trained",
    }
}

named! {
    /// How much time may go into an answer's quality.
    Effort {
        /// What learns nothing: base, blend, nearest, and the examples in the prompt.
        Instant => "instant",
        /// Fitted weights too.
        Fit => "fit",
        /// An adapter trained on the examples too.
        Train => "train",
        /// As `train`, up to the first rung that answers every example.
        Auto => "auto",
    }
}

impl Effort {
    /// Whether a rung is tried.
    pub fn reaches(self, rung: Rung) -> bool {
        match self {
            Effort::Instant => !matches!(rung, Rung::Fitted | Rung::Trained),
            Effort::Fit => rung != Rung::Trained,
            Effort::Train | Effort::Auto => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_effort_reaches_further() {
        let reached = |effort: Effort| Rung::ALL.iter().filter(|rung| effort.reaches(**rung)).count();
        assert_eq!(Effort::ALL.iter().map(|effort| reached(*effort)).collect::<Vec<_>>(), [4, 5, 6, 6]);
        assert!(Effort::ALL.iter().all(|effort| Effort::from_name(effort.name()) == Some(*effort)));
        assert_eq!(Rung::from_name("other"), None);
    }
}
