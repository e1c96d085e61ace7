//! Searches that look at a few pictures instead of all, through a graph of near ones (HNSW) in a file beside the index.

mod build;
mod graph;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crayon_kernels::Threads;

pub use self::graph::Graph;
use crate::bank::Bank;
use crate::embedder::Embedder;
use crate::ranking::{Asked, Candidate, rank, wanted};
use crate::scan::scan;
use crate::search::known;
use crate::store::GRAPH;
use crate::{Found, Hash, ImageError, MadeWith, Query, Reader, Store};

/// Pictures by which a query's mean and spread over the index are measured.
const SAMPLE: usize = 4096;

/// An index with its graph.
pub struct Approximate {
    reader: Reader,
    graph: Graph,
    bank: Option<Bank>,
}

/// Where the graph of an index lies.
fn graph_path(index: &Path) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push(".graph");
    name.into()
}

/// Makes the graph of an index that has none, or one of another state of it; whether it made one. The index forgets its graph when its
/// pictures change.
///
/// # Errors
/// If `progress` stops it, the index is damaged, or the disk refuses.
pub fn make_graph(
    store: &Store,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<bool, ImageError> {
    let reader = store.reader()?;
    let path = graph_path(reader.path());
    let id = reader.recall(GRAPH)?;
    if id.is_some() && Graph::open(&path).is_ok_and(|graph| Some(&graph.id()[..]) == id.as_deref()) {
        return Ok(false);
    }
    let graph = Graph::build(&reader.codes()?, reader.made_with().dim, threads, progress)?;
    graph.save(&path)?;
    store.remember(GRAPH, graph.id())?;
    Ok(true)
}

impl Approximate {
    /// Opens the graph of an index. It is not read: a search touches what it needs.
    ///
    /// # Errors
    /// If there is none, it is of another state of the index, or one of them is damaged.
    pub fn new(reader: Reader) -> Result<Approximate, ImageError> {
        let path = graph_path(reader.path());
        let Some(id) = reader.recall(GRAPH)?.filter(|_| path.exists()) else {
            let what = format!(
                "{} has no graph for approximate searches, or has changed since",
                reader.path().display()
            );
            return Err(ImageError::unusable(
                what,
                "have one made when the folder is indexed, or search exactly",
            ));
        };
        let graph = Graph::open(&path)?;
        if graph.id()[..] != id[..] || graph.dim() != reader.made_with().dim {
            return Err(ImageError::index(&path, "this graph belongs to another state of the index"));
        }
        let bank = Bank::recall(&reader)?;
        Ok(Approximate { reader, graph, bank })
    }

    /// Pictures of the index.
    pub fn len(&self) -> usize {
        self.graph.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.graph.is_empty()
    }

    /// Whether it was measured where results end.
    pub fn has_cut_off(&self) -> bool {
        self.bank.is_some()
    }

    /// The vector of a picture that is in the index as `path`.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn vector_of(&self, path: &Path) -> Result<Option<Vec<f32>>, ImageError> {
        let hash = self.reader.file(path)?.map(|record| record.hash);
        hash.map(|hash| self.reader.vectors(&[hash])).transpose()
    }

    /// As [`crate::Searcher::search`], over the pictures that the graph leads to. Minus words judge these; they lead to none.
    ///
    /// # Errors
    /// As there, and if the query has a filter: what passes one may lie where the graph does not lead.
    pub fn search(
        &self,
        query: &Query,
        embedder: &dyn Embedder,
        threads: &Threads,
    ) -> Result<Found, ImageError> {
        self.reader.made_with().must_be(&MadeWith::of(embedder), self.reader.path())?;
        if !query.filter.is_empty() {
            return Err(ImageError::unusable(
                "an approximate search takes no filters",
                "search exactly to limit results to times, folders or keywords",
            ));
        }
        let asked = Asked::new(query, embedder)?;
        let sample = self.graph.first(SAMPLE);
        let cosines = scan(&sample, embedder.dim(), &asked.vectors, threads);
        let mix = asked.mix(&cosines.chunks(sample.hashes.len().max(1)).collect::<Vec<_>>());
        let keyword = asked.text.map(|prompt| prompt.text.to_lowercase());
        let named: Vec<Hash> =
            keyword.map(|word| self.reader.with_keyword(&word)).transpose()?.unwrap_or_default();
        let named: HashSet<u32> = named.iter().filter_map(|hash| self.graph.row_of(hash)).collect();
        let mut rows: Vec<u32> = named.iter().copied().collect();
        asked.near().for_each(|vector| rows.extend(self.graph.nearest(vector, wanted(query))));
        rows.sort_unstable();
        rows.dedup();
        let hashes: Vec<Hash> = rows.iter().map(|row| *self.graph.hash(*row)).collect();
        let vectors = self.reader.vectors(&hashes)?;
        let candidates =
            rows.iter().zip(hashes).zip(vectors.chunks_exact(embedder.dim())).map(|((row, hash), vector)| {
                Candidate { which: hash, vector: vector.to_vec(), named: named.contains(row) }
            });
        let found = rank(candidates.collect(), &asked, &mix, self.bank.as_ref(), query, |hash| {
            known(&self.reader, hash)
        })?;
        Ok(Found { considered: self.len(), ..found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::MadeUp;
    use crate::{Batch, Codes, CutOff, Details, FileRecord, Filter, Searcher, Stamp, parse_search};
    use crayon_kernels::{Format, quantize_rows};

    fn go_on(_: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// `[count, dim]` of length 1 around a few centres.
    fn vectors(count: usize, dim: usize) -> Vec<f32> {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let centres: Vec<f32> = (0..8 * dim).map(|_| random()).collect();
        let mut all = Vec::with_capacity(count * dim);
        for i in 0..count {
            let centre = &centres[i * 5 % 8 * dim..][..dim];
            let vector: Vec<f32> = centre.iter().map(|centre| centre + random()).collect();
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            all.extend(vector.iter().map(|value| value / length));
        }
        all
    }

    #[test]
    fn a_graph_finds_what_a_scan_finds() {
        for (count, dim) in [(0, 8), (1, 8), (2, 8), (40, 8), (3000, 33)] {
            let vectors = vectors(count, dim);
            let mut bytes = Vec::new();
            quantize_rows(Format::W8A8, dim, &vectors, &mut bytes);
            let codes = Codes { hashes: vec![[0; 32]; count], bytes };
            let graph = Graph::build(&codes, dim, 2, &mut go_on).unwrap();
            let (mut same, mut of) = (0, 0);
            for query in vectors.chunks_exact(dim).step_by(97) {
                let scores = scan(&codes, dim, query, &Threads::new(1));
                let truth = crate::top(&scores, 10, |_| true);
                let found = graph.nearest(query, 10);
                of += truth.len();
                same += truth.iter().filter(|row| found.contains(&(**row as u32))).count();
            }
            assert!(same * 100 >= of * 95, "{same} of {of} among {count}");
            assert_eq!(graph.nearest(&[1.0], 5), [] as [u32; 0]);
        }
    }

    /// An index of 300 colours.
    fn index(folder: &Path) -> Store {
        let store = Store::open(&folder.join("index"), &MadeWith::of(&MadeUp)).unwrap();
        let mut batch = Batch::default();
        for i in 0..300u32 {
            let hash: Hash = std::array::from_fn(|at| (i.wrapping_mul(2_654_435_761) >> (at % 4 * 8)) as u8);
            let [r, g, b] = [i % 7, i / 7 % 7, i / 49].map(|step| step as f32 / 6.0);
            let length = (r * r + g * g + b * b + 0.25).sqrt();
            let vector = [r, g, b, 0.5, 0.0].map(|value| value / length);
            let keywords = if i == 200 { vec!["Holiday".to_owned()] } else { Vec::new() };
            batch.pictures.push((hash, Details { keywords, ..Details::default() }, vector.to_vec()));
            batch
                .files
                .push((format!("/{i}").into(), FileRecord { hash, stamp: Stamp { size: 1, modified: 1 } }));
        }
        store.write(&batch).unwrap();
        Bank::measure(&store.reader().unwrap(), &MadeUp, &Threads::new(1)).unwrap().remember(&store).unwrap();
        store
    }

    #[test]
    fn searches_agree_and_a_changed_index_has_no_graph() {
        let folder = tempfile::tempdir().unwrap();
        let store = index(folder.path());
        let reader = || store.reader().unwrap();
        assert!(Approximate::new(reader()).is_err());
        assert!(make_graph(&store, 2, &mut go_on).unwrap());
        assert!(!make_graph(&store, 2, &mut go_on).unwrap());
        let (exact, approximate) = (Searcher::new(reader()).unwrap(), Approximate::new(reader()).unwrap());
        for (words, cut_off) in [
            ("red", CutOff::None),
            ("red (blue:3)", CutOff::None),
            ("green -red", CutOff::None),
            ("holiday", CutOff::Neutral),
            ("red", CutOff::Neutral),
            ("xyzzy", CutOff::Neutral),
        ] {
            let query = Query {
                text: Some(parse_search(words).unwrap()),
                count: 5,
                cut_off,
                apart: true,
                ..Query::default()
            };
            let paths = |found: Found| found.hits.into_iter().map(|hit| hit.path).collect::<Vec<_>>();
            let found = approximate.search(&query, &MadeUp, &Threads::new(1)).unwrap();
            assert_eq!(found.considered, 300);
            assert_eq!(
                paths(found),
                paths(exact.search(&query, &MadeUp, &Threads::new(1)).unwrap()),
                "{words}"
            );
        }
        let filter = Filter { after: Some("2020".to_owned()), ..Filter::default() };
        let query = Query { text: Some(parse_search("red").unwrap()), count: 5, filter, ..Query::default() };
        assert!(approximate.search(&query, &MadeUp, &Threads::new(1)).is_err());
        // One picture more or less, and the graph counts no longer.
        store.write(&Batch { gone: vec!["/7".into()], ..Batch::default() }).unwrap();
        store.sweep().unwrap();
        assert!(Approximate::new(reader()).is_err());
        assert!(make_graph(&store, 2, &mut go_on).unwrap());
        assert_eq!(Approximate::new(reader()).unwrap().len(), 299);
    }

    #[test]
    fn a_damaged_graph_is_refused_or_misses_and_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let store = index(folder.path());
        make_graph(&store, 1, &mut go_on).unwrap();
        let path = graph_path(&folder.path().join("index"));
        let whole = std::fs::read(&path).unwrap();
        let query = Query {
            text: Some(parse_search("red").unwrap()),
            count: 5,
            cut_off: CutOff::None,
            ..Query::default()
        };
        let read = |bytes: &[u8]| {
            // A new file, so that nobody's mapping changes under him.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            Approximate::new(store.reader().unwrap())?.search(&query, &MadeUp, &Threads::new(1))
        };
        assert_eq!(read(&whole).unwrap().hits.len(), 5);
        for bytes in [&b""[..], &whole[..whole.len() - 1], &whole[..20], &[&whole[..], &[0]].concat()] {
            assert!(read(bytes).is_err());
        }
        for at in (0..whole.len()).step_by(509).chain(0..48) {
            let mut changed = whole.clone();
            changed[at] ^= 0x5a;
            let _ = read(&changed);
        }
    }
}
