//! Open directories: each name is looked up once, and no symbolic link is followed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use crate::{
    lookup::{self, LOOKUP},
    stat::Stat,
    stored_names::StoredNames,
};

/// Flags for a directory below another one that is read, or in which names are only looked up.
const READ_BELOW: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LOOKUP_BELOW: OFlags =
    LOOKUP.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory. All names are looked up below it, and no symbolic link is followed.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// Given if only names count that directories keep.
    stored_names: Option<Box<StoredNames>>,
}

impl Dir {
    /// Opens a directory by its path. Follows symbolic links in this path, because the user chose
    /// it.
    ///
    /// # Errors
    ///
    /// As `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::open(path, flags, Mode::empty())?.into())
    }

    /// Opens the directory at an absolute path in which no component may be a symbolic link.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `ELOOP` if any component is a symbolic link, the last one included.
    pub fn open_no_symlinks(path: &Path) -> io::Result<Self> {
        Ok(lookup::open_no_symlinks(path, OFlags::RDONLY)?.into())
    }

    /// As [`open_no_symlinks`](Self::open_no_symlinks), but only for looking names up in the
    /// directory: read permission is not needed.
    ///
    /// # Errors
    ///
    /// As [`open_no_symlinks`](Self::open_no_symlinks).
    pub fn open_path_no_symlinks(path: &Path) -> io::Result<Self> {
        Ok(lookup::open_no_symlinks(path, LOOKUP)?.into())
    }

    /// Opens the directory at `path` below this one; the empty path is this directory itself.
    ///
    /// The path may have any length: it is walked in pieces.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `ELOOP` or `ENOTDIR` if a component is a symbolic link, and `EXDEV` if the
    /// path leads out of this directory.
    pub fn open_below(&self, path: &[u8]) -> io::Result<Self> {
        Ok(self.related(self.open_with(path, READ_BELOW, Mode::empty())?))
    }

    /// As [`open_below`](Self::open_below), but only for looking names up in the directory. This
    /// needs search permission, not read permission.
    ///
    /// # Errors
    ///
    /// As [`open_below`](Self::open_below).
    pub fn open_below_for_lookup(&self, path: &[u8]) -> io::Result<Self> {
        Ok(self.related(self.open_with(path, LOOKUP_BELOW, Mode::empty())?))
    }

    /// Opens the entry at `path` below this directory with `flags`; see `open(2)`.
    ///
    /// # Errors
    ///
    /// As [`open_below`](Self::open_below).
    pub fn open_with(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let fd = lookup::open_below(self.as_fd(), path, flags, mode)?;
        self.check_names(path)?;
        Ok(fd)
    }

    /// Opens the current parent of this directory. A rename may have changed it, so the caller
    /// compares it with the expected one.
    ///
    /// # Errors
    ///
    /// As `open(2)`.
    pub fn open_parent(&self) -> io::Result<Self> {
        Ok(self.related(fs::openat(&self.fd, c"..", READ_BELOW, Mode::empty())?))
    }

    /// Returns the metadata of the entry `name`; the empty name is the directory itself.
    ///
    /// # Errors
    ///
    /// As `stat(2)`.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let stat = Stat::at(self.as_fd(), name)?;
        self.check_names(name)?;
        Ok(stat)
    }

    /// Lets only names count that directories keep, here and below. Where case or the form of
    /// Unicode make no difference, other names lead to an entry, too: they count as missing.
    ///
    /// What a directory keeps may be read once, at the first look at a name.
    #[must_use]
    pub fn with_stored_names(self) -> Self {
        Self { stored_names: Some(Box::default()), ..self }
    }

    /// Returns true if `path` counts as missing only because directories keep other names.
    #[must_use]
    pub fn finds_by_other_name(&self, path: &[u8]) -> bool {
        let is_missing =
            |error: io::Error| matches!(Errno::from_io_error(&error), Some(Errno::NOENT));
        let mut parts = path.rsplitn(2, |&byte| byte == b'/');
        let name = parts.next().unwrap_or_default();
        let above = parts.next().unwrap_or_default();
        self.stored_names.is_some()
            && lookup::open_below(self.as_fd(), above, LOOKUP_BELOW, Mode::empty())
                .is_ok_and(|above| Stat::at(above.as_fd(), name).is_ok())
            && self.check_names(path).is_err_and(is_missing)
    }

    /// Checks the names of a path that exists, if only those count that directories keep.
    fn check_names(&self, path: &[u8]) -> io::Result<()> {
        let Some(stored) = &self.stored_names else { return Ok(()) };
        let mut parts = path.splitn(2, |&byte| byte == b'/');
        let name = parts.next().unwrap_or_default();
        if !name.is_empty() {
            stored.check(self.as_fd(), name)?;
        }
        let Some(below) = parts.next() else { return Ok(()) };
        let next = lookup::open_below(self.as_fd(), name, LOOKUP_BELOW, Mode::empty())?;
        self.related(next).check_names(below)
    }

    /// Returns an open directory that is below or above this one.
    fn related(&self, fd: OwnedFd) -> Self {
        Self { fd, stored_names: self.stored_names.as_ref().map(|_| Box::default()) }
    }
}

impl From<OwnedFd> for Dir {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, stored_names: None }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{fs::FileType, io::Errno};
    use std::{
        ffi::OsStr,
        fs,
        os::unix::{ffi::OsStrExt, fs::symlink},
    };

    #[test]
    fn no_link_is_followed_below() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        symlink("/etc", place.path().join("out")).unwrap();
        symlink("a", place.path().join("in")).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        assert!(dir.open_below(b"a/b").is_ok());
        assert!(dir.open_below(b"").is_ok());
        for link in [&b"out"[..], b"in", b"in/b", b"out/ssl", b"../x", b"/etc"] {
            assert!(dir.open_below(link).is_err(), "{link:?}");
        }
        assert_eq!(dir.stat(b"out").unwrap().file_type(), FileType::Symlink);
    }

    #[test]
    fn open_parent_returns_the_parent() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let parent = dir.open_below(b"a/b").unwrap().open_parent().unwrap();
        assert_eq!(parent.stat(b"").unwrap().inode, dir.stat(b"a").unwrap().inode);
    }

    #[test]
    fn open_no_symlinks_rejects_symlinks() {
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(path.join("a/b")).unwrap();
        symlink("a", path.join("link")).unwrap();
        assert!(Dir::open_no_symlinks(&path.join("a/b")).is_ok());
        for link in ["link", "link/b"] {
            for opened in [
                Dir::open_no_symlinks(&path.join(link)),
                Dir::open_path_no_symlinks(&path.join(link)),
            ] {
                assert_eq!(Errno::from_io_error(&opened.unwrap_err()), Some(Errno::LOOP), "{link}");
            }
        }
    }

    #[test]
    fn a_path_may_exceed_path_max() {
        let place = tempfile::tempdir().unwrap();
        let root = Dir::open(place.path()).unwrap();
        let name = [b'n'; 200];
        let mut path = Vec::new();
        for _ in 0..30 {
            let here = root.open_below(&path).unwrap();
            rustix::fs::mkdirat(&here, OsStr::from_bytes(&name), Mode::RWXU).unwrap();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
        }
        assert!(path.len() > 4096);
        assert!(root.open_below(&path).is_ok());
    }
}
