//! Fuzz targets: parsers of foreign bytes, with the properties that hold for every input.
//!
//! Each module with a function `run` is a target: it takes any bytes and panics if an invariant is
//! violated. Two fuzzers call it: cargo-fuzz, by a file in `fuzz/fuzz_targets`, and the [`runner`],
//! which runs on stable Rust in tests and in `cargo xtask fuzz`. [`targets`] lists them all.
#![forbid(unsafe_code)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests name what they expect")]

pub mod control_requests;
pub mod cron_rules;
pub mod filter_rules;
pub mod kernel_events;
pub mod lua_config;
pub mod rsync_messages;
pub mod shell_quoting;

pub mod runner;
pub mod targets;

mod input;
mod mutate;
mod random;
mod splitter;
