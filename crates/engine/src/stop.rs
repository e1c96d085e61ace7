//! Stop strings over a stream of text pieces.

/// Passes text on until a stop string appears, holding back what might be the beginning of one.
#[derive(Debug)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// Empty stop strings are ignored.
    pub(crate) fn new(stops: &[String]) -> StopFilter {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        StopFilter { stops, held: String::new(), stopped: false }
    }

    /// Takes the next piece and returns the text that is safe to show.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.possible_beginning();
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop string was seen.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// The text still held when the stream ends without a stop string.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that begins some stop string.
    fn possible_beginning(&self) -> usize {
        let borders = self.held.char_indices().map(|(at, _)| at);
        borders
            .filter(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])))
            .map(|at| self.held.len() - at)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut shown: String = pieces.iter().map(|piece| filter.push(piece)).collect();
        shown.push_str(&filter.finish());
        (shown, filter.stopped())
    }

    #[test]
    fn stops_across_pieces() {
        assert_eq!(run(&["END"], &["one E", "N", "D two"]), ("one ".to_string(), true));
    }

    #[test]
    fn a_false_beginning_is_shown() {
        assert_eq!(run(&["END"], &["E", "N", "gine"]), ("ENgine".to_string(), false));
    }

    #[test]
    fn the_earliest_of_several_wins() {
        assert_eq!(run(&["xyz", "y"], &["ab", "x", "y", "z"]), ("abx".to_string(), true));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab]{0,40}", stop in "[ab]{1,4}", cuts in prop::collection::vec(0usize..40, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&text[start..cut]);
                start = cut;
            }
            pieces.push(&text[start..]);
            let expected = text.find(&stop).map_or(text.as_str(), |at| &text[..at]);
            let (shown, stopped) = run(&[&stop], &pieces);
            prop_assert_eq!(shown, expected);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
