#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::change_body::holds(data));
