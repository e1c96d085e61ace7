//! Comma-separated values after RFC 4180: fields may be quoted, quoted fields may hold commas, line breaks and
//! doubled quotes.

use crate::EvalError;

/// A record with the line it starts on.
pub(super) struct Record {
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
}

/// All records of a file; blank lines between them are skipped.
pub(super) fn records(file: &str, text: &str) -> Result<Vec<Record>, EvalError> {
    let mut records = Vec::new();
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while chars.peek().is_some() {
        let start = line;
        let mut fields = Vec::new();
        loop {
            let (field, end) = field(&mut chars, &mut line)
                .ok_or_else(|| EvalError::content(file, start, "a quoted field is not closed"))?;
            fields.push(field);
            if end != End::Field {
                break;
            }
        }
        if fields.len() > 1 || fields.iter().any(|field| !field.trim().is_empty()) {
            records.push(Record { line: start, fields });
        }
    }
    Ok(records)
}

#[derive(PartialEq)]
enum End {
    Field,
    Record,
}

/// One field; `None` when the file ends inside quotes.
fn field(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize) -> Option<(String, End)> {
    let mut value = String::new();
    let mut quoted = chars.next_if_eq(&'"').is_some();
    loop {
        let Some(c) = chars.next() else {
            return (!quoted).then_some((value, End::Record));
        };
        *line += usize::from(c == '\n');
        match c {
            '"' if quoted => match chars.next_if_eq(&'"') {
                Some(_) => value.push('"'),
                None => quoted = false,
            },
            _ if quoted => value.push(c),
            ',' => return Some((value, End::Field)),
            '\n' => return Some((value, End::Record)),
            '\r' if chars.peek() == Some(&'\n') => {}
            c => value.push(c),
        }
    }
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
    fn an_open_quote_is_an_error() {
        let error = records("t", "a,b\nc,\"d\n").err().unwrap();
        assert_eq!(error.to_string(), "t, line 2: a quoted field is not closed");
    }
}
