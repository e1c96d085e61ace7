//! A picture as a point of a collection, and back.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use qdrant_client::qdrant::vector_output::Vector;
use qdrant_client::qdrant::{Condition, Filter as Conditions, Range, Value, VectorsOutput};
use sha2::{Digest, Sha256};

use crate::date::to_seconds;
use crate::prompt::spans;
use crate::ranking::Known;
use crate::record::json_from_bytes;
use crate::{Filter, Hash};

/// Fields of a point that are searched by, and how.
pub(super) const KEYWORDS: &str = "keywords";
pub(super) const WORDS: &str = "words";
pub(super) const FOLDERS: &str = "folders";
pub(super) const SECONDS: &str = "seconds";
/// From which index a point came.
pub(super) const SOURCE: &str = "source";
/// What tells whether a point is as it should be.
pub(super) const STATE: &str = "state";

/// The name of a picture's point: a UUID (version 8, RFC 9562) of the index it is in and of its contents.
pub(super) fn id(source: &str, hash: &Hash) -> String {
    let digest = Sha256::new().chain_update(source).chain_update(hash).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// What is known of a picture, as its point holds it. Paths that are not Unicode are spelled with replacement characters.
pub(super) fn payload(source: &str, known: &Known) -> HashMap<String, Value> {
    let paths: Vec<String> = known.files.iter().map(|path| path.display().to_string()).collect();
    let mut folders: Vec<String> = known
        .files
        .iter()
        .flat_map(|path| path.ancestors().skip(1).map(|folder| folder.display().to_string()))
        .collect();
    folders.sort();
    folders.dedup();
    let keywords: Vec<String> = known.details.keywords.iter().map(|word| word.to_lowercase()).collect();
    let caption = known.details.caption.as_deref().unwrap_or_default().to_lowercase();
    let words: BTreeSet<&str> = spans(&caption).map(|span| &caption[span]).collect();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let details = serde_json::to_string(&known.details).unwrap_or_default();
    let mut payload = HashMap::from([
        (SOURCE.to_owned(), Value::from(source.to_owned())),
        ("paths".to_owned(), Value::from(paths)),
        (FOLDERS.to_owned(), Value::from(folders)),
        (KEYWORDS.to_owned(), Value::from(keywords)),
        (WORDS.to_owned(), Value::from(words)),
        ("changed".to_owned(), Value::from(known.changed.clone())),
        ("details".to_owned(), Value::from(details)),
    ]);
    if let Some(seconds) = to_seconds(known.date()) {
        payload.insert("date".to_owned(), Value::from(format!("{}Z", known.date())));
        payload.insert(SECONDS.to_owned(), Value::from(seconds));
    }
    let mut fields: Vec<String> = payload.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fields.sort();
    let state = Sha256::digest(fields.concat());
    payload.insert(STATE.to_owned(), Value::from(hex::encode(&state[..8])));
    payload
}

/// What a point's payload says; `None` for one that this program did not write.
pub(super) fn known(payload: &HashMap<String, Value>) -> Option<Known> {
    let paths = payload.get("paths")?.as_list()?;
    Some(Known {
        files: paths.iter().filter_map(|path| path.as_str()).map(PathBuf::from).collect(),
        changed: payload.get("changed")?.as_str()?.clone(),
        details: json_from_bytes(payload.get("details")?.as_str()?.as_bytes())?,
    })
}

/// A point's vector of `dim` numbers.
pub(super) fn vector(vectors: Option<VectorsOutput>, dim: usize) -> Option<Vec<f32>> {
    match vectors?.get_vector()? {
        Vector::Dense(vector) if vector.data.len() == dim => Some(vector.data),
        _ => None,
    }
}

/// The same conditions as [`Filter`]'s, for the server; of a caption only single words count.
pub(super) fn conditions(filter: &Filter) -> Conditions {
    let keyword = |keyword: &String| {
        let either = [KEYWORDS, WORDS].map(|field| Condition::matches(field, keyword.to_lowercase()));
        Condition::from(Conditions::any(either))
    };
    let mut must: Vec<Condition> = filter.keywords.iter().map(keyword).collect();
    if let Some(folder) = &filter.folder {
        must.push(Condition::matches(FOLDERS, folder.display().to_string()));
    }
    let seconds = |date: &Option<String>| date.as_deref().and_then(to_seconds).map(|seconds| seconds as f64);
    let range = Range { gte: seconds(&filter.after), lt: seconds(&filter.before), ..Range::default() };
    if range != Range::default() {
        must.push(Condition::range(SECONDS, range));
    }
    Conditions { must, ..Conditions::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Details;

    #[test]
    fn a_point_says_what_is_known() {
        let details = Details {
            keywords: vec!["Beach".to_owned()],
            caption: Some("a red boat".to_owned()),
            ..Details::default()
        };
        let known_of =
            Known { files: vec!["/a/b/c.jpg".into()], changed: "2024-05-01T12:30:00".to_owned(), details };
        let payload = payload("index 1", &known_of);
        let back = known(&payload).unwrap();
        assert_eq!(
            (&back.files, &back.changed, &back.details),
            (&known_of.files, &known_of.changed, &known_of.details)
        );
        let texts = |name: &str| {
            let values = payload[name].as_list().unwrap();
            values.iter().filter_map(|value| value.as_str()).cloned().collect::<Vec<String>>()
        };
        assert_eq!(texts(FOLDERS), ["/", "/a", "/a/b"]);
        assert_eq!(payload[SECONDS].as_integer(), Some(1_714_566_600));
        assert_eq!(
            (texts(KEYWORDS), texts(WORDS)),
            (vec!["beach".to_owned()], ["a", "boat", "red"].map(str::to_owned).to_vec())
        );
        let moved = Known { files: vec!["/x.jpg".into()], ..known_of };
        assert_ne!(super::payload("index 1", &moved)[STATE], payload[STATE]);
        assert_eq!(id("index 1", &[7; 32]), id("index 1", &[7; 32]));
        assert_ne!(id("index 2", &[7; 32]), id("index 1", &[7; 32]));
        assert_eq!(known(&HashMap::new()).map(|known| known.files), None);
    }
}
