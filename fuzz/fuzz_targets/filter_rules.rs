//! Fuzz target: filter rules of rsync.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::filter_rules::run(data));
