//! Server-sent events: however a stream is cut into pieces, the same events come out of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|stream: &[u8]| crayon_hybrid::fuzzing::events(stream));
