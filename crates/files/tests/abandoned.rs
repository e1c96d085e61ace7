//! A program that ends in the middle of writing. Alone in its process: it takes away whatever is being written there.

use std::fs;
use std::path::Path;

use crayon_files::{OutputFile, OutputFolder};

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_is_abandoned_goes() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a"), b"old").unwrap();
    let file = OutputFile::create(&place.path().join("a")).unwrap();
    let folder = OutputFolder::create(&place.path().join("b")).unwrap();
    fs::write(folder.path().join("inside"), b"half").unwrap();
    assert_eq!(count(place.path()), 3);
    crayon_files::abandon();
    assert_eq!(count(place.path()), 1);
    assert!(file.commit().is_err() && folder.commit(|_| false).is_err());
    assert_eq!(fs::read(place.path().join("a")).unwrap(), b"old");
}
