//! The pictures of a folder and all below it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::{ImageError, Stamp};

/// Endings of names that are tried. What a file is, its bytes say.
const READ: &[&str] =
    &["jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff"];
/// Endings that are tried where HEIC is read, and else are those of a kind that is not.
const HEIC: &[&str] = &["heic", "heif", "hif"];
/// Endings of pictures that are not read, which is said.
const NOT_READ: &[&str] =
    &["avif", "jxl", "jp2", "psd", "svg", "ico", "cr2", "cr3", "nef", "arw", "dng", "orf", "rw2", "raf"];

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Walk {
    /// Files that look like pictures, in the order of their paths.
    pub files: Vec<(PathBuf, Stamp)>,
    /// Folders and files that the system did not let us see, with its reason.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Pictures of kinds that are not read: how many of each ending.
    pub not_read: BTreeMap<String, usize>,
}

/// Walks `folder`. Hidden files and folders are left out unless `hidden`. Links are followed, but a folder is entered once: links to it,
/// loops among them, are not gone through again.
///
/// `stop` is asked now and then.
///
/// # Errors
/// If `folder` itself cannot be read, or `stop` says so.
pub fn walk(folder: &Path, hidden: bool, stop: &dyn Fn() -> bool) -> Result<Walk, ImageError> {
    let root = fs::canonicalize(folder).map_err(|error| ImageError::io(folder, error))?;
    fs::read_dir(&root).map_err(|error| ImageError::io(folder, error))?;
    let mut walk = Walk::default();
    let mut entered = HashSet::from([root.clone()]);
    // Folders behind links wait until all others were entered under their own names.
    let mut own = vec![root];
    let mut linked: Vec<(PathBuf, PathBuf)> = Vec::new();
    loop {
        let Some(folder) = own.pop() else {
            match linked.pop() {
                Some((path, real)) if entered.insert(real.clone()) => own.push(path),
                Some(_) => {}
                None => break,
            }
            continue;
        };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                walk.unreadable.push((folder, crayon_errors::describe(&error)));
                continue;
            }
        };
        for entry in entries {
            if stop() {
                return Err(ImageError::Stopped);
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    walk.unreadable.push((folder.clone(), crayon_errors::describe(&error)));
                    break;
                }
            };
            let path = entry.path();
            if !hidden && entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                // A link that leads nowhere or in a circle, or a file that has just vanished, is nothing.
                Err(_) if is_link || fs::symlink_metadata(&path).is_err() => continue,
                Err(error) => {
                    walk.unreadable.push((path, crayon_errors::describe(&error)));
                    continue;
                }
            };
            if metadata.is_dir() {
                let Ok(real) = fs::canonicalize(&path) else { continue };
                match is_link {
                    true => linked.push((path, real)),
                    false if entered.insert(real) => own.push(path),
                    false => {}
                }
            } else if metadata.is_file() {
                let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
                let heic = HEIC.contains(&ending.as_str());
                if READ.contains(&ending.as_str()) || heic && cfg!(feature = "heic") {
                    walk.files.push((path, stamp(&metadata)));
                } else if heic || NOT_READ.contains(&ending.as_str()) {
                    *walk.not_read.entry(ending).or_default() += 1;
                }
            }
        }
    }
    walk.files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(walk)
}

/// Size and time of a file.
pub(crate) fn stamp(metadata: &fs::Metadata) -> Stamp {
    let modified = metadata.modified().ok().map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    });
    Stamp { size: metadata.len(), modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(walk: &Walk) -> Vec<String> {
        walk.files.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn pictures_are_found_and_others_counted() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        };
        for name in ["b.JPG", "a/c.png", "a/.hidden.png", ".thumbs/d.png", "notes.txt", "e.avif", "noending"]
        {
            write(name);
        }
        let found = walk(folder.path(), false, &|| false).unwrap();
        assert_eq!(names(&found), ["c.png", "b.JPG"]);
        assert_eq!(found.not_read, BTreeMap::from([("avif".to_owned(), 1)]));
        assert_eq!(walk(folder.path(), true, &|| false).unwrap().files.len(), 4);
        assert!(walk(&folder.path().join("none"), false, &|| false).is_err());
        assert!(matches!(walk(folder.path(), false, &|| true), Err(ImageError::Stopped)));
    }

    #[cfg(unix)]
    #[test]
    fn links_in_circles_end() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("out.png"), b"x").unwrap();
        let mut inner = folder.path().to_owned();
        for depth in 0..12 {
            inner = inner.join(format!("d{depth}"));
            fs::create_dir(&inner).unwrap();
            symlink(folder.path(), inner.join("up")).unwrap();
            symlink(&inner, inner.join("self")).unwrap();
            symlink(outside.path(), inner.join("out")).unwrap();
        }
        fs::write(inner.join("deep.png"), b"x").unwrap();
        symlink(inner.join("nothing"), inner.join("dangling.png")).unwrap();
        symlink(inner.join("loop.png"), inner.join("loop.png")).unwrap();
        let found = walk(folder.path(), false, &|| false).unwrap();
        let mut found = names(&found);
        found.sort();
        assert_eq!(found, ["deep.png", "out.png"]);
    }
}
