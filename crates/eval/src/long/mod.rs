//! Long contexts: questions whose answer stands somewhere in a long text, made by this project's own generators or
//! read from published sets, and the metrics that answers are scored with. Nothing here runs a model.
//!
//! - [`prose`] and [`Filler`]: text that answers nothing, to put facts into;
//! - [`needle`]: one fact at a chosen depth;
//! - [`Task`]: harder searches, in the manner of RULER (arXiv 2404.06654), and conversations in that of LoCoMo;
//! - [`longbench`] and [`locomo`]: published sets, as [`LongTask`]s;
//! - [`metrics`] and [`Metric`]: what an answer is worth.

mod conversation;
mod grammar;
mod haystack;
mod locomo;
mod longbench;
mod longtask;
pub mod metrics;
mod needle;
mod prose;
mod ruler;
mod words;

pub use locomo::locomo;
pub use longbench::longbench;
pub use longtask::{LongTask, Metric};
pub use needle::{Fact, Kind, needle};
pub use prose::{Filler, prose};
pub use ruler::Task;

/// A question about a long text, made by a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongQuestion {
    /// The text.
    pub context: String,
    /// What is asked about it.
    pub question: String,
    /// Strings that answer it.
    pub answers: Vec<String>,
    /// Whether every answer has to be given rather than any.
    pub all: bool,
    /// The right answer, then wrong ones of the same kind; may be empty.
    pub choices: Vec<String>,
}

impl LongQuestion {
    /// How much of what is asked `output` says: the share of the answers found in it when [`all`](Self::all) are
    /// asked for, else 1 or 0. Case does not matter, and an answer has to stand as whole words: `512` does not say
    /// `12`.
    pub fn matches(&self, output: &str) -> f64 {
        let output = output.to_lowercase();
        let found = self.answers.iter().filter(|answer| says(&output, &answer.to_lowercase())).count();
        match (self.all, self.answers.len()) {
            (_, 0) => 0.0,
            (true, asked) => found as f64 / asked as f64,
            (false, _) => f64::from(u8::from(found > 0)),
        }
    }
}

/// Whether `answer` stands in `text` with no letter or digit touching it.
fn says(text: &str, answer: &str) -> bool {
    let is_free = |neighbour: Option<char>| !neighbour.is_some_and(char::is_alphanumeric);
    !answer.trim().is_empty()
        && text.match_indices(answer).any(|(at, found)| {
            is_free(text[..at].chars().next_back()) && is_free(text[at + found.len()..].chars().next())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(answers: &[&str], all: bool) -> LongQuestion {
        let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
        LongQuestion { context: String::new(), question: String::new(), answers, all, choices: Vec::new() }
    }

    #[test]
    fn answers_are_whole_words() {
        let twelve = question(&["12"], false);
        for says in ["12", "It is 12.", "512 or 12", "(12)", "12\n", "is:12,"] {
            assert_eq!(twelve.matches(says), 1.0, "{says}");
        }
        for says in ["512", "125", "a12", "twelve", "", "1 2"] {
            assert_eq!(twelve.matches(says), 0.0, "{says}");
        }
        assert_eq!(question(&["Under the Bed"], false).matches("it lay under the bed, I think"), 1.0);
        assert_eq!(question(&["é"], false).matches("café é"), 1.0);
        assert_eq!(question(&["é"], false).matches("café"), 0.0);
    }

    #[test]
    fn any_or_all() {
        assert_eq!(question(&["12", "34"], false).matches("34"), 1.0);
        assert_eq!(question(&["12", "34"], true).matches("34"), 0.5);
        assert_eq!(question(&["12", "34", "56"], true).matches("56, 12 and 34"), 1.0);
        assert_eq!(question(&["12", "34"], true).matches("1234"), 0.0);
        assert_eq!(question(&[], true).matches("1234"), 0.0);
        assert_eq!(question(&[""], false).matches("anything"), 0.0);
    }
}
