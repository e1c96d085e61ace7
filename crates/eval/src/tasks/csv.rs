//! Comma-separated values after RFC 4180, by the `csv` crate: fields may be quoted, quoted fields may hold commas, line
//! breaks and doubled quotes.

use std::io::Read as _;

use crate::EvalError;

/// A record with the line it starts on.
pub(super) struct Record {
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
}

/// Added behind the file as a record of its own. Where a quoted field is not closed, it becomes a part of that, which the
/// reader does not tell.
const END: &str = "\n\0";

/// All records of a file; blank lines between them are skipped.
pub(super) fn records(file: &str, text: &str) -> Result<Vec<Record>, EvalError> {
    let whole = text.as_bytes().chain(END.as_bytes());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(whole);
    let (mut records, mut line, mut at) = (Vec::new(), 1, 0);
    for record in reader.records() {
        let record = record.map_err(|error| EvalError::content(file, line, error.to_string()))?;
        // Blank lines and the second half of a CRLF come before the record, too.
        let from = record.position().map_or(at, |position| position.byte() as usize).min(text.len());
        let start = text.len() - text[from..].trim_start_matches(['\r', '\n']).len();
        line += text[at..start].matches('\n').count();
        at = start;
        if start == text.len() && record.iter().eq(["\0"]) {
            return Ok(records);
        }
        if record.len() > 1 || record.iter().any(|field| !field.trim().is_empty()) {
            records.push(Record { line, fields: record.iter().map(str::to_owned).collect() });
        }
    }
    Err(EvalError::content(file, line, "a quoted field is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Vec<String>> {
        records("t", text).unwrap().into_iter().map(|record| record.fields).collect()
    }

    #[test]
    fn quotes_hold_commas_breaks_and_quotes() {
        assert_eq!(parse("a,\"b,\"\"c\"\"\nd\",e\n"), [["a", "b,\"c\"\nd", "e"]]);
        assert_eq!(parse("a,b\r\n\r\nc,\n"), [["a", "b"], ["c", ""]]);
        assert_eq!(parse("say \"hi\",b"), [["say \"hi\"", "b"]]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn lines_count_breaks_inside_fields() {
        let records = records("t", "\"a\nb\",c\nd,e\n").unwrap();
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn lines_count_whatever_ends_them_and_blank_ones() {
        let text = "\"a\r\nb\",c\r\n\r\nd,\u{e4}\r\n \r\nf,\"\"\"\"\r\n\r\n";
        let records = records("t", text).unwrap();
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 4, 6]);
        assert_eq!(records[2].fields, ["f", "\""]);
    }

    #[test]
    fn an_open_quote_is_an_error() {
        let error = records("t", "a,b\nc,\"d\n").err().unwrap();
        assert_eq!(error.to_string(), "t, line 2: a quoted field is not closed");
        assert!(records("t", "\"").is_err() && records("t", "a,\"b\"\"").is_err());
        assert_eq!(parse("a,\"b\"\"\""), [["a", "b\""]]);
    }
}
