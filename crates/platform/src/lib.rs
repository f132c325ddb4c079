//! Safe wrappers of the system calls that a mirror daemon needs.
//!
//! This package has the only unsafe code of the program. Calls that `rustix` or `nix` already wrap
//! are used from there.
//!
//! | module | contents |
//! |---|---|
//! | [`inotify`], [`fanotify`] | kernel events, decoded from their buffers |
//! | [`dir`], [`entries`] | open directories without following links; their entries |
//! | [`leaf_dirs`] | directories without subdirectories, recognised by their link count |
//! | [`file_handle`], [`identity`], [`mounts`] | file handles, identity of directories, mounts |
//! | [`metadata`], [`copy_file`] | attributes and content of one file |
//! | [`own_files`], [`lock`] | log, pidfile and status file, opened safely; file locks |
//! | [`child`], [`fork`], [`reaper`], [`signal`] | child processes, detaching, init duty, signals |
//! | [`clock`], [`descriptor`] | the clock of `times(2)`, descriptors given by number |
//! | [`environment`] | variables that children must not inherit |
//! | [`hex`] | hexadecimal digits |
//! | [`memory`] | memory that the allocator keeps for later |
//! | [`thread_cwd`] | the working directory of a single thread |
//! | `mapping` | file mappings, with the feature `mapping` |

pub mod child;
pub mod clock;
pub mod copy_file;
pub mod descriptor;
pub mod dir;
pub mod entries;
pub mod environment;
pub mod fanotify;
pub mod file_handle;
pub mod fork;
pub mod hex;
pub mod identity;
pub mod inotify;
pub mod leaf_dirs;
pub mod lock;
#[cfg(feature = "mapping")]
pub mod mapping;
pub mod memory;
pub mod metadata;
pub mod mounts;
pub mod own_files;
pub mod reaper;
pub mod signal;
pub mod thread_cwd;
