//! Files without a name, which macOS does not have.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::io::Errno;

/// Returns `None`.
///
/// # Errors
///
/// None.
pub fn create(_dir: impl AsFd) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Fails always: there is no file without a name.
///
/// # Errors
///
/// `ENOTSUP`.
pub fn link(_file: impl AsFd, _dir: impl AsFd, _name: &[u8]) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}
