//! Directory listing with a reusable buffer.

use std::{io, os::fd::AsFd};

use rustix::fs::FileType;

use crate::{
    dir::Dir,
    listing::{ListBuffer, list},
};

/// Entry of a directory. `.` and `..` are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The type at the time of the listing; never [`FileType::Unknown`].
    pub file_type: FileType,
    /// The inode number in the listing. At a mount point it is that of the directory below the
    /// mount.
    pub inode: u64,
}

/// Memory for [`Dir::read`], to be reused for many directories.
#[derive(Debug)]
pub struct ReadBuffer {
    list: ListBuffer,
}

impl ReadBuffer {
    /// Allocates a buffer of the usual size.
    #[must_use]
    pub fn new() -> Self {
        Self { list: ListBuffer::new() }
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Dir {
    /// Calls `each` for each entry of this directory, from its beginning, in the order of the file
    /// system.
    ///
    /// If the file system does not report the type of an entry, it is read with `stat(2)`; an
    /// entry that has disappeared by then is left out. An entry that is created, removed or renamed
    /// during the listing may be listed or not.
    ///
    /// Two threads can't read one `Dir` at the same time, because it has one position.
    ///
    /// # Errors
    ///
    /// As `readdir(3)`, or the error of `each`, which ends the listing.
    pub fn read(
        &self,
        buffer: &mut ReadBuffer,
        mut each: impl FnMut(DirEntry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        list(self.as_fd(), &mut buffer.list, |name, listed, inode| {
            if name == b"." || name == b".." {
                return Ok(());
            }
            match self.type_of(name, listed)? {
                Some(file_type) => each(DirEntry { name, file_type, inode }),
                None => Ok(()),
            }
        })
    }

    /// Returns the type of the entry `name`, from the listing if it has one. `None` if the entry
    /// has disappeared.
    fn type_of(&self, name: &[u8], listed: FileType) -> io::Result<Option<FileType>> {
        if listed != FileType::Unknown {
            return Ok(Some(listed));
        }
        match self.stat(name) {
            Ok(stat) => Ok(Some(stat.file_type())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::BTreeMap,
        ffi::OsStr,
        os::unix::{ffi::OsStrExt, fs::symlink},
    };

    fn list(dir: &Dir) -> BTreeMap<Vec<u8>, FileType> {
        let mut seen = BTreeMap::new();
        dir.read(&mut ReadBuffer::new(), |entry| {
            assert_ne!(entry.inode, 0);
            assert_eq!(seen.insert(entry.name.to_vec(), entry.file_type), None);
            Ok(())
        })
        .unwrap();
        seen
    }

    /// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
    const NOT_UTF8: &[u8] = if cfg!(target_os = "linux") { b"\xff\n" } else { "\u{e9}".as_bytes() };

    #[test]
    fn every_entry_is_listed_once_with_its_type() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("d")).unwrap();
        symlink("d", place.path().join("l")).unwrap();
        std::fs::write(place.path().join(OsStr::from_bytes(NOT_UTF8)), b"").unwrap();
        let expected = [
            (b"d".to_vec(), FileType::Directory),
            (b"l".to_vec(), FileType::Symlink),
            (NOT_UTF8.to_vec(), FileType::RegularFile),
        ];
        let dir = Dir::open(place.path()).unwrap();
        assert_eq!(list(&dir), BTreeMap::from(expected));
    }

    #[test]
    fn a_missing_type_is_read_with_stat() {
        let place = tempfile::tempdir().unwrap();
        symlink("nowhere", place.path().join("l")).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        assert_eq!(dir.type_of(b"l", FileType::Unknown).unwrap(), Some(FileType::Symlink));
        assert_eq!(dir.type_of(b"gone", FileType::Unknown).unwrap(), None);
    }

    #[test]
    fn a_directory_larger_than_the_buffer_is_read_completely_each_time() {
        let place = tempfile::tempdir().unwrap();
        for n in 0..2000 {
            std::fs::write(place.path().join(format!("{n:0>200}")), b"").unwrap();
        }
        let dir = Dir::open(place.path()).unwrap();
        assert_eq!(list(&dir).len(), 2000);
        assert_eq!(list(&dir).len(), 2000);
    }

    #[test]
    fn an_error_of_the_callback_ends_the_listing() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), b"").unwrap();
        std::fs::write(place.path().join("b"), b"").unwrap();
        let mut calls = 0;
        let result = Dir::open(place.path()).unwrap().read(&mut ReadBuffer::new(), |_| {
            calls += 1;
            Err(io::Error::other("enough"))
        });
        assert_eq!((result.unwrap_err().to_string(), calls), ("enough".into(), 1));
    }

    #[test]
    fn a_removed_directory_lists_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        std::fs::create_dir(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        assert!(list(&dir).is_empty());
    }
}
