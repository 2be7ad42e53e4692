#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    media_node::probe::session::fuzzing::session(bytes);
});
