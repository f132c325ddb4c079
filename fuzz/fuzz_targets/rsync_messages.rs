//! Fuzz target: messages of rsync.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_harness::rsync_messages::run(data));
