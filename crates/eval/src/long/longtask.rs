//! A question of a published set about a long text, and how the set scores it.

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::metrics::{edit_similarity, exact_match, f1, rouge_l};

/// A question of a published set.
#[derive(Clone, Debug, PartialEq)]
pub struct LongTask {
    /// The set it counts for: LongBench's data set, or LoCoMo's category.
    pub name: String,
    /// The text; questions about the same one share it.
    pub context: Arc<str>,
    /// What is asked, with what the answer should look like.
    pub question: String,
    /// Accepted answers, at least one.
    pub answers: Vec<String>,
    /// How an output is scored.
    pub metric: Metric,
    /// Where in the context the answer is found, in bytes; empty where the set does not say.
    pub evidence: Vec<Range<usize>>,
}

impl LongTask {
    /// What `output` is worth, from 0 to 1: the best that any of the answers makes of it.
    pub fn score(&self, output: &str) -> f64 {
        self.answers.iter().map(|answer| self.metric.score(output, answer)).fold(0.0, f64::max)
    }
}

/// How an output is compared with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// F1 of the words in common.
    F1,
    /// [`F1`](Self::F1) of the first line: examples go before the question, and a model may go on with another.
    FirstLineF1,
    /// F1 of every part between commas with the output's best part, averaged.
    ListF1,
    /// The same words.
    ExactMatch,
    /// ROUGE-L.
    RougeL,
    /// ROUGE-L of the first line.
    FirstLineRougeL,
    /// The right class is named in the first line; shared with wrong classes that are named too.
    Classification {
        /// Every class there is.
        classes: Vec<String>,
    },
    /// The share of the numbers in the output that are the number in the answer.
    Number,
    /// Similarity of the first line that is code.
    CodeSimilarity,
    /// The output says the answer's words: that something is not there.
    Refusal,
}

impl Metric {
    fn score(&self, output: &str, answer: &str) -> f64 {
        let first_line = || output.trim_start_matches('\n').lines().next().unwrap_or_default();
        match self {
            Metric::F1 => f1(output, answer),
            Metric::FirstLineF1 => f1(first_line(), answer),
            Metric::ListF1 => list_f1(output, answer),
            Metric::ExactMatch => exact_match(output, answer),
            Metric::RougeL => rouge_l(output, answer),
            Metric::FirstLineRougeL => rouge_l(first_line(), answer),
            Metric::Classification { classes } => classification(first_line(), answer, classes),
            Metric::Number => number(output, answer),
            Metric::CodeSimilarity => edit_similarity(first_code(output), answer),
            Metric::Refusal => f64::from(u8::from(output.to_lowercase().contains(&answer.to_lowercase()))),
        }
    }
}

fn list_f1(output: &str, answer: &str) -> f64 {
    let best = |wanted: &str| output.split(',').map(|part| f1(part, wanted)).fold(0.0, f64::max);
    let parts: Vec<f64> = answer.split(',').map(best).collect();
    parts.iter().sum::<f64>() / parts.len() as f64
}

fn classification(output: &str, answer: &str, classes: &[String]) -> f64 {
    // A class whose name is part of the right one's is not a second guess.
    let is_part = |class: &str| class != answer && answer.contains(class);
    let named = classes.iter().filter(|class| output.contains(class.as_str()) && !is_part(class));
    let named: Vec<&String> = named.collect();
    if named.iter().any(|class| *class == answer) { 1.0 / named.len() as f64 } else { 0.0 }
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty())
}

fn number(output: &str, answer: &str) -> f64 {
    let Some(wanted) = numbers(answer).next() else { return 0.0 };
    let (right, all) =
        numbers(output).fold((0, 0), |(right, all), number| (right + usize::from(number == wanted), all + 1));
    if all == 0 { 0.0 } else { right as f64 / all as f64 }
}

/// The first line that is neither a fence nor a comment.
fn first_code(output: &str) -> &str {
    let is_code =
        |line: &&str| !line.trim().is_empty() && !["`", "#", "//"].iter().any(|mark| line.contains(mark));
    output.lines().find(is_code).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: Metric, output: &str, answers: &[&str], expected: f64) {
        let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
        let (name, context, question, evidence) = (String::new(), "".into(), String::new(), Vec::new());
        let task = LongTask { name, context, question, answers, metric, evidence };
        let found = task.score(output);
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected} for {output:?}");
    }

    #[test]
    fn the_best_answer_counts() {
        check(Metric::F1, "red house", &["blue", "house"], 2.0 / 3.0);
        check(Metric::ExactMatch, "House.", &["blue", "house"], 1.0);
        check(Metric::F1, "house", &[], 0.0);
    }

    #[test]
    fn lists_may_come_in_any_order() {
        check(Metric::ListF1, "a lamp, tennis", &["tennis, lamp"], 1.0);
        check(Metric::ListF1, "tennis", &["tennis, lamp"], 0.5);
        check(Metric::F1, "tennis", &["tennis, lamp"], 2.0 / 3.0);
    }

    #[test]
    fn further_lines_do_not_count_where_examples_go_before() {
        check(Metric::FirstLineF1, "\nRome\nQuestion: more", &["Rome"], 1.0);
        check(Metric::F1, "Rome\nQuestion: more", &["Rome"], 0.5);
        check(Metric::FirstLineRougeL, "they met\nnext", &["they met"], 1.0);
        check(Metric::RougeL, "they met\nnext", &["they met"], 0.8);
    }

    #[test]
    fn classes_are_shared_among_guesses() {
        let classes = ["Date", "Birth date", "Place"].map(str::to_owned).to_vec();
        let metric = || Metric::Classification { classes: classes.clone() };
        check(metric(), "Place", &["Place"], 1.0);
        check(metric(), "Place or Date", &["Place"], 0.5);
        check(metric(), "Date", &["Place"], 0.0);
        check(metric(), "Date\nPlace", &["Place"], 0.0);
        let classes = ["date", "date of birth"].map(str::to_owned).to_vec();
        check(Metric::Classification { classes }, "date of birth", &["date of birth"], 1.0);
    }

    #[test]
    fn numbers_are_compared_whole() {
        check(Metric::Number, "Paragraph 12", &["Paragraph 12"], 1.0);
        check(Metric::Number, "Paragraph 1 or 12", &["Paragraph 12"], 0.5);
        check(Metric::Number, "段落12", &["段落12"], 1.0);
        check(Metric::Number, "112", &["12"], 0.0);
        check(Metric::Number, "twelve", &["12"], 0.0);
    }

    #[test]
    fn code_is_found_behind_fences_and_comments() {
        check(Metric::CodeSimilarity, "```rust\n// next\nlet x = 5;\nreturn x;", &["let x = 5;"], 1.0);
        check(Metric::CodeSimilarity, "", &["let x = 5;"], 0.0);
    }

    #[test]
    fn refusals_are_phrases() {
        let phrases = ["not mentioned", "no information"];
        check(Metric::Refusal, "That is Not Mentioned anywhere.", &phrases, 1.0);
        check(Metric::Refusal, "A red car", &phrases, 0.0);
    }
}
