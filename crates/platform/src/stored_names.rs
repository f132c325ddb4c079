//! Names as their directories keep them, where other names lead to the same entries.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
};

use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use crate::{
    listing::{ListBuffer, list},
    stored_name::stored_name,
};

/// The names that one directory keeps, listed on first use.
#[derive(Debug, Default)]
pub(crate) struct StoredNames {
    listed: OnceLock<HashSet<Box<[u8]>>>,
}

impl StoredNames {
    /// Checks that a directory keeps an entry under this very name.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it does not, or that of the listing.
    pub(crate) fn check(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let is_stored = match stored_name(directory, name)? {
            Some(stored) => stored == name,
            None => self.list(directory)?.contains(name),
        };
        if is_stored { Ok(()) } else { Err(Errno::NOENT.into()) }
    }

    fn list(&self, directory: BorrowedFd<'_>) -> io::Result<&HashSet<Box<[u8]>>> {
        if let Some(listed) = self.listed.get() {
            return Ok(listed);
        }
        // Its own position may be in use by a listing.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::openat(directory, c".", flags, Mode::empty())?;
        let mut names = HashSet::new();
        list(directory.as_fd(), &mut ListBuffer::new(), |name, _, _| {
            names.insert(Box::from(name));
            Ok(())
        })?;
        Ok(self.listed.get_or_init(|| names))
    }
}

// On macOS no listing is kept: see `stored_name`.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::dir::Dir;
    use std::{fs, io};

    #[test]
    fn only_a_name_that_the_directory_keeps_is_found() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        let plain = Dir::open(place.path()).unwrap();
        let dir = Dir::open(place.path()).unwrap().with_stored_names();
        let below = dir.open_below(b"a").unwrap();
        assert!(dir.stat(b"a").is_ok() && below.stat(b"b").is_ok());
        assert!(dir.stat(b"").is_ok() && dir.open_below(b"").is_ok());
        assert!(dir.open_below_for_lookup(b"a/b").is_ok());
        // The names are those of the first look: what appears later is as a name that leads to an
        // entry and is not kept.
        fs::write(place.path().join("later"), "").unwrap();
        fs::create_dir(place.path().join("a/new")).unwrap();
        assert!(plain.stat(b"later").is_ok());
        assert_eq!(below.stat(b"new").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(dir.stat(b"later").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(dir.finds_by_other_name(b"later") && !plain.finds_by_other_name(b"later"));
        assert!(!dir.finds_by_other_name(b"none") && !dir.finds_by_other_name(b"a"));
        assert!(dir.open_below(b"a/new").is_ok(), "that directory is looked at again");
    }
}
