//! Every kind of thing an output can be: absent, a file, a folder, a link, a dangling link, a pipe, a device.

use std::fs;
use std::path::Path;

use crayon_errors::{Explain, Verdict};
use crayon_files::{OutputFile, OutputFolder, PARTIAL, create_folder, write_file};

/// Names in `folder`, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    let mut file = OutputFile::create(&path).unwrap();
    file.write(b"new").unwrap();
    assert!(!path.exists());
    let hidden = &names(place.path())[0];
    assert!(hidden.starts_with(".a.") && hidden.ends_with(PARTIAL), "{hidden}");
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");

    let mut file = OutputFile::create(&path).unwrap();
    file.write(b"half").unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(place.path()), ["a"]);
}

#[test]
fn folders_and_paths_that_lead_nowhere_are_refused() {
    let place = tempfile::tempdir().unwrap();
    for path in [place.path().to_owned(), place.path().join("no/such"), "".into(), "..".into(), "/".into()] {
        let error = write_file(&path, b"x").unwrap_err();
        assert_eq!(error.verdict(), Verdict::Mistake, "{error}");
        assert!(error.to_string().contains(": cannot create: "), "{error}");
        assert!(!error.to_string().contains("os error"), "{error}");
    }
    fs::write(place.path().join("file"), b"old").unwrap();
    assert_eq!(OutputFolder::create(&place.path().join("file")).unwrap_err().verdict(), Verdict::Mistake);
    assert!(create_folder(&place.path().join("file")).is_err());
    assert_eq!(names(place.path()), ["file"]);
}

#[test]
fn files_of_a_folder_come_together_and_others_stay() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model");
    for (round, expected) in [(0, vec!["one"]), (1, vec!["notes", "one", "two"])] {
        let folder = OutputFolder::create(&path).unwrap();
        fs::write(folder.path().join("one"), round.to_string()).unwrap();
        if round == 1 {
            fs::write(folder.path().join("two"), b"").unwrap();
            fs::write(path.join("old.bin"), b"").unwrap();
            fs::write(path.join("notes"), b"mine").unwrap();
        }
        folder.commit(|name| name.ends_with(".bin")).unwrap();
        assert_eq!(names(&path), expected);
        assert_eq!(fs::read_to_string(path.join("one")).unwrap(), round.to_string());
    }
    let folder = OutputFolder::create(&path).unwrap();
    fs::write(folder.path().join("one"), b"half").unwrap();
    drop(folder);
    assert_eq!(fs::read_to_string(path.join("one")).unwrap(), "1");
    assert_eq!((names(&path).len(), names(place.path()).len()), (3, 1));
}

#[cfg(unix)]
mod unix {
    use std::fs::{File, Permissions};
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn permissions_are_those_of_any_new_file_or_of_the_one_before() {
        let place = tempfile::tempdir().unwrap();
        let (usual, new) = (place.path().join("usual"), place.path().join("new"));
        fs::write(&usual, b"").unwrap();
        write_file(&new, b"").unwrap();
        assert_eq!(mode(&new), mode(&usual));
        for wanted in [0o600, 0o444, 0o755] {
            fs::set_permissions(&new, Permissions::from_mode(wanted)).unwrap();
            write_file(&new, b"again").unwrap();
            assert_eq!(mode(&new), wanted);
        }
        let (usual, new) = (place.path().join("folder"), place.path().join("made"));
        fs::create_dir(&usual).unwrap();
        OutputFolder::create(&new).unwrap().commit(|_| false).unwrap();
        assert_eq!(mode(&new), mode(&usual));
    }

    #[test]
    fn links_stay_and_what_they_name_is_written() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("there")).unwrap();
        fs::write(path("there/file"), b"old").unwrap();
        symlink("there/file", path("link")).unwrap();
        symlink("link", path("chain")).unwrap();
        symlink("there/later", path("dangling")).unwrap();
        for (link, file) in [("link", "there/file"), ("chain", "there/file"), ("dangling", "there/later")] {
            write_file(&path(link), link.as_bytes()).unwrap();
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link}");
            assert!(fs::symlink_metadata(path(file)).unwrap().is_file(), "{link}");
            assert_eq!(fs::read_to_string(path(file)).unwrap(), link);
        }
        symlink("round", path("about")).unwrap();
        symlink("about", path("round")).unwrap();
        assert!(write_file(&path("about"), b"").is_err());
        assert_eq!(names(&path("there")), ["file", "later"]);
    }

    #[test]
    fn links_to_folders_stay_and_links_in_folders_are_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        symlink("target", path("link")).unwrap();
        symlink("elsewhere", path("other")).unwrap();
        create_folder(&path("other")).unwrap();
        for round in ["dangling", "there"] {
            let folder = OutputFolder::create(&path("link")).unwrap();
            fs::write(folder.path().join("one"), round).unwrap();
            folder.commit(|_| false).unwrap();
            assert_eq!(fs::read_to_string(path("target/one")).unwrap(), round);
        }
        assert!(["link", "other"].iter().all(|link| fs::symlink_metadata(path(link)).unwrap().is_symlink()));
        assert!(path("elsewhere").is_dir());

        fs::write(path("precious"), b"old").unwrap();
        symlink("../precious", path("target/two")).unwrap();
        for (name, stale) in [("two", ""), ("three", "two")] {
            let folder = OutputFolder::create(&path("target")).unwrap();
            fs::write(folder.path().join("one"), b"newer").unwrap();
            fs::write(folder.path().join(name), b"new").unwrap();
            let error = folder.commit(|name| name == stale).unwrap_err();
            assert!(error.is_mistake() && error.to_string().contains("two: cannot replace"), "{error}");
        }
        assert_eq!(names(&path("target")), ["one", "two"]);
        assert_eq!(fs::read_to_string(path("target/one")).unwrap(), "there");
        assert_eq!(fs::read_to_string(path("precious")).unwrap(), "old");
    }

    #[test]
    fn a_pipe_gets_the_bytes_or_is_refused_where_nobody_reads() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pipe");
        pipe(&path);
        let error = write_file(&path, b"x").unwrap_err();
        assert!(error.is_mistake() && error.to_string().contains("no program reads from it"), "{error}");
        assert!(error.hint().unwrap().contains("another path"));
        // More than a pipe holds, so that the writer has to wait for the reader.
        let bytes = vec![7u8; 300_000];
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut read = Vec::new();
                File::open(path).unwrap().read_to_end(&mut read).unwrap();
                read
            }
        });
        while let Err(error) = write_file(&path, &bytes) {
            assert!(error.to_string().contains("no program reads"), "{error}");
            std::thread::yield_now();
        }
        assert!(reader.join().unwrap() == bytes);
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        assert!(OutputFolder::create(&path).is_err());
        assert_eq!(names(place.path()), ["pipe"]);
    }

    #[test]
    fn devices_are_written_to() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join("link");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            write_file(path, b"x").unwrap();
            assert!(fs::metadata(path).unwrap().file_type().is_char_device());
        }
        assert_eq!(names(place.path()), ["link"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_a_fault() {
        let error = write_file(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.verdict(), Verdict::Fault, "{error}");
        assert!(error.hint().unwrap().contains("room"));
        assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_written_through() {
        use std::os::fd::AsRawFd;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        fs::write(&path, b"before ").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
        symlink(&descriptor, place.path().join("link")).unwrap();
        write_file(Path::new(&descriptor), b"one ").unwrap();
        write_file(&place.path().join("link"), b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before one two");
    }
}
