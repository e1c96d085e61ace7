//! Pictures for a text, a picture, or both.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crayon_kernels::Threads;

use crate::bank::{Bank, CutOff};
use crate::embedder::Embedder;
use crate::ranking::{Asked, Candidate, Known, rank, wanted};
use crate::scan::{scan, top};
use crate::{Codes, Details, FileRecord, Hash, ImageError, MadeWith, Prompt, Reader};

/// What is searched for.
#[derive(Debug, Default)]
pub struct Query {
    /// A text, with weights and minus words.
    pub text: Option<Prompt>,
    /// The vector of a picture.
    pub like: Option<Vec<f32>>,
    /// Which pictures are considered.
    pub filter: Filter,
    /// Most results.
    pub count: usize,
    /// Where the results end.
    pub cut_off: CutOff,
    /// Whether near-duplicates stay results of their own.
    pub apart: bool,
}

/// Which pictures are considered; all conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Taken (or else changed) at this time or later: the beginning of `2024-05-01T12:30:00`.
    pub after: Option<String>,
    /// Taken before it.
    pub before: Option<String>,
    /// In this folder or below.
    pub folder: Option<PathBuf>,
    /// With each of these keywords, in any case.
    pub keywords: Vec<String>,
}

impl Filter {
    pub(crate) fn is_empty(&self) -> bool {
        self.after.is_none() && self.before.is_none() && self.folder.is_none() && self.keywords.is_empty()
    }
}

/// A picture that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// One file that holds it.
    pub path: PathBuf,
    /// The cosine with the text or the picture, with what minus words take off.
    pub score: f32,
    /// What is known of it.
    pub details: Details,
    /// When it was taken, or else when its file was changed.
    pub date: String,
    /// Whether one of its keywords is the text itself.
    pub keyword: bool,
    /// Copies and near-duplicates, which would come later.
    pub also: Vec<PathBuf>,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Best first, keywords before all.
    pub hits: Vec<Hit>,
    /// Pictures that the filter let through.
    pub considered: usize,
    /// Pictures among the best that did not pass the cut-off.
    pub below: usize,
}

/// An index in memory, ready to be searched.
pub struct Searcher {
    reader: Reader,
    codes: Codes,
    bank: Option<Bank>,
}

/// What an index knows of a picture.
pub(crate) fn known(reader: &Reader, hash: &Hash) -> Result<Known, ImageError> {
    let files = reader.places(hash)?;
    let first = files.first().map(|path| reader.file(path)).transpose()?.flatten();
    let changed = first.map_or_else(String::new, |record| record.stamp.date());
    Ok(Known { files, changed, details: reader.detail(hash)? })
}

impl Searcher {
    /// Reads an index into memory.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn new(reader: Reader) -> Result<Searcher, ImageError> {
        let codes = reader.codes()?;
        let bank = Bank::recall(&reader)?;
        Ok(Searcher { reader, codes, bank })
    }

    /// Which model made the index.
    pub fn made_with(&self) -> &MadeWith {
        self.reader.made_with()
    }

    /// Pictures of the index.
    pub fn len(&self) -> usize {
        self.codes.hashes.len()
    }

    /// Whether it was measured where results end, which is done when a folder was indexed to its end.
    pub fn has_cut_off(&self) -> bool {
        self.bank.is_some()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.codes.hashes.is_empty()
    }

    /// The vector of a picture that is in the index as `path`.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn vector_of(&self, path: &Path) -> Result<Option<Vec<f32>>, ImageError> {
        let hash = self.reader.file(path)?.map(|record| record.hash);
        hash.map(|hash| self.reader.vectors(&[hash])).transpose()
    }

    fn known(&self, row: usize) -> Result<Known, ImageError> {
        known(&self.reader, &self.codes.hashes[row])
    }

    /// Which pictures a filter lets through.
    fn filtered(&self, filter: &Filter) -> Result<Vec<bool>, ImageError> {
        if filter.is_empty() {
            return Ok(vec![true; self.len()]);
        }
        let mut rows: HashMap<Hash, Known> = HashMap::new();
        let mut files: Vec<(PathBuf, FileRecord)> = self.reader.files()?.into_iter().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, record) in files {
            let row = rows.entry(record.hash).or_default();
            if row.files.is_empty() {
                row.changed = record.stamp.date();
            }
            row.files.push(path);
        }
        for (hash, details) in self.reader.details()? {
            rows.entry(hash).or_default().details = details;
        }
        Ok(self
            .codes
            .hashes
            .iter()
            .map(|hash| rows.get(hash).is_some_and(|row| row.passes(filter)))
            .collect())
    }

    /// The rows of pictures with a keyword.
    fn with_keyword(&self, keyword: &str) -> Result<HashSet<usize>, ImageError> {
        let hashes = self.reader.with_keyword(keyword)?;
        Ok(hashes.iter().filter_map(|hash| self.codes.hashes.binary_search(hash).ok()).collect())
    }

    /// Searches. `embedder` is the model that made the index.
    ///
    /// # Errors
    /// If it is another model, there is nothing to search for, a text is too long, or the index is damaged.
    pub fn search(
        &self,
        query: &Query,
        embedder: &dyn Embedder,
        threads: &Threads,
    ) -> Result<Found, ImageError> {
        self.made_with().must_be(&MadeWith::of(embedder), self.reader.path())?;
        let asked = Asked::new(query, embedder)?;
        let all = self.filtered(&query.filter)?;
        let considered = all.iter().filter(|passes| **passes).count();
        let cosines = scan(&self.codes, embedder.dim(), &asked.vectors, threads);
        let cosines: Vec<&[f32]> = cosines.chunks(self.len().max(1)).collect();
        let mix = asked.mix(&cosines);
        let scores: Vec<f32> = (0..self.len()).map(|row| mix.score(&|which| cosines[which][row])).collect();

        let named = match asked.text {
            Some(prompt) => self.with_keyword(&prompt.text.to_lowercase())?,
            None => HashSet::new(),
        };
        let mut rows = top(&scores, wanted(query), |row| all[row]);
        let keyed = top(&scores, wanted(query), |row| all[row] && named.contains(&row));
        let taken: HashSet<usize> = rows.iter().copied().collect();
        rows.extend(keyed.into_iter().filter(|row| !taken.contains(row)));
        // Of the same score the first in the index comes first.
        rows.sort_unstable();

        // The candidates again, in half precision.
        let hashes: Vec<Hash> = rows.iter().map(|row| self.codes.hashes[*row]).collect();
        let vectors = self.reader.vectors(&hashes)?;
        let candidates = rows.iter().zip(vectors.chunks_exact(embedder.dim())).map(|(row, vector)| {
            Candidate { which: *row, vector: vector.to_vec(), named: named.contains(row) }
        });
        let found =
            rank(candidates.collect(), &asked, &mix, self.bank.as_ref(), query, |row| self.known(*row))?;
        Ok(Found { considered, ..found })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::ControlFlow;

    use super::*;
    use crate::made_up::{MadeUp, picture};
    use crate::{IndexOptions, Store, index, parse_search};

    struct Fixture {
        folder: tempfile::TempDir,
        searcher: Searcher,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let pictures = folder.path().join("pictures");
        fs::create_dir_all(pictures.join("sub")).unwrap();
        for (name, colour) in [
            ("red.png", [250, 0, 0]),
            ("red.jpg", [251, 1, 0]),
            ("green.png", [0, 250, 0]),
            ("sub/blue.png", [0, 0, 250]),
            ("sub/purple.png", [220, 0, 220]),
            ("yellow.png", [200, 200, 0]),
        ] {
            fs::write(pictures.join(name), picture(name, colour)).unwrap();
        }
        fs::copy(pictures.join("green.png"), pictures.join("sub/green copy.png")).unwrap();
        let path = folder.path().join("index");
        let store = Store::open(&path, &MadeWith::of(&MadeUp)).unwrap();
        let options = IndexOptions { hidden: false, threads: 2, may_empty: false };
        index(&pictures, &store, &MadeUp, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        drop(store);
        let searcher = Searcher::new(Reader::open(&path).unwrap()).unwrap();
        Fixture { folder, searcher }
    }

    impl Fixture {
        fn names(&self, source: &str, change: impl FnOnce(&mut Query)) -> Vec<String> {
            let mut query = Query {
                text: Some(parse_search(source).unwrap()),
                count: 3,
                cut_off: CutOff::None,
                ..Query::default()
            };
            change(&mut query);
            let found = self.searcher.search(&query, &MadeUp, &Threads::new(2)).unwrap();
            let name = |hit: &Hit| hit.path.file_stem().unwrap().to_string_lossy().into_owned();
            found.hits.iter().map(name).collect()
        }
    }

    #[test]
    fn weights_decide_between_two_words() {
        let fixture = fixture();
        assert_eq!(fixture.names("red", |_| ())[0], "red");
        assert_eq!(fixture.names("red blue", |_| ())[0], "purple");
        assert_eq!(fixture.names("(red:5) blue", |_| ())[0], "red");
        assert_eq!(fixture.names("red (blue:5)", |_| ())[0], "blue");
        assert_eq!(fixture.names("red (blue:0)", |_| ()), fixture.names("red", |_| ()));
    }

    #[test]
    fn minus_words_push_down() {
        let fixture = fixture();
        assert_eq!(fixture.names("blue", |_| ())[..2], ["blue", "purple"]);
        let without = fixture.names("green -red", |query| query.count = 9);
        let place = |name: &str| without.iter().position(|other| other == name);
        assert!(place("yellow") > place("blue") || place("yellow") == Some(1), "{without:?}");
        assert_eq!(fixture.names("red blue -(blue:3)", |_| ())[0], "red");
    }

    #[test]
    fn pictures_lead_to_others_like_them() {
        let fixture = fixture();
        let purple = fs::canonicalize(fixture.folder.path().join("pictures/sub/purple.png")).unwrap();
        let vector = fixture.searcher.vector_of(&purple).unwrap().unwrap();
        let like = fixture.names("", |query| query.like = Some(vector.clone()));
        assert_eq!(like[0], "purple");
        let both = fixture.names("(blue:2)", |query| query.like = Some(vector));
        assert!(["blue", "purple"].contains(&both[0].as_str()), "{both:?}");
        assert!(fixture.searcher.search(&Query::default(), &MadeUp, &Threads::new(1)).is_err());
    }

    #[test]
    fn near_duplicates_are_one_result() {
        let fixture = fixture();
        let query = |apart| Query {
            text: Some(parse_search("green red").unwrap()),
            count: 9,
            cut_off: CutOff::None,
            apart,
            ..Query::default()
        };
        let found = |apart| fixture.searcher.search(&query(apart), &MadeUp, &Threads::new(1)).unwrap();
        let together = found(false);
        assert_eq!(together.hits.len(), 5);
        assert_eq!(together.hits.iter().map(|hit| hit.also.len()).sum::<usize>(), 2);
        assert_eq!(found(true).hits.len(), 6);
    }

    #[test]
    fn filters_leave_out() {
        let fixture = fixture();
        let sub = fs::canonicalize(fixture.folder.path().join("pictures/sub")).unwrap();
        let names = fixture.names("red", |query| query.filter.folder = Some(sub));
        assert_eq!(names[0], "purple");
        assert_eq!(names.len(), 3);
        assert!(fixture.names("red", |query| query.filter.before = Some("1999".to_owned())).is_empty());
        assert_eq!(fixture.names("red", |query| query.filter.after = Some("1999".to_owned())).len(), 3);
        assert!(fixture.names("red", |query| query.filter.keywords = vec!["x".to_owned()]).is_empty());
    }

    #[test]
    fn the_least_score_cuts_off() {
        let fixture = fixture();
        assert!(fixture.names("red", |query| query.cut_off = CutOff::Score(2.0)).is_empty());
        assert_eq!(fixture.names("red", |query| query.cut_off = CutOff::Score(0.9)), ["red"]);
    }
}
