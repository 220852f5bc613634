#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_reference::holds(data));
