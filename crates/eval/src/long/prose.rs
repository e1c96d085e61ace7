//! Filler: text that a fact is hidden in, from the project's own sentence generator or cut out of a file.

use std::path::Path;

use crayon_adapters::Random;

use super::grammar::sentence;
use super::haystack::{Piece, Source};
use crate::EvalError;
use crate::input::read_text;

/// Paragraphs of made-up sentences in the manner of children's stories, ending with the sentence that reaches
/// `characters`. They hold no digit and no fact that [`Kind`](super::Kind) or [`Task`](super::Task) asks for.
pub fn prose(random: &mut Random, characters: usize) -> String {
    Filler::Prose.text(random, characters)
}

/// Where the text around a fact comes from.
#[derive(Clone, Debug)]
pub enum Filler {
    /// The sentence generator.
    Prose,
    /// Consecutive sentences of a file.
    File(Sentences),
}

/// The sentences of a text, at least one.
#[derive(Clone, Debug)]
pub struct Sentences(Vec<Piece>);

impl Filler {
    /// Reads a text file, for instance a novel, to cut filler out of. Blank lines part its paragraphs; of a book of
    /// Project Gutenberg only the book itself is taken.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or holds no sentence.
    pub fn open(path: &Path) -> Result<Filler, EvalError> {
        let pieces = split(&read_text(path)?);
        if pieces.is_empty() {
            return Err(EvalError::content(&path.display().to_string(), None, "holds no sentences")
                .with_hint("give a text of whole sentences, for example a book"));
        }
        Ok(Filler::File(Sentences(pieces)))
    }

    /// Whole sentences, ending with the one that reaches `characters`. A file is read from a random sentence on, and
    /// from its beginning again when it ends.
    pub fn text(&self, random: &mut Random, characters: usize) -> String {
        let mut stream = Stream::new(self, random);
        let (mut text, mut written, mut gap) = (String::new(), 0, "");
        while written < characters {
            let piece = stream.next(random);
            text.push_str(gap);
            text.push_str(&piece.text);
            written += gap.len() + piece.text.chars().count();
            gap = piece.gap;
        }
        text
    }
}

/// Sentences of a filler, one after another, without end.
pub(super) struct Stream<'a> {
    filler: &'a Filler,
    /// In a file: the sentence that comes next. In prose: how many sentences the paragraph still takes.
    at: usize,
}

impl Stream<'_> {
    pub(super) fn new<'a>(filler: &'a Filler, random: &mut Random) -> Stream<'a> {
        let at = match filler {
            Filler::Prose => paragraph(random),
            Filler::File(Sentences(pieces)) => random.below(pieces.len()),
        };
        Stream { filler, at }
    }
}

impl Source for Stream<'_> {
    fn next(&mut self, random: &mut Random) -> Piece {
        match self.filler {
            Filler::Prose => {
                self.at -= 1;
                let is_last = self.at == 0;
                if is_last {
                    self.at = paragraph(random);
                }
                Piece { text: sentence(random), gap: if is_last { "\n\n" } else { " " } }
            }
            Filler::File(Sentences(pieces)) => {
                let piece = pieces[self.at].clone();
                self.at = (self.at + 1) % pieces.len();
                piece
            }
        }
    }

    fn spare(&self, random: &mut Random) -> Option<Piece> {
        let text = match self.filler {
            Filler::Prose => sentence(random),
            Filler::File(Sentences(pieces)) => pieces[random.below(pieces.len())].text.clone(),
        };
        Some(Piece { text, gap: " " })
    }
}

/// How many sentences a paragraph of made-up prose has.
fn paragraph(random: &mut Random) -> usize {
    3 + random.below(6)
}

/// The sentences of `text`, its lines joined.
fn split(text: &str) -> Vec<Piece> {
    let text = book(text).replace("\r\n", "\n");
    let mut pieces = Vec::new();
    for paragraph in text.split("\n\n") {
        let joined = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut rest = joined.as_str();
        while let Some(end) = sentence_end(rest) {
            pieces.push(Piece { text: rest[..end].to_owned(), gap: " " });
            rest = rest[end..].trim_start();
        }
        if !rest.is_empty() {
            pieces.push(Piece { text: rest.to_owned(), gap: " " });
        }
        if let Some(last) = pieces.last_mut() {
            last.gap = "\n\n";
        }
    }
    // Rows of stars and page numbers are not sentences.
    pieces.retain(|piece| piece.text.contains(char::is_alphabetic));
    pieces
}

/// `text` without the notices that Project Gutenberg puts around it.
fn book(text: &str) -> &str {
    let after = |mark: &str| {
        let at = text.find(mark)?;
        Some(text[at..].find('\n').map_or(text.len(), |line_end| at + line_end))
    };
    let start = after("*** START OF TH").unwrap_or(0);
    let end = text.find("*** END OF TH").filter(|&end| end > start).unwrap_or(text.len());
    &text[start..end]
}

/// Where the first sentence of `text` ends, if another follows.
fn sentence_end(text: &str) -> Option<usize> {
    const CLOSING: [char; 6] = ['"', '\'', '”', '’', ')', ']'];
    const SHORTENED: [&str; 8] = ["Mr", "Mrs", "Ms", "Dr", "St", "Prof", "No", "vol"];
    text.match_indices(['.', '!', '?']).find_map(|(at, mark)| {
        let after = text[at + 1..].trim_start_matches(CLOSING);
        let next = after.strip_prefix(' ')?.chars().next()?;
        let word = text[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        // An initial is not a sentence's end either; the pronoun is the only likely word of one capital letter.
        let is_initial = word.len() == 1 && word != "I" && word.chars().all(char::is_uppercase);
        let is_shortened = mark == "." && (is_initial || SHORTENED.contains(&word));
        (!next.is_lowercase() && !is_shortened).then_some(text.len() - after.len())
    })
}

#[cfg(test)]
mod tests {
    use crayon_errors::Explain as _;
    use std::collections::HashSet;

    use super::super::{Kind, needle, words};
    use super::*;

    fn opened(text: &str) -> Result<Filler, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.txt");
        std::fs::write(&path, text).unwrap();
        Filler::open(&path)
    }

    fn texts(pieces: &[Piece]) -> Vec<&str> {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn sentences_seldom_repeat() {
        let mut random = Random::seeded(1);
        let sentences: Vec<String> = (0..30_000).map(|_| sentence(&mut random)).collect();
        let repeats = sentences.len() - sentences.iter().collect::<HashSet<_>>().len();
        // With a million equally likely sentences there would be some 450.
        assert!(repeats < 45, "{repeats} repeats");
    }

    #[test]
    fn prose_is_fixed_by_its_seed_and_as_long_as_asked() {
        let made = |seed, characters| prose(&mut Random::seeded(seed), characters);
        assert_eq!(made(1, 5000), made(1, 5000));
        assert_ne!(made(1, 5000), made(2, 5000));
        assert!((5000..5300).contains(&made(3, 5000).len()));
        assert!(made(3, 5000).contains("\n\n"));
        assert_eq!(made(3, 0), "");
    }

    #[test]
    fn prose_holds_no_facts() {
        let text = prose(&mut Random::seeded(7), 300_000).to_lowercase();
        assert!(!text.contains(|c: char| c.is_ascii_digit() || c == '='));
        let wordings =
            ["number", "secret", "password", "pass key", "code", "favourite", " hid ", "best thing"];
        for wording in wordings.iter().chain(&["will travel", "lucky", "locker"]) {
            assert!(!text.contains(wording), "{wording}");
        }
        for name in words::NAMES.iter().chain(words::CITIES) {
            assert!(!super::super::says(&text, &name.to_lowercase()), "{name}");
        }
        for kind in Kind::ALL {
            let fact = kind.fact(&mut Random::seeded(8));
            assert!(!text.contains(&fact.statement.to_lowercase()));
        }
    }

    #[test]
    fn sentences_of_a_book() {
        let text = "CHAPTER I.\n\nMr. Fox sat\ndown. \"Who is it?\" he asked. It was\nJ. Hare! \"Come in.\" They ate\n\n* * *\n\nThe end";
        let pieces = split(text);
        let expected = [
            "CHAPTER I.",
            "Mr. Fox sat down.",
            "\"Who is it?\" he asked.",
            "It was J. Hare!",
            "\"Come in.\"",
            "They ate",
            "The end",
        ];
        assert_eq!(texts(&pieces), expected);
        assert_eq!(pieces.iter().map(|piece| piece.gap).collect::<Vec<_>>()[..2], ["\n\n", " "]);
    }

    #[test]
    fn notices_around_a_book_are_left_out() {
        let text = "Free to copy.\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\nOne fox.\r\n\r\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\r\nMore terms.";
        assert_eq!(texts(&split(text)), ["One fox."]);
        assert_eq!(texts(&split("*** START OF THE RACE")), [""; 0]);
        assert_eq!(texts(&split("*** END OF THE RACE")), ["*** END OF THE RACE"]);
    }

    #[test]
    fn needles_in_a_file_meet_their_length() {
        let filler = opened(&prose(&mut Random::seeded(1), 30_000)).unwrap();
        let mut random = Random::seeded(2);
        let fact = Kind::Hiding.fact(&mut random);
        for tokens in [200, 1000, 40_000] {
            let made = needle(&mut random, &filler, &fact, 0.5, tokens, &|text| text.len() / 4);
            assert!((made.context.len() / 4).abs_diff(tokens) * 50 <= tokens, "{}", made.context.len());
            assert!(made.context.contains(&fact.statement));
        }
    }

    #[test]
    fn a_file_gives_consecutive_sentences_and_starts_again() {
        let filler = opened("One fox. Two owls.\r\n\r\nThree hens. Four elks.").unwrap();
        let text = filler.text(&mut Random::seeded(3), 200);
        let cycle = "One fox. Two owls.\n\nThree hens. Four elks.\n\n";
        assert!(cycle.repeat(10).contains(&text), "{text}");
        assert!((200..215).contains(&text.len()), "{}", text.len());
        assert_ne!(text, filler.text(&mut Random::seeded(4), 200));
    }

    #[test]
    fn a_file_without_sentences_is_refused() {
        assert!(opened("\n* * *\n12\n").unwrap_err().to_string().ends_with("book.txt: holds no sentences"));
        assert!(Filler::open(Path::new("/no/such/book")).unwrap_err().is_mistake());
    }
}
