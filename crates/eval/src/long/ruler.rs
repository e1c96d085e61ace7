//! Searches harder than one needle, in the manner of RULER (arXiv 2404.06654), by generators of this project's own
//! and simple enough for a small model.

use crayon_adapters::Random;

use super::conversation::conversation;
use super::haystack::{Insert, Piece, Source, haystack};
use super::needle::{ATTRIBUTES, Fact, attribute, digits, numbers};
use super::prose::Stream;
use super::words::{FOODS, NAMES, PETS, THINGS};
use super::{Filler, LongQuestion};

/// What has to be found in a long text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The same fact about many people, one of them asked for.
    Multikey,
    /// Several values of one key, all of them asked for.
    Multivalue,
    /// A variable that takes its value from another, which takes it from a third: `x = 5`, `y = x`, `z = y`.
    Variables,
    /// The word that occurs most often in a long list.
    Common,
    /// One thing about one person, among other things about the same person and the same thing about others.
    Distractors,
    /// What one of two people told in passing in one of many sessions.
    Conversation,
}

/// Words in which the asked one of [`Task::Common`] stands once.
const CYCLE: usize = 5;
/// Variables of a chain.
const CHAIN: usize = 3;

impl Task {
    /// Every task.
    pub const ALL: [Task; 6] = [
        Task::Multikey,
        Task::Multivalue,
        Task::Variables,
        Task::Common,
        Task::Distractors,
        Task::Conversation,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Task::Multikey => "multikey",
            Task::Multivalue => "multivalue",
            Task::Variables => "variables",
            Task::Common => "common",
            Task::Distractors => "distractors",
            Task::Conversation => "conversation",
        }
    }

    /// The task called `name`.
    pub fn from_name(name: &str) -> Option<Task> {
        Task::ALL.into_iter().find(|task| task.name() == name)
    }

    /// A question whose context has `tokens` tokens, as `count` counts, among generated prose. Lengths are met as by
    /// [`needle`](super::needle()); facts may become more with the length, and are never cut.
    pub fn make(self, random: &mut Random, tokens: usize, count: &dyn Fn(&str) -> usize) -> LongQuestion {
        self.make_in(random, &Filler::Prose, tokens, count)
    }

    /// [`make`](Self::make) among other filler; [`Task::Common`] is a list, [`Task::Conversation`] has its own, and they take none.
    pub fn make_in(
        self,
        random: &mut Random,
        filler: &Filler,
        tokens: usize,
        count: &dyn Fn(&str) -> usize,
    ) -> LongQuestion {
        let (inserts, mut made) = match self {
            Task::Multikey => multikey(random, tokens),
            Task::Multivalue => multivalue(random),
            Task::Variables => variables(random, tokens),
            Task::Distractors => distractors(random, tokens),
            Task::Common => return common(random, tokens, count),
            Task::Conversation => return conversation(random, tokens, count),
        };
        let mut source = Stream::new(filler, random);
        made.context = haystack(&mut source, &inserts, tokens, count, random);
        made
    }
}

/// `statements` at random depths, in their order.
fn scattered(random: &mut Random, statements: Vec<String>, own_line: bool) -> Vec<Insert> {
    let mut depths: Vec<f64> = statements.iter().map(|_| random.uniform()).collect();
    depths.sort_by(f64::total_cmp);
    let inserts = statements.into_iter().zip(depths);
    inserts.map(|(text, depth)| Insert { depth, text, own_line }).collect()
}

/// How many facts a text of `tokens` holds: about one in eighty tokens.
fn facts_in(tokens: usize, most: usize) -> usize {
    (tokens / 80).clamp(3, most)
}

fn question(question: String, answers: Vec<String>, choices: Vec<String>) -> LongQuestion {
    LongQuestion { context: String::new(), question, all: answers.len() > 1, answers, choices }
}

/// A question about the first of `facts`, which are then scattered in a random order.
fn about_first(random: &mut Random, facts: Vec<Fact>) -> (Vec<Insert>, LongQuestion) {
    let asked = &facts[0];
    let made = question(asked.question.clone(), vec![asked.answer.clone()], asked.choices.clone());
    let mut statements: Vec<String> = facts.into_iter().map(|fact| fact.statement).collect();
    random.shuffle(&mut statements);
    (scattered(random, statements, false), made)
}

fn multikey(random: &mut Random, tokens: usize) -> (Vec<Insert>, LongQuestion) {
    let what = random.pick(&["locker number", "room number", "ticket number", "secret code"]);
    let is_possessive = random.below(2) == 0;
    let names = random.sample(NAMES, facts_in(tokens, NAMES.len()));
    let mut codes: Vec<String> = Vec::new();
    while codes.len() < names.len() {
        let code = digits(random, 4);
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    // The others' codes are the wrong choices: they stand in the text too.
    let choices: Vec<String> = codes.iter().take(4).cloned().collect();
    let mut facts = vec![attribute(is_possessive, names[0], what, choices)];
    let others = names.iter().zip(&codes).skip(1);
    facts.extend(others.map(|(name, code)| attribute(is_possessive, name, what, vec![code.clone()])));
    about_first(random, facts)
}

fn multivalue(random: &mut Random) -> (Vec<Insert>, LongQuestion) {
    let name = random.pick(NAMES);
    let mut values = numbers(random, 3);
    let wrong = values.split_off(3).remove(0);
    let statements = values.iter().map(|value| format!("One lucky number of {name} is {value}.")).collect();
    let joined = |values: &[String]| values.join(", ");
    let mut choices = vec![joined(&values)];
    choices.extend((0..values.len()).map(|changed| {
        let mut values = values.clone();
        values[changed].clone_from(&wrong);
        joined(&values)
    }));
    let asked = format!("What are the three lucky numbers of {name}?");
    (scattered(random, statements, false), question(asked, values, choices))
}

fn variables(random: &mut Random, tokens: usize) -> (Vec<Insert>, LongQuestion) {
    let letters: Vec<char> = ('a'..='z').collect();
    let chains = facts_in(tokens / CHAIN, 4);
    let names = random.sample(&letters, chains * CHAIN);
    let values = numbers(random, 4);
    // Chains are told side by side, each in its own order, so that every variable is known where it is used.
    let mut turns: Vec<usize> = (0..chains * CHAIN).map(|turn| turn % chains).collect();
    random.shuffle(&mut turns);
    let mut told = vec![0; chains];
    let statements = turns.into_iter().map(|chain| {
        let (link, at) = (told[chain], chain * CHAIN + told[chain]);
        told[chain] += 1;
        let value = if link == 0 { values[chain].clone() } else { names[at - 1].to_string() };
        format!("{} = {value}", names[at])
    });
    let inserts = scattered(random, statements.collect(), true);
    let asked = format!("What is {}?", names[CHAIN - 1]);
    (inserts, question(asked, vec![values[0].clone()], values))
}

fn distractors(random: &mut Random, tokens: usize) -> (Vec<Insert>, LongQuestion) {
    let is_possessive = random.below(2) == 0;
    let wanted = facts_in(tokens, 24);
    let names = random.sample(NAMES, wanted.div_ceil(ATTRIBUTES.len()).max(3));
    // The same key of every person has another value, so no guess from a wrong person is right.
    let mut about = |key: usize| -> Vec<Fact> {
        let (key, values) = ATTRIBUTES[key];
        let values: Vec<String> = random.sample(values, names.len()).into_iter().map(str::to_owned).collect();
        let fact = |person: usize| {
            let mut choices = values.clone();
            choices.swap(0, person);
            choices.truncate(4);
            attribute(is_possessive, names[person], key, choices)
        };
        (0..names.len()).map(fact).collect()
    };
    let mut keys: Vec<Vec<Fact>> = (0..ATTRIBUTES.len()).map(&mut about).collect();
    random.shuffle(&mut keys);
    // The asked fact, its nearest rivals, then whatever else there is.
    let mut facts: Vec<Fact> = keys[0].drain(..).collect();
    facts.insert(1, keys[1].remove(0));
    facts.extend(keys.into_iter().flatten());
    facts.truncate(wanted);
    about_first(random, facts)
}

/// A list in which one word of five is the same and the others are dealt evenly from a table.
struct Deal {
    frequent: &'static str,
    others: Vec<&'static str>,
    deck: Vec<&'static str>,
    /// Place of the frequent word in this cycle, and of the word that comes next.
    at: (usize, usize),
}

impl Source for Deal {
    fn next(&mut self, random: &mut Random) -> Piece {
        if self.at.1 == 0 {
            self.at.0 = random.below(CYCLE);
        }
        let is_frequent = self.at.0 == self.at.1;
        self.at.1 = (self.at.1 + 1) % CYCLE;
        if self.deck.is_empty() {
            self.deck.clone_from(&self.others);
            random.shuffle(&mut self.deck);
        }
        let word =
            if is_frequent { self.frequent } else { self.deck.pop().expect("the deck was just dealt") };
        Piece { text: word.to_owned(), gap: ", " }
    }

    fn spare(&self, _: &mut Random) -> Option<Piece> {
        None
    }
}

fn common(random: &mut Random, tokens: usize, count: &dyn Fn(&str) -> usize) -> LongQuestion {
    let mut others: Vec<&'static str> = [THINGS, FOODS, PETS].concat();
    let frequent = others.swap_remove(random.below(others.len()));
    let wrong = random.sample(&others, 3);
    let mut source = Deal { frequent, others, deck: Vec::new(), at: (0, 0) };
    let context = haystack(&mut source, &[], tokens, count, random);
    let choices = std::iter::once(frequent).chain(wrong).map(str::to_owned).collect();
    let asked = "Which word occurs most often in the list?".to_owned();
    LongQuestion { context, ..question(asked, vec![frequent.to_owned()], choices) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A word, a number's digit or a mark each.
    fn tokens_of(text: &str) -> usize {
        text.split_whitespace().map(|word| word.len().div_ceil(5)).sum()
    }

    fn made(task: Task, seed: u64, tokens: usize) -> LongQuestion {
        task.make(&mut Random::seeded(seed), tokens, &tokens_of)
    }

    #[test]
    fn every_task_has_the_wanted_length_and_right_choices() {
        for task in Task::ALL {
            assert_eq!(Task::from_name(task.name()), Some(task));
            for (seed, tokens) in [(1, 150), (2, 500), (3, 4000), (4, 30_000)] {
                let question = made(task, seed, tokens);
                let found = tokens_of(&question.context);
                assert!(found.abs_diff(tokens) * 50 <= tokens, "{}: {found} for {tokens}", task.name());
                assert_eq!(question, made(task, seed, tokens));
                assert_ne!(question.context, made(task, seed + 10, tokens).context);
                assert!(question.choices.len() >= 3);
                assert_eq!(question.matches(&question.choices[0]), 1.0, "{:?}", question.choices);
                for wrong in &question.choices[1..] {
                    assert!(question.matches(wrong) < 1.0, "{}: {wrong}", task.name());
                }
                assert!(question.answers.iter().all(|answer| question.context.contains(answer.as_str())));
            }
        }
        assert_eq!(Task::from_name("needle"), None);
    }

    /// The value that `context` gives for what `question` asks, by its wording.
    fn looked_up<'a>(context: &'a str, question: &str) -> &'a str {
        let key = question.trim_start_matches("What is ").trim_end_matches('?');
        let at = context.to_lowercase().find(&format!("{} is ", key.to_lowercase())).unwrap();
        context[at + key.len() + 4..].split('.').next().unwrap()
    }

    #[test]
    fn keys_lead_to_their_own_values() {
        for seed in 0..40 {
            for task in [Task::Multikey, Task::Distractors] {
                let question = made(task, seed, 1200);
                assert_eq!(looked_up(&question.context, &question.question), question.answers[0]);
                for choice in &question.choices {
                    assert!(question.context.contains(choice), "{choice} is not a rival");
                }
            }
        }
    }

    #[test]
    fn distractors_are_near_in_both_ways() {
        for seed in 0..20 {
            let question = made(Task::Distractors, seed, 1200);
            let key = |person: &str| {
                ATTRIBUTES
                    .iter()
                    .filter(|(key, _)| {
                        question.context.contains(&format!("{person}'s {key} is"))
                            || question.context.contains(&format!("he {key} of {person} is"))
                    })
                    .count()
            };
            let person = NAMES.iter().find(|name| question.question.contains(*name)).unwrap();
            assert!(key(person) >= 2, "{}", question.question);
        }
    }

    #[test]
    fn all_values_are_asked_for() {
        let question = made(Task::Multivalue, 5, 600);
        assert!(question.all && question.answers.len() == 3);
        assert_eq!(question.context.matches("lucky number").count(), 3);
        assert_eq!(question.matches(&question.answers[0]), 1.0 / 3.0);
    }

    #[test]
    fn variables_lead_back_to_a_number() {
        for seed in 0..40 {
            let question = made(Task::Variables, seed, 900);
            let mut known: HashMap<&str, &str> = HashMap::new();
            for (name, value) in question.context.lines().filter_map(|line| line.split_once(" = ")) {
                assert!(!known.contains_key(name), "{name} is told twice");
                let value = if value.parse::<u32>().is_ok() { value } else { known[value] };
                known.insert(name, value);
            }
            assert!(known.len() >= 9);
            let asked = question.question.trim_start_matches("What is ").trim_end_matches('?');
            assert_eq!(known[asked], question.answers[0]);
        }
    }

    #[test]
    fn the_common_word_is_the_most_common() {
        for (seed, tokens) in [(1, 60), (2, 200), (3, 1000), (4, 9000)] {
            let question = made(Task::Common, seed, tokens);
            let mut counts: HashMap<&str, usize> = HashMap::new();
            question.context.split(", ").for_each(|word| *counts.entry(word).or_default() += 1);
            let most = counts.remove(question.answers[0].as_str()).unwrap();
            let second = counts.values().max().unwrap();
            assert!(most >= 3 * second, "{most} against {second}");
        }
    }
}
