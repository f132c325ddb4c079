//! Safe wrappers of the system calls that a mirror daemon needs.
//!
//! This package has the only unsafe code of the program. Calls that `rustix` or `nix` already wrap
//! are used from there. What the systems do in different ways is in a directory for each system,
//! whose modules have the same interface.
//!
//! | module | contents |
//! |---|---|
//! | [`inotify`], [`fanotify`] | kernel events, decoded from their buffers |
//! | [`places`] | directories and sockets of the system |
//! | [`file_system_type`] | names of file systems |
//! | [`dir_watch`] | watches of a few single directories |
//! | [`dir`], [`lookup`], [`entries`] | open directories without following links; their entries |
//! | [`stat`] | type and metadata of an entry |
//! | [`leaf_dirs`] | directories without subdirectories, recognised by their link count |
//! | [`file_handle`], [`identity`], [`mounts`] | file handles, identity of directories, mounts |
//! | [`metadata`], [`copy_file`] | attributes and content of one file |
//! | [`own_files`], [`lock`] | log, pidfile and status file, opened safely; file locks |
//! | [`child`], [`fork`], [`reaper`], [`signal`] | child processes, detaching, init duty, signals |
//! | [`process_handle`], [`processes`], [`boot`] | other processes, this boot of the machine |
//! | [`sockets`], [`waker`] | listeners, wake-ups of a thread that polls |
//! | [`clock`], [`descriptor`] | the clock of `times(2)`, descriptors given by number |
//! | [`environment`] | variables that children must not inherit |
//! | [`hex`] | hexadecimal digits |
//! | [`memory`] | memory that the allocator keeps for later |
//! | [`thread_cwd`] | the working directory of a single thread |
//! | `mapping` | file mappings, with the feature `mapping` |

pub mod descriptor;
pub mod dir;
pub mod entries;
pub mod environment;
pub mod hex;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
pub mod own_files;
mod process_exit;
pub mod signal;
pub mod stat;

#[cfg(test)]
mod dir_watch_tests;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod waker_tests;

#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(target_os = "macos")]
pub use macos::*;
