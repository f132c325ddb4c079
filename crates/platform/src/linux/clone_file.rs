//! Clones of files under a name: `FICLONE` of `ioctl_ficlonerange(2)`.

use std::{
    ffi::OsStr,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
};

/// True if a clone is made under a name. On Linux, the content of an open file without a name is
/// cloned instead, so this module serves the tests of what macOS needs.
pub const IS_NEEDED: bool = false;

/// Creates a file with this free name, which shares the blocks of `file` and has its mode.
///
/// # Errors
///
/// As `open(2)` and `ioctl_ficlonerange(2)`: `EXDEV` or `EOPNOTSUPP` if the file system can't share
/// blocks.
pub fn clone_at(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let name = OsStr::from_bytes(name);
    let mode = Mode::from_raw_mode(fs::fstat(file)?.st_mode & 0o777);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let clone = fs::openat(dir, name, flags, mode)?;
    let cloned = fs::fchmod(&clone, mode).and_then(|()| fs::ioctl_ficlone(&clone, file));
    cloned.inspect_err(|_| {
        // If it can't be removed either, it is left as a temporary file.
        let _ = fs::unlinkat(dir, name, AtFlags::empty());
    })
}
