//! How files and folders are written: whole or not at all.
//!
//! What is made lies hidden beside its target, under a name that ends in `.part`, and takes its place when it is
//! complete. A symbolic link is followed: the file it names is replaced, the link stays. A device or a pipe is never
//! replaced: it is written to, and has then what came before a fault.

mod error;
mod file;
mod folder;
mod target;
mod unfinished;

pub use error::{Error, Result};
pub use file::{OutputFile, write_file};
pub use folder::{OutputFolder, create_folder};
pub use unfinished::abandon;

use std::ffi::{OsStr, OsString};

/// End of the names of files that are not complete.
pub const PARTIAL: &str = ".part";

/// The beginning of the hidden name of what will be `name`.
fn hidden(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden
}
