//! Fuzz target: quoting for shells.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::shell_quoting::run(data));
