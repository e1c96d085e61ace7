//! What a person should know about their examples and what was made of them.

use crayon_errors::{Command, Phrase, Setting, count, phrase};

use crate::rung::Rung;

/// Something worth knowing that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// So many examples stand there more than once; each counts once.
    Twice(usize),
    /// The same prompt has another answer: so many times, first on these two lines.
    Contradiction(usize, [usize; 2]),
    /// All examples have the same answer.
    OneAnswer,
    /// So many examples are longer than the model's window of so many tokens.
    TooLong(usize, usize),
    /// So many of all examples have no answer.
    Unanswered(usize, usize),
    /// Nothing could be judged.
    NotJudged,
    /// So few examples with answers that the base stays, or nothing is learned.
    Few(usize),
    /// Only so many examples are looked at.
    First(usize),
    /// So few examples fit into their share of the window that they are not tried in the prompt.
    NoRoom(usize),
    /// So many of so many examples fit into the prompt.
    Shown(usize, usize),
    /// The model has no pool.
    NoPool,
    /// This rung would not be done within the budget.
    OverBudget(Rung),
    /// This rung was begun and not done in time.
    NotDone(Rung),
    /// This rung was left before all examples had judged it: it was no better than another.
    Behind(Rung, Rung),
    /// This rung was stopped by the person.
    Stopped(Rung),
    /// Learning ended after so many of so many rounds: the examples kept aside gained nothing more.
    Early(usize, usize),
    /// Learning from all examples went astray and was begun again at half the rate.
    Astray(Rung),
    /// Learning from all examples did not come to what parts of them taught.
    NotSteady(Rung),
    /// The program was built without training.
    NoTraining,
    /// Nothing is better than the model as it is by more than chance.
    BaseStays,
}

impl Note {
    /// In words.
    pub fn phrase(&self) -> Phrase {
        let examples = |number: usize| match number {
            1 => "1 example".to_owned(),
            number => format!("{} examples", count(number)),
        };
        match self {
            Note::Twice(number) => format!("{} given more than once; each counts once", examples(*number)).into(),
            Note::Contradiction(1, [first, second]) => {
                format!("lines {first} and {second} ask the same and answer differently").into()
            }
            Note::Contradiction(number, [first, second]) => format!(
                "{} answered differently elsewhere, as lines {first} and {second} are; they cannot all be right",
                examples(*number)
            )
            .into(),
            Note::OneAnswer => {
                "all examples have the same answer: to give it always is all that can be learned from them".into()
            }
            Note::TooLong(number, window) => {
                format!("{} left out: longer than {} tokens", examples(*number), count(*window)).into()
            }
            Note::Unanswered(number, all) => {
                format!("{} of {} without an answer: nothing is judged by them", count(*number), examples(*all)).into()
            }
            Note::NotJudged => "no example has an answer, so that nothing could be judged".into(),
            Note::Few(number) => format!(
                "{} with an answer: too few to tell better from worse; eight and more are",
                examples(*number)
            )
            .into(),
            Note::First(number) => {
                format!("only the first {} with answers are judged by and learned from", examples(*number)).into()
            }
            Note::NoRoom(_) => "too few of the examples fit into the prompt: they are not tried there".into(),
            Note::Shown(shown, all) => format!(
                "{} of {} examples fit into the prompt; the others are not shown there",
                count(*shown),
                count(*all)
            )
            .into(),
            Note::NoPool => phrase![
                "this model has no pool, so that nothing is blended; ",
                Command::TrainPool,
                " makes one, ",
                Setting::Pool,
                " names one"
            ],
            Note::OverBudget(rung) => {
                format!("{rung} was not begun: it would take longer than the budget allows").into()
            }
            Note::NotDone(rung) => format!("{rung} was left: the budget was used up").into(),
            Note::Behind(rung, best) => {
                format!("{rung} was left early: on the examples it was tried on it is no better than {best}").into()
            }
            Note::Stopped(rung) => format!("{rung} was stopped; what was found until then counts").into(),
            Note::Early(done, planned) => format!(
                "learning ends after {done} of {planned} rounds: examples kept aside gained nothing more"
            )
            .into(),
            Note::Astray(rung) => format!(
                "{rung} went astray: it answered the examples it had learned from worse than ones kept aside, and was begun again \
                 at half the rate"
            )
            .into(),
            Note::NotSteady(rung) => {
                format!("{rung} is left out: what it learns from all examples is worse than what parts of them taught").into()
            }
            Note::NoTraining => {
                "this program was built without training: nothing is fitted to the answers or trained on them".into()
            }
            Note::BaseStays => {
                "nothing tried answers these examples better than the model as it is, by more than chance; it stays".into()
            }
        }
    }
}
