//! Mounts in a namespace of one thread.

use std::{ffi::CString, io, path::Path};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount,
};

/// Moves the calling thread, and the processes that it starts, into a private mount namespace.
///
/// # Errors
///
/// As `unshare(2)` and `mount(2)`; commonly missing privileges.
pub(crate) fn enter_private_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

pub(super) fn mount_tmpfs(at: &Path, bytes: usize) -> io::Result<()> {
    let options = CString::new(format!("size={bytes}"))?;
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str())?)
}

pub(super) fn remount(at: &Path, read_only: bool) -> io::Result<()> {
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    Ok(mount_remount(at, flags, "")?)
}

pub(super) fn unmount(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::DETACH)?)
}
