//! What an index knows of a file and of a picture, as bytes.

use serde::{Deserialize, Serialize};

/// SHA-256 of a file's bytes: a picture is known by it wherever it lies.
pub type Hash = [u8; 32];

/// A file with a picture: which one, and how the file looked when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The picture.
    pub hash: Hash,
    /// Size and time, the quick check for a change.
    pub stamp: Stamp,
}

/// Size and time of change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970, of the last change.
    pub modified: i64,
}

impl Stamp {
    /// Of a file that is not here.
    pub(crate) const UNKNOWN: Stamp = Stamp { size: 0, modified: 0 };

    /// When the file was changed, in UTC; empty where that is not known.
    pub(crate) fn date(self) -> String {
        if self == Stamp::UNKNOWN { String::new() } else { crate::date::from_nanos(self.modified) }
    }
}

/// What was found in a picture besides its pixels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Width, upright.
    pub width: u32,
    /// Height, upright.
    pub height: u32,
    /// When it was taken, in the camera's own time: `2024-05-01T12:30:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Maker and model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Keywords of IPTC and XMP, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// What somebody wrote about it, where an import had that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// The picture in very few pixels, in hexadecimal, by which near-duplicates are told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub look: String,
}

/// A file that could not be read as a picture; it is tried again when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// How the file looked.
    pub stamp: Stamp,
    /// Why not.
    pub why: String,
}

/// Bytes of a [`FileRecord`]: the hash, the size and the time, little-endian.
pub const FILE_BYTES: usize = 48;

impl FileRecord {
    /// As it is stored.
    pub fn to_bytes(self) -> [u8; FILE_BYTES] {
        let mut bytes = [0; FILE_BYTES];
        bytes[..32].copy_from_slice(&self.hash);
        bytes[32..40].copy_from_slice(&self.stamp.size.to_le_bytes());
        bytes[40..].copy_from_slice(&self.stamp.modified.to_le_bytes());
        bytes
    }

    /// `None` when `bytes` are something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<FileRecord> {
        let bytes: &[u8; FILE_BYTES] = bytes.try_into().ok()?;
        let (hash, rest) = bytes.split_first_chunk::<32>()?;
        let (size, modified) = rest.split_first_chunk::<8>()?;
        let stamp = Stamp {
            size: u64::from_le_bytes(*size),
            modified: i64::from_le_bytes(modified.try_into().ok()?),
        };
        Some(FileRecord { hash: *hash, stamp })
    }
}

/// A vector of length 1 in half precision.
pub(crate) fn halves(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
}

/// The vector of `dim` numbers, or `None` when `bytes` are something else or no finite numbers.
pub fn vector_from_bytes(bytes: &[u8], dim: usize) -> Option<Vec<f32>> {
    if bytes.len() != 2 * dim {
        return None;
    }
    let values: Vec<f32> =
        bytes.as_chunks::<2>().0.iter().map(|two| half::f16::from_le_bytes(*two).to_f32()).collect();
    values.iter().all(|value| value.is_finite()).then_some(values)
}

/// Details or a broken file, or `None` when `bytes` are something else.
pub fn json_from_bytes<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_come_back(hash: [u8; 32], size: u64, modified: i64) {
            let record = FileRecord { hash, stamp: Stamp { size, modified } };
            prop_assert_eq!(FileRecord::from_bytes(&record.to_bytes()), Some(record));
        }

        #[test]
        fn details_come_back(width: u32, taken: Option<String>, keywords: Vec<String>) {
            let details = Details { width, taken, keywords, ..Details::default() };
            let bytes = serde_json::to_vec(&details).unwrap();
            prop_assert_eq!(json_from_bytes::<Details>(&bytes), Some(details));
        }

        #[test]
        fn other_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(FileRecord::from_bytes(&bytes).is_some(), bytes.len() == FILE_BYTES);
            let _ = json_from_bytes::<Details>(&bytes);
            let _ = json_from_bytes::<Broken>(&bytes);
            if let Some(vector) = vector_from_bytes(&bytes, 8) {
                prop_assert!(bytes.len() == 16 && vector.iter().all(|v| v.is_finite()));
            }
        }

        #[test]
        fn json_that_is_nearly_right_is_no_panic(text in r#"\{("width":|"height":|"taken":|"keywords":|\[|\]|"a"|,|1|-1|null|1e99)*\}"#) {
            let _ = json_from_bytes::<Details>(text.as_bytes());
        }
    }

    #[test]
    fn a_vector_keeps_its_direction() {
        let vector = [0.6, -0.8, 0.0];
        let back = vector_from_bytes(&halves(&vector), 3).unwrap();
        assert!(back.iter().zip(vector).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(vector_from_bytes(&halves(&[f32::NAN, 0.0]), 2), None);
    }
}
