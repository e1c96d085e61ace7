//! Bodies of requests: whatever comes is read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| crayon_serve::fuzzing::body(body));
