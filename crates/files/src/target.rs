//! What a path names, before anything is written to it.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// Links followed before a path counts as a loop, as Linux has it.
const LINKS: usize = 40;

/// Where an output goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// The path without links at its end.
    pub(crate) path: PathBuf,
    /// What is there.
    pub(crate) there: Option<Metadata>,
    /// Whether it can only be written through: a device, a pipe, or a file that another program holds open for this one.
    pub(crate) through: bool,
}

impl Target {
    /// Follows the links at the end of `path`, dangling ones too.
    pub(crate) fn of(path: &Path) -> io::Result<Target> {
        let mut at = path.to_owned();
        for _ in 0..LINKS {
            let there = match fs::symlink_metadata(&at) {
                Ok(there) => Some(there),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if is_descriptor(&at) && there.is_some() {
                // Such a link may name a pipe, which has no path, or a file that its opener goes on using.
                let there = Some(fs::metadata(&at)?);
                return Ok(Target { path: at, there, through: true });
            }
            match there {
                Some(there) if there.is_symlink() => {
                    let to = fs::read_link(&at)?;
                    at = parent(&at).join(to);
                }
                there => {
                    let through = there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir());
                    return Ok(Target { path: at, there, through });
                }
            }
        }
        Err(io::Error::other("its links lead in a circle"))
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.there.as_ref().is_some_and(Metadata::is_dir)
    }
}

/// Whether `path` is an open file of a process, as `/dev/stdout` leads to one.
fn is_descriptor(path: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(parent(path)) else { return false };
    folder == Path::new("/dev/fd") || (folder.starts_with("/proc") && folder.ends_with("fd"))
}

/// The folder that `path` lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
