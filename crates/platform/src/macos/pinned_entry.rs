//! Entries that are held while their attributes are changed.

use std::{io, os::fd::BorrowedFd};

use crate::{metadata::FileRef, stat::Stat};

/// An entry of an open directory. Here only its name is held: no descriptor stands for an entry of
/// any type.
#[derive(Debug)]
pub struct PinnedEntry<'a> {
    dir: BorrowedFd<'a>,
    name: &'a [u8],
}

impl<'a> PinnedEntry<'a> {
    /// Refers to the entry with this name.
    ///
    /// # Errors
    ///
    /// None.
    pub const fn open(dir: BorrowedFd<'a>, name: &'a [u8]) -> io::Result<Self> {
        Ok(Self { dir, name })
    }

    /// Returns its metadata.
    ///
    /// # Errors
    ///
    /// As `fstatat(2)`.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::at(self.dir, self.name)
    }

    /// Returns a reference to it.
    #[must_use]
    pub const fn file(&self) -> FileRef<'_> {
        FileRef::Named(self.dir, self.name)
    }
}
