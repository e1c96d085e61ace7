//! Models split over several GGUF files, as llama.cpp's `gguf-split` names and numbers them: the first part has the
//! metadata, each has tensors.

use std::path::{Path, PathBuf};

use super::{Gguf, Metadata};
use crate::bytes::Bytes;
use crate::error::{DAMAGED, Error, Result};

/// Most parts of a model; the number has five digits in a name.
const MOST: usize = 99_999;

/// The name of a part: what stands before the numbers, its number from 1, and how many there are.
///
/// `None` for names without numbers, such as those of models in one file.
pub(crate) fn numbers(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| {
        (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<usize>().ok())
            .flatten()
    };
    Some((stem, digits(number)?, digits(of)?))
}

/// How many parts the model has that a file with these metadata belongs to, and which of them it is, from 0.
pub(super) fn place(metadata: &Metadata) -> Result<Option<(usize, usize)>> {
    let count = metadata.usize("split.count")?.unwrap_or(1);
    if count < 2 {
        return Ok(None);
    }
    let number = metadata.usize("split.no")?.unwrap_or(0);
    if count > MOST || number >= count {
        let what = format!("is part {} of {count}", number.saturating_add(1));
        return Err(Error::key(metadata.file(), "split.count", what).with_hint(DAMAGED));
    }
    Ok(Some((number, count)))
}

/// The whole model that `part`, the file at `path`, belongs to.
pub(super) fn join(path: &Path, part: Gguf, count: usize) -> Result<Gguf> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((stem, _, _)) = numbers(&name).filter(|(_, _, of)| *of == count) else {
        let what = format!(
            "is one of {count} parts of a model, but its name does not say how the others are called"
        );
        return Err(Error::file(&part.file, what).with_hint(format!(
            "give the files their names again: NAME-00001-of-{count:05}.gguf and so on"
        )));
    };
    let at = |number: usize| -> PathBuf {
        path.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1))
    };
    let mut whole: Option<Gguf> = None;
    for number in 0..count {
        let path = at(number);
        let file = path.display().to_string();
        if !path.is_file() {
            return Err(Error::file(
                &file,
                format!("is missing: it is part {} of {count} of the model", number + 1),
            )
            .with_hint("download all parts into one folder"));
        }
        let next = Gguf::from_part(&file, Bytes::map(&path)?)?;
        if place(&next.metadata)? != Some((number, count)) {
            return Err(Error::key(
                &file,
                "split.no",
                format!("does not say that this is part {} of {count}", number + 1),
            )
            .with_hint("the parts belong to different models, or were renamed"));
        }
        match &mut whole {
            None => whole = Some(next),
            Some(whole) => whole.append(next)?,
        }
    }
    let whole = whole.unwrap_or(part);
    let total = whole.metadata.usize("split.tensors.count")?;
    if let Some(total) = total.filter(|total| *total != whole.entries().len()) {
        let what = format!("is {total}, the {count} parts hold {}", whole.entries().len());
        return Err(Error::key(&whole.file, "split.tensors.count", what)
            .with_hint("the parts belong to different models, or one is damaged"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn names_of_parts() {
        assert_eq!(numbers("a-b-00002-of-00003.gguf"), Some(("a-b", 2, 3)));
        for other in
            ["a.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin", "00001-of-00002.gguf", "a-of-00002.gguf"]
        {
            assert_eq!(numbers(other), None, "{other}");
        }
    }
}
