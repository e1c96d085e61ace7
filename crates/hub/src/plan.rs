//! What to download: the hub's list of a repository's files, reduced to what this program reads.

use serde::Deserialize;

use crate::digest::{Checksum, hexadecimal};
use crate::error::HubError;
use crate::gguf::{Set, base, offers, pick, sets, suggested};
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
    /// Where it lies in the repository.
    pub(crate) path: String,
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

impl Sibling {
    fn bytes(&self) -> Option<u64> {
        self.lfs.as_ref().map(|lfs| lfs.size).or(self.size)
    }
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

    let chosen = choose(reference, &listing.siblings)?;
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

/// The paths to download, small files first.
fn choose<'a>(reference: &Reference, files: &'a [Sibling]) -> Result<Vec<&'a str>, HubError> {
    let repository = reference.repository();
    let paths: Vec<&str> = files.iter().map(|file| file.rfilename.as_str()).collect();
    let mut top: Vec<&str> = paths.iter().copied().filter(|name| is_file_name(name)).collect();
    top.sort_unstable();
    top.dedup();
    let ggufs = sets(&paths);
    let tensors: Vec<&str> = top.iter().copied().filter(|name| name.ends_with(".safetensors")).collect();
    let size =
        |path: &str| files.iter().find(|file| file.rfilename == path).and_then(Sibling::bytes).unwrap_or(0);
    let choice = |what| {
        let offers = offers(&ggufs, size);
        let suggested = suggested(&offers).map(str::to_owned);
        HubError::Choice { repository: repository.clone(), what, offers, suggested }
    };

    let set = match (&reference.file, ggufs.as_slice()) {
        (Some(wanted), _) => pick(wanted, &ggufs).map_err(choice)?,
        (None, _) if !tensors.is_empty() => {
            let mut chosen: Vec<&str> = top.iter().copied().filter(|name| SMALL.contains(name)).collect();
            chosen.extend(weights(&top, &tensors));
            return Ok(chosen);
        }
        (None, []) => {
            let pickles =
                top.iter().any(|name| [".bin", ".pt", ".pth"].iter().any(|end| name.ends_with(end)));
            return Err(HubError::NothingToRead { repository, pickles });
        }
        (None, [one]) => one,
        (None, several) => return Err(choice(format!("it has {} GGUF models", several.len()))),
    };
    let Set { paths, of } = set;
    match paths.len() == *of {
        true => Ok(paths.clone()),
        false => Err(choice(format!("of the {of} parts of {} it has {}", base(set.first()), paths.len()))),
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

fn planned(file: &Sibling) -> Result<PlannedFile, String> {
    let name = &file.rfilename;
    let checksum = match &file.lfs {
        Some(lfs) => Checksum::sha256(&lfs.sha256),
        None => file.blob.as_deref().and_then(Checksum::git_sha1),
    };
    let bytes = file.bytes().ok_or_else(|| format!("no size is listed for {name}"))?;
    let checksum = checksum.ok_or_else(|| format!("no checksum is listed for {name}"))?;
    if SMALL.contains(&name.as_str()) && bytes > MAX_SMALL {
        return Err(format!("{name} would have {bytes} bytes, more than such a file ever has"));
    }
    Ok(PlannedFile { name: base(name).to_owned(), bytes, path: name.clone(), checksum })
}

/// Whether a path of a listing stays in its folder on every system.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && path.split_once(':').is_none_or(|(drive, _)| drive.len() != 1)
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
        for (reference, what) in
            [("a/b", "it has 2 GGUF models"), ("a/b:Q5", "no GGUF file"), ("a/b:m-", "fits several")]
        {
            let error = chosen(reference, &names).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(error.hint().unwrap().to_string(), "name one, for example a/b:Q4_K_M");
            let HubError::Choice { offers, .. } = error else { panic!("{error}") };
            let told: Vec<_> =
                offers.iter().map(|offer| (offer.label.as_str(), offer.files, offer.bytes)).collect();
            assert_eq!(told, [("Q4_K_M", 1, 5), ("Q8_0", 1, 5)]);
        }
    }

    #[test]
    fn a_split_gguf_is_taken_whole_or_refused() {
        let names = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"];
        assert_eq!(
            chosen("a/b:q8_0", &names).unwrap(),
            ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]
        );
        let error = chosen("a/b:q8_0", &names[1..]).unwrap_err();
        assert!(
            error.to_string().contains("of the 2 parts of m-Q8_0-00002-of-00002.gguf it has 1"),
            "{error}"
        );
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
