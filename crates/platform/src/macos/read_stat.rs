//! Reading of [`Stat`]: `fstatat(2)`.

use std::{
    ffi::OsStr,
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
};

use rustix::fs::{self, AtFlags, fstat, major, minor, statat};

use crate::stat::{FileTime, Stat};

impl Stat {
    /// Reads the metadata of the entry `name`; the empty name is the directory itself.
    pub(crate) fn at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        if name.is_empty() {
            return Ok(fstat(dir)?.into());
        }
        Ok(statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?.into())
    }
}

impl From<fs::Stat> for Stat {
    fn from(found: fs::Stat) -> Self {
        let time = |seconds, nanoseconds: i64| FileTime {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or_default(),
        };
        Self {
            mode: found.st_mode.into(),
            uid: found.st_uid,
            gid: found.st_gid,
            links: found.st_nlink.into(),
            inode: found.st_ino,
            size: found.st_size.cast_unsigned(),
            blocks: found.st_blocks.cast_unsigned(),
            device: (major(found.st_dev), minor(found.st_dev)),
            special_device: (major(found.st_rdev), minor(found.st_rdev)),
            // Each mount has a device number of its own: it is the first half of `f_fsid`.
            mount: found.st_dev.cast_unsigned().into(),
            mtime: time(found.st_mtime, found.st_mtime_nsec),
            ctime: time(found.st_ctime, found.st_ctime_nsec),
        }
    }
}
