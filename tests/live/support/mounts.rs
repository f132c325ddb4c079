//! Private mounts.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux::{mount_tmpfs, remount, unmount};
#[cfg(target_os = "macos")]
use macos::{mount_tmpfs, remount, unmount};

#[cfg(target_os = "linux")]
pub(crate) use linux::enter_private_namespace;
#[cfg(target_os = "macos")]
pub(crate) use macos::enter_private_namespace;

use std::path::Path;

use super::Sandbox;

/// Runs `test` in a thread with a private mount namespace.
pub(crate) fn with_private_mounts(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        enter_private_namespace().expect("the test asked for the right to mount");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A small tmpfs that is mounted on a directory until it is dropped.
#[derive(Debug)]
pub(crate) struct MountedTmpfs<'a> {
    at: &'a Path,
}

impl<'a> MountedTmpfs<'a> {
    /// Mounts a file system of `bytes` bytes at `at`, which must be in `sandbox`.
    pub(crate) fn mount(sandbox: &Sandbox, at: &'a Path, bytes: usize) -> Self {
        sandbox.check(at);
        mount_tmpfs(at, bytes).unwrap();
        Self { at }
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        remount(self.at, read_only).unwrap();
    }
}

impl Drop for MountedTmpfs<'_> {
    fn drop(&mut self) {
        // Some tests have already unmounted it.
        let _ = unmount(self.at);
    }
}
