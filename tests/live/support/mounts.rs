//! Mounts that nobody else sees.

use std::{io, path::Path};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};

use super::Sandbox;

/// Gives the calling thread, and the processes that it starts from now on, mounts of their own.
///
/// # Errors
///
/// As `unshare(2)` and `mount(2)`; commonly that the right is missing.
pub(crate) fn enter_private_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Runs `test` in a thread with a mount namespace of its own, which ends with it.
pub(crate) fn with_private_mounts(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        enter_private_namespace().expect("the test asked for the right to mount");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A small file system of its own at a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Tmpfs<'a> {
    at: &'a Path,
}

impl<'a> Tmpfs<'a> {
    /// Mounts a file system for `bytes` bytes at `at`, which must lie in `sandbox`.
    pub(crate) fn mount(sandbox: &Sandbox, at: &'a Path, bytes: usize) -> Self {
        sandbox.check(at);
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self { at }
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(self.at, flags, "").unwrap();
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // It may be gone already: some tests take it away themselves.
        let _ = unmount(self.at, UnmountFlags::DETACH);
    }
}
