//! Bytes that a damaged index may hold in the place of a record are a record or none, and a record comes back as it was.

#![no_main]

use crayon_images::{Broken, Details, FILE_BYTES, FileRecord, json_from_bytes, vector_from_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let record = FileRecord::from_bytes(bytes);
    assert_eq!(record.is_some(), bytes.len() == FILE_BYTES);
    if let Some(record) = record {
        assert_eq!(record.to_bytes(), bytes);
    }
    for dim in [0, 1, 8, bytes.len() / 2] {
        if let Some(vector) = vector_from_bytes(bytes, dim) {
            assert!(vector.len() == dim && vector.iter().all(|value| value.is_finite()));
        }
    }
    if let Some(details) = json_from_bytes::<Details>(bytes) {
        let again = serde_json::to_vec(&details).unwrap();
        assert_eq!(json_from_bytes::<Details>(&again), Some(details));
    }
    if let Some(broken) = json_from_bytes::<Broken>(bytes) {
        let again = serde_json::to_vec(&broken).unwrap();
        assert_eq!(json_from_bytes::<Broken>(&again), Some(broken));
    }
});
