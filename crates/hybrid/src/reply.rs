//! An answer out of the bytes of a server, which streams it or sends it whole, whatever it was asked for.

use crate::read::{self, Metadata};
use crate::sse::{BYTE_ORDER_MARK, Events, ServerEvent};

/// Longest answer in bytes.
const LONGEST: usize = 4 << 20;
/// What ends a stream.
const DONE: &str = "[DONE]";

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Another try may bring a better one.
    Passing(String),
    /// It is none, and another try would bring none either.
    Unusable(String),
}

/// The form of a body.
enum Form {
    /// Too little has come to say.
    Unknown,
    /// Server-sent events.
    Events(Events),
    /// One object.
    Whole,
}

/// Puts an answer together from pieces of bytes.
pub(crate) struct Reply {
    /// Whether the server says that it streams.
    streams: bool,
    form: Form,
    /// What has come of an object, or before the form was known.
    bytes: Vec<u8>,
    length: usize,
    metadata: Metadata,
    done: bool,
}

impl Reply {
    /// An answer that is still to come, with this `Content-Type`.
    pub(crate) fn new(content_type: &str) -> Reply {
        Reply {
            streams: content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream"),
            form: Form::Unknown,
            bytes: Vec::new(),
            length: 0,
            metadata: Metadata::default(),
            done: false,
        }
    }

    /// Takes the next bytes and returns the text they complete, in whole characters.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<String, Wrong> {
        if !matches!(self.form, Form::Unknown) {
            return self.take(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        self.form = self.recognised();
        if matches!(self.form, Form::Unknown) {
            return self.bounded(String::new(), self.bytes.len());
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.take(&bytes)
    }

    /// Whether the server has said that nothing follows.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// What came with the text, and the last of it, when there are no more bytes; `None` if the answer was cut.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub(crate) fn end(mut self) -> Result<Option<(String, Metadata)>, Wrong> {
        let mut text = String::new();
        match &mut self.form {
            Form::Events(events) if !self.done => {
                let rest = events.rest();
                // Half an object says nothing; a whole one may be the answer's end, though no empty line follows.
                if let Ok(Some(event)) = rest
                    && let Ok(piece) = self.event(&event)
                {
                    text = piece;
                }
            }
            Form::Events(_) => {}
            Form::Unknown if self.streams => {}
            Form::Unknown | Form::Whole => {
                let bytes = std::mem::take(&mut self.bytes);
                let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
                let object = str::from_utf8(bytes).map_err(|_| Wrong::Unusable("no text".to_owned()))?;
                text = read::object(object, &mut self.metadata).map_err(Wrong::Unusable)?.unwrap_or_default();
                // The end of one object is its own proof.
                self.done = true;
            }
        }
        if self.done {
            self.metadata.finish.get_or_insert_with(|| "stop".to_owned());
        }
        Ok(self.metadata.finish.is_some().then_some((text, self.metadata)))
    }

    /// The form of what has come. Servers stream under the name of a text, and send an object under that of a stream.
    fn recognised(&self) -> Form {
        let begin = self.bytes.trim_ascii_start();
        let begin = begin.strip_prefix(BYTE_ORDER_MARK).unwrap_or(begin).trim_ascii_start();
        let fields = [b":".as_slice(), b"data", b"event", b"id", b"retry"];
        match begin.first() {
            _ if BYTE_ORDER_MARK.starts_with(begin) => Form::Unknown,
            Some(b'{') => Form::Whole,
            _ if self.streams || fields.iter().any(|field| begin.starts_with(field)) => {
                Form::Events(Events::default())
            }
            _ if fields.iter().any(|field| field.starts_with(begin)) => Form::Unknown,
            _ => Form::Whole,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<String, Wrong> {
        let Form::Events(events) = &mut self.form else {
            self.bytes.extend_from_slice(bytes);
            return self.bounded(String::new(), self.bytes.len());
        };
        let mut text = String::new();
        for event in events.push(bytes).map_err(Wrong::Passing)? {
            text += &self.event(&event)?;
            if self.done {
                break;
            }
        }
        self.length += text.len();
        self.bounded(text, self.length)
    }

    fn bounded(&self, text: String, length: usize) -> Result<String, Wrong> {
        match length <= LONGEST {
            true => Ok(text),
            false => Err(Wrong::Unusable(format!("the answer is longer than {LONGEST} bytes"))),
        }
    }

    /// The text of one event.
    fn event(&mut self, event: &ServerEvent) -> Result<String, Wrong> {
        let data = event.data.trim();
        if event.name == "error" {
            return Err(Wrong::Passing(read::error_event(data)));
        }
        if data.is_empty() {
            return Ok(String::new());
        }
        if data.starts_with(DONE) {
            self.done = true;
            return Ok(String::new());
        }
        Ok(read::object(data, &mut self.metadata).map_err(Wrong::Passing)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "text/event-stream; charset=utf-8";
    const JSON: &str = "application/json";

    fn chunk(text: &str) -> String {
        format!("data: {}\n\n", serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
    }

    const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n";

    /// The whole answer, its text and why it ended, however the body is cut.
    fn answer(content_type: &str, body: &str) -> Result<Option<(String, String)>, Wrong> {
        let read = |size: usize| {
            let mut reply = Reply::new(content_type);
            let mut text = String::new();
            for piece in body.as_bytes().chunks(size) {
                text += &reply.push(piece)?;
                if reply.is_done() {
                    break;
                }
            }
            let end = reply.end()?;
            Ok(end.map(|(last, metadata)| (text + &last, metadata.finish.unwrap())))
        };
        let whole = read(body.len().max(1));
        for size in [1, 2, 3, 5, 64] {
            assert_eq!(read(size), whole, "{body:?} in pieces of {size}");
        }
        whole
    }

    #[test]
    fn whole_answers_are_read_in_every_form() {
        let ab = chunk("Füchse 🦊") + &chunk(" 漢字");
        let object = r#"{"choices":[{"message":{"content":"Füchse 🦊 漢字"},"finish_reason":"length"}]}"#;
        for (kind, body) in [
            (STREAM, format!("{ab}{FINISH}{USAGE}data: [DONE]\n\n")),
            // Without the mark of the end, or the empty line after it, or with more than the mark.
            (STREAM, format!("{ab}{FINISH}")),
            (STREAM, format!("{ab}{FINISH}data: [DONE]")),
            (STREAM, format!("{ab}{FINISH}data: [DONE]\n")),
            (STREAM, format!("{ab}{FINISH}data: [DONE]   \n\nnonsense")),
            (STREAM, format!("{ab}{FINISH}data:[DONE]\r\n\r\n")),
            (STREAM, format!("{ab}{}", FINISH.trim_end())),
            (STREAM, format!("{ab}{FINISH}data: {{\"choices\":[],\"usa")),
            // Events that say nothing.
            (
                STREAM,
                format!(": ping\n\n{ab}: ping\n\nevent: ping\ndata:\n\ndata\n\n{FINISH}data: [DONE]\n\n"),
            ),
            (STREAM, format!("\u{FEFF}id: 1\nretry: 5\n{ab}{FINISH}")),
            (STREAM, format!("event: message\n{ab}event: completion.chunk\n{FINISH}")),
            // Other ends of lines, and objects on several lines.
            (STREAM, format!("{ab}{FINISH}data: [DONE]\n\n").replace('\n', "\r\n")),
            (STREAM, format!("{ab}{FINISH}data: [DONE]\n\n").replace('\n', "\r")),
            (STREAM, format!("{ab}{FINISH}").replace("\"choices\":", "\ndata: \"choices\":\ndata: ")),
            // The end and the text in one.
            (
                STREAM,
                format!("{}{}", chunk("Füchse 🦊"), {
                    let last = serde_json::json!({"choices": [{"delta": {"content": " 漢字"}, "finish_reason": "length"}]});
                    format!("data: {last}")
                }),
            ),
            // Other answers that nobody asked for.
            (
                STREAM,
                format!(
                    "{ab}data: {{\"choices\":[{{\"index\":1,\"delta\":{{\"content\":\"b\"}}}}]}}\n\n{FINISH}"
                ),
            ),
            // A stream under another name, and an object under that of a stream.
            ("text/plain", format!("{ab}{FINISH}data: [DONE]\n\n")),
            ("", format!(": ping\n\n{ab}{FINISH}data: [DONE]\n\n")),
            (JSON, format!("\n{ab}{FINISH}")),
            (JSON, object.to_owned()),
            (STREAM, object.to_owned()),
            (STREAM, format!("\u{FEFF}\r\n {object}\n")),
            ("", object.to_owned()),
        ] {
            let wanted = Ok(Some(("Füchse 🦊 漢字".to_owned(), "length".to_owned())));
            assert_eq!(answer(kind, &body), wanted, "{kind}: {body}");
        }
        let told_by_the_mark = format!("{ab}data: [DONE]\n\n");
        assert_eq!(answer(STREAM, &told_by_the_mark).unwrap().unwrap().1, "stop");
        let told_by_its_end = object.replace(r#","finish_reason":"length""#, "");
        assert_eq!(answer(JSON, &told_by_its_end).unwrap().unwrap().1, "stop");
    }

    #[test]
    fn cut_answers_are_none() {
        let a = chunk("a");
        for body in [
            "".to_owned(),
            "\n\n".to_owned(),
            a.clone(),
            a.trim_end().to_owned(),
            format!("{a}data: {{\"choices\""),
            format!("{a}{}", &FINISH[..FINISH.len() - 5]),
            format!("{a}data: [DON"),
            format!("{a}{USAGE}"),
            format!("{a}: keep-alive\n\n"),
        ] {
            let found = answer(STREAM, &body);
            assert!(matches!(found, Ok(None) | Err(Wrong::Unusable(_))), "{body:?}: {found:?}");
        }
        assert_eq!(answer(STREAM, &a), Ok(None));
    }

    #[test]
    fn errors_in_a_stream_are_reported() {
        let a = chunk("a");
        for (body, words) in [
            (
                format!("{a}data: {{\"error\":{{\"message\":\"hot\"}}}}\n\n{FINISH}"),
                "the server reports: hot",
            ),
            (
                format!("{a}event: error\ndata: {{\"message\":\"hot\"}}\n\n{FINISH}"),
                "the server reports: hot",
            ),
            (format!("{a}event: error\ndata: hot\n\n{FINISH}"), "the server reports: hot"),
            (format!("{a}event: error\ndata\n\n{FINISH}"), "the server reports: an error without words"),
        ] {
            assert_eq!(answer(STREAM, &body), Err(Wrong::Passing(words.to_owned())), "{body}");
        }
        let broken = answer(STREAM, &format!("{a}data: nonsense\n\n{FINISH}"));
        assert!(matches!(&broken, Err(Wrong::Passing(what)) if what.contains("broken")), "{broken:?}");
        for (kind, body) in
            [(JSON, "<html>hello</html>"), (JSON, "{}"), (JSON, ""), (JSON, "[]"), (STREAM, "{}")]
        {
            assert!(matches!(answer(kind, body), Err(Wrong::Unusable(_))), "{body}");
        }
    }

    #[test]
    fn an_answer_has_a_bound() {
        let piece = chunk(&"a".repeat(1 << 16));
        let mut reply = Reply::new(STREAM);
        let wrong = (0..100).find_map(|_| reply.push(piece.as_bytes()).err());
        assert!(matches!(wrong, Some(Wrong::Unusable(what)) if what.contains("longer")));
        for begin in ["{", " "] {
            let mut reply = Reply::new(JSON);
            reply.push(begin.as_bytes()).unwrap();
            let blanks = vec![b' '; 1 << 16];
            assert!((0..100).any(|_| reply.push(&blanks).is_err()));
        }
    }
}
