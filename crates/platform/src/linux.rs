//! Linux.

pub mod boot;
pub mod child;
pub mod clock;
pub mod copy_file;
pub mod dir_watch;
pub mod fanotify;
pub mod file_handle;
pub mod file_system_type;
pub mod fork;
pub mod identity;
pub mod inotify;
pub mod leaf_dirs;
pub(crate) mod listing;
pub mod lock;
pub mod lookup;
#[cfg(feature = "mapping")]
pub mod mapping;
pub mod memory;
pub mod metadata;
pub mod mounts;
pub mod places;
pub mod process_handle;
pub mod processes;
mod read_stat;
pub mod reaper;
pub mod sockets;
pub mod thread_cwd;
pub mod waker;
