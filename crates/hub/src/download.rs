//! One file: resumed, received, checked, put in place.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crayon_net::{Response, Url, address};

use crate::digest::Hasher;
use crate::error::HubError;
use crate::http::{Client, Fault, Refusal, Retry};
use crate::plan::PlannedFile;
use crate::progress::Stage;

/// Bytes moved at a time.
const CHUNK: usize = 128 << 10;
/// Bytes a connection has to bring before its loss is not counted as a failed try.
const WORTH: u64 = 256 << 10;

/// Hears how many bytes of the file are here and what is being done.
pub(crate) type OnStage<'a> = dyn FnMut(u64, Stage<'_>) -> ControlFlow<()> + 'a;

/// Downloads `url` to `target`, going on with what an earlier try left beside it.
///
/// Bytes go to `target.part`; the ETag they came with to `target.part.etag`. Only a file with the listed size and
/// checksum is renamed to `target`.
pub(crate) fn fetch(
    client: &Client,
    url: &Url,
    target: &Path,
    file: &PlannedFile,
    refused: &dyn Fn(Refusal<'_>) -> HubError,
    on_stage: &mut OnStage<'_>,
) -> Result<(), HubError> {
    let mut part = Part::open(target, file, on_stage)?;
    let mut resumed = part.bytes > 0;
    loop {
        part.fill(client, url, refused, on_stage)?;
        match part.check() {
            Ok(()) => return part.place(target),
            // What an earlier try left may be at fault: once more, from the beginning.
            Err(_) if resumed => resumed = false,
            Err(error) => {
                part.remove();
                return Err(error);
            }
        }
        part.restart()?;
    }
}

/// Path of the unfinished file beside `target`.
pub(crate) fn part_path(target: &Path) -> PathBuf {
    with_suffix(target, ".part")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// An unfinished file: its first `bytes` bytes, and their checksum so far.
struct Part<'a> {
    file: &'a PlannedFile,
    path: PathBuf,
    etag_path: PathBuf,
    out: File,
    bytes: u64,
    hasher: Hasher,
}

impl<'a> Part<'a> {
    /// Opens what an earlier try left and reads it for the checksum.
    fn open(target: &Path, file: &'a PlannedFile, on_stage: &mut OnStage<'_>) -> Result<Part<'a>, HubError> {
        let path = part_path(target);
        let etag_path = with_suffix(&path, ".etag");
        let out = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| HubError::io("create", &path, error))?;
        let mut part =
            Part { file, path, etag_path, out, bytes: 0, hasher: file.checksum.hasher(file.bytes) };
        let length = part.out.metadata().map_err(|error| part.error("read", error))?.len();
        if length > file.bytes {
            part.restart()?;
            return Ok(part);
        }
        let mut buffer = vec![0; CHUNK];
        while part.bytes < length {
            let count = part.out.read(&mut buffer).map_err(|error| part.error("read", error))?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            part.hasher.update(read);
            part.bytes += count as u64;
            if on_stage(part.bytes, Stage::Checking).is_break() {
                return Err(HubError::Cancelled);
            }
        }
        Ok(part)
    }

    /// Forgets what is here.
    fn restart(&mut self) -> Result<(), HubError> {
        self.out.set_len(0).map_err(|error| self.error("truncate", error))?;
        self.out.seek(SeekFrom::Start(0)).map_err(|error| self.error("truncate", error))?;
        self.bytes = 0;
        self.hasher = self.file.checksum.hasher(self.file.bytes);
        Ok(())
    }

    /// Downloads what is missing, trying again after failures that may pass.
    fn fill(
        &mut self,
        client: &Client,
        url: &Url,
        refused: &dyn Fn(Refusal<'_>) -> HubError,
        on_stage: &mut OnStage<'_>,
    ) -> Result<(), HubError> {
        let mut retry = Retry::new(client, url);
        while self.bytes < self.file.bytes {
            let before = self.bytes;
            let outcome = match client.get(url, self.bytes) {
                Ok(answer) => self.receive(url, answer, on_stage)?,
                Err(fault) => Err(fault),
            };
            let Err(fault) = outcome else { continue };
            if self.bytes >= before.saturating_add(WORTH) {
                retry.progress();
            }
            let bytes = self.bytes;
            let mut wait = |reason: &str, left: Duration| on_stage(bytes, Stage::Waiting { reason, left });
            retry.pause(fault, refused, &mut wait)?;
        }
        Ok(())
    }

    /// Takes in an answer. The inner error may pass; the outer one will not.
    fn receive(
        &mut self,
        url: &Url,
        mut answer: Response,
        on_stage: &mut OnStage<'_>,
    ) -> Result<Result<(), Fault>, HubError> {
        if let Err(reason) = self.fits(&answer) {
            self.restart()?;
            return Ok(Err(Fault::Passing { reason, after: Some(Duration::ZERO) }));
        }
        if answer.status() == 200 && self.bytes > 0 {
            // The server does not do ranges: this is the file from its beginning.
            self.restart()?;
        }
        self.keep_etag(&answer)?;
        if let Some(length) = content_length(&answer).filter(|length| *length != self.file.bytes - self.bytes)
        {
            return Err(self.wrong_size(url, self.bytes + length));
        }
        let mut buffer = vec![0; CHUNK];
        while self.bytes < self.file.bytes {
            let count = match answer.read(&mut buffer) {
                Ok(count) => count,
                Err(fault) => return Ok(Err(Fault::new(url, fault))),
            };
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
                return Ok(Err(Fault::Passing { reason: "the file ended early".to_owned(), after: None }));
            };
            if self.bytes + count as u64 > self.file.bytes {
                return Err(self.wrong_size(url, self.bytes + count as u64));
            }
            self.out.write_all(read).map_err(|error| self.error("write", error))?;
            self.hasher.update(read);
            self.bytes += count as u64;
            if on_stage(self.bytes, Stage::Downloading).is_break() {
                return Err(HubError::Cancelled);
            }
        }
        Ok(Ok(()))
    }

    /// Whether a partial answer goes on where the part ends, in the same file.
    fn fits(&self, answer: &Response) -> Result<(), String> {
        if answer.status() == 416 {
            return Err("the server has no such range".to_owned());
        }
        if answer.status() != 206 {
            return Ok(());
        }
        let range = answer.header("content-range").and_then(content_range);
        if range
            .is_none_or(|(start, total)| start != self.bytes || total.is_some_and(|t| t != self.file.bytes))
        {
            return Err("the server sent another range than asked for".to_owned());
        }
        match (std::fs::read_to_string(&self.etag_path), answer.header("etag")) {
            (Ok(old), Some(new)) if old != new => Err("the file has changed on the server".to_owned()),
            _ => Ok(()),
        }
    }

    fn keep_etag(&self, answer: &Response) -> Result<(), HubError> {
        if self.bytes > 0 {
            return Ok(());
        }
        match answer.header("etag") {
            Some(etag) => std::fs::write(&self.etag_path, etag)
                .map_err(|error| HubError::io("write", &self.etag_path, error)),
            None => {
                let _ = std::fs::remove_file(&self.etag_path);
                Ok(())
            }
        }
    }

    /// Whether the whole file is the one that the hub lists.
    fn check(&mut self) -> Result<(), HubError> {
        let empty = self.file.checksum.hasher(self.file.bytes);
        let got = std::mem::replace(&mut self.hasher, empty).finish();
        if got == self.file.checksum {
            return Ok(());
        }
        Err(HubError::Checksum {
            file: self.file.name.clone(),
            wanted: self.file.checksum.to_string(),
            got: got.to_string(),
        })
    }

    /// Renames the whole file to `target`.
    fn place(self, target: &Path) -> Result<(), HubError> {
        self.out.sync_all().map_err(|error| self.error("write", error))?;
        let Part { path, etag_path, out, .. } = self;
        drop(out);
        std::fs::rename(&path, target).map_err(|error| HubError::io("rename", &path, error))?;
        let _ = std::fs::remove_file(&etag_path);
        Ok(())
    }

    /// Removes a file that is beyond use.
    fn remove(self) {
        let Part { path, etag_path, out, .. } = self;
        drop(out);
        for damaged in [&path, &etag_path] {
            let _ = std::fs::remove_file(damaged);
        }
    }

    fn wrong_size(&self, url: &Url, bytes: u64) -> HubError {
        let what = format!("sends {bytes} bytes or more, the hub lists {}", self.file.bytes);
        HubError::Answer { url: address::shown(url), what }
    }

    fn error(&self, action: &'static str, error: std::io::Error) -> HubError {
        HubError::io(action, &self.path, error)
    }
}

fn content_length(answer: &Response) -> Option<u64> {
    answer.header("content-length")?.trim().parse().ok()
}

/// Start and, where known, total of `bytes START-END/TOTAL`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("lines 5-9/10"), None);
    }
}
