//! What to download: the hub's list of a repository's files, reduced to what this program reads.

use serde::Deserialize;

use crate::digest::{Checksum, hexadecimal};
use crate::error::HubError;
use crate::reference::{Reference, is_file_name};

/// Longest list of files read, in bytes of JSON.
pub(crate) const MAX_LISTING: u64 = 64 << 20;
/// Most files of one model.
const MAX_FILES: usize = 10_000;
/// Largest file that is not weights; the largest tokenizers have some 40 MB.
const MAX_SMALL: u64 = 1 << 30;
/// Largest model.
const MAX_TOTAL: u64 = 16 << 40;

/// Files beside the weights that the program reads.
const SMALL: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "adapter_config.json",
    INDEX,
];
const INDEX: &str = "model.safetensors.index.json";

/// The files of one model at one commit, to be given to [`crate::Hub::pull`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The model as it was asked for.
    pub reference: Reference,
    /// The commit its revision stands for, 40 hexadecimal digits.
    pub commit: String,
    /// What to download, small files first.
    pub files: Vec<PlannedFile>,
}

impl Plan {
    /// Size of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Plain file name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    pub(crate) checksum: Checksum,
}

/// The hub's description of a repository, as far as it is used.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

/// Reads a listing and chooses from it.
pub(crate) fn plan(reference: &Reference, url: &str, json: &[u8]) -> Result<Plan, HubError> {
    let wrong = |what: String| HubError::Answer { url: url.to_owned(), what };
    let listing: Listing = serde_json::from_slice(json)
        .map_err(|error| wrong(format!("the list of files is not one: {error}")))?;
    let commit = hexadecimal(&listing.sha, 40).ok_or_else(|| wrong("the commit is not one".to_owned()))?;
    if let Some(bad) = listing.siblings.iter().find(|file| !is_inside(&file.rfilename)) {
        let name: String = bad.rfilename.chars().take(80).collect();
        return Err(wrong(format!(
            "the list names a file outside the repository, {name:?}; nothing was downloaded"
        )));
    }

    let names: Vec<&str> = listing.siblings.iter().map(|file| file.rfilename.as_str()).collect();
    let chosen = choose(reference, &names)?;
    let mut files = Vec::with_capacity(chosen.len());
    for name in chosen {
        let Some(file) = listing.siblings.iter().find(|file| file.rfilename == name) else { continue };
        files.push(planned(file).map_err(wrong)?);
    }
    let total = files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
    if total.is_none_or(|total| total > MAX_TOTAL) || files.len() > MAX_FILES {
        return Err(wrong("the files are more or larger than any model's".to_owned()));
    }
    Ok(Plan { reference: reference.clone(), commit, files })
}

/// The names to download, small files first.
fn choose<'a>(reference: &Reference, names: &[&'a str]) -> Result<Vec<&'a str>, HubError> {
    let repository = reference.repository();
    let mut top: Vec<&str> = names.iter().copied().filter(|name| is_file_name(name)).collect();
    top.sort_unstable();
    top.dedup();
    let ggufs: Vec<&str> = top.iter().copied().filter(|name| is_gguf(name)).collect();
    let tensors: Vec<&str> = top.iter().copied().filter(|name| name.ends_with(".safetensors")).collect();

    if let Some(wanted) = &reference.file {
        return pick(wanted, &ggufs).map(|file| vec![file]).map_err(|what| HubError::Choice {
            repository,
            what,
            files: owned(&ggufs),
        });
    }
    if !tensors.is_empty() {
        let mut chosen: Vec<&str> = top.iter().copied().filter(|name| SMALL.contains(name)).collect();
        chosen.extend(weights(&top, &tensors));
        return Ok(chosen);
    }
    match ggufs.as_slice() {
        [] => {
            let pickles =
                top.iter().any(|name| [".bin", ".pt", ".pth"].iter().any(|end| name.ends_with(end)));
            Err(HubError::NothingToRead { repository, pickles })
        }
        [file] => Ok(vec![file]),
        _ => {
            Err(HubError::Choice { repository, what: "several GGUF files".to_owned(), files: owned(&ggufs) })
        }
    }
}

/// The safetensors files that make up the model. Some repositories hold the same weights twice, in shards beside
/// `model.safetensors` or as `consolidated.safetensors`.
fn weights<'a>(top: &[&str], tensors: &[&'a str]) -> Vec<&'a str> {
    let shards: Vec<&str> =
        tensors.iter().copied().filter(|name| name.starts_with("model-") && name.contains("-of-")).collect();
    if top.contains(&INDEX) && !shards.is_empty() {
        return shards;
    }
    match tensors.iter().copied().find(|name| *name == "model.safetensors") {
        Some(whole) => vec![whole],
        None => tensors.to_vec(),
    }
}

/// The one file of that name, or with that text in its name whatever the case.
pub(crate) fn pick<'a>(wanted: &str, files: &[&'a str]) -> Result<&'a str, String> {
    if let Some(same) = files.iter().find(|name| **name == wanted) {
        return Ok(same);
    }
    let part = wanted.to_ascii_lowercase();
    let close: Vec<&&str> = files.iter().filter(|name| name.to_ascii_lowercase().contains(&part)).collect();
    match close.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("no GGUF file is called `{wanted}`")),
        _ => Err(format!("`{wanted}` fits several GGUF files")),
    }
}

fn planned(file: &Sibling) -> Result<PlannedFile, String> {
    let name = &file.rfilename;
    let (bytes, checksum) = match &file.lfs {
        Some(lfs) => (Some(lfs.size), Checksum::sha256(&lfs.sha256)),
        None => (file.size, file.blob.as_deref().and_then(Checksum::git_sha1)),
    };
    let bytes = bytes.ok_or_else(|| format!("no size is listed for {name}"))?;
    let checksum = checksum.ok_or_else(|| format!("no checksum is listed for {name}"))?;
    if SMALL.contains(&name.as_str()) && bytes > MAX_SMALL {
        return Err(format!("{name} would have {bytes} bytes, more than such a file ever has"));
    }
    Ok(PlannedFile { name: name.clone(), bytes, checksum })
}

pub(crate) fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether a path of a listing stays in its folder on every system.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && path.split_once(':').is_none_or(|(drive, _)| drive.len() != 1)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    const SHA1: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";

    fn listing(names: &[&str]) -> String {
        let files: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"rfilename":{},"size":5,"blobId":"{SHA1}"}}"#, serde_json::json!(name)))
            .collect();
        format!(r#"{{"sha":"{SHA1}","siblings":[{}]}}"#, files.join(","))
    }

    fn chosen(reference: &str, names: &[&str]) -> Result<Vec<String>, HubError> {
        let plan = plan(&reference.parse().unwrap(), "http://hub", listing(names).as_bytes())?;
        Ok(plan.files.into_iter().map(|file| file.name).collect())
    }

    #[test]
    fn takes_what_the_program_reads_and_nothing_twice() {
        let names = [
            "README.md",
            "config.json",
            "pytorch_model.bin",
            "model.safetensors",
            "onnx/model.onnx",
            "tokenizer.json",
            "consolidated.safetensors",
            "original/params.json",
            ".gitattributes",
            "x.gguf",
        ];
        assert_eq!(chosen("a/b", &names).unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        let sharded = [
            "config.json",
            "model-00002-of-00002.safetensors",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
        ];
        assert_eq!(
            chosen("a/b", &sharded).unwrap(),
            [
                "config.json",
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ]
        );
        assert_eq!(
            chosen("a/b", &["adapter_config.json", "adapter_model.safetensors"]).unwrap(),
            ["adapter_config.json", "adapter_model.safetensors"]
        );
    }

    #[test]
    fn a_gguf_is_taken_alone_or_by_name() {
        let names = ["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "config.json"];
        assert_eq!(chosen("a/b", &names[..2]).unwrap(), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen("a/b:m-Q8_0.gguf", &names).unwrap(), ["m-Q8_0.gguf"]);
        assert_eq!(chosen("a/b:q8_0", &names).unwrap(), ["m-Q8_0.gguf"]);
        for (reference, what) in [("a/b", "several"), ("a/b:Q5", "no GGUF file"), ("a/b:m-", "fits several")]
        {
            let error = chosen(reference, &names).unwrap_err();
            assert!(error.to_string().contains(what) && error.to_string().contains("m-Q8_0.gguf"), "{error}");
            assert_eq!(error.hint().unwrap().to_string(), "name one, for example a/b:m-Q4_K_M.gguf");
        }
    }

    #[test]
    fn pickles_are_never_taken() {
        let error = chosen("a/b", &["config.json", "pytorch_model.bin"]).unwrap_err();
        assert!(error.to_string().contains("pickles"), "{error}");
        assert!(!chosen("a/b", &["README.md"]).unwrap_err().to_string().contains("pickles"));
    }

    #[test]
    fn a_listing_that_leaves_its_folder_is_refused_whole() {
        for name in ["../x.safetensors", "a/../../x", "/etc/passwd", "a\\..\\x", "C:/x", "a//b", "x\u{0}", ""]
        {
            let error = chosen("a/b", &["config.json", "model.safetensors", name]).unwrap_err();
            assert!(error.to_string().contains("outside the repository"), "{name:?}: {error}");
        }
    }

    #[test]
    fn absurd_or_incomplete_listings_are_refused() {
        let check = |json: String, what: &str| {
            let error = plan(&"a/b".parse().unwrap(), "http://hub", json.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(what), "{json}: {error}");
        };
        check("<html>".to_owned(), "not one");
        check(listing(&["model.safetensors"]).replace(SHA1, "../../x"), "commit");
        check(listing(&["model.safetensors"]).replace("\"size\":5", "\"size\":null"), "no size");
        check(listing(&["model.safetensors"]).replace("blobId", "other"), "no checksum");
        check(listing(&["model.safetensors"]).replace(":5", ":18446744073709551615"), "larger than any");
        let both = ["config.json", "model.safetensors"];
        check(listing(&both).replace(":5", ":9999999999"), "config.json would have");
    }
}
