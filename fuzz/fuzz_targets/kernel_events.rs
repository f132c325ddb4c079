//! Fuzz target: events of inotify and fanotify.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::kernel_events::run(data));
