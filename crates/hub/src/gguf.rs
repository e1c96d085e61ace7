//! The GGUF models among a repository's files: each is a file, or all parts of one that llama.cpp's `gguf-split` split, and is
//! named by its quantisation where no other has the same.

use crate::reference::is_file_name;

/// Quantisations that are suggested where there is a choice, the first that is offered.
const SUGGESTED: [&str; 4] = ["Q4_K_M", "Q4_K_S", "Q4_0", "Q8_0"];
/// Number types that are not named like `Q4_K_M` or `IQ4_XS`.
const TYPES: [&str; 7] = ["F16", "F32", "BF16", "FP16", "FP32", "MXFP4", "NVFP4"];
/// Beginnings of the names of files that are not language models: towers for pictures, and statistics for quantising.
const OTHERS: [&str; 2] = ["mmproj", "imatrix"];

/// A GGUF model that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What chooses it behind the colon of a [`Reference`](crate::Reference): its quantisation, or its file's name.
    pub label: String,
    /// Files it is made of.
    pub files: usize,
    /// Size of all of them.
    pub bytes: u64,
}

/// The files of one model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Set<'a> {
    /// Paths in the repository, the first part first.
    pub(crate) paths: Vec<&'a str>,
    /// How many there are by the names.
    pub(crate) of: usize,
}

impl<'a> Set<'a> {
    /// The file that is opened.
    pub(crate) fn first(&self) -> &'a str {
        self.paths[0]
    }

    fn name(&self) -> &'a str {
        base(self.first())
    }
}

/// The file name of a path in a repository.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

pub(crate) fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

/// The models among `paths`, by name.
pub(crate) fn sets<'a>(paths: &[&'a str]) -> Vec<Set<'a>> {
    let is_model = |path: &&str| {
        let name = base(path).to_ascii_lowercase();
        is_gguf(&name) && is_file_name(base(path)) && !OTHERS.iter().any(|other| name.starts_with(other))
    };
    let mut models: Vec<&str> = paths.iter().copied().filter(is_model).collect();
    models.sort_unstable();
    models.dedup();
    // Files lie side by side on the device, whatever folders the repository has: no two may have one name.
    let once = |path: &&str| models.iter().filter(|other| base(other) == base(path)).count() == 1;
    let mut sets: Vec<Set<'a>> = Vec::new();
    for path in models.iter().copied().filter(once) {
        let place = part(path);
        match sets.last_mut() {
            Some(set) if place.is_some() && follows(set.paths[set.paths.len() - 1], path) => {
                set.paths.push(path)
            }
            _ => sets.push(Set { paths: vec![path], of: place.map_or(1, |(_, _, of)| of) }),
        }
    }
    sets
}

/// What stands before the numbers of `NAME-00001-of-00003.gguf`, the number, and how many there are.
fn part(path: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<usize>().ok()).flatten();
    Some((stem, digits(number)?, digits(of)?))
}

/// Whether two paths are parts of one model.
fn follows(one: &str, other: &str) -> bool {
    let whole = |path| part(path).map(|(stem, _, of)| (stem, of));
    whole(one).is_some() && whole(one) == whole(other)
}

/// The one set with a file of that name, of that quantisation, or with that text in its name, whatever the case.
pub(crate) fn pick<'s, 'a>(wanted: &str, sets: &'s [Set<'a>]) -> Result<&'s Set<'a>, String> {
    if let Some(same) = sets.iter().find(|set| set.paths.iter().any(|path| base(path) == wanted)) {
        return Ok(same);
    }
    let is_type = |set: &&Set<'_>| quantisation(set.name()).is_some_and(|q| q.eq_ignore_ascii_case(wanted));
    let mut close: Vec<&Set<'_>> = sets.iter().filter(is_type).collect();
    if close.is_empty() {
        let text = wanted.to_ascii_lowercase();
        close = sets.iter().filter(|set| set.name().to_ascii_lowercase().contains(&text)).collect();
    }
    match close.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("no GGUF file is called `{wanted}`")),
        _ => Err(format!("`{wanted}` fits several GGUF files")),
    }
}

/// The sets as they are offered, in the order of their sizes; `size` knows that of a path.
pub(crate) fn offers(sets: &[Set<'_>], size: impl Fn(&str) -> u64) -> Vec<Offer> {
    let offer = |set: &Set<'_>| {
        let short = quantisation(set.name()).map(str::to_ascii_uppercase);
        let short = short.filter(|short| pick(short, sets).is_ok_and(|picked| picked == set));
        Offer {
            label: short.unwrap_or_else(|| set.name().to_owned()),
            files: set.of,
            bytes: set.paths.iter().map(|path| size(path)).sum(),
        }
    };
    let mut offers: Vec<Offer> = sets.iter().map(offer).collect();
    offers.sort_by(|a, b| a.bytes.cmp(&b.bytes).then_with(|| a.label.cmp(&b.label)));
    offers
}

/// What to try first.
pub(crate) fn suggested(offers: &[Offer]) -> Option<&str> {
    let has = |label: &&&str| offers.iter().any(|offer| offer.label == **label);
    SUGGESTED.iter().find(has).copied().or_else(|| offers.first().map(|offer| offer.label.as_str()))
}

/// The number type in a file's name, such as `Q4_K_M`.
fn quantisation(name: &str) -> Option<&str> {
    let stem = part(name).map_or_else(|| &name[..name.len() - ".gguf".len()], |(stem, _, _)| stem);
    stem.rsplit(['-', '.']).find(|word| {
        let word = word.to_ascii_uppercase();
        let numbered = ["IQ", "TQ", "Q"].iter().find_map(|letters| word.strip_prefix(letters));
        TYPES.contains(&word.as_str())
            || numbered.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(paths: &[&str]) -> Vec<String> {
        offers(&sets(paths), |path| path.len() as u64).into_iter().map(|offer| offer.label).collect()
    }

    #[test]
    fn a_quantisation_is_read_from_a_name() {
        for (name, expected) in [
            ("qwen2.5-0.5b-instruct-q4_k_m.gguf", Some("q4_k_m")),
            ("Llama-3.2-1B-Instruct-IQ4_XS.gguf", Some("IQ4_XS")),
            ("gemma-3-270m-it-UD-Q4_K_XL.gguf", Some("Q4_K_XL")),
            ("model.Q8_0.gguf", Some("Q8_0")),
            ("m-BF16-00001-of-00002.gguf", Some("BF16")),
            ("Q6_K.gguf", Some("Q6_K")),
            ("Qwen3-0.6B.gguf", None),
            ("tiny.gguf", None),
        ] {
            assert_eq!(quantisation(name), expected, "{name}");
        }
    }

    #[test]
    fn every_label_chooses_its_own() {
        let names =
            ["m-BF16.gguf", "m-F16.gguf", "m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-q8_0.gguf", "m.gguf"];
        let sets = sets(&names);
        let offered = offers(&sets, |_| 1);
        let mut chosen: Vec<&str> =
            offered.iter().map(|offer| pick(&offer.label, &sets).unwrap().first()).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, names);
        // F16 is in BF16 and does not mean it.
        assert_eq!(pick("f16", &sets).unwrap().first(), "m-F16.gguf");
        assert!(pick("Q4_K_M", &sets).unwrap_err().contains("fits several"));
        assert_eq!(pick("ud-q4", &sets).unwrap().first(), "m-UD-Q4_K_M.gguf");
    }

    #[test]
    fn parts_are_one_model_and_folders_do_not_count() {
        let names = [
            "Q8_0/m-Q8_0-00002-of-00003.gguf",
            "Q8_0/m-Q8_0-00001-of-00003.gguf",
            "Q8_0/m-Q8_0-00003-of-00003.gguf",
            "m-Q4_0-00001-of-00002.gguf",
            "m-Q4_K_M.gguf",
            "mmproj-m-f16.gguf",
            "imatrix.gguf",
            "one/same.gguf",
            "two/same.gguf",
            "config.json",
        ];
        let sets = sets(&names);
        let told: Vec<(usize, usize, &str)> =
            sets.iter().map(|set| (set.paths.len(), set.of, set.first())).collect();
        assert_eq!(
            told,
            [
                (3, 3, "Q8_0/m-Q8_0-00001-of-00003.gguf"),
                (1, 2, "m-Q4_0-00001-of-00002.gguf"),
                (1, 1, "m-Q4_K_M.gguf"),
            ]
        );
        assert_eq!(labels(&names), ["Q4_K_M", "Q4_0", "Q8_0"]);
        assert_eq!(pick("m-Q8_0-00002-of-00003.gguf", &sets), pick("q8_0", &sets));
    }

    #[test]
    fn what_is_suggested_is_offered() {
        let offered = |names: &[&str]| offers(&sets(names), |path| path.len() as u64);
        assert_eq!(suggested(&offered(&["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-F16.gguf"])), Some("Q4_K_M"));
        assert_eq!(suggested(&offered(&["large.gguf", "small-1.gguf"])), Some("large.gguf"));
        assert_eq!(suggested(&[]), None);
    }
}
