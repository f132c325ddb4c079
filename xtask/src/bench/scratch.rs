//! The temporary directory of a measurement.

use std::{
    env, fs, io,
    path::{Component, Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

/// The temporary directory of one measurement or round, deleted with its content on drop.
#[derive(Debug)]
pub(crate) struct ScratchDir {
    directory: TempDir,
}

/// A path below a [`ScratchDir`].
///
/// Daemons get no other paths: a mirror deletes everything in its target that its source lacks, so
/// a wrong target could delete the whole machine.
///
/// **Invariants.** Absolute, strictly below the directory, without `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScratchPath(PathBuf);

impl ScratchDir {
    /// Returns the directory for temporary ones: in memory, if possible.
    pub(crate) fn default_base() -> PathBuf {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { memory.to_owned() } else { env::temp_dir() }
    }

    /// Creates a directory below `base`.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub(crate) fn new(base: &Path) -> io::Result<Self> {
        Self::with_prefix("bench-", base)
    }

    /// Creates a directory whose name begins with `prefix`.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub(crate) fn with_prefix(prefix: &str, base: &Path) -> io::Result<Self> {
        let base = fs::canonicalize(base)?;
        Ok(Self { directory: tempfile::Builder::new().prefix(prefix).tempdir_in(base)? })
    }

    /// Disables the deletion on drop, and returns the path.
    pub(crate) fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// Returns the path `name`, whether it exists or not.
    ///
    /// # Errors
    ///
    /// If `name` leads out of the directory.
    pub(crate) fn path(&self, name: &str) -> io::Result<ScratchPath> {
        let path = self.directory.path().join(name);
        let inside = path.is_absolute()
            && path != self.directory.path()
            && path.starts_with(self.directory.path())
            && !path.components().any(|part| part == Component::ParentDir);
        if inside {
            Ok(ScratchPath(path))
        } else {
            Err(io::Error::other(format!("{name:?} leads out")))
        }
    }

    /// Creates a subdirectory.
    ///
    /// # Errors
    ///
    /// As [`ScratchDir::path`] and `mkdir(2)`.
    pub(crate) fn create_dir(&self, name: &str) -> io::Result<ScratchPath> {
        let path = self.path(name)?;
        fs::create_dir_all(&path.0)?;
        Ok(path)
    }
}

impl ScratchPath {
    /// Returns the path itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path with a trailing slash, which rsync interprets as the directory's content.
    pub(crate) fn with_slash(&self) -> PathBuf {
        self.0.join("")
    }

    /// Mounts an empty tmpfs here that only this thread and the programs that it starts see. It is
    /// unmounted when they have exited.
    ///
    /// # Errors
    ///
    /// As `unshare(2)` and `mount(2)`; commonly missing privileges.
    pub(crate) fn mount_for_this_thread(&self) -> io::Result<()> {
        const NONE: Option<&str> = None;
        let here = self.path();
        let mounted = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))
            .and_then(|()| mount(Some("bench"), here, Some("tmpfs"), MsFlags::empty(), NONE));
        mounted.map_err(|error| {
            let error = io::Error::from(error);
            let message = format!("cannot mount a file system of its own: {error}: run it as root");
            io::Error::new(error.kind(), message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_outside_of_the_directory_is_rejected() {
        let scratch = ScratchDir::new(&std::env::temp_dir()).unwrap();
        for outside in ["", "/", ".", "..", "a/../..", "/etc"] {
            assert!(scratch.path(outside).is_err(), "{outside:?}");
        }
        assert!(scratch.path("source").is_ok());
    }

    #[test]
    fn a_mount_is_visible_to_its_thread_only() {
        let scratch = ScratchDir::new(&std::env::temp_dir()).unwrap();
        let directory = scratch.create_dir("mount").unwrap();
        let inside = || {
            directory.mount_for_this_thread()?;
            fs::write(directory.path().join("f"), "")?;
            ScratchDir::new(directory.path())
        };
        let inner = std::thread::scope(|scope| scope.spawn(inside).join().unwrap());
        match inner {
            Ok(_) => assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                assert!(std::env::var_os("CI").is_none(), "{error}");
                println!("skipped: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
