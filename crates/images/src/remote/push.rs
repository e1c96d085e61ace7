//! The pictures of an index brought to a collection: what changed there since is mended, and what is gone here leaves.

use std::collections::HashMap;
use std::ops::ControlFlow;

use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    Condition, CreateCollection, CreateFieldIndexCollection, DeletePoints, Distance, FieldType, Filter,
    PointId, PointStruct, PointsIdsList, PointsSelector, ScrollPoints, UpdateCollection, UpsertPoints, Value,
    VectorParams, VectorsConfig,
};

use super::points::{FOLDERS, KEYWORDS, SECONDS, SOURCE, STATE, WORDS, id, payload};
use super::{Remote, VERSION};
use crate::bank::{Bank, NAME as BANK};
use crate::search::known;
use crate::{Hash, ImageError, MadeWith, Reader, Store};

/// The name under which an index remembers what its points are called after.
const REMEMBERED: &str = "remote source";
/// Numbers of the vectors that are sent at once, about.
const NUMBERS_TOGETHER: usize = 1 << 18;
/// Points that are asked for or removed at once.
const TOGETHER: u32 = 4096;

/// What was brought to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Points that were new or had changed.
    pub sent: usize,
    /// Points that are as they were.
    pub unchanged: usize,
    /// Points whose pictures are gone.
    pub gone: usize,
    /// Whether the caller stopped it; the same call goes on.
    pub stopped: bool,
}

impl Remote {
    /// Brings a collection up to date with an index, and makes it if it is not there. Points of other indexes are left alone. `progress` hears how
    /// many of how many pictures are done, and may stop it.
    ///
    /// # Errors
    /// If the collection is of another model or of another program, the server fails, or the index is damaged.
    pub fn push(
        &self,
        store: &Store,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Pushed, ImageError> {
        let reader = store.reader()?;
        let source = source(store, &reader)?;
        self.prepare(reader.made_with())?;
        let mut there = self.states(&source)?;
        let hashes: Vec<Hash> = reader.codes()?.hashes;
        let dim = reader.made_with().dim;
        let together = (NUMBERS_TOGETHER / dim).max(1);
        let mut pushed = Pushed::default();
        for (part, some) in hashes.chunks(together).enumerate() {
            if progress(part * together, hashes.len()).is_break() {
                return Ok(Pushed { stopped: true, ..pushed });
            }
            let vectors = reader.vectors(some)?;
            let mut points = Vec::new();
            for (hash, vector) in some.iter().zip(vectors.chunks_exact(dim)) {
                let known = known(&reader, hash)?;
                if known.files.is_empty() {
                    continue;
                }
                let (id, payload) = (id(&source, hash), payload(&source, &known));
                let state = payload.get(STATE).and_then(Value::as_str);
                match there.remove(&id) {
                    Some(before) if state == Some(&before) => pushed.unchanged += 1,
                    _ => points.push(PointStruct::new(id, vector.to_vec(), payload)),
                }
            }
            pushed.sent += points.len();
            if !points.is_empty() {
                let upsert = UpsertPoints {
                    collection_name: self.address.collection.clone(),
                    wait: Some(true),
                    points,
                    ..UpsertPoints::default()
                };
                self.call(self.points.clone().upsert(upsert))?;
            }
        }
        pushed.gone = there.len();
        self.remove(there.into_keys().map(PointId::from).collect())?;
        if let Some(bank) = Bank::recall(&reader)? {
            let [explained, least] = bank.numbers().map(f64::from);
            self.note(HashMap::from([
                (format!("{BANK} explained"), Value::from(explained)),
                (format!("{BANK} least"), Value::from(least)),
            ]))?;
        }
        Ok(pushed)
    }

    /// Makes the collection, or checks that it is of the same model.
    fn prepare(&self, model: &MadeWith) -> Result<(), ImageError> {
        if let Some(info) = self.info()? {
            return self.made_with(&info)?.must_be_at(model, &self.address.to_string());
        }
        let notes = [("crayon", VERSION), ("model", &model.name), ("fingerprint", &model.fingerprint)];
        let vectors = VectorParams {
            size: model.dim as u64,
            distance: Distance::Cosine.into(),
            ..VectorParams::default()
        };
        let create = CreateCollection {
            collection_name: self.address.collection.clone(),
            vectors_config: Some(VectorsConfig { config: Some(Config::Params(vectors)) }),
            metadata: notes.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
            ..CreateCollection::default()
        };
        self.call(self.collections.clone().create(create))?;
        for (field, kind) in [
            (SOURCE, FieldType::Keyword),
            (KEYWORDS, FieldType::Keyword),
            (WORDS, FieldType::Keyword),
            (FOLDERS, FieldType::Keyword),
            (SECONDS, FieldType::Integer),
        ] {
            let index = CreateFieldIndexCollection {
                collection_name: self.address.collection.clone(),
                wait: Some(true),
                field_name: field.to_owned(),
                field_type: Some(kind.into()),
                ..CreateFieldIndexCollection::default()
            };
            self.call(self.points.clone().create_field_index(index))?;
        }
        // An old server ignores what it does not know: better told now than when somebody searches.
        match self.info()? {
            Some(info) => self.made_with(&info).map(|_| ()),
            None => Err(super::remote(&self.address, &"the collection was made and is not there")),
        }
    }

    /// The points of an index and the states they are in.
    fn states(&self, source: &str) -> Result<HashMap<String, String>, ImageError> {
        let mut states = HashMap::new();
        let mut offset = None;
        loop {
            let scroll = ScrollPoints {
                collection_name: self.address.collection.clone(),
                filter: Some(Filter::must([Condition::matches(SOURCE, source.to_owned())])),
                offset,
                limit: Some(TOGETHER),
                with_payload: Some(vec![STATE].into()),
                with_vectors: Some(false.into()),
                ..ScrollPoints::default()
            };
            let answer = self.call(self.points.clone().scroll(scroll))?;
            for point in answer.result {
                let state = point.payload.get(STATE).and_then(Value::as_str).cloned();
                if let Some(id) = point.id.as_ref().and_then(super::search::name) {
                    states.insert(id, state.unwrap_or_default());
                }
            }
            match answer.next_page_offset {
                Some(next) => offset = Some(next),
                None => return Ok(states),
            }
        }
    }

    fn remove(&self, ids: Vec<PointId>) -> Result<(), ImageError> {
        for ids in ids.chunks(TOGETHER as usize) {
            let ids = PointsIdsList { ids: ids.to_vec() };
            let delete = DeletePoints {
                collection_name: self.address.collection.clone(),
                wait: Some(true),
                points: Some(PointsSelector {
                    points_selector_one_of: Some(PointsSelectorOneOf::Points(ids)),
                }),
                ..DeletePoints::default()
            };
            self.call(self.points.clone().delete(delete))?;
        }
        Ok(())
    }

    /// Adds to what the collection says of itself.
    fn note(&self, metadata: HashMap<String, Value>) -> Result<(), ImageError> {
        let update = UpdateCollection {
            collection_name: self.address.collection.clone(),
            metadata,
            ..UpdateCollection::default()
        };
        self.call(self.collections.clone().update(update)).map(|_| ())
    }
}

/// What the points of an index are called after: drawn by chance once.
fn source(store: &Store, reader: &Reader) -> Result<String, ImageError> {
    if let Some(known) = reader.recall(REMEMBERED)?.and_then(|bytes| String::from_utf8(bytes).ok()) {
        return Ok(known);
    }
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn).map_err(|error| ImageError::unusable(error.to_string(), "try again"))?;
    let source = hex::encode(drawn);
    store.remember(REMEMBERED, source.as_bytes())?;
    Ok(source)
}
