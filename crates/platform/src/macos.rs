//! macOS.

mod acl;
pub mod boot;
pub mod clock;
pub(crate) mod copy_range;
pub mod dir_watch;
pub mod file_attributes;
pub mod file_handle;
pub mod file_system_type;
mod kqueue;
pub(crate) mod listing;
pub mod lookup;
pub mod memory;
pub mod mounts;
pub(crate) mod parent_death;
pub mod places;
pub mod process_handle;
pub mod processes;
mod read_identity;
mod read_stat;
pub mod reaper;
pub mod sockets;
pub(crate) mod threads;
pub mod waker;
mod walk;
pub mod watch_support;
