//! The watch backends of this system, and the selection of a backend for each tree.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub(super) use linux::Backends;
#[cfg(target_os = "macos")]
pub(super) use macos::Backends;

use std::path::Path;

use mirror_platform::file_system_type::FileSystemType;

/// Returns true if the content of `path` may change without this kernel's knowledge.
pub(super) fn is_on_shared_file_system(path: &Path) -> bool {
    FileSystemType::of(path).is_ok_and(|found| found.is_shared)
}
