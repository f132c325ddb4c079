//! Tests of the real binary with real programs. Each test starts its own daemon on its own
//! directories.
//!
//! Tests wait for conditions, never for a fixed time. A test without its requirements prints
//! `skipped: ..`, which `cargo xtask test` counts.

#[cfg(test)]
mod support;

#[cfg(test)]
mod changes;
#[cfg(test)]
mod check;
#[cfg(test)]
mod config;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod container;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod excludes;
#[cfg(test)]
mod flush;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod links;
#[cfg(test)]
mod log_output;
#[cfg(test)]
mod lsyncctl;
#[cfg(test)]
mod multiple_syncs;
#[cfg(test)]
mod network;
#[cfg(test)]
mod odd_names;
#[cfg(test)]
mod on_synced;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod open_files;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod overflow;
#[cfg(test)]
mod random_changes;
#[cfg(test)]
mod refused_syncs;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod rsync_failures;
#[cfg(test)]
mod rsync_modules;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod service_manager;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod service_units;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod shared_mounts;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod silent_mounts;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod source_loss;
#[cfg(test)]
mod ssh_renames;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod status;
#[cfg(test)]
mod target_failures;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod unreadable_files;
