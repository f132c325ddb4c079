//! Clones of files under a name: `fclonefileat(2)`.

use std::{
    ffi::OsStr,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
};

use rustix::{
    fs::{CloneFlags, fclonefileat},
    io::Errno,
};

/// True if a clone is made under a name: macOS can't clone into an open file.
pub const IS_NEEDED: bool = true;

/// Creates a file with this free name, which shares the blocks of `file` and has its mode and
/// extended attributes. Its owner is that of this process.
///
/// # Errors
///
/// As `fclonefileat(2)`: `EXDEV` or `ENOTSUP` if the file system can't share blocks.
pub fn clone_at(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    fclonefileat(file, dir, OsStr::from_bytes(name), CloneFlags::NOOWNERCOPY)
}
