//! Draws what JSON on stdin describes, for scripts: `cargo run --release -p crayon-draw < picture.json > picture.svg`.

use std::io::{Write as _, stdin, stdout};
use std::process::ExitCode;

use crayon_draw::Picture;

fn main() -> ExitCode {
    let picture: Picture = match serde_json::from_reader(stdin().lock()) {
        Ok(picture) => picture,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: stdin describes no picture: {error}");
            return ExitCode::from(2);
        }
    };
    match stdout().lock().write_all(picture.svg().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
