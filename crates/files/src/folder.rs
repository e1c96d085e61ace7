//! A folder of files that belong together.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::target::{Target, parent};
use crate::unfinished::Listed;
use crate::{Error, PARTIAL, Result, hidden};

/// A folder in the making: files are written into [`OutputFolder::path`] and take their places on
/// [`OutputFolder::commit`]; dropped without it, nothing remains.
#[derive(Debug)]
pub struct OutputFolder {
    target: PathBuf,
    place: PathBuf,
    staging: TempDir,
    listed: Listed,
}

impl OutputFolder {
    /// Starts a folder that will become `target`, or whose files will go into it where it is there.
    ///
    /// # Errors
    /// If `target` is something else than a folder, or the folder around it does not take a new one.
    pub fn create(target: &Path) -> Result<OutputFolder> {
        let (place, staging) = start(target).map_err(|source| Error::new(target, "create", source))?;
        let listed = Listed::new(staging.path());
        Ok(OutputFolder { target: target.to_owned(), place, staging, listed })
    }

    /// Where the files are written.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Moves the files to their places. In a folder that was there, those whose names are `stale` go first, and others
    /// stay.
    ///
    /// # Errors
    /// If something that is not a file (a link, a device, a pipe) would be replaced or removed, which is found before
    /// anything changes, or the disk refuses.
    pub fn commit(self, stale: impl Fn(&str) -> bool) -> Result<()> {
        let OutputFolder { target, place, staging, listed: _listed } = self;
        if !place.exists() {
            let staged = staging.keep();
            return fs::rename(&staged, &place).map_err(|source| {
                // Nothing can be done about a folder that does not go.
                let _ = fs::remove_dir_all(&staged);
                Error::new(&target, "create", source)
            });
        }
        let replace = |source| Error::new(&target, "replace", source);
        let new = names(staging.path()).map_err(replace)?;
        let old: Vec<_> = names(&place)
            .map_err(replace)?
            .into_iter()
            .filter(|name| new.contains(name) || stale(&name.to_string_lossy()))
            .collect();
        for name in &old {
            let path = place.join(name);
            let is_file = fs::symlink_metadata(&path).is_ok_and(|there| there.is_file());
            if !is_file {
                let what = "it is a link, a device or a folder, and no file that could be replaced";
                return Err(Error::new(&path, "replace", io::Error::new(io::ErrorKind::AlreadyExists, what)));
            }
        }
        for name in old.iter().filter(|name| !new.contains(name)) {
            fs::remove_file(place.join(name)).map_err(replace)?;
        }
        for name in &new {
            fs::rename(staging.path().join(name), place.join(name)).map_err(replace)?;
        }
        Ok(())
    }
}

/// Makes `path` and the folders around it, where they are not there; a link is followed.
///
/// # Errors
/// If something else than a folder is there, or the disk refuses.
pub fn create_folder(path: &Path) -> Result<()> {
    let create = || fs::create_dir_all(Target::of(path)?.path);
    create().map_err(|source| Error::new(path, "create", source))
}

fn start(path: &Path) -> io::Result<(PathBuf, TempDir)> {
    let target = Target::of(path)?;
    if target.there.is_some() && !target.is_folder() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    // In a folder that is there: what lies beside it may be another disk, or belong to someone else.
    let (around, name) = match target.is_folder() {
        true => (target.path.as_path(), Some(OsStr::new("new"))),
        false => (parent(&target.path), target.path.file_name()),
    };
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a folder needs a name"))?;
    let (prefix, mut builder) = (hidden(name), tempfile::Builder::new());
    builder.prefix(&prefix).suffix(PARTIAL);
    #[cfg(unix)]
    {
        // Those of any new folder, from which the system takes what the umask says.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let staging = builder.tempdir_in(around).map_err(without_path)?;
    Ok((target.path, staging))
}

/// `tempfile` adds the hidden path, which tells a person nothing.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    io::Error::new(error.kind(), text.split(" (os error ").next().unwrap_or(&text).to_owned())
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}
