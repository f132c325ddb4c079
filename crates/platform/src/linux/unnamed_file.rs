//! Files without a name: `O_TMPFILE` of `open(2)`.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, openat},
    io::Errno,
};

/// Creates an empty file without a name, accessible by its owner only and open for writing. It
/// disappears when it is closed without [a name](link). `None` if the file system has no such
/// files.
///
/// # Errors
///
/// As `open(2)`.
pub fn create(dir: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(dir, c".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(Some(file)),
        // Errors of file systems without O_TMPFILE.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives the file a name that is not in use.
///
/// # Errors
///
/// As `linkat(2)`.
pub fn link(file: impl AsFd, dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let name = OsStr::from_bytes(name);
    match linkat(&file, c"", &dir, name, AtFlags::EMPTY_PATH) {
        // Linux < 6.10 requires CAP_DAC_READ_SEARCH for AT_EMPTY_PATH, but not for this path.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        done => done,
    }
}
