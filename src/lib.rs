//! The Lsyncd daemon: watches source trees and keeps their mirrors up to date.
//!
//! [`mirror_core`] makes the decisions, as a state machine without I/O. This package does the rest:
//! it watches, transfers, runs scripts, and writes log and status. A write passes `watch`,
//! `engine`, [`mirror_core::fleet`], `engine` again, and `exec`; `docs/tour.md` follows it.
//!
//! | module | contents |
//! |---|---|
//! | [`run`] | the startup sequence, from the command line to the running engine |
//! | [`daemon`] | the process: detaching, pidfile, signals |
//! | [`control`] | control of a running daemon: the protocol of its sockets, and its client |
//! | [`ctl`] | `lsyncctl`, the administrator's tool for a running daemon |
//! | [`config`] | the configuration: validated, comparable, independent of its source |
//! | [`frontend`] | the sources of a configuration: command line and Lua files |
//! | [`check`] | `-check`: validates and describes a configuration, with warnings |
//! | `engine` | the event loop: owns the fleet and performs its effects |
//! | `watch` | inotify, fanotify, polling; reports file system events |
//! | `exec` | executors: rsync, the built-in copier, ssh connections, tunnels, child processes |
//! | `snapshot` | what a source was like, so that a restart transfers only the differences |
//! | `script` | user scripts in Lua |
//! | [`report`] | log, syslog and status file |
//!
//! `xtask/src/tidy/layers.rs` lists which module may use which.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::wildcard_enum_match_arm, reason = "tests name what they expect"))]

use std::{
    fs::File,
    io::{self, Read},
    sync::{Mutex, MutexGuard, PoisonError},
};

use mirror_platform::hex::{hex, unhex};

pub mod check;
pub mod config;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod frontend;
pub mod report;
pub mod run;

mod engine;
mod exec;
mod script;
mod snapshot;
mod watch;

/// Locks a mutex, even if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns random bytes that nobody can guess.
fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
