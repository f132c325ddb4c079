//! File handles. macOS has none for programs: `getfh(2)` is for servers of exported file systems.

use std::{convert::Infallible, io, os::fd::AsFd};

/// File handle, of which there are none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileHandle(Infallible);

impl FileHandle {
    /// Fails always.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`].
    pub fn of(_file: impl AsFd) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns `None`.
    #[must_use]
    pub const fn from_bytes(_bytes: &[u8]) -> Option<Self> {
        None
    }

    /// Returns the handle in the kernel's binary format.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self.0 {}
    }
}
