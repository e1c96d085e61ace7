//! What an output is worth beside a reference, from 0 to 1, and means of such numbers.

use std::collections::HashMap;

use serde::Serialize;

/// The words of `text` as SQuAD compares them (arXiv 1606.05250): lower case, without punctuation and articles.
/// Characters of Chinese and Japanese, which writes no spaces, are a word each.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        if is_ideograph(c) {
            spaced.extend([' ', c, ' ']);
        } else if !is_punctuation(c) {
            spaced.push(c);
        }
    }
    let words = spaced.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.map(str::to_owned).collect()
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{303F}' | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}')
}

/// F1 of the words in common, as for SQuAD. Two texts without words are alike.
pub fn f1(output: &str, answer: &str) -> f64 {
    let (output, answer) = (words(output), words(answer));
    let mut left: HashMap<&str, usize> = HashMap::new();
    answer.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let common = output.iter().filter(|word| match left.get_mut(word.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    });
    harmonic(common.count(), output.len(), answer.len())
}

/// F1 from the number in common and both sizes; 1 when both are empty.
fn harmonic(common: usize, one: usize, other: usize) -> f64 {
    if one + other == 0 { 1.0 } else { 2.0 * common as f64 / (one + other) as f64 }
}

/// 1 when both have the same words in the same order, as SQuAD compares them.
pub fn exact_match(output: &str, answer: &str) -> f64 {
    f64::from(u8::from(words(output) == words(answer)))
}

/// ROUGE-L (C.-Y. Lin, 2004): F1 of the longest common subsequence of words, the whole texts taken as one sentence,
/// precision and recall weighing the same. Nothing is stemmed.
pub fn rouge_l(output: &str, reference: &str) -> f64 {
    // Unlike for short answers, articles count.
    let words = |text: &str| -> Vec<String> {
        let mut spaced = String::with_capacity(text.len());
        for c in text.to_lowercase().chars() {
            if is_ideograph(c) {
                spaced.extend([' ', c, ' ']);
            } else {
                spaced.push(if c.is_alphanumeric() { c } else { ' ' });
            }
        }
        spaced.split_whitespace().map(str::to_owned).collect()
    };
    let (output, reference) = (words(output), words(reference));
    harmonic(common_subsequence(&output, &reference), output.len(), reference.len())
}

/// How alike two strings are: twice the longest common subsequence of characters over both lengths, which is 1 less
/// the share of characters to insert or delete. LongBench scores code by it.
pub fn edit_similarity(one: &str, other: &str) -> f64 {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    harmonic(common_subsequence(&one, &other), one.len(), other.len())
}

/// Length of the longest common subsequence, one row of the table at a time.
fn common_subsequence<T: PartialEq>(one: &[T], other: &[T]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for a in one {
        let mut diagonal = 0;
        for (at, b) in other.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if a == b { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[other.len()]
}

/// A mean and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// Arithmetic mean; 0 of nothing.
    pub mean: f64,
    /// Its standard error: the sample's standard deviation over the root of the count; `None` below two values.
    pub standard_error: Option<f64>,
    /// Values.
    pub count: usize,
}

impl Mean {
    /// The mean of `values`.
    pub fn of(values: &[f64]) -> Mean {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = (count > 1).then(|| (squares / (count - 1) as f64 / count as f64).sqrt());
        Mean { mean, standard_error, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn f1_counts_words_in_common() {
        near(f1("The red house!", "a red house"), 1.0);
        near(f1("red", "red house"), 2.0 / 3.0);
        near(f1("red red red", "red house"), 2.0 / 5.0);
        near(f1("green", "red house"), 0.0);
        near(f1("", "red"), 0.0);
        near(f1("the", ""), 1.0);
        near(f1("It's well-known", "its wellknown"), 1.0);
        // Two characters in common, of three and of two.
        near(f1("北京市。", "北京"), 0.8);
    }

    #[test]
    fn exact_match_keeps_order() {
        assert_eq!(exact_match("the Red, house", "red house."), 1.0);
        assert_eq!(exact_match("house red", "red house"), 0.0);
        assert_eq!(exact_match("red house too", "red house"), 0.0);
    }

    #[test]
    fn rouge_l_follows_order_and_keeps_articles() {
        near(rouge_l("police kill the gunman", "police killed the gunman"), 0.75);
        near(rouge_l("the gunman kill police", "police killed the gunman"), 0.5);
        near(rouge_l("a-b c", "a b d c"), 6.0 / 7.0);
        near(rouge_l("", "a"), 0.0);
    }

    #[test]
    fn edit_similarity_of_strings() {
        near(edit_similarity("kitten", "sitting"), 8.0 / 13.0);
        near(edit_similarity("abc", "abc"), 1.0);
        near(edit_similarity("abc", ""), 0.0);
        near(edit_similarity("", ""), 1.0);
        near(edit_similarity("né", "ne"), 0.5);
    }

    #[test]
    fn means_with_standard_errors() {
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0]);
        near(mean.mean, 2.5);
        near(mean.standard_error.unwrap(), (5.0f64 / 3.0 / 4.0).sqrt());
        assert_eq!(Mean::of(&[0.5]), Mean { mean: 0.5, standard_error: None, count: 1 });
        assert_eq!(Mean::of(&[]), Mean { mean: 0.0, standard_error: None, count: 0 });
    }
}
