//! Weighted prompts, and the search of pictures by them (SToRI, arXiv 2410.08469).

#[cfg(feature = "hnsw")]
mod approximate;
mod bank;
mod caught;
mod classes;
mod date;
mod embedder;
mod error;
#[cfg(feature = "train")]
pub mod few_shot;
#[cfg(feature = "parquet")]
mod import;
mod indexing;
#[cfg(feature = "train")]
mod judge;
mod labelled;
#[cfg(feature = "train")]
mod learn;
mod looks;
#[cfg(test)]
mod made_up;
mod metadata;
mod prompt;
mod ranking;
mod record;
#[cfg(feature = "qdrant")]
mod remote;
mod scan;
mod search;
mod sheet;
mod store;
mod walk;

#[cfg(feature = "hnsw")]
pub use approximate::{Approximate, Graph, make_graph};
pub use bank::{Bank, CutOff};
pub use classes::{Class, Classes, TEMPLATES};
pub use embedder::{Embedder, ModelError, Token, WeightedToken, embed_prompts, weighted_tokens};
pub use error::ImageError;
#[cfg(feature = "parquet")]
pub use import::{Imported, import};
pub use indexing::{IndexOptions, Report, index};
#[cfg(feature = "train")]
pub use judge::{Judged, STRENGTHS};
pub use labelled::{Embedded, class_folders, embed_files, sample};
#[cfg(feature = "train")]
pub use learn::Learning;
pub use metadata::details;
pub use prompt::{LARGEST, Minus, Prompt, Weighted, parse, parse_as_written, parse_search};
pub use record::{Broken, Details, FILE_BYTES, FileRecord, Hash, Stamp, json_from_bytes, vector_from_bytes};
#[cfg(feature = "qdrant")]
pub use remote::{Pushed, Remote, RemoteAddress};
pub use scan::{scan, top};
pub use search::{Filter, Found, Hit, Query, Searcher};
pub use sheet::{Cell, Section, contact_sheet};
pub use store::{Batch, Codes, MadeWith, Reader, Store};
pub use walk::{Walk, walk};
