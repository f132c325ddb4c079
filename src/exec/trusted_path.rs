//! Opens paths without following a symbolic link that a less trusted user could have planted.
//!
//! A link is trusted if it and its directory belong to root or to the user of this process, and
//! nobody else can write to that directory. The sticky bit does not make a link trusted: it only
//! prevents others from removing existing entries.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use mirror_platform::{
    dir::Dir,
    lookup::{LOOKUP, path_of},
};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, readlinkat, statat},
    io::Errno,
    process::geteuid,
};

/// Maximum number of links to follow, as in the kernel.
const MAX_LINKS: usize = 40;

/// Flags for a directory that is only passed through. `O_DIRECTORY` triggers automounts.
const PASS: OFlags = LOOKUP.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Reason why a path was not opened.
#[derive(Debug)]
pub(crate) enum TrustedOpenError {
    /// A less trusted user could have planted this link.
    UntrustedLink(PathBuf),
    /// A system call failed.
    System(io::Error),
}

impl fmt::Display for TrustedOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UntrustedLink(link) => {
                let link = Escaped(link.as_os_str().as_bytes());
                write!(
                    f,
                    "{link} is a symbolic link that a less trusted user could have created, and is \
                     not followed: remove it, or let only root or the user of lsyncd own it and \
                     write to its directory"
                )
            }
            Self::System(error) => error.fmt(f),
        }
    }
}

impl<E: Into<io::Error>> From<E> for TrustedOpenError {
    fn from(error: E) -> Self {
        Self::System(error.into())
    }
}

/// Opens the directory at an absolute path for reading.
///
/// # Errors
///
/// [`TrustedOpenError::UntrustedLink`], otherwise as `open(2)`.
pub(super) fn open(path: &Path) -> Result<Dir, TrustedOpenError> {
    Ok(readable(open_path(path)?)?)
}

/// Opens a directory; see [`open`]. Creates it if only the last component of its path is missing.
///
/// # Errors
///
/// As [`open`], and as `mkdir(2)`.
pub(super) fn open_or_make(path: &Path) -> Result<Dir, TrustedOpenError> {
    match open(path) {
        Err(TrustedOpenError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(Errno::NOENT)?;
            mkdirat(open_path(parent)?, path.file_name().ok_or(Errno::NOENT)?, Mode::RWXU)?;
            open(path)
        }
        opened => opened,
    }
}

/// Opens the directory at an absolute path for looking names up in it.
///
/// # Errors
///
/// As `open`.
pub(super) fn open_path(path: &Path) -> Result<OwnedFd, TrustedOpenError> {
    let mut walk = PathWalk::new()?;
    walk.push_components(path.as_os_str());
    while let Some(name) = walk.rest.pop() {
        walk.enter(&name)?;
    }
    Ok(walk.here)
}

/// Returns the path of the directory at an absolute path, with symbolic links resolved.
///
/// # Errors
///
/// As `open`.
pub(crate) fn canonical(path: &Path) -> Result<PathBuf, TrustedOpenError> {
    Ok(path_of(open_path(path)?)?)
}

struct PathWalk {
    here: OwnedFd,
    /// Path to the current position, for messages.
    path: PathBuf,
    /// Components that are left, the next one last.
    rest: Vec<OsString>,
    links: usize,
}

impl PathWalk {
    fn new() -> io::Result<Self> {
        Ok(Self { here: root()?, path: "/".into(), rest: Vec::new(), links: 0 })
    }

    fn push_components(&mut self, path: &OsStr) {
        let names = path.as_bytes().split(|&byte| byte == b'/').rev();
        let names = names.filter(|name| !name.is_empty() && *name != b".");
        self.rest.extend(names.map(|name| OsStr::from_bytes(name).to_owned()));
    }

    fn enter(&mut self, name: &OsStr) -> Result<(), TrustedOpenError> {
        match openat(&self.here, name, PASS, Mode::empty()) {
            Ok(below) => {
                self.here = below;
                if name == ".." {
                    self.path.pop();
                } else {
                    self.path.push(name);
                }
                Ok(())
            }
            Err(Errno::NOTDIR | Errno::LOOP) => self.follow(name),
            Err(error) => Err(error.into()),
        }
    }

    fn follow(&mut self, name: &OsStr) -> Result<(), TrustedOpenError> {
        // RACE: the directory first: nobody else can replace the link once it is known to be ours.
        let holder = fstat(&self.here)?;
        let stat = statat(&self.here, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(Errno::NOTDIR.into());
        }
        let is_ours = |uid: u32| uid == 0 || uid == geteuid().as_raw();
        let others = (Mode::WGRP | Mode::WOTH).as_raw_mode();
        if !is_ours(stat.st_uid) || !is_ours(holder.st_uid) || holder.st_mode & others != 0 {
            return Err(TrustedOpenError::UntrustedLink(self.path.join(name)));
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = OsString::from_vec(readlinkat(&self.here, name, Vec::new())?.into_bytes());
        if target.as_bytes().starts_with(b"/") {
            self.here = root()?;
            self.path = "/".into();
        }
        self.push_components(&target);
        Ok(())
    }
}

fn root() -> io::Result<OwnedFd> {
    Ok(openat(CWD, c"/", PASS, Mode::empty())?)
}

/// Opens a directory for reading that was opened only for looking names up in it.
///
/// # Errors
///
/// As `open(2)`.
pub(super) fn readable(directory: impl AsFd) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, c".", flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    /// Creates a directory `d/e` and returns the canonical path of its root.
    fn temp_tree() -> (tempfile::TempDir, PathBuf) {
        let temp_tree = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(temp_tree.path()).unwrap();
        fs::create_dir_all(path.join("d/e")).unwrap();
        (temp_tree, path)
    }

    #[track_caller]
    fn expect(path: &Path, found: &Path) {
        assert_eq!(canonical(path).unwrap(), found);
        let inode = open(path).unwrap().stat(b"").unwrap().inode;
        assert_eq!(inode, fs::metadata(found).unwrap().ino(), "{path:?}");
    }

    #[test]
    fn trusted_links_are_followed() {
        let (_temp, path) = temp_tree();
        symlink("d/../d/./e", path.join("relative")).unwrap();
        symlink(path.join("relative"), path.join("absolute")).unwrap();
        symlink("d", path.join("above")).unwrap();
        for name in ["d/e", "relative", "absolute", "above/e", "above/../d/e/"] {
            expect(&path.join(name), &path.join("d/e"));
        }
        expect(Path::new("/"), Path::new("/"));
    }

    #[test]
    fn a_link_in_a_directory_writable_by_others_is_not_followed() {
        let (_temp, path) = temp_tree();
        symlink("d", path.join("link")).unwrap();
        for mode in [0o775, 0o1777, 0o757] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            for below in ["link", "link/e"] {
                let refused = open(&path.join(below)).unwrap_err();
                let is_it = matches!(&refused, TrustedOpenError::UntrustedLink(link) if *link == path.join("link"));
                assert!(is_it, "{mode:o} {below}: {refused}");
            }
            expect(&path.join("d/e"), &path.join("d/e"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        expect(&path.join("link/e"), &path.join("d/e"));
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        if !geteuid().is_root() {
            return;
        }
        let (_temp, path) = temp_tree();
        let link = path.join("link");
        symlink("d", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        assert!(matches!(open(&link), Err(TrustedOpenError::UntrustedLink(_))));
        std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
        std::os::unix::fs::lchown(&path, Some(65534), None).unwrap();
        assert!(matches!(open(&link), Err(TrustedOpenError::UntrustedLink(_))));
    }

    #[test]
    fn a_missing_directory_is_created_through_a_linked_parent() {
        let (_temp, path) = temp_tree();
        symlink("d", path.join("link")).unwrap();
        assert!(open_or_make(&path.join("link/new")).is_ok() && path.join("d/new").is_dir());
        let missing = |refused| match refused {
            TrustedOpenError::System(error) => error.kind() == io::ErrorKind::NotFound,
            TrustedOpenError::UntrustedLink(_) => false,
        };
        assert!(missing(open_or_make(&path.join("no/parent")).unwrap_err()));
        symlink("nowhere", path.join("dangling")).unwrap();
        assert!(open_or_make(&path.join("dangling")).is_err());
        symlink("loop", path.join("loop")).unwrap();
        assert!(open(&path.join("loop")).is_err());
        fs::write(path.join("file"), "").unwrap();
        assert!(open(&path.join("file")).is_err());
    }
}
