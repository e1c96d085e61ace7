//! What of the written text is the answer.

use crayon_text::Frame;

use crate::stop::StopFilter;

/// Text on its way to the person: up to a stop string, and in a frame up to its next turn and without blanks around.
#[derive(Debug)]
pub(crate) struct Shown {
    stops: StopFilter,
    framed: Option<Framed>,
}

/// An answer within a frame.
#[derive(Debug)]
struct Framed {
    turns: StopFilter,
    /// Blanks that are part of the answer only if more of it follows.
    blanks: String,
    begun: bool,
}

impl Shown {
    /// `begun` says that the answer's beginning was given, so that blanks in front of what is written belong to it.
    pub(crate) fn new(stops: &[String], frame: Option<&Frame>, begun: bool) -> Shown {
        let framed = frame.filter(|frame| frame.has_turns()).map(|frame| Framed {
            turns: StopFilter::new(&frame.stops().iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>()),
            blanks: String::new(),
            begun,
        });
        Shown { stops: StopFilter::new(stops), framed }
    }

    /// Takes the next piece and returns the text that is safe to show.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let text = self.stops.push(piece);
        match &mut self.framed {
            Some(framed) => {
                let text = framed.turns.push(&text);
                framed.trimmed(text)
            }
            None => text,
        }
    }

    /// Whether a frame's next turn has begun, in front of any stop string.
    pub(crate) fn turned(&self) -> bool {
        self.framed.as_ref().is_some_and(|framed| framed.turns.stopped())
    }

    /// Whether a stop string was seen.
    pub(crate) fn stopped(&self) -> bool {
        self.stops.stopped()
    }

    /// The text still held when nothing comes but `rest`.
    pub(crate) fn finish(&mut self, rest: &str) -> String {
        let text = self.stops.push(rest) + &self.stops.finish();
        match &mut self.framed {
            Some(framed) => {
                let text = framed.turns.push(&text) + &framed.turns.finish();
                framed.trimmed(text)
            }
            None => text,
        }
    }
}

impl Framed {
    fn trimmed(&mut self, text: String) -> String {
        let mut text = std::mem::take(&mut self.blanks) + &text;
        self.blanks = text.split_off(text.trim_end().len());
        if !self.begun {
            text.drain(..text.len() - text.trim_start().len());
        }
        self.begun |= !text.is_empty();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], frame: &str, pieces: &[&str]) -> (String, Option<&'static str>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut shown = Shown::new(&stops, Frame::named(frame), false);
        let mut text: String = pieces.iter().map(|piece| shown.push(piece)).collect();
        text.push_str(&shown.finish(""));
        let finish = if shown.turned() { Some("turn") } else { shown.stopped().then_some("stop") };
        (text, finish)
    }

    fn told(text: &str, finish: Option<&'static str>) -> (String, Option<&'static str>) {
        (text.to_owned(), finish)
    }

    #[test]
    fn the_next_turn_ends_an_answer_and_blanks_around_it_go() {
        assert_eq!(run(&[], "qa", &[" Par", "is", ".\n", "\nQues", "tion: x"]), told("Paris.", Some("turn")));
        assert_eq!(run(&[], "qa", &["\n", " a\n\nb ", "\n"]), told("a\n\nb", None));
        assert_eq!(run(&[], "qa", &["a\nQuest"]), told("a\nQuest", None));
        assert_eq!(run(&[], "qa", &["\nQuestion:"]), told("", Some("turn")));
        assert_eq!(run(&[], "alpaca", &["a\n\n### Instruction:"]), told("a", Some("turn")));
    }

    #[test]
    fn the_earlier_of_a_stop_string_and_the_next_turn_counts() {
        assert_eq!(run(&["b"], "qa", &[" a b\nQuestion:"]), told("a", Some("stop")));
        assert_eq!(run(&["Question"], "qa", &[" a\nQuestion:"]), told("a", Some("stop")));
        assert_eq!(run(&["b"], "qa", &[" a\nQuestion: b"]), told("a", Some("turn")));
        assert_eq!(run(&["b"], "qa", &[" a\nQ", "b"]), told("a\nQ", Some("stop")));
    }

    #[test]
    fn blanks_behind_a_given_beginning_belong_to_the_answer() {
        let mut shown = Shown::new(&[], Frame::named("qa"), true);
        let text = shown.push(" is") + &shown.push(" blue. \n\nQuestion:") + &shown.finish("");
        assert_eq!((text.as_str(), shown.turned()), (" is blue.", true));
    }

    #[test]
    fn text_without_turns_stays_as_it_is() {
        assert_eq!(run(&[], "plain", &[" a ", "\nQuestion: b\n"]), told(" a \nQuestion: b\n", None));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab \n]{0,30}", turn in any::<bool>(), cuts in prop::collection::vec(0usize..40, 0..6)) {
            let whole = if turn { format!("{text}\nQuestion: c") } else { text.clone() };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            prop_assert_eq!(run(&[], "qa", &pieces), told(text.trim(), turn.then_some("turn")));
        }
    }
}
