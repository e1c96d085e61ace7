//! Pictures in folders, a folder for each class, and their vectors.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crayon_kernels::Threads;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

use crate::ImageError;
use crate::caught::caught;
use crate::embedder::Embedder;
use crate::walk::walk;

/// Pictures that are decoded and embedded together.
const TOGETHER: usize = 64;

/// The folders in `folder` as classes: name and files, both in order.
///
/// # Errors
/// If it cannot be read, or a folder in it has no picture.
pub fn class_folders(folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, ImageError> {
    let entries = fs::read_dir(folder).map_err(|error| ImageError::io(folder, error))?;
    let mut classes = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| ImageError::io(folder, error))?.path();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if !path.is_dir() || name.starts_with('.') {
            continue;
        }
        let files: Vec<PathBuf> =
            walk(&path, false, &|| false)?.files.into_iter().map(|(path, _)| path).collect();
        if files.is_empty() {
            return Err(ImageError::unusable(
                format!("the folder {} has no pictures", path.display()),
                "each folder is a class and holds its pictures",
            ));
        }
        classes.push((name, files));
    }
    classes.sort();
    if classes.is_empty() {
        return Err(ImageError::unusable(
            format!("{} has no folders", folder.display()),
            "it must have a folder of pictures for each class, called like the class",
        ));
    }
    Ok(classes)
}

/// At most `count` of each class's files, by chance.
pub fn sample(classes: &[(String, Vec<PathBuf>)], count: usize, seed: u64) -> Vec<(usize, PathBuf)> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut chosen = Vec::new();
    for (class, (_, files)) in classes.iter().enumerate() {
        let mut files: Vec<&PathBuf> = files.iter().collect();
        for taken in 0..count.min(files.len()) {
            let left = (files.len() - taken) as u64;
            files.swap(taken, taken + (random.next_u64() % left) as usize);
            chosen.push((class, files[taken].clone()));
        }
    }
    chosen
}

/// Vectors of files, and those files that are not pictures.
pub struct Embedded {
    /// `[good files, dim]` of length 1.
    pub vectors: Vec<f32>,
    /// Which of the files they are.
    pub files: Vec<usize>,
    /// Files that are not pictures, and why not.
    pub broken: Vec<(PathBuf, String)>,
}

/// Reads, decodes and embeds files.
///
/// # Errors
/// If the model fails or `progress` stops it.
pub fn embed_files(
    embedder: &dyn Embedder,
    files: &[PathBuf],
    threads: &Threads,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Embedded, ImageError> {
    let mut all = Embedded { vectors: Vec::new(), files: Vec::new(), broken: Vec::new() };
    for (part, some) in files.chunks(TOGETHER).enumerate() {
        if progress(part * TOGETHER, files.len()).is_break() {
            return Err(ImageError::Stopped);
        }
        let read: Vec<Mutex<Option<Result<_, String>>>> = some.iter().map(|_| Mutex::new(None)).collect();
        threads.run(some.len(), |i| {
            let prepared = match fs::read(&some[i]) {
                Err(error) => Err(crayon_errors::describe(&error)),
                Ok(bytes) if bytes.is_empty() => Err("the file is empty".to_owned()),
                Ok(bytes) => caught(|| embedder.prepare(&bytes))
                    .unwrap_or_else(|| Err("its decoder gave up".to_owned())),
            };
            *read[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
        });
        let mut pixels = Vec::with_capacity(some.len());
        for (i, prepared) in read.into_iter().enumerate() {
            match prepared.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(Ok(picture)) => {
                    pixels.push(picture);
                    all.files.push(part * TOGETHER + i);
                }
                Some(Err(why)) => all.broken.push((some[i].clone(), why)),
                None => {}
            }
        }
        all.vectors.extend(embedder.embed_pictures(&pixels).map_err(ImageError::Model)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::{MadeUp, picture};

    #[test]
    fn folders_are_classes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(class_folders(folder.path()).is_err());
        for class in ["red", "blue"] {
            fs::create_dir(folder.path().join(class)).unwrap();
            for i in 0..5u8 {
                let colour = if class == "red" { [200 + i, 0, 0] } else { [0, 0, 200 + i] };
                fs::write(folder.path().join(format!("{class}/{i}.png")), picture("a.png", colour)).unwrap();
            }
        }
        fs::write(folder.path().join("red/broken.png"), b"no").unwrap();
        let classes = class_folders(folder.path()).unwrap();
        let names: Vec<(&str, usize)> =
            classes.iter().map(|(name, files)| (name.as_str(), files.len())).collect();
        assert_eq!(names, [("blue", 5), ("red", 6)]);
        let few = sample(&classes, 2, 1);
        assert_eq!(few.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [0, 0, 1, 1]);
        assert_eq!(few, sample(&classes, 2, 1));
        assert_eq!(sample(&classes, 99, 1).len(), 11);
        let embedded =
            embed_files(&MadeUp, &classes[1].1, &Threads::new(2), &mut |_, _| ControlFlow::Continue(()));
        let embedded = embedded.unwrap();
        assert_eq!((embedded.files.len(), embedded.broken.len(), embedded.vectors.len()), (5, 1, 25));
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert!(class_folders(folder.path()).is_err());
    }
}
