//! Texts longer than a model's window: the pot that the arguments ask for, and what in a prompt must stay.

use std::ops::Range;
use std::str::FromStr;

use crayon_engine::{Engine, EngineError, POLICIES, PotOptions, Session, distillable};

use crate::args::PotArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::show;

/// How large a pot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PotSize {
    Entries(usize),
    Bytes(usize),
}

impl FromStr for PotSize {
    type Err = String;

    fn from_str(text: &str) -> Result<PotSize, String> {
        let wrong = || format!("{text:?} is no size: give entries (4096) or memory (64MiB)");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: usize = text[..digits].parse().map_err(|_| wrong())?;
        let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" => return Ok(PotSize::Entries(number)),
            "k" => return number.checked_mul(1024).map(PotSize::Entries).ok_or_else(wrong),
            "kib" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(PotSize::Bytes).ok_or_else(wrong)
    }
}

impl PotArgs {
    /// Whether anything but the usual was asked for.
    pub(crate) fn given(&self) -> bool {
        self.pot.is_some()
    }

    /// Whether forgetting is forbidden.
    pub(crate) fn keeps_everything(&self) -> bool {
        self.policy == "full"
    }

    /// Entries of the pot: as asked for, else the model's window.
    pub(crate) fn entries(&self, engine: &Engine) -> usize {
        match self.pot {
            Some(PotSize::Entries(entries)) => entries,
            Some(PotSize::Bytes(bytes)) => {
                PotOptions::entries_in(engine.spec(), bytes, engine.kv_type()).min(engine.spec().context)
            }
            None => engine.spec().context,
        }
    }

    /// The pot's shape and policy. `question` serves as catalyst where the arguments say so, or say nothing and
    /// `prefer_question` holds.
    pub(crate) fn options(
        &self,
        engine: &Engine,
        question: Option<&str>,
        prefer_question: bool,
    ) -> Result<PotOptions> {
        let mut options = engine.pot_options(self.entries(engine))?;
        options.policy.clone_from(&self.policy);
        options.keep = self.keep;
        if let Some(sinks) = self.sinks {
            options.sinks = sinks;
        }
        if let Some(recent) = self.recent {
            options.recent = recent;
        }
        if let Some(novelty) = self.novelty {
            options.novelty = novelty;
        }
        if let Some(smooth) = self.smooth {
            options.smooth = smooth;
        }
        match (self.catalyst.as_deref(), question) {
            (Some("question"), Some(question)) => options.catalyst = engine.catalyst(question)?,
            (Some("question"), None) => {
                return Err(mistake("there is no question to serve as catalyst", "give --catalyst TEXT"));
            }
            (Some("general"), _) => {}
            (Some(text), _) => options.catalyst = engine.catalyst(text)?,
            (None, Some(question)) if prefer_question => {
                let catalyst = engine.catalyst(question)?;
                // A long question would leave no room to read; the general prompt serves as well then.
                if catalyst.len() * 4 <= options.entries {
                    options.catalyst = catalyst;
                }
            }
            (None, _) => {}
        }
        Ok(options)
    }
}

/// Names `--policy` takes, for its help.
pub(crate) fn policy_names() -> Vec<&'static str> {
    POLICIES.iter().map(|policy| policy.name).chain(["full"]).collect()
}

/// A session with a pot, where the text may be read so.
pub(crate) fn session<'e>(
    engine: &'e Engine,
    options: PotOptions,
    pins: Vec<Range<u32>>,
) -> Result<Session<'e>, EngineError> {
    let pinned = pins.iter().map(|place| place.len()).sum();
    let mut session = engine.pot_session(options, pinned)?;
    session.pin(pins)?;
    Ok(session)
}

/// Whether a text beyond the window can be read through a pot instead of being refused.
pub(crate) fn possible(engine: &Engine, args: &PotArgs) -> bool {
    distillable(engine.spec()) && !args.keeps_everything()
}

/// Says what became of what was read.
pub(crate) fn explain(session: &Session<'_>, output: &Output) {
    let pot = session.pot();
    let Some(options) = pot.options().filter(|_| pot.distillations() > 0) else { return };
    output.note(&format!(
        "read {} tokens through a pot of {} entries ({}, {}): {} kept, {} distilled away in {}",
        show::count(pot.tokens_read()),
        show::count(options.entries),
        options.policy,
        show::bytes(session.kv_bytes() as u64),
        show::count(pot.kept()),
        show::count(pot.tokens_read() - pot.kept()),
        show::counted(pot.distillations(), "step"),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_entries_or_memory() {
        let parse = |text: &str| text.parse::<PotSize>();
        assert_eq!(parse("4096"), Ok(PotSize::Entries(4096)));
        assert_eq!(parse("4k"), Ok(PotSize::Entries(4096)));
        assert_eq!(parse("64MiB"), Ok(PotSize::Bytes(64 << 20)));
        assert_eq!(parse("2 GB"), Ok(PotSize::Bytes(2_000_000_000)));
        for wrong in ["", "many", "-1", "5 apples", "99999999999999999999", "99999999999999GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
