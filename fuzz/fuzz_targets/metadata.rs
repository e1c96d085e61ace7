//! Dates, cameras and keywords of any bytes are found or not.

#![no_main]

use crayon_images::details;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = details(bytes);
    assert!(found.keywords.iter().all(|keyword| !keyword.is_empty()));
    assert!(found.taken.is_none_or(|taken| taken.len() == 19));
});
