//! Texts from files and from stdin.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use crate::failure::{Context, Failure, Result, mistake};

/// Largest text read. No context comes near it; a pipe that never ends does.
const LARGEST: u64 = 1 << 28;

/// The text in `path`, which must be UTF-8.
pub(crate) fn file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file = File::open(path).context(format!("cannot open {name}"))?;
    let size = file.metadata().map_or(0, |data| data.len());
    if size > LARGEST {
        return Err(too_large(&name));
    }
    read(&name, file)
}

/// The text on stdin, up to its end. `what` is told to somebody at a terminal, who has to type it.
pub(crate) fn stdin(what: &str, output: &crate::output::Output) -> Result<String> {
    if io::stdin().is_terminal() {
        output.note(&format!("type {what}; Ctrl-D ends it"));
    }
    read("standard input", io::stdin().lock())
}

/// How long something piped in may take to begin: programs that start this one often leave an open pipe without a word.
const BEGINS: Duration = Duration::from_secs(1);

/// The text that another program or a file gives on stdin, if there is any.
pub(crate) fn piped(output: &crate::output::Output) -> Result<Option<String>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let (tell, told) = mpsc::channel();
    // Waits for the first byte and leaves it in the buffer of stdin; on a pipe where none comes it ends with the program.
    std::thread::spawn(move || tell.send(io::stdin().lock().fill_buf().is_ok_and(|bytes| !bytes.is_empty())));
    match told.recv_timeout(BEGINS) {
        Ok(true) => read("standard input", io::stdin().lock()).map(Some),
        Ok(false) => Ok(None),
        Err(_) => {
            output.note("stdin is open and nothing comes: it is not read (-c - waits for it)");
            Ok(None)
        }
    }
}

fn read(name: &str, source: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes).context(format!("cannot read {name}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(name));
    }
    utf8(name, bytes)
}

fn too_large(name: &str) -> Failure {
    let limit = crate::show::bytes(LARGEST);
    mistake(
        format!("{name} holds more than {limit}"),
        "no model reads that much at once; give the part that matters",
    )
}

/// `bytes` as text, without a byte order mark.
pub(crate) fn utf8(name: &str, bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(mistake(
                format!("{name} is not UTF-8 text: byte {at} does not fit"),
                "give plain text; from Latin-1, `iconv -f latin1 -t utf-8` makes UTF-8",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_loses_its_byte_order_mark_and_nothing_else() {
        assert_eq!(read("x", "\u{FEFF}hello\n".as_bytes()).unwrap(), "hello\n");
        assert_eq!(read("x", "a\u{FEFF}".as_bytes()).unwrap(), "a\u{FEFF}");
    }

    #[test]
    fn invalid_text_is_named_with_its_place() {
        let error = read("notes.txt", &b"ab\xFFc"[..]).unwrap_err();
        assert_eq!(error.to_string(), "notes.txt is not UTF-8 text: byte 2 does not fit");
    }
}
