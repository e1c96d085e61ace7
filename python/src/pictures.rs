//! Texts and pictures in one space, and a folder of pictures searched by words.

use std::path::PathBuf;
use std::sync::Arc;

use crayon_engine::EMBEDDED_CLIP;
use crayon_images::{
    Bank, IndexOptions, MadeWith, Query, Reader, Searcher, Store, embed_prompts, index, parse, parse_search,
};
use crayon_kernels::Mode;
use crayon_vision::Options;
use pyo3::prelude::*;

use crate::asked::Texts;
use crate::error::{Failure, Result};
use crate::interrupt::Interrupt;

/// An open model of texts and pictures (CLIP, SigLIP).
///
/// `name` is "mini-clip", or the path of a folder in Hugging Face's layout. `threads` are those it runs on, all cores where it is None.
#[pyclass(frozen, module = "crayon")]
pub(crate) struct Clip {
    clip: Arc<crayon_vision::Clip>,
}

/// A picture file: its path, or its bytes.
#[derive(FromPyObject)]
pub(crate) enum Picture {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

#[pymethods]
impl Clip {
    #[new]
    #[pyo3(signature = (name = PathBuf::from("mini-clip"), *, threads = None))]
    fn new(py: Python<'_>, name: PathBuf, threads: Option<usize>) -> Result<Clip> {
        let options = Options { threads, mode: Mode::Fast, ..Options::default() };
        let clip =
            py.detach(|| match EMBEDDED_CLIP.iter().find(|model| name.to_str() == Some(model.name)) {
                Some(model) => crayon_vision::Clip::from_files(model.files(), options),
                None => crayon_vision::Clip::open(&name, options),
            })?;
        Ok(Clip { clip: Arc::new(clip) })
    }

    /// The name it was opened by.
    #[getter]
    fn name(&self) -> &str {
        self.clip.name()
    }

    /// Numbers of a vector.
    #[getter]
    fn dim(&self) -> usize {
        self.clip.dim()
    }

    /// A text as a vector of length 1, or a list of them for a list. `"a (red:2) heart"` makes a word count more, a weight below 1 less.
    fn embed_text<'py>(&self, py: Python<'py>, text: Texts) -> Result<Bound<'py, PyAny>> {
        text.map(py, |text| embed_prompts(&*self.clip, &[parse(text)?]))
    }

    /// A picture as a vector of length 1: the path of its file, or the file's bytes.
    fn embed_picture(&self, py: Python<'_>, picture: Picture) -> Result<Vec<f32>> {
        py.detach(|| {
            let bytes = match picture {
                Picture::Bytes(bytes) => bytes,
                Picture::Path(path) => std::fs::read(&path).map_err(|error| Failure::io(&path, &error))?,
            };
            let pixels = self.clip.preprocess(&bytes)?;
            Ok(self.clip.embed_images(&[pixels])?.swap_remove(0))
        })
    }

    /// A folder of pictures, ready to be searched. Its index is the file at `path`, made where it is not there and else brought up to date.
    fn index(&self, py: Python<'_>, folder: PathBuf, path: PathBuf) -> Result<Pictures> {
        py.detach(|| {
            let clip = &*self.clip;
            let store = Store::open(&path, &MadeWith::of(clip))?;
            let options = IndexOptions { hidden: false, threads: clip.threads().count(), may_empty: false };
            let mut interrupt = Interrupt::new();
            let report = index(&folder, &store, clip, &options, &mut |_, _| interrupt.flow());
            let report = interrupt.result(report)?;
            let reader = store.reader()?;
            if report.embedded + report.gone > 0 || Bank::recall(&reader)?.is_none() {
                // Where results end is measured on the finished index.
                Bank::measure(&reader, clip, clip.threads())?.remember(&store)?;
            }
            drop(reader);
            // A search needs no more than to read, so that others may write.
            drop(store);
            let searcher = Searcher::new(Reader::open(&path)?)?;
            Ok(Pictures { clip: self.clip.clone(), searcher, broken: report.broken })
        })
    }
}

/// An index of pictures, made by `Clip.index`.
#[pyclass(frozen, module = "crayon")]
pub(crate) struct Pictures {
    clip: Arc<crayon_vision::Clip>,
    searcher: Searcher,
    /// Files that could not be read, and why.
    #[pyo3(get)]
    broken: Vec<(PathBuf, String)>,
}

/// A picture that was found.
#[pyclass(frozen, get_all, module = "crayon")]
pub(crate) struct Hit {
    /// A file that holds it.
    path: PathBuf,
    /// Its likeness with the text, the cosine of both vectors.
    score: f32,
}

#[pymethods]
impl Hit {
    fn __repr__(&self) -> String {
        format!("<crayon.Hit {:.3} {}>", self.score, self.path.display())
    }
}

#[pymethods]
impl Pictures {
    /// Pictures of the index.
    fn __len__(&self) -> usize {
        self.searcher.len()
    }

    /// The pictures that a text describes, the likeliest first, `count` at most. `"a (red:2) heart -arrow"` makes a word count more, and
    /// another speak against a picture.
    #[pyo3(signature = (text, count = 10))]
    fn search(&self, py: Python<'_>, text: &str, count: usize) -> Result<Vec<Hit>> {
        py.detach(|| {
            let query = Query { text: Some(parse_search(text)?), count, ..Query::default() };
            let found = self.searcher.search(&query, &*self.clip, self.clip.threads())?;
            Ok(found.hits.into_iter().map(|hit| Hit { path: hit.path, score: hit.score }).collect())
        })
    }
}
