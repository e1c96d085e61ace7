//! Bringing an index up to date with a folder.
//!
//! Threads read, hash and decode; the calling one embeds what they hand over, with all cores, and commits about once a second.
//! What was committed is never done again: a run that is stopped or killed is gone on with by the same call.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crayon_vision::Pixels;
use sha2::{Digest, Sha256};

use crate::caught::caught;
use crate::embedder::Embedder;
use crate::looks::look;
use crate::store::{Batch, Store};
use crate::walk::{Walk, stamp, walk};
use crate::{Broken, Details, FileRecord, Hash, ImageError, Stamp, details};

/// Pictures that are embedded together.
const TOGETHER: usize = 16;
/// Time between commits.
const BETWEEN_COMMITS: Duration = Duration::from_secs(1);
/// The largest file that is read.
const LARGEST_FILE: u64 = 1 << 29;

/// How a folder is indexed.
#[derive(Clone, Copy, Debug)]
pub struct IndexOptions {
    /// Hidden files and folders too.
    pub hidden: bool,
    /// Threads that read and decode.
    pub threads: usize,
    /// Whether a folder without any picture may empty its part of the index.
    pub may_empty: bool,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Files with pictures in the folder.
    pub found: usize,
    /// Pictures embedded.
    pub embedded: usize,
    /// Files whose picture was known: copies, and files that were moved.
    pub known: usize,
    /// Files that had not changed.
    pub unchanged: usize,
    /// Files that are gone.
    pub gone: usize,
    /// Files that are not pictures, and why not; those from earlier runs that have not changed among them.
    pub broken: Vec<(PathBuf, String)>,
    /// Files and folders that the system did not let us read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Pictures of kinds that are not read: each ending and how many.
    pub not_read: Vec<(String, usize)>,
    /// Whether the caller stopped it.
    pub stopped: bool,
}

/// What a thread made of a file.
enum Outcome {
    /// A picture that is not in the index.
    New(Box<(FileRecord, Details, Pixels)>),
    /// One that is.
    Known(FileRecord),
    Broken(Stamp, String),
    Unreadable(String),
    Vanished,
}

/// Brings the part of `store` that lies below `folder` up to date. `progress` hears how many of how many files are done, and may stop it.
///
/// # Errors
/// If the folder cannot be read, holds no picture any more though the index has some of it, or the store or the model fails.
pub fn index(
    folder: &Path,
    store: &Store,
    embedder: &dyn Embedder,
    options: &IndexOptions,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Report, ImageError> {
    let root = fs::canonicalize(folder).map_err(|error| ImageError::io(folder, error))?;
    let stopping = AtomicBool::new(false);
    let progress = RefCell::new(progress);
    let found = walk(&root, options.hidden, &|| (progress.borrow_mut())(0, 0).is_break())?;
    let progress = progress.into_inner();
    let reader = store.reader()?;
    let (old, broken) = (reader.files()?, reader.broken()?);
    let pictures: HashSet<Hash> = reader.details()?.into_keys().collect();
    drop(reader);
    let mut report = Report {
        found: found.files.len(),
        unreadable: found.unreadable.clone(),
        not_read: found.not_read.iter().map(|(ending, count)| (ending.clone(), *count)).collect(),
        ..Report::default()
    };
    let mut todo: Vec<(&Path, Stamp)> = Vec::new();
    for (path, stamp) in &found.files {
        // A file whose picture is not there was written in the moment before a kill.
        if old.get(path).is_some_and(|record| record.stamp == *stamp && pictures.contains(&record.hash)) {
            report.unchanged += 1;
        } else if let Some(known) = broken.get(path).filter(|known| known.stamp == *stamp) {
            report.broken.push((path.clone(), known.why.clone()));
        } else {
            todo.push((path, *stamp));
        }
    }
    let gone: Vec<PathBuf> = vanished(&root, &found, old.keys().chain(broken.keys()));
    let before = old.keys().filter(|path| path.starts_with(&root)).count();
    if found.files.is_empty() && before > 0 && !options.may_empty {
        return Err(ImageError::unusable(
            format!("{} holds no picture, but the index has {before} of it", folder.display()),
            "check that its disk is there; name the folder that was indexed, or delete the index to begin anew",
        ));
    }
    let mut work = Work {
        store,
        embedder,
        known: Mutex::new(pictures),
        todo: &todo,
        next: AtomicUsize::new(0),
        stopping: &stopping,
    };
    report.stopped = work.run(options.threads.max(1), &mut report, progress)?;
    if !report.stopped {
        report.gone = gone.len();
        store.write(&Batch { gone, ..Batch::default() })?;
        store.sweep()?;
    }
    report.broken.sort();
    report.unreadable.sort();
    Ok(report)
}

/// Known paths below `root` that the walk did not meet, unless it could not look there.
fn vanished<'a>(root: &Path, found: &Walk, known: impl Iterator<Item = &'a PathBuf>) -> Vec<PathBuf> {
    let seen: HashSet<&PathBuf> = found.files.iter().map(|(path, _)| path).collect();
    let hidden_from_us = |path: &Path| found.unreadable.iter().any(|(folder, _)| path.starts_with(folder));
    known
        .filter(|path| path.starts_with(root) && !seen.contains(path) && !hidden_from_us(path))
        .cloned()
        .collect()
}

struct Work<'a> {
    store: &'a Store,
    embedder: &'a dyn Embedder,
    /// Pictures of the index, and those in hand.
    known: Mutex<HashSet<Hash>>,
    todo: &'a [(&'a Path, Stamp)],
    next: AtomicUsize,
    stopping: &'a AtomicBool,
}

impl Work<'_> {
    /// Reads, embeds and writes everything to do; whether it was stopped.
    fn run(
        &mut self,
        threads: usize,
        report: &mut Report,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<bool, ImageError> {
        let total = self.todo.len();
        let work = &*self;
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(2 * TOGETHER);
            for _ in 0..threads.min(total) {
                let sender = sender.clone();
                scope.spawn(move || work.read_all(&sender));
            }
            drop(sender);
            let mut done = 0;
            let mut batch = Batch::default();
            let mut waiting: Vec<(PathBuf, FileRecord, Details, Pixels)> = Vec::new();
            let mut committed = Instant::now();
            // Whatever ends this loop early, the threads must see it: the channel is dropped with the closure.
            let result = loop {
                if progress(done, total).is_break() {
                    break Ok(true);
                }
                let received = receiver.recv_timeout(BETWEEN_COMMITS / 4);
                let ended = matches!(received, Err(RecvTimeoutError::Disconnected));
                if let Ok((path, read)) = received {
                    done += 1;
                    match read {
                        Outcome::New(new) => {
                            let (record, details, pixels) = *new;
                            waiting.push((path, record, details, pixels));
                        }
                        Outcome::Known(record) => {
                            report.known += 1;
                            batch.files.push((path, record));
                        }
                        Outcome::Broken(stamp, why) => {
                            report.broken.push((path.clone(), why.clone()));
                            batch.broken.push((path, Broken { stamp, why }));
                        }
                        Outcome::Unreadable(why) => report.unreadable.push((path, why)),
                        Outcome::Vanished => batch.gone.push(path),
                    }
                }
                let late = committed.elapsed() >= BETWEEN_COMMITS;
                if waiting.len() >= TOGETHER || (ended || late) && !waiting.is_empty() {
                    report.embedded += waiting.len();
                    if let Err(error) = self.embed(&mut waiting, &mut batch) {
                        break Err(error);
                    }
                }
                if (late || ended) && !batch.is_empty() {
                    if let Err(error) = self.store.write(&batch) {
                        break Err(error);
                    }
                    batch = Batch::default();
                    committed = Instant::now();
                }
                if ended {
                    break Ok(false);
                }
            };
            self.stopping.store(true, Ordering::Relaxed);
            drop(receiver);
            // What was embedded before a stop is kept.
            if matches!(result, Ok(true)) && !batch.is_empty() {
                self.store.write(&batch)?;
            }
            result
        })
    }

    fn embed(
        &self,
        waiting: &mut Vec<(PathBuf, FileRecord, Details, Pixels)>,
        batch: &mut Batch,
    ) -> Result<(), ImageError> {
        let mut pixels = Vec::with_capacity(waiting.len());
        let mut rest = Vec::with_capacity(waiting.len());
        for (path, record, details, picture) in waiting.drain(..) {
            pixels.push(picture);
            rest.push((path, record, details));
        }
        let vectors = self.embedder.embed_pictures(&pixels).map_err(ImageError::Model)?;
        for ((path, record, details), vector) in
            rest.into_iter().zip(vectors.chunks_exact(self.embedder.dim()))
        {
            batch.pictures.push((record.hash, details, vector.to_vec()));
            batch.files.push((path, record));
        }
        Ok(())
    }

    /// A thread's life: files one after the other, until none is left or nobody listens.
    fn read_all(&self, sender: &SyncSender<(PathBuf, Outcome)>) {
        while !self.stopping.load(Ordering::Relaxed) {
            let Some((path, stamp)) = self.todo.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let read = caught(|| self.read(path))
                .unwrap_or_else(|| Outcome::Broken(*stamp, "its decoder gave up".to_owned()));
            if sender.send((path.to_path_buf(), read)).is_err() {
                return;
            }
        }
    }

    fn read(&self, path: &Path) -> Outcome {
        let (bytes, stamp) = match read_file(path) {
            Ok(read) => read,
            Err(Unread::Gone) => return Outcome::Vanished,
            Err(Unread::Refused(why)) => return Outcome::Unreadable(why),
            Err(Unread::Large(stamp, why)) => return Outcome::Broken(stamp, why),
        };
        if bytes.is_empty() {
            return Outcome::Broken(stamp, "the file is empty".to_owned());
        }
        let hash: Hash = Sha256::digest(&bytes).into();
        let record = FileRecord { hash, stamp };
        let known = |hash| self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(hash);
        if known(&hash) {
            return Outcome::Known(record);
        }
        match self.embedder.prepare(&bytes) {
            Err(why) => Outcome::Broken(stamp, why),
            Ok(pixels) => {
                let details = Details { look: look(&pixels), ..details(&bytes) };
                match self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(hash) {
                    true => Outcome::New(Box::new((record, details, pixels))),
                    false => Outcome::Known(record),
                }
            }
        }
    }
}

/// Why a file was not read.
pub(crate) enum Unread {
    Gone,
    Refused(String),
    Large(Stamp, String),
}

/// A file's bytes with its size and time as they were when it was opened.
pub(crate) fn read_file(path: &Path) -> Result<(Vec<u8>, Stamp), Unread> {
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Unread::Gone,
        _ => Unread::Refused(crayon_errors::describe(&error)),
    };
    let file = File::open(path).map_err(refused)?;
    let stamp = stamp(&file.metadata().map_err(refused)?);
    if stamp.size > LARGEST_FILE {
        let why = format!("the file has {} MB, {} are read at most", stamp.size >> 20, LARGEST_FILE >> 20);
        return Err(Unread::Large(stamp, why));
    }
    let mut bytes = Vec::with_capacity(stamp.size as usize);
    // A file that grows meanwhile is read as it is now; its stamp then tells that it changed.
    file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(refused)?;
    Ok((bytes, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MadeWith;
    use crate::made_up::{MadeUp, picture};

    const OPTIONS: IndexOptions = IndexOptions { hidden: false, threads: 3, may_empty: false };

    struct Fixture {
        folder: tempfile::TempDir,
        index: tempfile::TempDir,
        model: MadeUp,
    }

    impl Fixture {
        fn new() -> Fixture {
            Fixture {
                folder: tempfile::tempdir().unwrap(),
                index: tempfile::tempdir().unwrap(),
                model: MadeUp,
            }
        }

        fn put(&self, name: &str, bytes: &[u8]) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        fn store(&self) -> Store {
            let path = self.index.path().join("index");
            Store::open(&path, &MadeWith::of(&self.model)).unwrap()
        }

        fn run(&self) -> Report {
            index(self.folder.path(), &self.store(), &self.model, &OPTIONS, &mut |_, _| {
                ControlFlow::Continue(())
            })
            .unwrap()
        }
    }

    #[test]
    fn only_what_changed_is_embedded_again() {
        let fixture = Fixture::new();
        for (name, colour) in [("a.png", [255, 0, 0]), ("b/c.jpg", [0, 255, 0]), ("d.gif", [0, 0, 255])] {
            fixture.put(name, &picture(name, colour));
        }
        fixture.put("copy.png", &picture("a.png", [255, 0, 0]));
        let report = fixture.run();
        assert_eq!((report.found, report.embedded, report.known), (4, 3, 1));
        assert_eq!(fixture.run().unchanged, 4);
        let from = |name: &str| fixture.folder.path().join(name);
        fs::rename(from("b/c.jpg"), from("moved.jpg")).unwrap();
        fs::remove_file(from("d.gif")).unwrap();
        fixture.put("a.png", &picture("a.png", [9, 9, 9]));
        let report = fixture.run();
        assert_eq!((report.embedded, report.known, report.unchanged, report.gone), (1, 1, 1, 2));
        let store = fixture.store();
        let reader = store.reader().unwrap();
        assert_eq!((reader.files().unwrap().len(), reader.details().unwrap().len()), (3, 3));
        assert_eq!(reader.codes().unwrap().hashes.len(), 3);
    }

    #[test]
    fn broken_files_are_told_and_not_tried_again() {
        let fixture = Fixture::new();
        let png = picture("x.png", [1, 2, 3]);
        fixture.put("empty.png", b"");
        fixture.put("text.jpg", b"this is not a picture at all");
        fixture.put("cut.png", &png[..png.len() / 2]);
        fixture.put("misnamed.jpg", &png);
        let report = fixture.run();
        assert_eq!((report.embedded, report.broken.len()), (1, 3));
        assert!(report.broken.iter().any(|(_, why)| why == "the file is empty"));
        let again = fixture.run();
        assert_eq!((again.unchanged, again.broken), (1, report.broken));
        fixture.put("empty.png", &picture("x.png", [200, 2, 3]));
        let report = fixture.run();
        assert_eq!((report.embedded, report.broken.len()), (1, 2));
    }

    #[test]
    fn a_stopped_run_is_gone_on_with() {
        let fixture = Fixture::new();
        for i in 0..100u8 {
            fixture.put(&format!("{i}.png"), &picture("x.png", [i, 255 - i, 7]));
        }
        let mut stop = |done: usize, _: usize| match done {
            0..60 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let report =
            index(fixture.folder.path(), &fixture.store(), &fixture.model, &OPTIONS, &mut stop).unwrap();
        assert!(report.stopped && report.embedded >= 48, "{report:?}");
        let rest = fixture.run();
        assert_eq!(rest.embedded + report.embedded, 100);
        assert_eq!(rest.unchanged, report.embedded);
    }

    #[test]
    fn an_empty_folder_empties_nothing_by_accident() {
        let fixture = Fixture::new();
        fixture.put("a.png", &picture("a.png", [1, 1, 1]));
        fixture.run();
        fs::remove_file(fixture.folder.path().join("a.png")).unwrap();
        let mut go_on = |_: usize, _: usize| ControlFlow::Continue(());
        let refused = index(fixture.folder.path(), &fixture.store(), &fixture.model, &OPTIONS, &mut go_on);
        assert!(refused.unwrap_err().to_string().contains("holds no picture"));
        let options = IndexOptions { may_empty: true, ..OPTIONS };
        index(fixture.folder.path(), &fixture.store(), &fixture.model, &options, &mut go_on).unwrap();
        let store = fixture.store();
        assert!(store.reader().unwrap().details().unwrap().is_empty());
    }

    #[test]
    fn files_that_vanish_meanwhile_are_nothing() {
        let fixture = Fixture::new();
        for i in 0..20u8 {
            fixture.put(&format!("{i}.png"), &picture("x.png", [i * 12, 255 - i, 7]));
        }
        // The walk asks once for every file: when it asks the last time, it has seen all others.
        let mut asked = 0;
        let mut vanish = |_: usize, _: usize| {
            asked += 1;
            if asked == 20 {
                (0..10)
                    .for_each(|i| fs::remove_file(fixture.folder.path().join(format!("{i}.png"))).unwrap());
            }
            ControlFlow::Continue(())
        };
        let report =
            index(fixture.folder.path(), &fixture.store(), &fixture.model, &OPTIONS, &mut vanish).unwrap();
        assert!(report.found >= 19, "{report:?}");
        assert_eq!((report.embedded, report.broken.len(), report.unreadable.len()), (10, 0, 0), "{report:?}");
        assert_eq!(fixture.run().unchanged, 10);
    }
}
