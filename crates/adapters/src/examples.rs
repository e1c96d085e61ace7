//! Examples as people have them: one JSON object a line. Read one at a time, so that any number fits in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::AdapterError;

/// Longest line, in bytes. A file without line ends is not read whole.
const LONGEST: usize = 16 << 20;

/// One example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is asked.
    pub prompt: String,
    /// What should be answered, where the line says.
    pub answer: Option<String>,
    /// The task it belongs to, where the line says.
    pub task: Option<String>,
    /// Answers to choose from, where the line has some.
    pub choices: Vec<String>,
    /// Line of the file, from 1.
    pub line: usize,
}

/// The examples of a file, one after another.
pub struct Examples {
    path: PathBuf,
    reader: BufReader<File>,
    line: usize,
    found: bool,
    ended: bool,
}

impl Examples {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(path: &Path) -> Result<Examples, AdapterError> {
        let file = File::open(path).map_err(|source| AdapterError::io(path, "open", source))?;
        let reader = BufReader::new(file);
        Ok(Examples { path: path.to_owned(), reader, line: 0, found: false, ended: false })
    }

    fn wrong(&self, what: impl Into<String>) -> AdapterError {
        AdapterError::Line { file: self.path.display().to_string(), line: self.line, what: what.into() }
    }

    /// The next line without its end; `None` at the end of the file.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, AdapterError> {
        let mut line = Vec::new();
        loop {
            let available =
                self.reader.fill_buf().map_err(|source| AdapterError::io(&self.path, "read", source))?;
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.reader.consume(used);
            if line.len() > LONGEST {
                self.line += 1;
                return Err(self.wrong(format!("has more than {LONGEST} bytes")));
            }
            if end.is_some() {
                self.line += 1;
                return Ok(Some(line));
            }
        }
        if line.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        Ok(Some(line))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Example>, AdapterError> {
        let text = std::str::from_utf8(bytes).map_err(|_| self.wrong("is not UTF-8 text"))?;
        let text = text.trim_start_matches('\u{FEFF}').trim();
        if text.is_empty() {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| self.wrong(format!("is not valid JSON (column {})", error.column())))?;
        Example::from_value(&value, self.line).map(Some).map_err(|what| self.wrong(what))
    }
}

impl Example {
    /// An example as `line` holds it.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its place.
    pub fn from_value(value: &Value, line: usize) -> Result<Example, String> {
        let Value::Object(map) = value else { return Err("is not a JSON object".to_owned()) };
        let task = map.get("task").or_else(|| map.get("category")).and_then(Value::as_str).map(str::to_owned);
        let (prompt, answer) = match map.get("messages").and_then(Value::as_array) {
            Some(messages) => from_messages(messages),
            None => (prompt(map), answer(map)?),
        };
        match prompt.filter(|prompt| !prompt.trim().is_empty()) {
            Some(prompt) => Ok(Example { prompt, answer, task, choices: choices(map), line }),
            None => Err("has no prompt".to_owned()),
        }
    }
}

/// The answer under the names it usually has; a number is a choice where there are choices.
fn answer(map: &Map<String, Value>) -> Result<Option<String>, String> {
    let names = ["answer", "completion", "output", "response", "target"];
    let Some(value) = names.iter().find_map(|name| map.get(*name)) else { return Ok(None) };
    let choices = map.get("choices").and_then(Value::as_array);
    let text = match (value, choices) {
        (Value::String(text), _) => text.clone(),
        (Value::Number(index), Some(choices)) => {
            let chosen = index.as_u64().and_then(|index| choices.get(usize::try_from(index).ok()?)?.as_str());
            let count = choices.len();
            let wrong = || format!("has the answer {index}, but there are {count} choices (the first is 0)");
            chosen.ok_or_else(wrong)?.to_owned()
        }
        (Value::Number(number), None) => number.to_string(),
        (Value::Bool(yes), _) => if *yes { "yes" } else { "no" }.to_owned(),
        (Value::Null, _) => return Ok(None),
        _ => return Err("has an answer that is not a text".to_owned()),
    };
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// The answers to choose from; none unless all are texts.
fn choices(map: &Map<String, Value>) -> Vec<String> {
    let choices = map.get("choices").and_then(Value::as_array).map_or(&[][..], |choices| choices);
    let texts: Option<Vec<String>> =
        choices.iter().map(|choice| choice.as_str().map(str::to_owned)).collect();
    texts.unwrap_or_default()
}

/// The prompt under the names it usually has; an instruction stands in front of its input.
fn prompt(map: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| map.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let single = ["prompt", "question"].into_iter().find_map(text);
    match (single, text("instruction"), text("input")) {
        (Some(prompt), ..) => Some(prompt.to_owned()),
        (None, Some(instruction), Some(input)) => Some(format!("{instruction}\n\n{input}")),
        (None, instruction, input) => instruction.or(input).map(str::to_owned),
    }
}

/// The last question of a conversation and the answer after it.
fn from_messages(messages: &[Value]) -> (Option<String>, Option<String>) {
    let content = |message: &Value, role: &str| {
        let own = message.get("role").and_then(Value::as_str) == Some(role);
        message.get("content").and_then(Value::as_str).filter(|_| own).map(str::to_owned)
    };
    let asked = messages.iter().rposition(|message| content(message, "user").is_some());
    let Some(asked) = asked else { return (None, None) };
    let answer = messages[asked..].iter().find_map(|message| content(message, "assistant"));
    (content(&messages[asked], "user"), answer)
}

impl Iterator for Examples {
    type Item = Result<Example, AdapterError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let parsed = match self.read_line() {
                Ok(Some(line)) => self.parse(&line),
                Ok(None) => {
                    self.ended = true;
                    if self.found {
                        return None;
                    }
                    let hint = "write one JSON object a line: {\"prompt\": \"…\", \"answer\": \"…\"}";
                    return Some(Err(AdapterError::file(&self.path, "holds no examples", hint)));
                }
                Err(error) => Err(error),
            };
            match parsed {
                Ok(Some(example)) => {
                    self.found = true;
                    return Some(Ok(example));
                }
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Example>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.jsonl");
        std::fs::write(&path, text).unwrap();
        Examples::open(&path).unwrap().collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn the_natural_names_are_read() {
        let check = |line: &str, prompt: &str, answer: Option<&str>| {
            let found = read(line).unwrap();
            assert_eq!((found[0].prompt.as_str(), found[0].answer.as_deref()), (prompt, answer), "{line}");
        };
        check(r#"{"prompt": "p", "answer": "a"}"#, "p", Some("a"));
        check(r#"{"prompt": "p", "choices": ["x", "y"], "answer": 1}"#, "p", Some("y"));
        check(r#"{"question": "q", "response": "a"}"#, "q", Some("a"));
        check(r#"{"input": "i", "output": "o"}"#, "i", Some("o"));
        check(r#"{"instruction": "do", "input": "i", "output": "o"}"#, "do\n\ni", Some("o"));
        check(r#"{"prompt": "p", "completion": "c"}"#, "p", Some("c"));
        check(r#"{"prompt": "p"}"#, "p", None);
        let talk =
            r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#;
        check(talk, "u", Some("a"));
    }

    #[test]
    fn broken_lines_are_named() {
        let good = r#"{"prompt": "p", "answer": "a"}"#;
        for (bad, expected) in [
            ("{\"prompt\": \"p\"", "not valid JSON"),
            ("[1]", "not a JSON object"),
            ("{\"answer\": \"a\"}", "no prompt"),
            ("{\"prompt\": \" \"}", "no prompt"),
            ("{\"prompt\": \"p\", \"choices\": [\"a\"], \"answer\": 1}", "there are 1 choices"),
            ("{\"prompt\": \"p\", \"answer\": [1]}", "not a text"),
        ] {
            let error = read(&format!("{good}\n\n{bad}\n{good}\n")).unwrap_err();
            assert!(error.contains("line 3") && error.contains(expected), "{bad}: {error}");
        }
        assert!(read("").unwrap_err().contains("holds no examples"));
        assert!(read("\n \n").unwrap_err().contains("holds no examples"));
        assert_eq!(read(&format!("\u{FEFF}{good}\r\n{good}")).unwrap().len(), 2);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let error = read(&"x".repeat(LONGEST + 100_000)).unwrap_err();
        assert!(error.contains("more than"), "{error}");
    }
}
