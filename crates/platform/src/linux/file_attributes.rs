//! Mode and extended attributes of a file. An ACL is an attribute.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{self, Mode, XattrFlags},
    io::Errno,
};

use crate::{
    metadata::{FileRef, split_names},
    pinned_entry::{self, PinnedEntry},
};

impl FileRef<'_> {
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
                PinnedEntry::open(dir, name)?.file().chmod(mode.as_raw_mode())
            }
            Self::Pinned(fd) => match fs::chmod(pinned_entry::proc_path(fd), mode) {
                Err(Errno::OPNOTSUPP) => Err(Errno::LOOP.into()),
                done => Ok(done?),
            },
        }
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
        Ok(split_names(&listed))
    }

    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => fs::flistxattr(fd, buffer),
            Self::Named(dir, name) => list_named(dir, name, buffer),
            Self::Pinned(fd) => fs::listxattr(pinned_entry::proc_path(fd), buffer),
        }
    }

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    ///
    /// As `getxattr(2)`; see [`is_missing`] if there is no such attribute.
    pub fn xattr(self, attribute: &CStr) -> io::Result<Vec<u8>> {
        // XATTR_SIZE_MAX is 64 KiB.
        let mut value = vec![0; 64 << 10];
        let length = match self {
            Self::Open(fd) => fs::fgetxattr(fd, attribute, &mut *value),
            Self::Named(dir, name) => fs::lgetxattr(proc_path(dir, name), attribute, &mut *value),
            Self::Pinned(fd) => fs::getxattr(pinned_entry::proc_path(fd), attribute, &mut *value),
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
            Self::Pinned(fd) => fs::setxattr(pinned_entry::proc_path(fd), attribute, value, flags),
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
            Self::Pinned(fd) => fs::removexattr(pinned_entry::proc_path(fd), attribute),
        }?)
    }
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

/// File capabilities, `capabilities(7)`.
const CAPABILITY: &[u8] = b"security.capability";

/// Attribute with the ACL, `acl(5)`.
pub const ACL: &CStr = c"system.posix_acl_access";

/// Attribute with the ACL that a directory passes on to new entries.
pub const INHERITED_ACL: &CStr = c"system.posix_acl_default";

/// Returns true if an extended attribute belongs to the content of the file, and not to this
/// machine, as those of security modules do. `trusted.SGI_ACL_*` is a view of the ACLs by XFS,
/// which are listed anyway.
#[must_use]
pub fn is_mirrored(attribute: &[u8], is_privileged: bool) -> bool {
    attribute.starts_with(b"user.")
        || is_acl(attribute)
        || is_privileged
            && (attribute == CAPABILITY
                || attribute.starts_with(b"trusted.") && !attribute.starts_with(b"trusted.SGI_"))
}

/// Returns true if the attribute is an ACL.
#[must_use]
pub fn is_acl(attribute: &[u8]) -> bool {
    attribute == ACL.to_bytes() || attribute == INHERITED_ACL.to_bytes()
}

/// Returns true if the error says that there is no such attribute: `ENODATA`.
#[must_use]
pub fn is_missing(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NODATA)
}

/// Returns true if the error says that the file system does not support attributes.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;

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
