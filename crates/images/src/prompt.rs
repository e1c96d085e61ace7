//! Prompts whose words have weights, in the syntax that image generators made known.
//!
//! | written | weight |
//! |---|---|
//! | `(word:1.5)` | 1.5 |
//! | `(word)` | 1.1 |
//! | `((word))` | 1.1 · 1.1 |
//! | `[word]` | 1 / 1.1 |
//! | `(a whole phrase:0.5)` | 0.5 for each of its words |
//! | `-word`, `-(a phrase:2)` | not this, where minus words are allowed |
//! | `\(`, `\)`, `\[`, `\]`, `\\`, `\-`, `\:` | the character itself |
//!
//! Nested weights multiply. A weight of 1 is no weight at all; 0 hides a word from the rest of the text. Colons with something
//! behind them that is not a number are text.

use std::ops::Range;

use crate::ImageError;

/// Weight of a pair of round brackets without a number; a pair of square ones divides by it.
const BRACKET: f64 = 1.1;
/// The largest weight. Attention to a word with more weight than this hardly changes any more.
pub const LARGEST: f32 = 100.0;
/// The longest prompt, in bytes. Text towers read far less.
const LONGEST: usize = 1 << 14;

/// A text whose words have weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// The text without brackets, weights, escapes and minus words.
    pub text: String,
    /// Stretches of the text, in bytes, with a weight other than 1. They do not overlap and stand in order.
    pub weights: Vec<Weighted>,
    /// What the picture should not show, with how much that counts.
    pub minus: Vec<Minus>,
}

/// A stretch of a prompt's text and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// 0 to [`LARGEST`].
    pub weight: f32,
}

/// What a picture should not show.
#[derive(Clone, Debug, PartialEq)]
pub struct Minus {
    /// A word or a phrase.
    pub text: String,
    /// How much it counts.
    pub weight: f32,
}

/// A bracket that is open.
struct Open {
    /// Where it stands in the source, in bytes.
    at: usize,
    round: bool,
    /// Where its text begins in the result.
    start: usize,
    /// Where a colon was last seen right inside it: the place in the text of the prompt and in the source.
    colon: Option<(usize, usize)>,
}

/// Reads `source`, without minus words: a word that begins with `-` is text.
///
/// # Errors
/// If brackets do not match or hold nothing, or a weight is not a number from 0 to [`LARGEST`].
pub fn parse(source: &str) -> Result<Prompt, ImageError> {
    Parser { source, ..Parser::default() }.run()
}

/// Reads `source` as a search: `-word` and `-(a phrase)` are what a picture should not show.
///
/// # Errors
/// As [`parse`].
pub fn parse_search(source: &str) -> Result<Prompt, ImageError> {
    Parser { source, minus_allowed: true, ..Parser::default() }.run()
}

/// Reads `source` as [`parse`] does, and leaves its blanks and line ends as they are.
///
/// # Errors
/// As [`parse`].
pub fn parse_as_written(source: &str) -> Result<Prompt, ImageError> {
    Parser { source, as_written: true, ..Parser::default() }.run()
}

#[derive(Default)]
struct Parser<'a> {
    source: &'a str,
    minus_allowed: bool,
    as_written: bool,
    text: String,
    /// Weights of brackets that are closed, inner ones first.
    stretches: Vec<(Range<usize>, f64)>,
    open: Vec<Open>,
    minus: Vec<Minus>,
    /// The minus word in hand: where it begins in the text, and whether it is a phrase in brackets.
    negative: Option<(usize, bool)>,
}

impl Parser<'_> {
    fn run(mut self) -> Result<Prompt, ImageError> {
        let source = self.source;
        if source.len() > LONGEST && !self.as_written {
            return Err(self.error(0, format!("the text has {} bytes, {LONGEST} are the most", source.len())));
        }
        let mut chars = source.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => match chars.next_if(|(_, next)| r"()[]\-:".contains(*next)) {
                    Some((_, escaped)) => self.text.push(escaped),
                    None => self.text.push('\\'),
                },
                '(' | '[' => {
                    self.open.push(Open { at, round: char == '(', start: self.text.len(), colon: None });
                }
                ')' | ']' => self.close(at, char == ')')?,
                '-' if self.minus_allowed && self.begins_minus(chars.peek().map(|(_, next)| *next)) => {
                    let phrase = chars.peek().is_some_and(|(_, next)| *next == '(');
                    self.negative = Some((self.text.len(), phrase));
                }
                _ => {
                    if char == ':' {
                        let place = self.text.len();
                        if let Some(open) = self.open.last_mut() {
                            open.colon = Some((place, at));
                        }
                    }
                    let word_ends = char.is_whitespace() && self.open.is_empty();
                    if word_ends && self.negative.is_some_and(|(_, phrase)| !phrase) {
                        self.end_minus();
                    }
                    self.text.push(char);
                }
            }
        }
        if let Some(open) = self.open.first() {
            let (bracket, closing) = if open.round { ('(', ')') } else { ('[', ']') };
            return Err(self.error(open.at, format!("`{bracket}` is never closed by `{closing}`")));
        }
        if self.negative.is_some() {
            self.end_minus();
        }
        let weights = self.flatten()?;
        let (text, weights) = match self.as_written {
            true => (self.text, weights),
            false => tidy(&self.text, &weights),
        };
        Ok(Prompt { text, weights, minus: self.minus })
    }

    /// A minus counts at the start of a word, outside of brackets, with a letter, a figure or a bracket behind it.
    fn begins_minus(&self, next: Option<char>) -> bool {
        self.open.is_empty()
            && self.negative.is_none()
            && self.text.chars().next_back().is_none_or(char::is_whitespace)
            && next.is_some_and(|next| next.is_alphanumeric() || next == '(')
    }

    fn close(&mut self, at: usize, round: bool) -> Result<(), ImageError> {
        let Some(open) = self.open.pop() else {
            let bracket = if round { ')' } else { ']' };
            return Err(self.error(at, format!("`{bracket}` closes nothing")));
        };
        if open.round != round {
            let (opened, closed) = if round { ('[', ')') } else { ('(', ']') };
            return Err(self.error(at, format!("`{closed}` closes a `{opened}`")));
        }
        let mut weight = if round { BRACKET } else { 1.0 / BRACKET };
        let mut written = false;
        if let Some((place, colon)) = open.colon {
            let number = self.source[colon + 1..at].trim();
            // What begins like a number was meant as one.
            let begins = number.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            let meant = number.parse::<f64>().is_ok() || begins && !number.contains(char::is_whitespace);
            if meant && !round {
                let what = "square brackets take no number: write (word:0.5)";
                return Err(self.error(colon + 1, what.to_owned()));
            }
            if meant {
                weight = checked(number).map_err(|what| self.error(colon + 1, what))?;
                self.text.truncate(place);
                written = true;
            }
        }
        if self.text[open.start..].trim().is_empty() {
            return Err(self.error(open.at, "there are no words between the brackets".to_owned()));
        }
        match self.negative {
            Some((start, true)) if self.open.is_empty() => {
                // Without a number the brackets only hold the phrase together.
                self.take_minus(start, if written { weight } else { 1.0 });
            }
            _ => self.stretches.push((open.start..self.text.len(), weight)),
        }
        Ok(())
    }

    fn end_minus(&mut self) {
        if let Some((start, _)) = self.negative {
            self.take_minus(start, 1.0);
        }
    }

    fn take_minus(&mut self, start: usize, weight: f64) {
        self.stretches.retain(|(range, _)| range.start < start);
        let text = words(&self.text[start..]);
        self.text.truncate(start);
        self.negative = None;
        if !text.is_empty() {
            self.minus.push(Minus { text, weight: weight as f32 });
        }
    }

    /// Nested weights multiplied, as stretches that do not overlap.
    fn flatten(&self) -> Result<Vec<Weighted>, ImageError> {
        let mut edges: Vec<usize> =
            self.stretches.iter().flat_map(|(range, _)| [range.start, range.end]).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut flat = Vec::new();
        for pair in edges.windows(2) {
            let (start, end) = (pair[0], pair[1]);
            let over = self.stretches.iter().filter(|(range, _)| range.start <= start && end <= range.end);
            // The product in f64, so that ([word]) is exactly 1 in f32.
            let weight = over.map(|(_, weight)| weight).product::<f64>() as f32;
            if !(0.0..=LARGEST).contains(&weight) {
                let words = self.text[start..end].trim();
                return Err(ImageError::Weight {
                    what: format!("the weights of `{words}` multiply to {weight}; {LARGEST} is the most"),
                });
            }
            if weight != 1.0 {
                flat.push(Weighted { range: start..end, weight });
            }
        }
        Ok(flat)
    }

    fn error(&self, at: usize, what: String) -> ImageError {
        let column = self.source[..at].chars().count();
        ImageError::Prompt { source_text: self.source.to_owned(), column, what }
    }
}

/// A weight as it is written.
fn checked(number: &str) -> Result<f64, String> {
    match number.parse::<f64>() {
        Ok(weight) if weight.is_nan() => Err("a weight must be a number".to_owned()),
        Ok(weight) if weight < 0.0 => {
            Err(format!("a weight of {number} is below 0; a word with the weight 0 is hidden"))
        }
        Ok(weight) if weight > f64::from(LARGEST) => {
            Err(format!("a weight of {number} is too large; {LARGEST} is the most"))
        }
        Ok(weight) => Ok(weight),
        Err(_) => Err(format!("`{number}` is not a number")),
    }
}

/// `text` with one blank between words and none around them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Takes superfluous blanks out of a text, and moves its weights along.
fn tidy(text: &str, weights: &[Weighted]) -> (String, Vec<Weighted>) {
    let mut tidy = String::new();
    // For every byte of the old text its place in the new one.
    let mut place = Vec::with_capacity(text.len() + 1);
    for char in text.chars() {
        let drop = char.is_whitespace() && (tidy.is_empty() || tidy.ends_with(' '));
        place.extend(std::iter::repeat_n(tidy.len(), char.len_utf8()));
        match char.is_whitespace() {
            true if drop => {}
            true => tidy.push(' '),
            false => tidy.push(char),
        }
    }
    place.push(tidy.len());
    let end = tidy.trim_end().len();
    tidy.truncate(end);
    let moved = weights.iter().map(|Weighted { range, weight }| Weighted {
        range: place[range.start].min(end)..place[range.end].min(end),
        weight: *weight,
    });
    let moved = moved.filter(|weighted| !weighted.range.is_empty()).collect();
    (tidy, moved)
}

impl Prompt {
    /// A text without weights; brackets in it are text.
    pub fn plain(text: &str) -> Prompt {
        Prompt { text: words(text), ..Prompt::default() }
    }

    /// Gives every `name` (a word or a phrase, in any case) the weight `weight` on top of those it has.
    ///
    /// # Errors
    /// If the text does not hold it, or the weight is none.
    pub fn weigh(&mut self, name: &str, weight: f32) -> Result<(), ImageError> {
        if !(0.0..=LARGEST).contains(&weight) {
            let what = format!("the weight of `{name}` must be a number from 0 to {LARGEST}, not {weight}");
            return Err(ImageError::Weight { what });
        }
        let wanted: Vec<String> = spans(name).map(|span| name[span].to_lowercase()).collect();
        let have: Vec<Range<usize>> = spans(&self.text).collect();
        let found: Vec<Range<usize>> = have
            .windows(wanted.len().max(1))
            .filter(|some| {
                some.iter().zip(&wanted).all(|(span, word)| self.text[span.clone()].to_lowercase() == *word)
            })
            .map(|some| some[0].start..some[some.len() - 1].end)
            .collect();
        if wanted.is_empty() || found.is_empty() {
            let what = format!("the prompt `{}` has no word `{name}` to give a weight to", self.text);
            return Err(ImageError::Weight { what });
        }
        let parser = Parser {
            text: self.text.clone(),
            stretches: self.weights.iter().map(|w| (w.range.clone(), f64::from(w.weight))).collect(),
            ..Parser::default()
        };
        let added = found.into_iter().map(|range| (range, f64::from(weight)));
        let stretches = parser.stretches.iter().cloned().chain(added).collect();
        self.weights = Parser { stretches, ..parser }.flatten()?;
        Ok(())
    }

    /// The weight of the piece of text at `range`: that of the word it belongs to. A weight that holds for a part of a word holds for
    /// the whole, the farthest from 1 if there are several.
    pub fn weight(&self, range: Range<usize>) -> f32 {
        let word = spans(&self.text).find(|word| word.start < range.end && range.start < word.end);
        let range = word.unwrap_or(range);
        let over = self.weights.iter().filter(|w| w.range.start < range.end && range.start < w.range.end);
        let far = |weight: f32| weight.max(f32::MIN_POSITIVE).ln().abs();
        over.map(|w| w.weight).max_by(|a, b| far(*a).total_cmp(&far(*b))).unwrap_or(1.0)
    }

    /// The words of the text with their weights.
    pub fn words(&self) -> Vec<(&str, f32)> {
        spans(&self.text).map(|span| (&self.text[span.clone()], self.weight(span))).collect()
    }
}

/// The words of a text: letters, figures and apostrophes among them.
pub(crate) fn spans(text: &str) -> impl Iterator<Item = Range<usize>> {
    let inside = |char: char| char.is_alphanumeric() || char == '\'' || char == '’';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(inside)?;
        let end = text[start..].find(|char| !inside(char)).map_or(text.len(), |len| start + len);
        rest = end;
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(source: &str) -> Vec<(String, f32)> {
        let prompt = parse(source).unwrap();
        prompt.words().into_iter().map(|(word, weight)| (word.to_owned(), weight)).collect()
    }

    fn weights(source: &str) -> Vec<f32> {
        shown(source).into_iter().map(|(_, weight)| weight).collect()
    }

    #[test]
    fn brackets_and_numbers_give_weights() {
        assert_eq!(weights("a (red:1.5) car"), [1.0, 1.5, 1.0]);
        assert_eq!(weights("a (red) car"), [1.0, 1.1, 1.0]);
        assert_eq!(weights("((red))"), [1.21]);
        assert_eq!(weights("[red] car"), [(1.0 / 1.1) as f32, 1.0]);
        assert_eq!(weights("(a red car: 0.5 )"), [0.5; 3]);
        assert_eq!(weights("(a (red:2) car:1.5)"), [1.5, 3.0, 1.5]);
        assert_eq!(weights("([red])"), [1.0]);
        assert_eq!(weights("(red:0)"), [0.0]);
        assert_eq!(parse("a (red:1) car").unwrap(), parse("a red car").unwrap());
    }

    #[test]
    fn text_stays_text() {
        let text = |source| parse(source).unwrap().text;
        assert_eq!(text(r"a \(red\) \[car\] \\ c\d"), r"a (red) [car] \ c\d");
        assert_eq!(text("note: a cat"), "note: a cat");
        assert_eq!(text("(note: a cat)"), "note: a cat");
        assert_eq!(text("(at 12:30 pm)"), "at 12:30 pm");
        assert_eq!(text(r"(12\:30)"), "12:30");
        assert_eq!(text("  a   (  red :2)  car "), "a red car");
        assert_eq!(text("a t-shirt -red"), "a t-shirt -red");
        assert_eq!(text(""), "");
        assert_eq!(shown("(it's:2) Zoë"), [("it's".to_owned(), 2.0), ("Zoë".to_owned(), 1.0)]);
    }

    #[test]
    fn pieces_of_a_word_share_its_weight() {
        let prompt = parse("(re:2)d car").unwrap();
        assert_eq!(prompt.text, "red car");
        assert_eq!([prompt.weight(0..2), prompt.weight(2..3), prompt.weight(4..7)], [2.0, 2.0, 1.0]);
    }

    #[test]
    fn minus_words_are_for_searches() {
        let prompt = parse_search("a heart -red -(on a hill:2) -(green box) t-shirt - x \\-y").unwrap();
        assert_eq!(prompt.text, "a heart t-shirt - x -y");
        let minus: Vec<_> = prompt.minus.iter().map(|minus| (minus.text.as_str(), minus.weight)).collect();
        assert_eq!(minus, [("red", 1.0), ("on a hill", 2.0), ("green box", 1.0)]);
        assert!(prompt.weights.is_empty());
        assert_eq!(parse("-red").unwrap().text, "-red");
    }

    #[test]
    fn weights_by_name() {
        let mut prompt = parse("a (red:2) car and a red hat").unwrap();
        prompt.weigh("RED", 1.5).unwrap();
        prompt.weigh("a car", 3.0).unwrap_err();
        prompt.weigh("red hat", 2.0).unwrap();
        let weights: Vec<f32> = prompt.words().into_iter().map(|(_, weight)| weight).collect();
        assert_eq!(weights, [1.0, 3.0, 1.0, 1.0, 1.0, 3.0, 2.0]);
        for (name, weight) in [("blue", 2.0), ("", 2.0), ("red", f32::NAN), ("red", -1.0), ("red", 1e9)] {
            assert!(prompt.weigh(name, weight).is_err(), "{name}={weight}");
        }
    }

    #[test]
    fn a_text_as_written_keeps_its_lines() {
        let prompt = parse_as_written("one  (two:2)\n\n  three").unwrap();
        assert_eq!(prompt.text, "one  two\n\n  three");
        assert_eq!(prompt.weights, [Weighted { range: 5..8, weight: 2.0 }]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_its_place() {
        let place = |source: &str| match parse(source).unwrap_err() {
            ImageError::Prompt { column, .. } => column,
            other => panic!("{other}"),
        };
        assert_eq!(place("ä (red"), 2);
        assert_eq!(place("a red) car"), 5);
        assert_eq!(place("a (red] car"), 6);
        assert_eq!(place("a () car"), 2);
        assert_eq!(place("a ( :2) car"), 2);
        for number in ["nan", "-1", "1e9", "inf", "1,5", "2x"] {
            assert_eq!(place(&format!("(red:{number})")), 5, "{number}");
        }
        assert_eq!(place("[red:0.5]"), 5);
        assert!(parse("((red:50):50)").is_err());
        assert!(parse(&format!("{}red{}", "(".repeat(2000), ")".repeat(2000))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(source in r"[()\[\]\\:a-c0-9 .ä\-]{0,40}") {
            for prompt in [parse(&source), parse_search(&source)].into_iter().flatten() {
                let mut last = 0;
                for Weighted { range, weight } in &prompt.weights {
                    prop_assert!(range.start >= last && range.end <= prompt.text.len() && range.start < range.end);
                    prop_assert!((0.0..=LARGEST).contains(weight) && *weight != 1.0);
                    prop_assert!(prompt.text.is_char_boundary(range.start) && prompt.text.is_char_boundary(range.end));
                    last = range.end;
                }
                prop_assert!(!prompt.text.contains("  "));
            }
        }

        #[test]
        fn an_escaped_text_is_itself(words in proptest::collection::vec(r"[a-z()\[\]\\:]{1,6}", 0..5)) {
            let text = words.join(" ");
            let escaped: String = text.chars().flat_map(|c| if r"()[]\:".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
            let prompt = parse(&escaped).unwrap();
            prop_assert!(prompt.text == text && prompt.weights.is_empty());
        }

        #[test]
        fn bytes_of_any_kind_are_no_panic(source in ".{0,60}") {
            let _ = parse(&source);
            let _ = parse_search(&source);
        }
    }
}
