//! Entries, and the names under which their directories keep them.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::{self, AtFlags, StatxFlags};

use crate::stored_entry::StoredEntry;

/// Reads the entry at `path` below an open directory; the empty path is the directory itself, whose
/// name is empty. The last name may be a symbolic link, which is not followed. The caller has
/// checked that the others are directories.
///
/// # Errors
///
/// As `statx(2)`.
pub fn stored_entry(directory: impl AsFd, path: &[u8]) -> io::Result<StoredEntry> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let stat = fs::statx(directory, path, flags, StatxFlags::BASIC_STATS)?;
    let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    let is_directory = fs::FileType::from_raw_mode(stat.stx_mode.into()).is_dir();
    let device = fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    Ok(StoredEntry { name, is_directory, inode: stat.stx_ino, device })
}

/// Returns the name under which a directory keeps the entry that `name` leads to. `None` if only a
/// listing tells.
///
/// # Errors
///
/// None on Linux, where only a listing tells.
#[expect(clippy::unnecessary_wraps, reason = "the interface is that of macOS")]
pub(crate) const fn stored_name(_: BorrowedFd<'_>, _: &[u8]) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

/// True if another form of a name leads to an entry on each file system, whether or not it ignores
/// case.
pub const HAS_OTHER_FORMS: bool = false;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt};

    #[test]
    fn an_entry_is_read_by_its_path() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("a")).unwrap();
        std::os::unix::fs::symlink("/", place.path().join("a/link")).unwrap();
        let dir = fs::File::open(place.path()).unwrap();
        for (path, name, is_directory) in
            [("", "", true), ("a", "a", true), ("a/link", "link", false)]
        {
            let stat = fs::symlink_metadata(place.path().join(path)).unwrap();
            let name = name.as_bytes().to_vec();
            let expected =
                StoredEntry { name, is_directory, inode: stat.ino(), device: stat.dev() };
            assert_eq!(stored_entry(&dir, path.as_bytes()).unwrap(), expected, "{path}");
        }
        let missing = stored_entry(&dir, b"a/none").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
