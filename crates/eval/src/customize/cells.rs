//! Finished cells, kept as they come.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Method;
use crate::EvalError;
use crate::appended::Appended;

/// One user's result after one method with one draw of examples.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Cell {
    /// Name of the folder of users the user is in.
    pub group: String,
    /// The user.
    pub user: String,
    /// What was done.
    pub method: Method,
    /// Examples given; 0 where the method looks at none.
    pub size: usize,
    /// Which draw of the examples.
    pub seed: u64,
    /// Share of the questions whose likeliest choice is right.
    pub accuracy: f64,
    /// Share of the questions to which the right answer is written, but for blanks around it.
    pub written: f64,
    /// For each question a digit: 1 where it is right by choice, and 2 more where it is right in writing.
    pub marks: String,
    /// Questions asked.
    pub questions: usize,
    /// What guessing would reach.
    pub chance: f64,
    /// Examples in front of each question.
    pub shown: usize,
    /// What was taken, where the method takes what the examples speak for.
    pub chosen: Option<String>,
    /// From the examples to something that answers, in milliseconds.
    pub millis: f64,
    /// For reading a question and what stands before it, in milliseconds, on average.
    pub read_millis: f64,
    /// Bytes that a device sends where the pool is on a server: one f32 a score.
    pub bytes_up: usize,
    /// Bytes that it gets then: the adapter, or all those it has to choose from, in f32.
    pub bytes_down: usize,
}

#[derive(Deserialize, Serialize)]
struct Line {
    key: String,
    cell: Cell,
}

/// The file of finished cells.
pub(super) struct Cells {
    found: HashMap<String, Cell>,
    file: Option<Appended>,
}

impl Cells {
    /// Reads what is there. A last line that was cut short is done again; other damage is an error.
    pub(super) fn open(path: Option<&Path>) -> Result<Cells, EvalError> {
        let mut found = HashMap::new();
        let mut add = |line: Line| drop(found.insert(line.key, line.cell));
        let file = path.map(|path| Appended::open(path, "a cell", &mut add)).transpose()?;
        Ok(Cells { found, file })
    }

    pub(super) fn find(&self, key: &str) -> Option<Cell> {
        self.found.get(key).cloned()
    }

    pub(super) fn keep(&mut self, key: &str, cell: &Cell) -> Result<(), EvalError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.keep(&Line { key: key.to_owned(), cell: cell.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_again_and_a_cut_line_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.jsonl");
        let cell = Cell {
            group: "inside".to_owned(),
            user: "u".to_owned(),
            method: Method::Blend,
            size: 5,
            seed: 1,
            accuracy: 0.5,
            written: 0.25,
            marks: "0123".to_owned(),
            questions: 60,
            chance: 0.25,
            shown: 0,
            chosen: Some("blend".to_owned()),
            millis: 1.5,
            read_millis: 0.5,
            bytes_up: 32,
            bytes_down: 64,
        };
        let mut cells = Cells::open(Some(&path)).unwrap();
        cells.keep("a", &cell).unwrap();
        cells.keep("b", &cell).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut cells = Cells::open(Some(&path)).unwrap();
        assert_eq!((cells.find("a"), cells.find("b")), (Some(cell.clone()), None));
        cells.keep("b", &cell).unwrap();
        assert_eq!(Cells::open(Some(&path)).unwrap().find("b"), Some(cell));
        std::fs::write(&path, "{}\n").unwrap();
        let error = Cells::open(Some(&path)).err().unwrap().to_string();
        assert!(error.contains("line 1: is not a cell"), "{error}");
    }
}
