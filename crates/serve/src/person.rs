//! What is kept of one person: a few hundred numbers beside the pool.

use crayon_engine::Engine;
use crayon_engine::adapters::{Demonstration, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::reply::short;

/// Bytes that a person's scope may take.
const SCOPE_BYTES: usize = 600;
/// Letters of a fingerprint that are kept: enough to tell models and pools apart.
const FINGERPRINT: usize = 16;

/// A person's model, as it is listed. Its names in the store are short, because there may be many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Person {
    #[serde(rename = "i")]
    pub(crate) id: String,
    /// The model's name in requests.
    #[serde(rename = "m")]
    pub(crate) model: String,
    /// The beginning of the model's fingerprint.
    #[serde(rename = "b")]
    pub(crate) base: String,
    /// The beginning of the digest of the pool's keys, where there is a pool.
    #[serde(rename = "p")]
    pub(crate) pool: Option<String>,
    /// What the examples' answers spoke for; `None` where the weights were given.
    #[serde(rename = "c")]
    pub(crate) chosen: Option<String>,
    /// Whether the examples are near to something the pool learned.
    #[serde(rename = "f")]
    pub(crate) fits: Option<bool>,
    /// Candidates that were judged.
    #[serde(rename = "t")]
    pub(crate) tried: Vec<TriedRow>,
    /// Of the pool's adapters; `None` where the answer does not come through them.
    #[serde(rename = "w")]
    pub(crate) weights: Option<Vec<f32>>,
    /// Unix seconds.
    #[serde(rename = "s")]
    pub(crate) created: u64,
    /// Bytes that are kept of this person.
    #[serde(rename = "n")]
    pub(crate) bytes: usize,
    /// Whether there is more than numbers: an adapter or examples for the prompt.
    #[serde(rename = "x")]
    pub(crate) has_extra: bool,
    /// What should be known about it.
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// A candidate and how well it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "TriedTuple", into = "TriedTuple")]
pub(crate) struct TriedRow {
    pub(crate) name: String,
    pub(crate) right: usize,
    pub(crate) of: usize,
    pub(crate) loss: f32,
    pub(crate) seconds: f32,
}

/// A row without the names of its columns.
type TriedTuple = (String, usize, usize, f32, f32);

impl From<TriedTuple> for TriedRow {
    fn from((name, right, of, loss, seconds): TriedTuple) -> TriedRow {
        TriedRow { name, right, of, loss, seconds }
    }
}

impl From<TriedRow> for TriedTuple {
    fn from(row: TriedRow) -> TriedTuple {
        (row.name, row.right, row.of, row.loss, row.seconds)
    }
}

/// As much of a fingerprint as is kept.
pub(crate) fn short_print(fingerprint: &str) -> String {
    fingerprint.chars().take(FINGERPRINT).collect()
}

impl Person {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Maps with keys that are texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Person, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("a person cannot be read: {error}"))
    }

    /// As it is shown, beside the `names` of the pool's adapters.
    pub(crate) fn shown(&self, names: &[&str]) -> Value {
        let weights: Option<Vec<Value>> =
            self.weights.as_ref().map(|weights| weights.iter().map(|weight| short(*weight)).collect());
        let tried = self.tried.iter().map(|row| {
            json!({
                "name": row.name, "right": row.right, "of": row.of,
                "loss": short(row.loss), "seconds": short(row.seconds),
            })
        });
        json!({
            "id": self.id,
            "object": "customization",
            "model": format!("{}:{}", self.model, self.id),
            "base": self.model,
            "chosen": self.chosen,
            "fits": self.fits,
            "tried": tried.collect::<Vec<_>>(),
            "weights": weights,
            "names": names,
            "created": self.created,
            "bytes": self.bytes,
            "notes": self.notes,
        })
    }
}

/// What somebody's examples were about, in 8 bits a number: means of groups of them, where they are many.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PersonScope {
    border: Option<f32>,
    /// A scale and the codes of each.
    rows: Vec<(f32, Vec<i8>)>,
}

impl PersonScope {
    /// As much of `scope` as is kept.
    pub(crate) fn new(scope: &Scope, engine: &Engine) -> Result<PersonScope, crayon_engine::EngineError> {
        let width = scope.examples.first().map_or(0, Vec::len);
        let most = (SCOPE_BYTES / (width + size_of::<f32>()).max(1)).max(1);
        let rounded: Vec<(f32, Vec<i8>)> = scope.gathered(most)?.iter().map(|row| rounded(row)).collect();
        let mut kept = PersonScope { border: scope.border, rows: rounded };
        if kept.border.is_some() {
            // Where the general texts end depends on what is compared with them.
            let found = Scope::of_examples(kept.queries(), engine.general()?);
            kept.border = found.border.or(kept.border);
        }
        Ok(kept)
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope { examples: self.queries(), border: self.border }
    }

    fn queries(&self) -> Vec<Vec<f32>> {
        let row =
            |(scale, codes): &(f32, Vec<i8>)| codes.iter().map(|code| scale * f32::from(*code)).collect();
        self.rows.iter().map(row).collect()
    }

    /// Border (NaN for none), number of rows and their width, then each row's scale and codes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let width = self.rows.first().map_or(0, |(_, codes)| codes.len());
        let mut bytes = self.border.unwrap_or(f32::NAN).to_le_bytes().to_vec();
        bytes.extend((self.rows.len() as u32).to_le_bytes());
        bytes.extend((width as u32).to_le_bytes());
        for (scale, codes) in &self.rows {
            bytes.extend(scale.to_le_bytes());
            bytes.extend(codes.iter().map(|code| code.cast_unsigned()));
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<PersonScope, String> {
        let damaged = || "a person's scope is damaged".to_owned();
        let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
        let (Some(border), Some(rows), Some(width)) = (word(0), word(4), word(8)) else {
            return Err(damaged());
        };
        let border = Some(f32::from_le_bytes(border)).filter(|border| !border.is_nan());
        let (rows, width) = (u32::from_le_bytes(rows) as usize, u32::from_le_bytes(width) as usize);
        let each = width + 4;
        if rows.checked_mul(each).and_then(|size| size.checked_add(12)) != Some(bytes.len()) {
            return Err(damaged());
        }
        let row = |row: &[u8]| {
            let scale = f32::from_le_bytes([row[0], row[1], row[2], row[3]]);
            (scale, row[4..].iter().map(|code| code.cast_signed()).collect())
        };
        Ok(PersonScope { border, rows: bytes[12..].chunks_exact(each).map(row).collect() })
    }
}

/// A row's scale and its codes.
fn rounded(row: &[f32]) -> (f32, Vec<i8>) {
    let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let code = |value: &f32| if scale > 0.0 { (value / scale).round() as i8 } else { 0 };
    (scale, row.iter().map(code).collect())
}

/// What a person has beyond numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Extra {
    /// An adapter, as one safetensors file.
    Adapter(Vec<u8>),
    /// Examples for the prompt.
    Demonstrations(Vec<Demonstration>),
}

impl Extra {
    /// A letter for the kind, then the adapter, or a list of pairs in JSON.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Extra::Adapter(file) => [b"a", &file[..]].concat(),
            Extra::Demonstrations(list) => {
                let pairs: Vec<[&str; 2]> = list.iter().map(|one| [&*one.prompt, &*one.answer]).collect();
                [b"d", &serde_json::to_vec(&pairs).unwrap_or_default()[..]].concat()
            }
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Extra, String> {
        let damaged = || "what a person has of their own is damaged".to_owned();
        match bytes.split_first() {
            Some((b'a', file)) => Ok(Extra::Adapter(file.to_vec())),
            Some((b'd', list)) => {
                let pairs: Vec<[String; 2]> = serde_json::from_slice(list).map_err(|_| damaged())?;
                let one = |[prompt, answer]: [String; 2]| Demonstration { prompt, answer };
                Ok(Extra::Demonstrations(pairs.into_iter().map(one).collect()))
            }
            _ => Err(damaged()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::people::Stored;

    /// A person with 24 weights, and a scope as large as it gets.
    pub(crate) fn anybody(id: &str) -> Stored {
        let row = |name: &str| TriedRow { name: name.to_owned(), right: 5, of: 8, loss: 1.25, seconds: 0.5 };
        let width = 288;
        let codes = |seed: usize| (0..width).map(|at| ((at * 31 + seed) % 251) as u8 as i8).collect();
        let rows = (0..SCOPE_BYTES / (width + 4)).map(|seed| (0.25, codes(seed))).collect();
        let person = Person {
            id: id.to_owned(),
            model: "mini".to_owned(),
            base: short_print(&"5f".repeat(32)),
            pool: Some(short_print(&"a0".repeat(32))),
            chosen: Some("blend".to_owned()),
            fits: Some(true),
            tried: ["base", "blend", "nearest", "prompt"].map(row).to_vec(),
            weights: Some((0..24).map(|at| at as f32 / 120.0).collect()),
            created: 1_700_000_000,
            bytes: 1500,
            has_extra: false,
            notes: Vec::new(),
        };
        Stored { person, scope: Some(PersonScope { border: Some(0.5), rows }), extra: None }
    }

    #[test]
    fn everything_comes_back_and_damage_is_noticed() {
        let Stored { person, scope, .. } = anybody("anna");
        assert_eq!(Person::from_bytes(&person.to_bytes()), Ok(person.clone()));
        let scope = scope.unwrap();
        let bytes = scope.to_bytes();
        assert_eq!(PersonScope::from_bytes(&bytes), Ok(scope));
        let none = PersonScope { border: None, rows: vec![(1.0, vec![1, -1])] };
        assert_eq!(PersonScope::from_bytes(&none.to_bytes()), Ok(none));
        for cut in [0, 3, 11, bytes.len() - 1] {
            assert!(PersonScope::from_bytes(&bytes[..cut]).is_err(), "{cut}");
        }
        let one = Demonstration { prompt: "a\n".to_owned(), answer: "b".to_owned() };
        for extra in [Extra::Adapter(vec![1, 2, 3]), Extra::Demonstrations(vec![one])] {
            assert_eq!(Extra::from_bytes(&extra.to_bytes()), Ok(extra));
        }
        assert!(Extra::from_bytes(b"").is_err() && Extra::from_bytes(b"d{").is_err());
        assert!(Person::from_bytes(b"{}").is_err());
        let shown = person.shown(&["one"]);
        assert_eq!((&shown["model"], &shown["base"]), (&json!("mini:anna"), &json!("mini")));
    }

    #[test]
    fn rounding_keeps_eight_bits() {
        let row = [0.5, -1.0, 0.0, 0.25];
        let (scale, codes) = rounded(&row);
        for (value, code) in row.iter().zip(codes) {
            assert!((value - scale * f32::from(code)).abs() <= scale / 2.0);
        }
        assert_eq!(rounded(&[0.0; 3]), (0.0, vec![0; 3]));
    }
}
