//! Fuzz target: requests to the control socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::control_requests::run(data));
