//! macOS.

pub mod boot;
pub mod dir_watch;
pub mod file_system_type;
mod kqueue;
pub mod places;
pub mod process_handle;
pub mod processes;
pub mod sockets;
pub mod waker;
