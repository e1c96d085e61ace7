//! Room for a prompt and its answer in a model's window.

use crayon_errors::{Phrase, Setting, count, phrase};

use crate::limits::Limits;

/// What else could be done with a text that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It would be distilled if that were not forbidden.
    AllowForgetting,
    /// It would be distilled in a memory that nobody asked for yet.
    AskForMemory,
    /// This model cannot distil; others can.
    AnotherModel,
}

/// The prompt and the least answer do not fit the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// The model's name.
    pub model: String,
    /// Tokens of the documents.
    pub documents: usize,
    /// Tokens of everything to read.
    pub prompt: usize,
    /// Tokens kept free for the answer.
    pub answer: usize,
    /// Tokens the model holds.
    pub context: usize,
    /// What else could be done.
    pub otherwise: Otherwise,
}

/// Tokens the answer may have after `prompt` tokens: those asked for, or as many as fit up to the longest; an error holds the fewest worth starting.
pub(crate) fn room(
    context: usize,
    prompt: usize,
    wanted: Option<usize>,
    limits: &Limits,
) -> Result<usize, usize> {
    let left = context.saturating_sub(prompt);
    let least = wanted.unwrap_or(limits.shortest);
    if left < least { Err(least) } else { Ok(wanted.unwrap_or(limits.longest.min(left))) }
}

impl NoRoom {
    /// All the numbers.
    pub(crate) fn message(&self) -> String {
        let documents = match self.documents {
            0 => String::new(),
            tokens => format!("{} of them the documents, ", count(tokens)),
        };
        format!(
            "the prompt has {} tokens, {documents}and {} are kept free for the answer: {} in all, but {} holds {}",
            count(self.prompt),
            count(self.answer),
            count(self.prompt + self.answer),
            self.model,
            count(self.context),
        )
    }

    /// What fits, and what else could be done.
    pub(crate) fn hint(&self) -> Phrase {
        let fits = self.context.saturating_sub(self.answer);
        let beside = fits.saturating_sub(self.prompt - self.documents);
        let shorter = match (self.documents, beside) {
            (0, _) => phrase![
                format!("{} tokens fit: ask with fewer words, or keep less free (", count(fits)),
                Setting::MaxTokens,
                ")"
            ],
            (_, 0) => "the question alone does not fit; shorten it".into(),
            (_, tokens) => format!(
                "documents of {} tokens fit beside this question: give the part that matters",
                count(tokens)
            )
            .into(),
        };
        shorter.join(match self.otherwise {
            Otherwise::AllowForgetting => {
                phrase!["; without ", Setting::Policy, " full the rest is distilled"]
            }
            Otherwise::AskForMemory => phrase!["; with ", Setting::Pot, " the rest is distilled"],
            Otherwise::AnotherModel => "; a model with rotary positions such as mini reads any length".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(context: usize, prompt: usize, wanted: Option<usize>) -> Result<usize, usize> {
        room(context, prompt, wanted, &Limits::default())
    }

    #[test]
    fn an_answer_gets_what_was_asked_for_or_what_fits() {
        assert_eq!(check(512, 100, None), Ok(256));
        assert_eq!(check(512, 400, None), Ok(112));
        assert_eq!(check(512, 480, None), Ok(32));
        assert!(check(512, 481, None).is_err());
        assert_eq!(check(512, 500, Some(12)), Ok(12));
        assert!(check(512, 500, Some(13)).is_err());
        assert!(check(512, 9000, Some(1)).is_err());
    }

    #[test]
    fn a_refusal_gives_every_number() {
        let no_room = NoRoom {
            model: "mini".to_owned(),
            documents: 2000,
            prompt: 2020,
            answer: 32,
            context: 512,
            otherwise: Otherwise::AnotherModel,
        };
        assert_eq!(
            no_room.message(),
            "the prompt has 2,020 tokens, 2,000 of them the documents, and 32 are kept free for the answer: 2,052 in \
             all, but mini holds 512"
        );
        assert!(no_room.hint().contains("documents of 460 tokens fit"), "{}", no_room.hint());
    }
}
