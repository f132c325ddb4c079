//! Lookup of the current path of a directory by its handle.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use mirror_platform::{dir::Dir, file_handle};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// Suffix of the path of a directory without a name, in `/proc/self/fd`.
const DELETED: &[u8] = b" (deleted)";

/// Result of the lookup of a directory through a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// It has this path.
    At(Vec<u8>),
    /// It lies somewhere below this path: its own path is too long for the kernel.
    Below(Vec<u8>),
    /// As `Below`, but only at this moment, because it is being renamed.
    Moving(Vec<u8>),
    /// It exists, and lies outside of what the mount shows of its file system.
    Hidden,
    /// The kernel does not find it. Mostly it was deleted, or belongs to another file system. The
    /// kernel also reports most errors of a lookup in this way.
    Missing,
}

/// Looks up the directory of a handle through a mount.
///
/// # Errors
///
/// If the kernel can't tell.
pub(super) fn locate(mount: &Dir, handle: &[u8]) -> io::Result<Location> {
    match file_handle::open(mount, handle) {
        Ok(fd) => location_of(fd),
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::STALE | Errno::INVAL | Errno::NOENT | Errno::OPNOTSUPP)
            ) =>
        {
            Ok(Location::Missing)
        }
        Err(error) => Err(error),
    }
}

fn location_of(fd: OwnedFd) -> io::Result<Location> {
    let path = match path_of(&fd) {
        Ok(path) => path,
        Err(error) if is_too_long(&error) => return Ok(Location::Below(nearest_path(fd)?)),
        Err(error) => return Err(error),
    };
    // Through a bind mount the kernel reports "/" for everything outside of it.
    if path == b"/" && !is_process_root(&fd)? {
        return Ok(Location::Hidden);
    }
    if path.ends_with(DELETED) { unnamed_location(&fd, path) } else { Ok(Location::At(path)) }
}

/// Returns the location of a directory that the kernel calls deleted. In the middle of a rename it
/// does so as well, and a name may end in the same way.
fn unnamed_location(fd: &OwnedFd, path: Vec<u8>) -> io::Result<Location> {
    let this = rustix::fs::fstat(fd)?;
    if this.st_nlink == 0 {
        return Ok(Location::Missing);
    }
    let there = rustix::fs::lstat(Path::new(OsStr::from_bytes(&path)));
    if there.is_ok_and(|it| (it.st_dev, it.st_ino) == (this.st_dev, this.st_ino)) {
        return Ok(Location::At(path));
    }
    let end = path.iter().rposition(|&b| b == b'/').unwrap_or(0).max(1);
    Ok(Location::Moving(path.get(..end).unwrap_or(b"/").to_vec()))
}

/// Returns the path of the nearest ancestor of `below` whose path is not too long.
///
/// In a deep tree each event needs this, and each lookup costs as much as a maximum-length path.
/// Therefore the step is doubled until a path fits, and then halved.
fn nearest_path(mut below: OwnedFd) -> io::Result<Vec<u8>> {
    const LONGEST_STEP: usize = 1024;
    let (mut step, mut is_growing) = (1, true);
    loop {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = rustix::fs::openat(&below, "../".repeat(step), flags, Mode::empty())?;
        match path_of(&above) {
            // It may be in the middle of a rename.
            Ok(path) if path.ends_with(DELETED) => below = above,
            Ok(path) if step == 1 => return Ok(path),
            Ok(_) => {
                is_growing = false;
                step /= 2;
            }
            Err(error) if is_too_long(&error) => {
                below = above;
                step = if is_growing { (step * 2).min(LONGEST_STEP) } else { (step / 2).max(1) };
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NAMETOOLONG)
}

/// Returns the path of an open directory, as the kernel currently sees it.
pub(super) fn path_of(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}

/// Returns true if it is the root directory of this process.
fn is_process_root(fd: &OwnedFd) -> io::Result<bool> {
    let (top, this) = (rustix::fs::stat("/")?, rustix::fs::fstat(fd)?);
    Ok((top.st_dev, top.st_ino) == (this.st_dev, this.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_platform::file_handle::FileHandle;
    use std::fs;

    /// Returns the location of a directory, or `None` without the privileges.
    fn locate_handle(mount: &Dir, handle: &FileHandle) -> Option<Location> {
        match locate(mount, handle.as_bytes()) {
            Ok(location) => Some(location),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "handles: {error}");
                eprintln!("skipped: handles: {error}");
                None
            }
        }
    }

    #[test]
    fn a_deleted_directory_that_is_open_is_missing_and_has_no_path() {
        let temp = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(temp.path()).unwrap();
        let mount = Dir::open(&top).unwrap();
        for name in ["plain", "old (deleted)"] {
            let path = top.join(name);
            fs::create_dir(&path).unwrap();
            let open = Dir::open(&path).unwrap();
            let handle = FileHandle::of(&open).unwrap();
            let Some(location) = locate_handle(&mount, &handle) else { return };
            assert_eq!(location, Location::At(path.as_os_str().as_bytes().into()));
            fs::remove_dir(&path).unwrap();
            assert_eq!(locate_handle(&mount, &handle), Some(Location::Missing));
            // The name may belong to another directory by now.
            fs::create_dir(&path).unwrap();
            fs::create_dir_all(top.join(format!("{name} (deleted)"))).unwrap();
            assert_eq!(locate_handle(&mount, &handle), Some(Location::Missing));
        }
    }
}
