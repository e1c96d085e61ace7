//! A conversation of two people over several sessions, in the form of LoCoMo (arXiv 2402.17753): they tell in passing where they were and
//! what they brought along, among talk about nothing that is asked for.

use crayon_adapters::Random;

use super::LongQuestion;
use super::haystack::{Insert, Piece, Source, haystack};
use super::words::{ACTIVITIES, CITIES, DAYS, FOODS, NAMES, ROOMS, THINGS};

/// Turns of a session.
const SESSION: usize = 14;
/// Journeys that are told at most: each has a city and a thing of its own.
const MOST: usize = 20;
/// Tokens a journey.
const APART: usize = 120;

/// What is said beside the journeys: `{}` stands for a word of a list. Cities and things are spoken of in journeys alone.
const TALK: [(&str, &[&str]); 16] = [
    ("How was your week? Mine went by so quickly.", &[]),
    ("I had {} for lunch, a little too salty.", FOODS),
    ("We could {} when the weather is better.", ACTIVITIES),
    ("On {} I have to get up early again.", DAYS),
    ("They are painting the {} and everything smells of it.", ROOMS),
    ("That sounds lovely, tell me more next time.", &[]),
    ("My sister wants to learn how to make {}.", FOODS),
    ("I slept badly, the neighbours had a party.", &[]),
    ("You said that you wanted to {}. Did you?", ACTIVITIES),
    ("Are you free on {}? I am.", DAYS),
    ("No, not yet. I was too tired for it.", &[]),
    ("I waited for an hour in front of the {}.", ROOMS),
    ("Yes, I remember. We laughed a lot.", &[]),
    ("Somebody left {} in the kitchen at work.", FOODS),
    ("It has been raining since {}.", DAYS),
    ("I will think about it and call you.", &[]),
];

/// Turns of two people, with a line at the beginning of each session.
struct Talk {
    people: [&'static str; 2],
    /// Turns of this session, and sessions so far.
    at: (usize, usize),
}

impl Talk {
    fn turn(&self, speaker: usize, random: &mut Random) -> Piece {
        let (said, words) = TALK[random.below(TALK.len())];
        let said = if words.is_empty() { said.to_owned() } else { said.replace("{}", random.pick(words)) };
        Piece { text: format!("{}: {said}", self.people[speaker % 2]), gap: "\n" }
    }
}

impl Source for Talk {
    fn next(&mut self, random: &mut Random) -> Piece {
        let (turn, session) = self.at;
        if turn == 0 {
            self.at = (1, session + 1);
            return Piece { text: format!("Session {}, {}", session + 1, random.pick(DAYS)), gap: "\n" };
        }
        self.at.0 = if turn == SESSION { 0 } else { turn + 1 };
        self.turn(turn, random)
    }

    fn spare(&self, random: &mut Random) -> Option<Piece> {
        let speaker = random.below(2);
        Some(self.turn(speaker, random))
    }
}

/// A conversation of `tokens` tokens and a question about one of the journeys told in it; wrong choices are brought along elsewhere.
pub(super) fn conversation(
    random: &mut Random,
    tokens: usize,
    count: &dyn Fn(&str) -> usize,
) -> LongQuestion {
    let names = random.sample(NAMES, 2);
    let people = [names[0], names[1]];
    let journeys = (tokens / APART).clamp(4, MOST);
    // A hat and a kite occur in the talk.
    let unsaid = |thing: &&&str| !ACTIVITIES.iter().any(|said| said.split(' ').any(|word| word == **thing));
    let things: Vec<&str> = THINGS.iter().filter(unsaid).copied().collect();
    let (cities, things) = (random.sample(CITIES, journeys), random.sample(&things, journeys));
    let asked = random.below(journeys);
    let mut depths: Vec<f64> = (0..journeys).map(|_| random.uniform()).collect();
    depths.sort_by(f64::total_cmp);
    let mut whose = Vec::with_capacity(journeys);
    let inserts: Vec<Insert> = depths
        .into_iter()
        .zip(cities.iter().zip(&things))
        .map(|(depth, (city, thing))| {
            let person = random.pick(&people);
            whose.push(person);
            let said = random.pick(&[
                "I brought a {thing} from {city}.",
                "By the way, I brought a {thing} from {city}.",
                "Look, I brought a {thing} from {city}.",
            ]);
            let said = said.replace("{city}", city).replace("{thing}", thing);
            Insert { depth, text: format!("{person}: {said}"), own_line: true }
        })
        .collect();
    let mut source = Talk { people, at: (0, 0) };
    let context = haystack(&mut source, &inserts, tokens, count, random);
    let mut choices: Vec<String> = things.iter().map(|thing| (*thing).to_owned()).collect();
    choices.swap(0, asked);
    choices.truncate(4);
    LongQuestion {
        context,
        question: format!("What did {} bring from {}?", whose[asked], cities[asked]),
        answers: vec![choices[0].clone()],
        all: false,
        choices,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u64, tokens: usize) -> LongQuestion {
        conversation(&mut Random::seeded(seed), tokens, &|text| text.len().div_ceil(4))
    }

    #[test]
    fn the_answer_is_told_by_the_person_asked_for_and_nowhere_else() {
        for seed in 0..40 {
            let question = made(seed, 1500);
            let words: Vec<&str> = question.question.trim_end_matches('?').split(' ').collect();
            let (person, city) = (words[2], words[5]);
            let told: Vec<&str> = question.context.lines().filter(|line| line.contains(city)).collect();
            assert_eq!(told.len(), 1, "{city}: {told:?}");
            assert!(told[0].starts_with(&format!("{person}: ")) && told[0].contains(&question.answers[0]));
            let things =
                question.choices.iter().map(|thing| question.context.matches(&format!(" {thing} ")).count());
            let dots =
                question.choices.iter().map(|thing| question.context.matches(&format!(" {thing}.")).count());
            assert!(things.zip(dots).all(|(within, last)| within + last == 1), "{:?}", question.choices);
        }
    }

    #[test]
    fn two_people_talk_in_turn_over_sessions() {
        let question = made(3, 4000);
        let sessions = question.context.lines().filter(|line| line.starts_with("Session ")).count();
        assert!(sessions > 8, "{sessions}");
        assert!(question.context.starts_with("Session 1, ") || question.context.contains("\nSession 1, "));
        let speakers: std::collections::HashSet<&str> =
            question.context.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
        assert_eq!(speakers.len(), 2, "{speakers:?}");
    }
}
