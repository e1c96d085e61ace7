//! One file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::target::{Target, parent};
use crate::unfinished::Listed;
use crate::{Error, PARTIAL, Result, hidden};

/// Bytes collected before the system is asked to take them.
const BUFFER: usize = 1 << 20;

/// A file in the making. It takes its place on [`OutputFile::commit`]; dropped without it, nothing remains and what was
/// there before stays.
///
/// A device or a pipe is written to at once.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    out: BufWriter<Sink>,
}

#[derive(Debug)]
enum Sink {
    /// A hidden file and the place it will take.
    Beside(NamedTempFile, PathBuf, Listed),
    Through(File),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Beside(file, ..) => file.as_file_mut().write(bytes),
            Sink::Through(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Beside(file, ..) => file.as_file_mut().flush(),
            Sink::Through(file) => file.flush(),
        }
    }
}

impl OutputFile {
    /// Starts a file that will become `target`.
    ///
    /// # Errors
    /// If `target` is a folder, its folder does not take a new file, or it is a pipe that no program reads.
    pub fn create(target: &Path) -> Result<OutputFile> {
        let sink = open(target).map_err(|source| Error::new(target, "create", source))?;
        Ok(OutputFile { target: target.to_owned(), out: BufWriter::with_capacity(BUFFER, sink) })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// If the disk does not take them, or nobody reads the pipe any more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::new(&self.target, "write", source))
    }

    /// Flushes to the disk and puts the file in its place.
    ///
    /// # Errors
    /// If flushing or renaming fails; the target is then as it was.
    pub fn commit(self) -> Result<()> {
        let OutputFile { target, out } = self;
        let write = |source| Error::new(&target, "write", source);
        match out.into_inner().map_err(|error| write(error.into_error()))? {
            // Devices and pipes have nothing to bring to a disk, and many refuse to try.
            Sink::Through(_) => Ok(()),
            Sink::Beside(file, place, _listed) => {
                file.as_file().sync_all().map_err(write)?;
                file.persist(place).map_err(|error| Error::new(&target, "replace", error.error))?;
                Ok(())
            }
        }
    }

    /// The path it was created with.
    pub fn target(&self) -> &Path {
        &self.target
    }
}

/// Writes a small file at once.
///
/// # Errors
/// As [`OutputFile`].
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OutputFile::create(target)?;
    file.write(bytes)?;
    file.commit()
}

fn open(path: &Path) -> io::Result<Sink> {
    let target = Target::of(path)?;
    if target.is_folder() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    if target.through {
        return open_through(&target.path).map(Sink::Through);
    }
    let name = target.path.file_name();
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a file needs a name"))?;
    let prefix = hidden(name);
    let file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(PARTIAL)
        // With the permissions of any new file, which `tempfile` alone would not give.
        .make_in(parent(&target.path), |path| File::options().write(true).create_new(true).open(path))?;
    if let Some(there) = target.there {
        file.as_file().set_permissions(there.permissions())?;
    }
    let listed = Listed::new(file.path());
    Ok(Sink::Beside(file, target.path, listed))
}

/// Opens what is written through. A pipe must have a reader: without one, opening it waits, perhaps for ever.
#[cfg(unix)]
fn open_through(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let options = || {
        let mut options = File::options();
        // Where it is a file, the shell opened it, and what is in it stays.
        options.append(true);
        options
    };
    let looked = match options().custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is a pipe, and no program reads from it",
            ));
        }
        looked => looked?,
    };
    // The first descriptor does not wait for a slow reader; this one does.
    let file = options().open(path);
    drop(looked);
    file
}

#[cfg(not(unix))]
fn open_through(path: &Path) -> io::Result<File> {
    File::options().append(true).open(path)
}
