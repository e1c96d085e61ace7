//! One fact in a long text: a needle in a haystack (G. Kamradt, 2023) or a pass key (arXiv 2305.16300).

use crayon_adapters::Random;

use super::haystack::{Insert, haystack};
use super::prose::Stream;
use super::words::{ACTIVITIES, CITIES, COLOURS, DAYS, FOODS, HIDES, NAMES, PETS, ROOMS, THINGS};
use super::{Filler, LongQuestion};

/// A fact and the question it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The sentence that says it.
    pub statement: String,
    /// The question.
    pub question: String,
    /// The answer, as the sentence has it.
    pub answer: String,
    /// The answer, then wrong ones of the same kind.
    pub choices: Vec<String>,
}

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number said twice: `The pass key is 51234. Remember it. 51234 is the pass key.`
    Passkey,
    /// `The secret number is 4812.`
    Number,
    /// `The password is lamp.`
    Word,
    /// `Ben's favourite colour is red.`
    Attribute,
    /// `Ben hid the ring under the bed.`
    Hiding,
    /// `The best thing to do in Rome is feed the ducks.`
    Activity,
    /// `Ben will travel to Rome on Monday.`
    Journey,
    /// `The lamp in the attic is green.`
    Colour,
}

/// Wrong choices beside the right one.
const WRONG: usize = 3;

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] = [
        Kind::Passkey,
        Kind::Number,
        Kind::Word,
        Kind::Attribute,
        Kind::Hiding,
        Kind::Activity,
        Kind::Journey,
        Kind::Colour,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Passkey => "passkey",
            Kind::Number => "number",
            Kind::Word => "word",
            Kind::Attribute => "attribute",
            Kind::Hiding => "hiding",
            Kind::Activity => "activity",
            Kind::Journey => "journey",
            Kind::Colour => "colour",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// A random fact.
    pub fn fact(self, random: &mut Random) -> Fact {
        match self {
            Kind::Passkey => {
                let choices = numbers(random, 5);
                let key = &choices[0];
                let statement = format!("The pass key is {key}. Remember it. {key} is the pass key.");
                fact(statement, "What is the pass key?".to_owned(), choices)
            }
            Kind::Number => {
                let what =
                    random.pick(&["secret number", "magic number", "access code", "number of the safe"]);
                let choices = numbers(random, 4);
                fact(format!("The {what} is {}.", choices[0]), format!("What is the {what}?"), choices)
            }
            Kind::Word => {
                let what = random.pick(&["password", "secret word", "magic word", "code word"]);
                let choices = words(random, THINGS);
                fact(format!("The {what} is {}.", choices[0]), format!("What is the {what}?"), choices)
            }
            Kind::Attribute => {
                let (name, (key, values)) = (random.pick(NAMES), ATTRIBUTES[random.below(ATTRIBUTES.len())]);
                attribute(random.below(2) == 0, name, key, words(random, values))
            }
            Kind::Hiding => {
                let (name, thing) = (random.pick(NAMES), random.pick(THINGS));
                let choices = words(random, HIDES);
                let statement = format!("{name} hid the {thing} {}.", choices[0]);
                fact(statement, format!("Where did {name} hide the {thing}?"), choices)
            }
            Kind::Activity => {
                let city = random.pick(CITIES);
                let choices = words(random, ACTIVITIES);
                let statement = format!("The best thing to do in {city} is {}.", choices[0]);
                fact(statement, format!("What is the best thing to do in {city}?"), choices)
            }
            Kind::Journey => {
                let (name, city) = (random.pick(NAMES), random.pick(CITIES));
                let choices: Vec<String> =
                    words(random, DAYS).iter().map(|day| format!("on {day}")).collect();
                let statement = format!("{name} will travel to {city} {}.", choices[0]);
                let fact = fact(statement, format!("When will {name} travel to {city}?"), choices);
                // The day alone answers it as well.
                Fact { answer: fact.answer.trim_start_matches("on ").to_owned(), ..fact }
            }
            Kind::Colour => {
                let (thing, room) = (random.pick(THINGS), random.pick(ROOMS));
                let choices = words(random, COLOURS);
                let statement = format!("The {thing} in the {room} is {}.", choices[0]);
                fact(statement, format!("What colour is the {thing} in the {room}?"), choices)
            }
        }
    }
}

/// What people have one of, and its values.
pub(super) const ATTRIBUTES: [(&str, &[&str]); 5] = [
    ("favourite colour", COLOURS),
    ("favourite food", FOODS),
    ("pet", PETS),
    ("city", CITIES),
    ("birthday gift", THINGS),
];

/// That the `key` of `name` is the first of `choices`, in either wording.
pub(super) fn attribute(is_possessive: bool, name: &str, key: &str, choices: Vec<String>) -> Fact {
    let what = if is_possessive { format!("{name}'s {key}") } else { format!("The {key} of {name}") };
    let asked = if is_possessive { what.clone() } else { format!("the {key} of {name}") };
    fact(format!("{what} is {}.", choices[0]), format!("What is {asked}?"), choices)
}

fn fact(statement: String, question: String, choices: Vec<String>) -> Fact {
    Fact { statement, question, answer: choices[0].clone(), choices }
}

/// A right and some wrong words.
fn words(random: &mut Random, pool: &[&str]) -> Vec<String> {
    random.sample(pool, 1 + WRONG).into_iter().map(str::to_owned).collect()
}

/// A number of `length` digits that does not begin with 0.
pub(super) fn digits(random: &mut Random, length: usize) -> String {
    let mut digit = |index| if index == 0 { 1 + random.below(9) } else { random.below(10) };
    (0..length).map(|index| char::from(b'0' + digit(index) as u8)).collect()
}

/// A right and some wrong numbers of `length` digits.
pub(super) fn numbers(random: &mut Random, length: usize) -> Vec<String> {
    let mut numbers: Vec<String> = Vec::new();
    while numbers.len() <= WRONG {
        let number = digits(random, length);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// A text of `tokens` tokens, as `count` counts, with `fact` at `depth`: the share of the text before it, from 0 to
/// 1, to the nearest end of a sentence.
///
/// The length is met within 2 %, or as nearly as whole sentences allow below a hundred tokens; a text is never
/// shorter than the fact. `count` is asked about the whole text a dozen times at most.
pub fn needle(
    random: &mut Random,
    filler: &Filler,
    fact: &Fact,
    depth: f64,
    tokens: usize,
    count: &dyn Fn(&str) -> usize,
) -> LongQuestion {
    let insert = Insert { depth: depth.clamp(0.0, 1.0), text: fact.statement.clone(), own_line: false };
    let mut source = Stream::new(filler, random);
    LongQuestion {
        context: haystack(&mut source, &[insert], tokens, count, random),
        question: fact.question.clone(),
        answers: vec![fact.answer.clone()],
        all: false,
        choices: fact.choices.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_never_begin_with_0() {
        let mut random = Random::seeded(2);
        for _ in 0..200 {
            let number = digits(&mut random, 4);
            assert!(number.len() == 4 && !number.starts_with('0') && number.parse::<u32>().is_ok());
        }
    }

    #[test]
    fn facts_say_their_answers() {
        let mut random = Random::seeded(1);
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            for _ in 0..200 {
                let fact = kind.fact(&mut random);
                assert!(fact.statement.contains(&fact.answer), "{fact:?}");
                assert!(fact.choices[0].ends_with(&fact.answer), "{fact:?}");
                let says = |text: &str, answer: &str| {
                    super::super::says(&text.to_lowercase(), &answer.to_lowercase())
                };
                assert!(fact.choices[1..].iter().all(|wrong| !says(&fact.statement, wrong)), "{fact:?}");
                assert_eq!(fact.choices.len(), 1 + WRONG);
                assert!(fact.question.ends_with('?') && fact.statement.ends_with('.'));
                assert!(!says(&fact.question, &fact.answer), "{fact:?}");
            }
        }
        assert_eq!(Kind::from_name("colours"), None);
    }

    #[test]
    fn attributes_come_in_two_wordings() {
        let red = || vec!["red".to_owned()];
        let fact = attribute(true, "Ben", "favourite colour", red());
        assert_eq!(fact.statement, "Ben's favourite colour is red.");
        assert_eq!(fact.question, "What is Ben's favourite colour?");
        let fact = attribute(false, "Ben", "favourite colour", red());
        assert_eq!(fact.statement, "The favourite colour of Ben is red.");
        assert_eq!(fact.question, "What is the favourite colour of Ben?");
    }

    #[test]
    fn needles_stand_where_they_should() {
        let fact = Kind::Number.fact(&mut Random::seeded(3));
        for depth in [0.0, 0.1, 0.25, 0.5, 0.75, 1.0] {
            let made =
                needle(&mut Random::seeded(3), &Filler::Prose, &fact, depth, 2000, &|text| text.len() / 4);
            let found: Vec<_> = made.context.match_indices(&fact.statement).collect();
            assert_eq!(found.len(), 1);
            let (before, after) = (found[0].0, made.context.len() - found[0].0 - fact.statement.len());
            let share = before as f64 / (before + after) as f64;
            assert!((share - depth).abs() < 0.015, "{share} instead of {depth}");
            // A whole sentence stands before it.
            let before = made.context[..before].trim_end();
            assert!(before.is_empty() || before.ends_with('.'));
            assert!((1960..=2040).contains(&(made.context.len() / 4)));
            assert_eq!((made.matches(&fact.answer), made.matches(&made.choices[1])), (1.0, 0.0));
        }
    }

    #[test]
    fn depths_outside_the_text_are_its_ends() {
        let fact = Kind::Passkey.fact(&mut Random::seeded(3));
        let at = |depth| {
            needle(&mut Random::seeded(3), &Filler::Prose, &fact, depth, 200, &|text| text.len() / 4).context
        };
        assert!(at(-1.0).starts_with("The pass key is "));
        assert!(at(7.0).ends_with(" is the pass key."));
    }
}
