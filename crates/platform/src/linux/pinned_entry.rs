//! Entries that are held while their attributes are changed.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{self, Mode, OFlags};

use crate::{metadata::FileRef, stat::Stat};

/// An entry of any type, whatever its name leads to meanwhile. A symbolic link is not followed, and
/// nothing is opened for reading or writing: `O_PATH` in open(2).
#[derive(Debug)]
pub struct PinnedEntry(OwnedFd);

impl PinnedEntry {
    /// Pins the entry of an open directory with this name.
    ///
    /// # Errors
    ///
    /// As `openat(2)`.
    pub fn open(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(fs::openat(dir, name, flags, Mode::empty())?))
    }

    /// Returns its metadata.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::of(&self.0)
    }

    /// Returns a reference to it.
    #[must_use]
    pub fn file(&self) -> FileRef<'_> {
        FileRef::Pinned(self.0.as_fd())
    }
}

/// Returns a path that leads to a pinned entry, for calls that accept only a path. It ends there,
/// even if the entry is a symbolic link: `proc_pid_fd(5)`.
pub(crate) fn proc_path(pinned: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", pinned.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::dir::Dir;

    /// Somebody else may be able to give the name to another entry.
    #[test]
    fn attributes_reach_the_entry_that_was_pinned() {
        let place = tempfile::tempdir().unwrap();
        let [file, link, other] = ["file", "link", "other"].map(|name| place.path().join(name));
        std::fs::write(&file, b"").unwrap();
        symlink("other", &link).unwrap();
        std::fs::write(&other, b"").unwrap();
        let before = other.metadata().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let pin = |name: &[u8]| PinnedEntry::open(dir.as_fd(), name).unwrap();
        let (pinned_file, pinned_link) = (pin(b"file"), pin(b"link"));
        let (file, link) = (pinned_file.file(), pinned_link.file());
        for name in ["file", "link"] {
            std::fs::rename(place.path().join(name), place.path().join(format!("{name}.old")))
                .unwrap();
            std::fs::hard_link(&other, place.path().join(name)).unwrap();
        }
        file.set_modified(1_000_000_000, 7).unwrap();
        link.set_modified(-5, 7).unwrap();
        file.set_xattr(c"user.a", b"1").unwrap();
        assert_eq!(file.xattr(c"user.a").unwrap(), b"1");
        assert_eq!(file.xattr_names().unwrap(), [c"user.a".to_owned()]);
        file.remove_xattr(c"user.a").unwrap();
        file.chown(None, None).unwrap();
        link.chown(None, None).unwrap();
        // A change of the owner clears the set-user bit.
        file.chmod(0o4751).unwrap();
        assert!(link.chmod(0o777).is_err());
        assert_eq!(pinned_file.stat().unwrap().mode & 0o7777, 0o4751);
        let moved = |name: &str| place.path().join(name).symlink_metadata().unwrap();
        assert_eq!((moved("file.old").mtime(), moved("file.old").mtime_nsec()), (1_000_000_000, 7));
        assert_eq!((moved("link.old").mtime(), moved("link.old").mtime_nsec()), (-5, 7));
        let after = other.metadata().unwrap();
        assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
    }
}
