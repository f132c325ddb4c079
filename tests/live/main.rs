//! The real binary with real programs: each test starts its own daemon on its own directories.
//!
//! Tests wait for conditions, never for a time. What a test needs and does not find makes it say
//! `skipped: ..`, which `cargo xtask test` counts.

#[cfg(test)]
mod support;

#[cfg(test)]
mod changes;
#[cfg(test)]
mod startup;
