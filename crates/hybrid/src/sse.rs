//! Server-sent events out of pieces of bytes (WHATWG HTML, 9.2.6).
//!
//! Written here because the parsers to be had are asynchronous or bring a client of their own. It differs from the text
//! in two places: what is not UTF-8 is refused, not replaced, so that no answer is shown that was not sent; and an event
//! that no empty line ends can be had, for it may hold the answer's end.

/// Longest event in bytes; a server that never ends a line must not fill the memory.
const LARGEST: usize = 1 << 20;
/// What may stand before any text in UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name; empty where the server gives none, which means `message`.
    pub name: String,
    /// Its lines of data, joined.
    pub data: String,
}

/// Puts pieces together to events. Text is looked at in whole lines, so that no piece splits a character.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    name: Vec<u8>,
    /// `None` until the event has a line of data.
    data: Option<Vec<u8>>,
    /// Whether a line has begun with a field: a byte order mark may stand before the first.
    begun: bool,
    /// Whether the last byte was a carriage return, so that a line feed would belong to it.
    after_return: bool,
}

impl Events {
    /// Takes the next bytes and returns the events they complete.
    ///
    /// # Errors
    /// What is wrong with the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, String> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if std::mem::take(&mut self.after_return) && part == b"\n" {
                continue;
            }
            let end = part.last().copied().filter(|byte| matches!(byte, b'\n' | b'\r'));
            self.after_return = end == Some(b'\r');
            self.line.extend_from_slice(&part[..part.len() - usize::from(end.is_some())]);
            if self.line.len() + self.data.as_ref().map_or(0, Vec::len) > LARGEST {
                return Err(format!("an event is longer than {LARGEST} bytes"));
            }
            if end.is_some() {
                events.extend(self.end_of_line()?);
            }
        }
        Ok(events)
    }

    /// The event that was begun and not ended when the stream was over.
    ///
    /// # Errors
    /// As [`push`](Events::push).
    pub fn rest(&mut self) -> Result<Option<ServerEvent>, String> {
        if !self.line.is_empty() {
            self.end_of_line()?;
        }
        self.end_of_line()
    }

    fn end_of_line(&mut self) -> Result<Option<ServerEvent>, String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let text = |bytes| String::from_utf8(bytes).map_err(|_| "an event is not UTF-8".to_owned());
            let name = std::mem::take(&mut self.name);
            let Some(data) = self.data.take() else { return Ok(None) };
            return Ok(Some(ServerEvent { name: text(name)?, data: text(data)? }));
        }
        let line = match std::mem::replace(&mut self.begun, true) {
            true => line.as_slice(),
            false => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line),
        };
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // Comments have an empty name; `id` and `retry` are for those who take up a stream again.
        match (field, &mut self.data) {
            (b"event", _) => self.name = value.to_vec(),
            (b"data", None) => self.data = Some(value.to_vec()),
            (b"data", Some(data)) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Result<Vec<ServerEvent>, String> {
        let mut events = Events::default();
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(events.push(piece)?);
        }
        Ok(all)
    }

    fn run(pieces: &[&[u8]]) -> Result<Vec<String>, String> {
        Ok(events(pieces)?.into_iter().map(|event| event.data).collect())
    }

    #[test]
    fn data_lines_make_events() {
        let check =
            |text: &str, wanted: &[&str]| assert_eq!(run(&[text.as_bytes()]).unwrap(), wanted, "{text:?}");
        check("data: a\n\ndata:b\r\n\r\n", &["a", "b"]);
        check(": comment\nevent: x\nid: 1\ndata: a\ndata: b\n\n", &["a\nb"]);
        check("\n\n\u{FEFF}data: a\n\n", &["a"]);
        // What no empty line ends is not an event.
        check("data: a\n\ndata: cut", &["a"]);
        check("data:  two blanks\n\n", &[" two blanks"]);
    }

    #[test]
    fn every_legal_form_is_read() {
        // The first four are the standard's own examples.
        for (text, wanted) in [
            ("data: YHOO\ndata: +2\ndata: 10\n\n", vec!["YHOO\n+2\n10"]),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
                vec!["first event", "second event"],
            ),
            ("data\n\ndata\ndata\n\ndata:", vec!["", "\n"]),
            ("data:test\n\ndata: test\n\n", vec!["test", "test"]),
            ("\u{FEFF}data: a\n\n", vec!["a"]),
            ("\u{FEFF}\u{FEFF}data: a\n\n", vec![]),
            ("data: a\n\n\u{FEFF}data: b\n\n", vec!["a"]),
            ("data: a\rdata: b\r\rdata: c\r\n\r\n", vec!["a\nb", "c"]),
            ("data: a\n\r\ndata: b\r\n\n", vec!["a", "b"]),
            ("data: a\n\n\n\n\ndata: b\n\n", vec!["a", "b"]),
            (": keep-alive\n\n:\n\ndata: a\n: ping\n\n", vec!["a"]),
            ("retry: 10\n\nevent: ping\n\nid: 5\n\n", vec![]),
            ("data : a\ndatas: b\nDATA: c\n data: d\n\n", vec![]),
            ("data: a: b\n\n", vec!["a: b"]),
            ("data:\ta\n\n", vec!["\ta"]),
        ] {
            assert_eq!(run(&[text.as_bytes()]).unwrap(), wanted, "{text:?}");
        }
    }

    #[test]
    fn names_belong_to_one_event() {
        let found = events(&[b"event: error\ndata: a\n\ndata: b\n\nevent: x\n\ndata: c\n\n"]).unwrap();
        let names: Vec<&str> = found.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["error", "", ""]);
    }

    #[test]
    fn what_no_empty_line_ends_can_be_had() {
        for (text, wanted) in [
            ("data: a", Some("a")),
            ("data: a\n", Some("a")),
            ("data: a\ndata: b\r", Some("a\nb")),
            ("data: a\n\n", None),
            (": comment", None),
            ("", None),
        ] {
            let mut events = Events::default();
            events.push(text.as_bytes()).unwrap();
            let rest = events.rest().unwrap().map(|event| event.data);
            assert_eq!((rest.as_deref(), events.rest().unwrap()), (wanted, None), "{text:?}");
        }
    }

    #[test]
    fn broken_and_endless_streams_are_refused() {
        assert!(run(&[b"data: \xFF\n\n"]).is_err());
        let endless = vec![b'a'; 1 << 16];
        assert!(run(&vec![endless.as_slice(); 20]).is_err());
        let line = [b"data: ".as_slice(), &endless, b"\n"].concat();
        assert!(run(&vec![line.as_slice(); 20]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            texts in prop::collection::vec("[aé漢🦊 ]{0,9}", 0..5),
            end in prop::sample::select(vec!["\n", "\r", "\r\n"]),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let stream: String = texts.iter().map(|text| format!("data: {text}{end}{end}")).collect();
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut start = 0;
            let pieces: Vec<&[u8]> = cuts.into_iter().map(|cut| { let piece = &bytes[start..cut]; start = cut; piece }).collect();
            prop_assert_eq!(run(&pieces).unwrap(), texts);
        }
    }
}
