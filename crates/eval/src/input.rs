//! Reading what is measured: text files and files of token ids.

use std::path::Path;

use crate::EvalError;

/// A whole text file.
///
/// # Errors
/// When it cannot be read or is not UTF-8; the error names the first byte that is not.
pub fn read_text(path: &Path) -> Result<String, EvalError> {
    let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
    let bytes = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count();
        EvalError::content(&path.display().to_string(), line, format!("byte {at} is not UTF-8"))
            .with_hint("convert the file to UTF-8, for example with iconv")
    })
}

/// Token ids of a file: a JSON list of numbers, or numbers between white space or commas. Every id must be
/// below `vocab`.
///
/// # Errors
/// When the file cannot be read or holds anything else; the error names the line.
pub fn read_token_ids(path: &Path, vocab: usize) -> Result<Vec<u32>, EvalError> {
    parse_token_ids(&path.display().to_string(), &read_text(path)?, vocab)
}

fn parse_token_ids(file: &str, text: &str, vocab: usize) -> Result<Vec<u32>, EvalError> {
    let trimmed = text.trim();
    let is_list = trimmed.starts_with('[');
    if is_list && !trimmed.ends_with(']') {
        let last = text.lines().count();
        return Err(EvalError::content(file, last, "the list of token ids is not closed")
            .with_hint("the file may have been cut short"));
    }
    let mut ids = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Brackets are looked at once, above: a list may spread over lines in any way.
        let words =
            line.split(|c: char| c.is_whitespace() || c == ',' || (is_list && (c == '[' || c == ']')));
        for word in words.filter(|word| !word.is_empty()) {
            let number = ids.len() + 1;
            let wrong = |what: String| {
                EvalError::content(file, index + 1, what)
                    .with_hint("token ids are whole numbers: a JSON list, or numbers between white space")
            };
            let id: u64 = word
                .parse()
                .map_err(|_| wrong(format!("number {number} is {:?}, not a token id", shortened(word))))?;
            if id >= vocab as u64 {
                let what = format!("number {number} is {id}, but the vocabulary has {vocab} entries");
                return Err(EvalError::content(file, index + 1, what)
                    .with_hint("the ids probably belong to another model"));
            }
            ids.push(id as u32);
        }
    }
    Ok(ids)
}

fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    fn parse(text: &str) -> Result<Vec<u32>, String> {
        parse_token_ids("ids", text, 100).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_and_plain_numbers() {
        assert_eq!(parse("[1, 2,\n 99]\n").unwrap(), [1, 2, 99]);
        assert_eq!(parse("1 2\t3\n\n4\r\n").unwrap(), [1, 2, 3, 4]);
        assert_eq!(parse("").unwrap(), [0u32; 0]);
        assert_eq!(parse("[]").unwrap(), [0u32; 0]);
    }

    #[test]
    fn faults_name_the_line_and_the_number() {
        assert_eq!(parse("1\n2 x").unwrap_err(), "ids, line 2: number 3 is \"x\", not a token id");
        assert_eq!(
            parse("1\n100").unwrap_err(),
            "ids, line 2: number 2 is 100, but the vocabulary has 100 entries"
        );
        assert_eq!(parse("[1, -2]").unwrap_err(), "ids, line 1: number 2 is \"-2\", not a token id");
        assert!(parse("[1, 2").unwrap_err().contains("not closed"));
        assert!(parse("99999999999999999999").is_err());
        assert!(parse("[1.5]").is_err());
    }

    #[test]
    fn text_that_is_not_utf8_names_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, b"one\ntw\xFFo").unwrap();
        let error = read_text(&path).unwrap_err();
        assert!(error.to_string().ends_with("line 2: byte 6 is not UTF-8"), "{error}");
        assert!(error.is_mistake() && error.hint().is_some());
        std::fs::write(&path, b"\xEF\xBB\xBFtext").unwrap();
        assert_eq!(read_text(&path).unwrap(), "text");
        assert!(read_text(&folder.path().join("none")).unwrap_err().is_mistake());
    }
}
