//! Where a measurement takes place.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

/// The temporary directory of one measurement or trial, removed with everything in it.
#[derive(Debug)]
pub(crate) struct Arena {
    directory: TempDir,
}

/// A path below an [`Arena`].
///
/// Daemons are given nothing else: a mirror deletes in its target what its source lacks, so a
/// wrong target would cost the machine.
///
/// **Invariants.** Absolute, strictly below the arena, without `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(PathBuf);

impl Arena {
    /// Makes a new directory below `base`.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn new(base: &Path) -> io::Result<Self> {
        Self::named("bench-", base)
    }

    /// As [`Arena::new`], with a beginning of its name.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn named(prefix: &str, base: &Path) -> io::Result<Self> {
        let base = fs::canonicalize(base)?;
        Ok(Self { directory: tempfile::Builder::new().prefix(prefix).tempdir_in(base)? })
    }

    /// Has it stay when this is dropped, and returns where it is.
    pub(crate) fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// The place `name`, whatever is there.
    ///
    /// # Errors
    ///
    /// When `name` leads out of the arena.
    pub(crate) fn place(&self, name: &str) -> io::Result<Place> {
        let path = self.directory.path().join(name);
        let inside = path.is_absolute()
            && path != self.directory.path()
            && path.starts_with(self.directory.path())
            && !path.components().any(|part| part == Component::ParentDir);
        if inside { Ok(Place(path)) } else { Err(io::Error::other(format!("{name:?} leads out"))) }
    }

    /// A new directory in the arena.
    ///
    /// # Errors
    ///
    /// As [`Arena::place`] and `mkdir(2)`.
    pub(crate) fn directory(&self, name: &str) -> io::Result<Place> {
        let place = self.place(name)?;
        fs::create_dir_all(&place.0)?;
        Ok(place)
    }
}

impl Place {
    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path with a slash at its end: for rsync "what is in it".
    pub(crate) fn content(&self) -> PathBuf {
        self.0.join("")
    }

    /// Mounts an empty file system here, in memory, that only this thread and the programs that it
    /// starts see. It goes when they have ended.
    ///
    /// # Errors
    ///
    /// As `unshare(2)` and `mount(2)`; commonly that the right is missing.
    pub(crate) fn mount_for_this_thread(&self) -> io::Result<()> {
        const NONE: Option<&str> = None;
        let here = self.path();
        let mounted = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))
            .and_then(|()| mount(Some("bench"), here, Some("tmpfs"), MsFlags::empty(), NONE));
        mounted.map_err(|error| {
            let error = io::Error::from(error);
            let why = format!("cannot mount a file system of its own: {error}: run it as root");
            io::Error::new(error.kind(), why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_arena_is_a_place() {
        let arena = Arena::new(&std::env::temp_dir()).unwrap();
        for outside in ["", "/", ".", "..", "a/../..", "/etc"] {
            assert!(arena.place(outside).is_err(), "{outside:?}");
        }
        assert!(arena.place("source").is_ok());
    }

    #[test]
    fn what_a_thread_mounts_is_for_itself() {
        let arena = Arena::new(&std::env::temp_dir()).unwrap();
        let place = arena.directory("mount").unwrap();
        let inside = || {
            place.mount_for_this_thread()?;
            fs::write(place.path().join("f"), "")?;
            Arena::new(place.path())
        };
        let inner = std::thread::scope(|scope| scope.spawn(inside).join().unwrap());
        match inner {
            Ok(_) => assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                assert!(std::env::var_os("CI").is_none(), "{error}");
                println!("skipped: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
