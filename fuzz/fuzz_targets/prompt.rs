//! Any text is a prompt or is refused with its place, and what is read has weights that can be used.

#![no_main]

use crayon_images::{ImageError, LARGEST, parse, parse_search};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    for read in [parse(source), parse_search(source)] {
        match read {
            Ok(mut prompt) => {
                let mut end = 0;
                for weighted in &prompt.weights {
                    assert!(weighted.range.start >= end && weighted.range.end > weighted.range.start);
                    assert!(prompt.text.get(weighted.range.clone()).is_some());
                    assert!((0.0..=LARGEST).contains(&weighted.weight));
                    end = weighted.range.end;
                }
                assert!(prompt.words().iter().all(|(_, weight)| (0.0..=LARGEST).contains(weight)));
                assert!(prompt.minus.iter().all(|minus| !minus.text.is_empty() && minus.weight >= 0.0));
                let first = prompt.words().first().map(|(word, _)| (*word).to_owned());
                if let Some(word) = first {
                    let _ = prompt.weigh(&word, 1.5);
                }
            }
            Err(ImageError::Prompt { source_text, column, .. }) => {
                assert!(source_text == source && column <= source.chars().count());
            }
            Err(ImageError::Weight { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
});
