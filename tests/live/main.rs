//! The real binary with real programs: each test starts its own daemon on its own directories.
//!
//! Tests wait for conditions, never for a time. What a test needs and does not find makes it say
//! `skipped: ..`, which `cargo xtask test` counts.

#[cfg(test)]
mod support;

#[cfg(test)]
mod changes;
#[cfg(test)]
mod check;
#[cfg(test)]
mod churn;
#[cfg(test)]
mod config;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod excludes;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod links;
#[cfg(test)]
mod many;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod names;
#[cfg(test)]
mod network;
#[cfg(test)]
mod open_files;
#[cfg(test)]
mod overflow;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod rsync_trouble;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod status;
#[cfg(test)]
mod target_trouble;
#[cfg(test)]
mod tunnels;
