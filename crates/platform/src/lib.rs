//! Safe wrappers of the system calls that a mirror daemon needs.
//!
//! This package has the only unsafe code of the program. Calls that `rustix` or `nix` already wrap
//! are used from there. What the systems do in different ways is in a directory for each system,
//! whose modules have the same interface.
//!
//! | module | contents |
//! |---|---|
#![cfg_attr(
    target_os = "linux",
    doc = "| [`inotify`], [`fanotify`] | kernel events, decoded from their buffers |",
    doc = "| [`leaf_dirs`] | directories without subdirectories, recognised by their link count |",
    doc = "| [`thread_cwd`] | the working directory of a single thread |"
)]
//! | [`places`] | directories and sockets of the system |
//! | [`file_system_type`] | names of file systems |
//! | [`dir_watch`], [`watch_support`] | watches of a few single directories; possible watches |
//! | [`dir`], [`lookup`], [`entries`] | open directories without following links; their entries |
//! | [`file_handle`], [`identity`], [`mounts`] | file handles, identity of directories, mounts |
//! | [`stat`], [`metadata`], [`file_attributes`], [`pinned_entry`] | metadata of one file |
//! | [`copy_file`], [`unnamed_file`], [`special_file`] | content and creation of one file |
//! | [`own_files`], [`lock`] | log, pidfile and status file, opened safely; file locks |
//! | [`unix_socket`], [`socket_file`], [`umask`] | sockets; permissions of new files |
//! | [`child`], [`fork`], [`reaper`], [`signal`] | child processes, detaching, init duty, signals |
//! | [`process_handle`], [`processes`], [`boot`] | other processes, this boot of the machine |
//! | [`sockets`], [`waker`] | listeners, wake-ups of a thread that polls |
//! | [`clock`], [`descriptor`] | the clock of `times(2)`; descriptors by number, `/dev/null` |
//! | [`answers`] | looks at paths whose file system may hang |
//! | [`environment`] | variables that children must not inherit |
//! | [`hex`] | hexadecimal digits |
//! | [`event_streams`] | streams of file system events, as macOS reports them |
//! | [`stored_entry`], [`stored_name`] | entries, with the names that their directories keep |
//! | [`memory`] | memory that the allocator keeps for later |
//! | `mapping` | file mappings, with the feature `mapping` |

pub mod answers;
pub mod child;
pub mod copy_file;
pub mod descriptor;
pub mod dir;
pub mod dir_watch;
pub mod entries;
pub mod environment;
pub mod event_streams;
pub mod file_system_type;
pub mod fork;
pub mod hex;
pub mod identity;
#[cfg(target_os = "linux")]
mod linux;
pub mod lock;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(feature = "mapping")]
pub mod mapping;
pub mod metadata;
pub mod mounts;
mod name_case;
pub mod own_files;
mod process_exit;
pub mod processes;
pub mod signal;
pub mod stat;
pub mod stored_entry;
mod stored_names;

#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod waker_tests;

#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(target_os = "macos")]
pub use macos::*;

/// The modules of macOS that use only calls that Linux has as well: its tests run them.
#[cfg(all(test, target_os = "linux"))]
#[path = "macos"]
mod portable {
    mod listing;
    mod walk;
}
