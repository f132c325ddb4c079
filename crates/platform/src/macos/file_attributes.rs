//! Mode, extended attributes and ACL of a file.
//!
//! The ACL appears as an attribute of its own, [`ACL`]. The system has no calls for the
//! attributes of an entry by its name in a directory, so the entry is opened.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, XattrFlags},
    io::Errno,
};

use super::acl;
use crate::metadata::{FileRef, split_names};

/// Attribute with the ACL: the name under which some file systems store it, and which the system
/// hides.
pub const ACL: &CStr = c"com.apple.system.Security";

/// Attribute with the ACL that a directory passes on to new entries: a part of the only ACL.
pub const INHERITED_ACL: &CStr = ACL;

/// Attributes that the system assigns, and that nobody else can set.
const ASSIGNED: [&[u8]; 3] = [b"com.apple.provenance", b"com.apple.macl", b"com.apple.rootless"];

impl FileRef<'_> {
    /// Sets the twelve permission bits of the mode.
    ///
    /// # Errors
    ///
    /// As `chmod(2)`. A symbolic link has no mode: `ELOOP`.
    pub fn chmod(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(u16::try_from(mode & 0o7777).unwrap_or_default());
        match self {
            Self::Open(fd) => Ok(fs::fchmod(fd, mode)?),
            Self::Named(dir, name) => {
                let name = OsStr::from_bytes(name);
                let found = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
                    return Err(Errno::LOOP.into());
                }
                Ok(fs::chmodat(dir, name, mode, AtFlags::SYMLINK_NOFOLLOW)?)
            }
        }
    }

    /// Returns the names of the extended attributes; none where the file system does not support
    /// them.
    ///
    /// # Errors
    ///
    /// As `listxattr(2)`.
    pub fn xattr_names(self) -> io::Result<Vec<CString>> {
        let names = self.with_open(|file| {
            let mut names = split_names(&list(file)?);
            if acl::read(file)?.is_some() {
                names.push(ACL.to_owned());
            }
            Ok(names)
        });
        match names {
            Err(error) if is_unsupported(&error) => Ok(Vec::new()),
            names => names,
        }
    }

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    ///
    /// As `getxattr(2)`; see [`is_missing_attribute`] if there is no such attribute.
    pub fn xattr(self, attribute: &CStr) -> io::Result<Vec<u8>> {
        self.with_open(|file| {
            if attribute == ACL {
                return Ok(acl::read(file)?.ok_or(Errno::NOATTR)?.into_bytes());
            }
            loop {
                let size = fs::fgetxattr(file, attribute, &mut [0_u8; 0][..])?;
                let mut value = vec![0; size];
                match fs::fgetxattr(file, attribute, &mut *value) {
                    // It has grown meanwhile.
                    Err(Errno::RANGE) => {}
                    length => {
                        value.truncate(length?);
                        return Ok(value);
                    }
                }
            }
        })
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    ///
    /// As `setxattr(2)`.
    pub fn set_xattr(self, attribute: &CStr, value: &[u8]) -> io::Result<()> {
        self.with_open(|file| {
            if attribute == ACL {
                return acl::write(file, &CString::new(value).map_err(|_| Errno::INVAL)?);
            }
            Ok(fs::fsetxattr(file, attribute, value, XattrFlags::empty())?)
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    ///
    /// As `removexattr(2)`.
    pub fn remove_xattr(self, attribute: &CStr) -> io::Result<()> {
        self.with_open(|file| {
            if attribute == ACL {
                return acl::remove(file);
            }
            Ok(fs::fremovexattr(file, attribute)?)
        })
    }

    /// Calls `act` with an open file.
    fn with_open<T>(self, act: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Open(fd) => act(fd),
            Self::Named(dir, name) => {
                use std::os::fd::AsFd;

                act(open_entry(dir, name)?.as_fd())
            }
        }
    }
}

/// Opens an entry for its attributes; a symbolic link itself. Others than files, directories and
/// links can't be opened without an effect on a device or another process.
fn open_entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let name = OsStr::from_bytes(name);
    let found = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let file_type = FileType::from_raw_mode(found.st_mode);
    if !matches!(file_type, FileType::RegularFile | FileType::Directory | FileType::Symlink) {
        return Err(Errno::NOTSUP);
    }
    let only_events = OFlags::from_bits_retain(libc::O_EVTONLY.cast_unsigned());
    let flags = only_events | OFlags::SYMLINK | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::empty())
}

/// Returns the names of the attributes, each with its NUL.
fn list(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1024];
    loop {
        match fs::flistxattr(file, &mut *buffer) {
            Err(Errno::RANGE) => buffer = vec![0; buffer.len() * 4],
            length => {
                buffer.truncate(length?);
                return Ok(buffer);
            }
        }
    }
}

/// Returns true if an extended attribute belongs to the content of the file, and not to this
/// machine.
#[must_use]
pub fn is_mirrored(attribute: &[u8], _is_privileged: bool) -> bool {
    is_acl(attribute)
        || !ASSIGNED.contains(&attribute) && !attribute.starts_with(b"com.apple.system.")
}

/// Returns true if the attribute is an ACL.
#[must_use]
pub fn is_acl(attribute: &[u8]) -> bool {
    attribute == ACL.to_bytes()
}

/// Returns true if the error says that there is no such attribute: `ENOATTR`.
#[must_use]
pub fn is_missing(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOATTR)
}

/// Returns true if the error says that the file system does not support attributes.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOTSUP | Errno::OPNOTSUPP))
}
