#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vreserve_fuzz_bodies::offload_segments(data));
