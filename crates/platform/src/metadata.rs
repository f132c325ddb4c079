//! Owner and times of a file of any type.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::BorrowedFd,
};

use rustix::fs::{self, AtFlags, Gid, Timespec, Timestamps, UTIME_NOW, Uid};

/// Reference to a file whose attributes are read or set. A symbolic link is never followed.
#[derive(Clone, Copy, Debug)]
pub enum FileRef<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// The entry of an open directory with this name.
    Named(BorrowedFd<'a>, &'a [u8]),
    /// An entry of any type that is open as a mere place: see
    /// [`PinnedEntry`](crate::pinned_entry::PinnedEntry).
    #[cfg(target_os = "linux")]
    Pinned(BorrowedFd<'a>),
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
            #[cfg(target_os = "linux")]
            Self::Pinned(fd) => fs::chownat(fd, "", owner, group, AtFlags::EMPTY_PATH),
        }?)
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
            #[cfg(target_os = "linux")]
            Self::Pinned(fd) => {
                let path = crate::pinned_entry::proc_path(fd);
                fs::utimensat(fs::CWD, path, &times, AtFlags::empty())
            }
        }?)
    }
}

/// Splits a list of names, each with its NUL.
pub(crate) fn split_names(list: &[u8]) -> Vec<CString> {
    let names = list.split_inclusive(|&byte| byte == 0);
    let names = names.filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    names.filter(|name| !name.is_empty()).map(CStr::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use std::os::{
        fd::AsFd,
        unix::fs::{MetadataExt, symlink},
    };

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
}
