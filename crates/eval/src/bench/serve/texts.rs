//! What the servers are asked: made up, and the same in every run.

use crayon_adapters::Random;

const NAMES: [&str; 8] = ["Anna", "Ben", "Clara", "David", "Emma", "Finn", "Greta", "Henry"];
const WHO: [&str; 8] = ["dog", "cat", "bird", "farmer", "teacher", "little boy", "old woman", "fox"];
const DID: [&str; 8] = ["saw", "found", "liked", "wanted", "carried", "painted", "washed", "lost"];
const WHAT: [&str; 8] =
    ["a red ball", "the boat", "some bread", "a tree", "the key", "a hat", "two stones", "milk"];
/// Tokens of one sentence of a long text, about, and fewer than any tokenizer makes of it.
const SENTENCE: usize = 5;

/// The beginning of a story, another one for every number.
pub(super) fn question(number: usize) -> String {
    let name = NAMES[number % NAMES.len()];
    format!("Story number {number}. Once upon a time {name} went to the park. ")
}

/// A text of about `tokens` tokens, whose beginning no other seed has, so that nothing of it was read before. `count` tells the
/// tokens of a text.
///
/// # Errors
/// Those of `count`.
pub(super) fn long<E>(
    seed: u64,
    tokens: usize,
    mut count: impl FnMut(&str) -> Result<usize, E>,
) -> Result<String, E> {
    let mut random = Random::new(seed, 0);
    let first = format!("Report number {seed}.");
    let sentence = |random: &mut Random| {
        format!(" The {} {} {}.", random.pick(&WHO), random.pick(&DID), random.pick(&WHAT))
    };
    let sentences: Vec<String> = (0..tokens / SENTENCE + 1).map(|_| sentence(&mut random)).collect();
    let text = |sentences: &[String]| format!("{first}{}", sentences.concat());
    // Sentences are alike, so that the number of them says the number of tokens.
    let all = count(&text(&sentences))?.max(1);
    let wanted = (sentences.len() * tokens / all).clamp(1, sentences.len());
    Ok(text(&sentences[..wanted]))
}

/// What the weights of a person add up to: so weak a blend costs what any does, and leaves answers about as long as they were.
const SUM: f64 = 0.03;

/// `count` weights, positive and [`SUM`] in all, others for every person.
pub(super) fn weights(person: usize, count: usize) -> Vec<f64> {
    let mut random = Random::new(person as u64, 1);
    let drawn: Vec<f64> = (0..count).map(|_| 0.05 + random.uniform()).collect();
    let sum: f64 = drawn.iter().sum();
    drawn.into_iter().map(|weight| weight * SUM / sum).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn long_texts_have_the_tokens_that_were_asked_for() {
        let words = |text: &str| Ok::<usize, Infallible>(text.split_whitespace().count());
        for tokens in [20, 800, 4000] {
            let Ok(text) = long(7, tokens, words);
            let Ok(found) = words(&text);
            assert!(found.abs_diff(tokens) <= 8 + tokens / 50, "{found} of {tokens}");
            let Ok(other) = long(8, tokens, words);
            assert_ne!(text.get(..20), other.get(..20));
        }
    }

    #[test]
    fn everybody_has_weights_and_questions_of_their_own() {
        let (anna, ben) = (weights(0, 5), weights(1, 5));
        assert_ne!(anna, ben);
        assert!((anna.iter().sum::<f64>() - SUM).abs() < 1e-9 && anna.iter().all(|weight| *weight > 0.0));
        assert_ne!(question(1), question(9));
    }
}
