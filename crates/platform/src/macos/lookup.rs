//! Looking names up without following a symbolic link.

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd, unix::ffi::OsStringExt},
    path::PathBuf,
};

use rustix::fs::{OFlags, getpath};

pub(crate) use super::walk::{open_below, open_no_symlinks};

/// Flags for a descriptor that only looks names up in a directory: `O_SEARCH` of `open(2)`. This
/// needs search permission, not read permission. A kernel before macOS 11 requires read permission.
pub const LOOKUP: OFlags = OFlags::from_bits_retain(libc::O_SEARCH.cast_unsigned());

/// Flag for reading a file without updating its access time, which macOS does not have.
pub const NO_ACCESS_TIME: OFlags = OFlags::empty();

/// Returns the absolute path of an open directory: `F_GETPATH` of `fcntl(2)`.
///
/// # Errors
///
/// As `fcntl(2)`: `ENOENT` if the directory was removed.
pub fn path_of(directory: impl AsFd) -> io::Result<PathBuf> {
    Ok(OsString::from_vec(getpath(directory)?.into_bytes()).into())
}
