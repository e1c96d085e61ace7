//! Words with settings in them, spelled by whoever shows them.

use std::fmt;

use crate::setting::{Command, Setting};

/// A part of a [`Phrase`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words as they are.
    Words(String),
    /// A setting, spelled by whoever shows the phrase.
    Setting(Setting),
    /// Something that another command does, spelled likewise.
    Command(Command),
}

/// A message or a hint as a value. `Display` spells settings in plain words; [`Phrase::spell`] as the caller likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase(Vec<Piece>);

impl Phrase {
    /// A phrase of `pieces`, joined without blanks. The macro [`phrase!`](crate::phrase) is shorter.
    pub fn new(pieces: Vec<Piece>) -> Phrase {
        Phrase(pieces)
    }

    /// The words, with every setting and command as `spell` writes it.
    pub fn spell(&self, spell: &dyn Fn(&Piece) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Words(words) => words.clone(),
                other => spell(other),
            })
            .collect()
    }

    /// Whether the plain words hold `text`.
    pub fn contains(&self, text: &str) -> bool {
        self.to_string().contains(text)
    }

    /// Whether it names a setting or a command.
    pub fn names_settings(&self) -> bool {
        self.0.iter().any(|piece| !matches!(piece, Piece::Words(_)))
    }

    /// Goes on with `other`.
    pub fn join(mut self, other: Phrase) -> Phrase {
        self.0.extend(other.0);
        self
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Words(words) if words.is_empty()))
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Words(words) => out.write_str(words)?,
                Piece::Setting(setting) => out.write_str(setting.words())?,
                Piece::Command(command) => out.write_str(command.words())?,
            }
        }
        Ok(())
    }
}

impl From<&str> for Phrase {
    fn from(words: &str) -> Phrase {
        Phrase(vec![words.into()])
    }
}

impl From<String> for Phrase {
    fn from(words: String) -> Phrase {
        Phrase(vec![words.into()])
    }
}

impl From<&str> for Piece {
    fn from(words: &str) -> Piece {
        Piece::Words(words.to_owned())
    }
}

impl From<String> for Piece {
    fn from(words: String) -> Piece {
        Piece::Words(words)
    }
}

impl From<Setting> for Piece {
    fn from(setting: Setting) -> Piece {
        Piece::Setting(setting)
    }
}

impl From<Command> for Piece {
    fn from(command: Command) -> Piece {
        Piece::Command(command)
    }
}

/// A [`Phrase`] of words, [`Setting`]s and [`Command`]s: `phrase![Setting::Pot, " must be 20 or more"]`.
#[macro_export]
macro_rules! phrase {
    ($($piece:expr),+ $(,)?) => {
        $crate::Phrase::new(vec![$($crate::Piece::from($piece)),+])
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_spelled_by_whoever_shows_them() {
        let phrase = phrase![Setting::Pot, format!(" must be {} or more", 20)];
        assert_eq!(phrase.to_string(), "the size of the pot must be 20 or more");
        assert_eq!(phrase.spell(&|_| "--pot".to_owned()), "--pot must be 20 or more");
        assert!(phrase.names_settings() && !Phrase::from("words").names_settings());
    }
}
