//! Server-sent events out of pieces of bytes (WHATWG HTML, 9.2): only `data` matters here.

/// Longest event in bytes; a server that never ends a line must not fill the memory.
const LARGEST: usize = 1 << 20;

/// Puts pieces together to events. Text is looked at in whole lines, so that no piece splits a character.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    begun: bool,
}

impl Events {
    /// Takes the next bytes and returns the data of the events they complete.
    ///
    /// # Errors
    /// What is wrong with the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() + self.data.len() > LARGEST {
                return Err(format!("an event is longer than {LARGEST} bytes"));
            }
            if part.ends_with(b"\n") {
                let mut line = std::mem::take(&mut self.line);
                while matches!(line.last(), Some(b'\n' | b'\r')) {
                    line.pop();
                }
                self.end_of_line(&line, &mut events)?;
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self, line: &[u8], events: &mut Vec<String>) -> Result<(), String> {
        if line.is_empty() {
            if self.begun {
                let data = String::from_utf8(std::mem::take(&mut self.data));
                events.push(data.map_err(|_| "an event is not UTF-8".to_owned())?);
            }
            self.begun = false;
            return Ok(());
        }
        // A byte order mark may begin the stream; comments and other fields say nothing about the answer.
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        if let Some(data) = line.strip_prefix(b"data:") {
            if self.begun {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            self.begun = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&[u8]]) -> Result<Vec<String>, String> {
        let mut events = Events::default();
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(events.push(piece)?);
        }
        Ok(all)
    }

    #[test]
    fn data_lines_make_events() {
        let check =
            |text: &str, wanted: &[&str]| assert_eq!(run(&[text.as_bytes()]).unwrap(), wanted, "{text:?}");
        check("data: a\n\ndata:b\r\n\r\n", &["a", "b"]);
        check(": comment\nevent: x\nid: 1\ndata: a\ndata: b\n\n", &["a\nb"]);
        check("\n\n\u{FEFF}data: a\n\n", &["a"]);
        // What no empty line ends is no event.
        check("data: a\n\ndata: cut", &["a"]);
        check("data:  two blanks\n\n", &[" two blanks"]);
    }

    #[test]
    fn broken_and_endless_streams_are_refused() {
        assert!(run(&[b"data: \xFF\n\n"]).is_err());
        let endless = vec![b'a'; 1 << 16];
        assert!(run(&vec![endless.as_slice(); 20]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(texts in prop::collection::vec("[aé漢🦊 ]{0,9}", 0..5), cuts in prop::collection::vec(0usize..200, 0..8)) {
            let stream: String = texts.iter().map(|text| format!("data: {text}\n\n")).collect();
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
