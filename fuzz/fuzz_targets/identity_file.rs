#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::identity_file(data));
