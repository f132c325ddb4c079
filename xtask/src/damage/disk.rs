//! File systems that get full or read-only.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_remount},
};

/// Time limit for the end of the writes to a mount.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Interval between two looks at it.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The name of the file that fills a file system.
const FILLER: &str = "filler";

/// Moves the calling thread, and what it starts, into a private mount namespace.
///
/// # Errors
///
/// As `unshare(2)` and `mount(2)`; commonly missing privileges.
pub(crate) fn enter_mount_namespace() -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Mounts a file system in memory, with a size in bytes.
pub(crate) fn mount_tmpfs(at: &Path, size: Option<u64>) -> io::Result<()> {
    let options = size.map_or_else(String::new, |size| format!("size={size}"));
    let options = CString::new(options)?;
    Ok(mount("damage", at, "tmpfs", MountFlags::empty(), options.as_c_str())?)
}

/// Appends to a file on a file system until that is full.
pub(crate) fn fill(disk: &Path) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(disk.join(FILLER))?;
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![b'f'; size];
        loop {
            match file.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Removes the file of [`fill`].
pub(crate) fn make_space(disk: &Path) -> io::Result<()> {
    fs::remove_file(disk.join(FILLER))
}

/// Makes a mount read-only, as soon as nobody writes to it.
pub(crate) fn make_read_only(at: &Path) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match mount_remount(at, MountFlags::BIND | MountFlags::RDONLY, "") {
            Err(Errno::BUSY) if start.elapsed() < TIMEOUT => thread::sleep(POLL_INTERVAL),
            result => return Ok(result?),
        }
    }
}

/// Makes a mount writable again.
pub(crate) fn make_writable(at: &Path) -> io::Result<()> {
    Ok(mount_remount(at, MountFlags::BIND, "")?)
}
