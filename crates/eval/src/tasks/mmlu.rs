//! MMLU (arXiv 2009.03300): CSV of a question, four choices and the right one, with or without a header; the
//! answer is an index or a letter.

use super::{Question, csv};
use crate::EvalError;

/// Fields of a record: the question, four choices, the answer.
const FIELDS: usize = 6;

/// Whether `line` heads such a file.
pub(super) fn is_header(line: &str) -> bool {
    line.trim_end().eq_ignore_ascii_case("question,choice0,choice1,choice2,choice3,answer")
}

/// Questions of one subject.
pub(super) fn questions(file: &str, text: &str) -> Result<Vec<Question>, EvalError> {
    let has_header = text.lines().next().is_some_and(is_header);
    let records = csv::records(file, text)?;
    records.into_iter().skip(usize::from(has_header)).map(|record| question(file, record)).collect()
}

fn question(file: &str, record: csv::Record) -> Result<Question, EvalError> {
    let csv::Record { line, mut fields } = record;
    if fields.len() != FIELDS {
        let what = format!("{} fields instead of {FIELDS} (question, four choices, answer)", fields.len());
        return Err(EvalError::content(file, line, what));
    }
    let answer = match fields[FIELDS - 1].trim() {
        "0" | "A" => 0,
        "1" | "B" => 1,
        "2" | "C" => 2,
        "3" | "D" => 3,
        other => {
            return Err(EvalError::content(
                file,
                line,
                format!("the answer is {other:?}, not 0 to 3 or A to D"),
            ));
        }
    };
    let choices = fields.drain(1..FIELDS - 1).map(|choice| choice.trim().to_owned()).collect();
    Ok(Question { prompt: format!("{}\nAnswer:", fields[0].trim()), choices, answer, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_letters_and_quotes() {
        let text = "question,choice0,choice1,choice2,choice3,answer\n\"Which, of these,\nflies?\",a stone,\"a \"\"bird\"\"\",soup,sand,1\n";
        let with_header = questions("t", text).unwrap();
        assert_eq!(with_header.len(), 1);
        assert_eq!(with_header[0].prompt, "Which, of these,\nflies?\nAnswer:");
        assert_eq!(with_header[0].choices, ["a stone", "a \"bird\"", "soup", "sand"]);
        assert_eq!((with_header[0].answer, with_header[0].line), (1, 2));
        assert_eq!(questions("t", "q,a,b,c,d,D").unwrap()[0].answer, 3);
    }

    #[test]
    fn damaged_records_name_their_line() {
        let error = questions("t", "q,a,b,c,d,0\nq,a,b,c,1\n").unwrap_err();
        assert_eq!(error.to_string(), "t, line 2: 5 fields instead of 6 (question, four choices, answer)");
        let error = questions("t", "q,a,b,c,d,E\n").unwrap_err();
        assert_eq!(error.to_string(), "t, line 1: the answer is \"E\", not 0 to 3 or A to D");
    }
}
