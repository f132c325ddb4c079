//! Owner, mode, times and extended attributes of a file of any type.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, Uid, XattrFlags},
    io::Errno,
};

/// Reference to a file whose attributes are read or set. A symbolic link is never followed.
#[derive(Clone, Copy, Debug)]
pub enum FileRef<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// The entry of an open directory with this name.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl FileRef<'_> {
    /// Sets owner and group; `None` leaves one unchanged.
    ///
    /// # Errors
    ///
    /// As `chown(2)`.
    pub fn chown(self, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let (owner, group) = (owner.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(match self {
            Self::Open(fd) => fs::fchown(fd, owner, group),
            Self::Named(dir, name) => {
                fs::chownat(dir, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }

    /// Sets the twelve permission bits of the mode.
    ///
    /// # Errors
    ///
    /// As `chmod(2)`. A symbolic link has no mode: `ELOOP`.
    pub fn chmod(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => Ok(fs::fchmod(fd, mode)?),
            Self::Named(dir, name) => {
                // `fchmodat2` does it directly, but only since Linux 6.6.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let held = fs::openat(dir, name, flags, Mode::empty())?;
                let link = format!("/proc/self/fd/{}", held.as_raw_fd());
                match fs::chmod(link, mode) {
                    Err(Errno::OPNOTSUPP) => Err(Errno::LOOP.into()),
                    done => Ok(done?),
                }
            }
        }
    }

    /// Sets the modification time: seconds since 1970, and nanoseconds. The access time becomes the
    /// current time, because some FUSE file systems reject setting only one of the two, and not all
    /// of them report it.
    ///
    /// # Errors
    ///
    /// As `utimensat(2)`.
    pub fn set_modified(self, seconds: i64, nanoseconds: u32) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
        };
        Ok(match self {
            Self::Open(fd) => fs::futimens(fd, &times),
            Self::Named(dir, name) => fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }?)
    }

    /// Returns the names of the extended attributes; none where the file system does not support
    /// them.
    ///
    /// # Errors
    ///
    /// As `listxattr(2)`.
    pub fn xattr_names(self) -> io::Result<Vec<CString>> {
        let mut buffer = [0; 512];
        let listed = match self.list(&mut buffer) {
            Ok(length) => buffer.get(..length).map(<[u8]>::to_vec).unwrap_or_default(),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) => {
                // The kernel never returns more than XATTR_LIST_MAX.
                let mut buffer = vec![0; 64 << 10];
                let length = self.list(&mut buffer)?;
                buffer.truncate(length);
                buffer
            }
            Err(error) => return Err(error.into()),
        };
        Ok(listed.split_inclusive(|&b| b == 0).filter_map(name).collect())
    }

    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => fs::flistxattr(fd, buffer),
            Self::Named(dir, name) => list_named(dir, name, buffer),
        }
    }

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    ///
    /// As `getxattr(2)`; `ENODATA` if there is no such attribute.
    pub fn xattr(self, attribute: &CStr) -> io::Result<Vec<u8>> {
        // XATTR_SIZE_MAX is 64 KiB.
        let mut value = vec![0; 64 << 10];
        let length = match self {
            Self::Open(fd) => fs::fgetxattr(fd, attribute, &mut *value),
            Self::Named(dir, name) => fs::lgetxattr(proc_path(dir, name), attribute, &mut *value),
        }?;
        value.truncate(length);
        Ok(value)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    ///
    /// As `setxattr(2)`.
    pub fn set_xattr(self, attribute: &CStr, value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        Ok(match self {
            Self::Open(fd) => fs::fsetxattr(fd, attribute, value, flags),
            Self::Named(dir, name) => fs::lsetxattr(proc_path(dir, name), attribute, value, flags),
        }?)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    ///
    /// As `removexattr(2)`.
    pub fn remove_xattr(self, attribute: &CStr) -> io::Result<()> {
        Ok(match self {
            Self::Open(fd) => fs::fremovexattr(fd, attribute),
            Self::Named(dir, name) => fs::lremovexattr(proc_path(dir, name), attribute),
        }?)
    }
}

/// Converts a name of a list, given with its NUL.
fn name(bytes: &[u8]) -> Option<CString> {
    CStr::from_bytes_with_nul(bytes).ok().filter(|name| !name.is_empty()).map(CStr::to_owned)
}

/// Returns the path of an entry of an open directory, for calls that accept only a path. Calls
/// whose names begin with `l` do not follow the last component.
fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Calls `listxattrat(2)`, or goes through `/proc` where the kernel does not have it.
fn list_named(dir: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    static MISSING: AtomicBool = AtomicBool::new(false);
    if !MISSING.load(Ordering::Relaxed) {
        match listxattrat(dir, name, buffer) {
            Err(Errno::NOSYS | Errno::PERM) => MISSING.store(true, Ordering::Relaxed),
            listed => return listed,
        }
    }
    fs::llistxattr(proc_path(dir, name), buffer)
}

/// `listxattrat(2)`, since Linux 6.13: half the cost of going through `/proc`. It is called twice
/// for every examined file.
fn listxattrat(dir: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    /// System call number on all architectures that Rust supports; `libc` does not define it yet.
    const NUMBER: libc::c_long = 465;
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    // SAFETY: `name` is a string with a NUL and `buffer` is writable for its length; both outlive
    // the call, and the kernel keeps neither.
    let listed = unsafe {
        libc::syscall(
            NUMBER,
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    usize::try_from(listed)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn mode_and_time_are_set_without_following_links() {
        let place = tempfile::tempdir().unwrap();
        let (file, link) = (place.path().join("file"), place.path().join("link"));
        std::fs::write(&file, b"").unwrap();
        symlink("file", &link).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        FileRef::Named(dir.as_fd(), b"file").chmod(0o4751).unwrap();
        FileRef::Named(dir.as_fd(), b"file").set_modified(1_000_000_000, 123_456_789).unwrap();
        FileRef::Named(dir.as_fd(), b"link").set_modified(-5, 7).unwrap();
        assert!(FileRef::Named(dir.as_fd(), b"link").chmod(0o777).is_err());
        let (file, link) = (file.symlink_metadata().unwrap(), link.symlink_metadata().unwrap());
        // Both times are set, not only one.
        assert!(link.atime() > 1_600_000_000);
        assert_eq!(file.mode() & 0o7777, 0o4751);
        assert_eq!((file.mtime(), file.mtime_nsec()), (1_000_000_000, 123_456_789));
        assert_eq!((link.mtime(), link.mtime_nsec()), (-5, 7));
    }

    #[test]
    fn extended_attributes_are_the_same_by_descriptor_and_by_name() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), b"").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let file = std::fs::File::open(place.path().join("file")).unwrap();
        let (open, by_name) = (FileRef::Open(file.as_fd()), FileRef::Named(dir.as_fd(), b"file"));
        assert!(open.xattr_names().unwrap().is_empty());
        by_name.set_xattr(c"user.a", b"1").unwrap();
        open.set_xattr(c"user.b", &[7; 1000]).unwrap();
        for file_ref in [open, by_name] {
            let mut names = file_ref.xattr_names().unwrap();
            names.sort();
            assert_eq!(names, [c"user.a".to_owned(), c"user.b".to_owned()]);
            assert_eq!(file_ref.xattr(c"user.a").unwrap(), b"1");
            assert_eq!(file_ref.xattr(c"user.b").unwrap(), [7; 1000]);
        }
        by_name.remove_xattr(c"user.b").unwrap();
        open.remove_xattr(c"user.a").unwrap();
        assert!(by_name.xattr_names().unwrap().is_empty());
        let gone = FileRef::Named(dir.as_fd(), b"gone").xattr_names();
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_proc_fallback_lists_the_same_attributes() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), b"").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        FileRef::Named(dir.as_fd(), b"file").set_xattr(c"user.a", b"1").unwrap();
        let mut buffer = [0; 64];
        let length = fs::llistxattr(proc_path(dir.as_fd(), b"file"), &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"user.a\0");
    }
}
