//! Safe wrappers of the Linux calls that a mirror daemon needs.
//!
//! Here is the only unsafe code of the program. Calls that `rustix` or `nix` already have are
//! used from there.

pub mod child;
pub mod clock;
pub mod content;
pub mod descriptor;
pub mod dir;
pub mod entries;
pub mod fanotify;
pub mod fork;
pub mod handle;
pub mod house;
pub mod identity;
pub mod inotify;
pub mod leaf;
pub mod lock;
#[cfg(feature = "mapping")]
pub mod mapping;
pub mod mounts;
pub mod own;
pub mod signal;
pub mod spot;
pub mod stand;
