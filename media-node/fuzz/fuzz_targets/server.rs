#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    media_node::turn::proto::fuzzing::server(bytes);
});
