//! Listing of directories: `readdir(3)`.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, openat},
    io::Errno,
};

/// Memory for a listing. `readdir(3)` has its own.
#[derive(Debug)]
pub(crate) struct ListBuffer;

impl ListBuffer {
    pub(crate) fn new() -> Self {
        Self
    }
}

/// Calls `each` with the name, the type and the inode number of each entry, `.` and `..` included.
pub(crate) fn list(
    dir: BorrowedFd<'_>,
    _buffer: &mut ListBuffer,
    mut each: impl FnMut(&[u8], FileType, u64) -> io::Result<()>,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut stream = match openat(dir, c".", flags, Mode::empty()) {
        // The directory itself was removed: it has no entries.
        Err(Errno::NOENT) => return Ok(()),
        opened => Dir::new(opened?)?,
    };
    while let Some(listed) = stream.read() {
        let listed = match listed {
            Err(Errno::NOENT) => break,
            listed => listed?,
        };
        each(listed.file_name().to_bytes(), listed.file_type(), listed.ino())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, os::fd::AsFd};

    fn entries(dir: &std::fs::File) -> BTreeMap<Vec<u8>, FileType> {
        let mut found = BTreeMap::new();
        list(dir.as_fd(), &mut ListBuffer::new(), |name, file_type, inode| {
            assert_ne!(inode, 0);
            assert_eq!(found.insert(name.to_vec(), file_type), None);
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn every_entry_is_listed_each_time() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..1000 {
            std::fs::write(place.path().join(format!("{number:0>200}")), "").unwrap();
        }
        std::fs::create_dir(place.path().join("d")).unwrap();
        let dir = std::fs::File::open(place.path()).unwrap();
        for _ in 0..2 {
            let found = entries(&dir);
            assert_eq!(found.len(), 1003);
            assert_eq!(found.get(&b"d"[..]), Some(&FileType::Directory));
        }
    }

    #[test]
    fn a_removed_directory_lists_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        std::fs::create_dir(&path).unwrap();
        let dir = std::fs::File::open(&path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        assert!(entries(&dir).is_empty());
    }

    #[test]
    fn an_error_of_the_callback_ends_the_listing() {
        let place = tempfile::tempdir().unwrap();
        let (dir, mut calls) = (std::fs::File::open(place.path()).unwrap(), 0);
        let result = list(dir.as_fd(), &mut ListBuffer::new(), |_, _, _| {
            calls += 1;
            Err(io::Error::other("enough"))
        });
        assert_eq!((result.unwrap_err().to_string(), calls), ("enough".into(), 1));
    }
}
