//! The memory a prompt is read through, as it is asked for.

use std::ops::Range;
use std::str::FromStr;

use crayon_engine::{Engine, POLICIES, PotOptions, distillable};

use crate::AnswerError;

/// Name of the policy that keeps everything.
const FULL: &str = "full";

/// The most readings of a document.
pub const PASSES: usize = 4;

/// How large a memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySize {
    /// Entries of each layer and head.
    Entries(usize),
    /// Bytes of keys and values in all.
    Bytes(usize),
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<MemorySize, String> {
        let wrong = || format!("{text:?} is not a size: give entries (4096) or memory (64MiB)");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: usize = text[..digits].parse().map_err(|_| wrong())?;
        let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" => return Ok(MemorySize::Entries(number)),
            "k" => return number.checked_mul(1024).map(MemorySize::Entries).ok_or_else(wrong),
            "kib" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(MemorySize::Bytes).ok_or_else(wrong)
    }
}

/// The prompt that asks what matters when the memory is distilled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Catalyst {
    /// The question where it is known and short enough, else the general prompt.
    #[default]
    Usual,
    /// The general prompt.
    General,
    /// The question.
    Question,
    /// This text.
    Text(String),
}

impl From<&str> for Catalyst {
    fn from(text: &str) -> Catalyst {
        match text {
            "general" => Catalyst::General,
            "question" => Catalyst::Question,
            text => Catalyst::Text(text.to_owned()),
        }
    }
}

/// Share kept for novelty where the catalyst is a question or a person's own words: less than where nothing is asked yet, because what
/// they attend to is what is wanted. Chosen by `eval policies` (docs/long-texts.md).
const SOUGHT: f32 = 0.25;

/// What is asked of the memory. `None` is the usual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryRequest {
    /// Its size; the model's window when `None`.
    pub size: Option<MemorySize>,
    /// What is kept when it is full: a policy's name, or `full` to refuse instead.
    pub policy: Option<String>,
    /// Entries kept by a distillation.
    pub keep: Option<usize>,
    /// Share of them kept for novelty, 0 to 1; when `None` a half, or a quarter where the catalyst is a question or a person's own words.
    pub novelty: Option<f32>,
    /// Whether novelty is computed with the whole vocabulary, which takes longer.
    pub exact_novelty: bool,
    /// Neighbours over which scores are smoothed.
    pub smooth: Option<usize>,
    /// First entries that are always kept.
    pub sinks: Option<usize>,
    /// Latest entries that are always kept.
    pub recent: Option<usize>,
    /// The prompt that asks what matters.
    pub catalyst: Catalyst,
    /// How often documents are read one after the other, where they are read through a pot: once when `None`, [`PASSES`] times at
    /// most. The pot of one reading is where the next one begins.
    pub passes: Option<usize>,
}

impl MemoryRequest {
    /// Entries: as asked for, else the model's window.
    pub fn entries(&self, engine: &Engine) -> usize {
        let context = engine.spec().context;
        match self.size {
            Some(MemorySize::Entries(entries)) => entries,
            Some(MemorySize::Bytes(bytes)) => PotOptions::entries_in(engine.spec(), bytes, engine.kv_type()),
            None => context,
        }
    }

    /// Whether forgetting is forbidden.
    pub fn keeps_everything(&self) -> bool {
        self.policy.as_deref() == Some(FULL)
    }

    /// Whether a text beyond the memory can be distilled.
    pub fn distils(&self, engine: &Engine) -> bool {
        distillable(engine.spec()) && !self.keeps_everything()
    }

    /// The pot's shape and policy. `question` serves as catalyst where that is asked for, or where nothing is asked for,
    /// `prefer_question` holds and it leaves room beside `pins`, the places of the prompt that stay.
    ///
    /// # Errors
    /// When the model has no tokenizer, or the question is to be the catalyst and there is none.
    pub fn options(
        &self,
        engine: &Engine,
        question: Option<&str>,
        prefer_question: bool,
        pins: &[Range<u32>],
    ) -> Result<PotOptions, AnswerError> {
        let mut options = engine.pot_options(self.entries(engine))?;
        if let Some(policy) = &self.policy {
            options.policy.clone_from(policy);
        }
        options.keep = self.keep;
        options.sinks = self.sinks.unwrap_or(options.sinks);
        options.recent = self.recent.unwrap_or(options.recent);
        options.exact_novelty = self.exact_novelty;
        options.smooth = self.smooth.unwrap_or(options.smooth);
        let general = options.catalyst.clone();
        match (&self.catalyst, question) {
            (Catalyst::Question, Some(question)) => options.catalyst = engine.catalyst(question)?,
            (Catalyst::Question, None) => return Err(AnswerError::NoQuestion),
            (Catalyst::Text(text), _) => options.catalyst = engine.catalyst(text)?,
            (Catalyst::Usual, Some(question)) if prefer_question => {
                let pinned = pinned(&options, pins);
                options.prefer(engine.spec(), engine.catalyst(question)?, pinned);
            }
            (Catalyst::Usual | Catalyst::General, _) => {}
        }
        let usual = if options.catalyst == general { options.novelty } else { SOUGHT };
        options.novelty = self.novelty.unwrap_or(usual);
        Ok(options)
    }
}

/// Tokens that stay because of `pins`, beside the sinks, which stay anyway.
pub(crate) fn pinned(options: &PotOptions, pins: &[Range<u32>]) -> usize {
    let sinks = options.sinks as u32;
    pins.iter().map(|place| (place.end - place.start.max(sinks).min(place.end)) as usize).sum()
}

/// Names a policy can have, `full` included.
pub fn policy_names() -> Vec<&'static str> {
    POLICIES.iter().map(|policy| policy.name).chain([FULL]).collect()
}

#[cfg(test)]
mod tests {
    use crayon_engine::{ModelSource, Settings};

    use super::*;

    #[test]
    fn less_is_kept_for_novelty_where_it_is_known_what_is_searched_for() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let novelty = |catalyst: Catalyst, novelty: Option<f32>, question: Option<&str>| {
            let request = MemoryRequest { catalyst, novelty, ..MemoryRequest::default() };
            request.options(&engine, question, true, &[]).unwrap().novelty
        };
        let (question, words) = (Some("Who sang?"), Catalyst::Text("names of birds".to_owned()));
        assert_eq!(novelty(Catalyst::Usual, None, question), SOUGHT);
        assert_eq!(novelty(Catalyst::Question, None, question), SOUGHT);
        assert_eq!(novelty(words, None, None), SOUGHT);
        let unknown = PotOptions::new(256, Vec::new()).novelty;
        assert!(unknown > SOUGHT);
        assert_eq!(novelty(Catalyst::Usual, None, None), unknown);
        assert_eq!(novelty(Catalyst::General, None, question), unknown);
        assert_eq!(novelty(Catalyst::Usual, Some(0.75), question), 0.75);
    }

    #[test]
    fn sizes_are_entries_or_memory() {
        let parse = |text: &str| text.parse::<MemorySize>();
        assert_eq!(parse("4096"), Ok(MemorySize::Entries(4096)));
        assert_eq!(parse("4k"), Ok(MemorySize::Entries(4096)));
        assert_eq!(parse("64MiB"), Ok(MemorySize::Bytes(64 << 20)));
        assert_eq!(parse("2 GB"), Ok(MemorySize::Bytes(2_000_000_000)));
        for wrong in ["", "many", "-1", "5 apples", "99999999999999999999", "99999999999999GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
