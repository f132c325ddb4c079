//! Reading of [`Stat`]: `statx(2)`.

use std::{
    ffi::OsStr,
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
};

use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp, statx};

use crate::stat::{FileTime, Stat};

impl Stat {
    /// Reads the metadata of the entry `name`; the empty name is the directory itself.
    pub(crate) fn at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        Ok(statx(dir, OsStr::from_bytes(name), flags, mask)?.into())
    }
}

impl From<Statx> for Stat {
    fn from(found: Statx) -> Self {
        let time =
            |time: StatxTimestamp| FileTime { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
        Self {
            mode: found.stx_mode.into(),
            uid: found.stx_uid,
            gid: found.stx_gid,
            links: found.stx_nlink,
            inode: found.stx_ino,
            size: found.stx_size,
            blocks: found.stx_blocks,
            device: (found.stx_dev_major, found.stx_dev_minor),
            special_device: (found.stx_rdev_major, found.stx_rdev_minor),
            mount: found.stx_mnt_id,
            mtime: time(found.stx_mtime),
            ctime: time(found.stx_ctime),
        }
    }
}
