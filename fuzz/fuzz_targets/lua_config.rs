//! Fuzz target: configuration files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::lua_config::run(data));
