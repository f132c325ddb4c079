//! Private mounts.

use std::{io, path::Path};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};

use super::Sandbox;

/// Moves the calling thread, and the processes that it starts, into a private mount namespace.
///
/// # Errors
///
/// As `unshare(2)` and `mount(2)`; commonly missing privileges.
pub(crate) fn enter_private_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

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

impl Drop for MountedTmpfs<'_> {
    fn drop(&mut self) {
        // Some tests have already unmounted it.
        let _ = unmount(self.at, UnmountFlags::DETACH);
    }
}
