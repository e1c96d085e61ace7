//! Where a search is done: in all of an index, along its graph, or at a server.

use std::path::Path;

use crayon_images::{Found, Query, Reader, Searcher};
use crayon_vision::Clip;

#[cfg(feature = "qdrant")]
use super::beside::remote;
use super::index::model_path;
#[cfg(not(all(feature = "hnsw", feature = "qdrant")))]
use super::left_out;
use crate::args::SearchArgs;
use crate::failure::Result;

/// An index, open for searches.
pub(super) enum Place {
    Exact(Searcher),
    #[cfg(feature = "hnsw")]
    Approximate(crayon_images::Approximate),
    #[cfg(feature = "qdrant")]
    Remote(crayon_images::Remote),
}

impl Place {
    /// Opens it, with the path of the model that it remembers.
    pub(super) fn open(args: &SearchArgs) -> Result<(Place, Option<String>)> {
        if let Some(address) = &args.remote {
            #[cfg(feature = "qdrant")]
            return Ok((Place::Remote(remote(address)?), None));
            #[cfg(not(feature = "qdrant"))]
            {
                let _ = address;
                return Err(left_out("a client of Qdrant", "qdrant"));
            }
        }
        #[cfg(not(feature = "hnsw"))]
        if args.approximate {
            return Err(left_out("approximate searches", "hnsw"));
        }
        let reader = Reader::open(args.index.as_deref().unwrap_or(Path::new("")))?;
        let model = model_path(&reader)?;
        #[cfg(feature = "hnsw")]
        if args.approximate {
            return Ok((Place::Approximate(crayon_images::Approximate::new(reader)?), model));
        }
        Ok((Place::Exact(Searcher::new(reader)?), model))
    }

    /// What should be said before a search: it holds nothing, or nobody measured where results end.
    pub(super) fn lacks(&self) -> (bool, bool) {
        match self {
            Place::Exact(searcher) => (searcher.is_empty(), !searcher.has_cut_off()),
            #[cfg(feature = "hnsw")]
            Place::Approximate(searcher) => (searcher.is_empty(), !searcher.has_cut_off()),
            #[cfg(feature = "qdrant")]
            Place::Remote(_) => (false, false),
        }
    }

    /// The vector of a picture that is in the index as `path`.
    pub(super) fn vector_of(&self, path: &Path) -> Result<Option<Vec<f32>>> {
        Ok(match self {
            Place::Exact(searcher) => searcher.vector_of(path)?,
            #[cfg(feature = "hnsw")]
            Place::Approximate(searcher) => searcher.vector_of(path)?,
            #[cfg(feature = "qdrant")]
            Place::Remote(_) => None,
        })
    }

    pub(super) fn search(&self, query: &Query, clip: &Clip) -> Result<Found> {
        Ok(match self {
            Place::Exact(searcher) => searcher.search(query, clip, clip.threads())?,
            #[cfg(feature = "hnsw")]
            Place::Approximate(searcher) => searcher.search(query, clip, clip.threads())?,
            #[cfg(feature = "qdrant")]
            Place::Remote(remote) => remote.search(query, clip)?,
        })
    }
}
