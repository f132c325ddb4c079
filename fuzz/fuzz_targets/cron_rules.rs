//! Fuzz target: cron rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::cron_rules::run(data));
