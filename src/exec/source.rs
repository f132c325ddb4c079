//! The root of a source, and the guard that it is still the same directory.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use mirror_core::{
    job::{Failure, Outcome},
    path::Escaped,
};
use mirror_linux::dir::{Dir, Stat};
use rustix::fs::StatxAttributes;

/// The root of a source.
///
/// An executor opens it anew for each job, so that a root that was unmounted, removed or replaced
/// is noticed before anything is deleted on the target.
#[derive(Debug)]
pub struct SourceRoot {
    path: PathBuf,
    pinned: Mutex<Option<Identity>>,
}

/// Which directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
    is_mount: bool,
}

impl Identity {
    /// The directory that `stat` describes.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mount: stat.stx_mnt_id,
            is_mount: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }

    /// Whether a file system is mounted on it.
    #[must_use]
    pub const fn is_mount(self) -> bool {
        self.is_mount
    }

    /// What all directories of its mount have in common.
    #[must_use]
    pub const fn of_mount(self) -> Self {
        Self { inode: 0, is_mount: false, ..self }
    }
}

impl SourceRoot {
    /// A root at a canonical, absolute path. It is pinned to nothing yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, pinned: Mutex::new(None) }
    }

    /// Its path, without a trailing slash.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on the directory that is there now is the source. The watches have to be set
    /// after this.
    ///
    /// # Errors
    ///
    /// If there is no directory, or it can't be opened: a sentence for people.
    pub fn pin(&self) -> Result<(), String> {
        self.pin_if(|_, _| true)
    }

    /// As [`pin`](Self::pin), but only for a directory that can have taken the place of the one
    /// that was pinned: one on the same file system, or, where the source was the root of a mounted
    /// file system, the root of one. So the empty place under a lost mount is not taken for a
    /// source from which everything was deleted.
    ///
    /// # Errors
    ///
    /// If there is no such directory: a sentence for people.
    pub fn pin_successor(&self) -> Result<(), String> {
        self.pin_if(|was, is| was.device == is.device || (was.is_mount && is.is_mount))
    }

    fn pin_if(&self, accept: impl FnOnce(Identity, Identity) -> bool) -> Result<(), String> {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let found = Dir::open(&self.path).and_then(|dir| dir.stat(b""));
        let found = found.map_err(|error| format!("cannot open {path}: {error}"))?;
        let now = Identity::of(&found);
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if pinned.is_some_and(|pinned| !accept(pinned, now)) {
            return Err(format!(
                "{path} is on another file system than before; if that is right, send SIGHUP"
            ));
        }
        *pinned = Some(now);
        Ok(())
    }

    /// Opens the root, if it is still the directory that was pinned.
    ///
    /// # Errors
    ///
    /// The outcome for a job that asked: [`Outcome::SourceGone`], or [`Outcome::Again`] if it
    /// can't be told.
    pub fn open(&self) -> Result<Dir, Outcome> {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let gone =
            |why: String| Outcome::SourceGone(Failure::new(format!("the source {path} {why}")));
        let dir = match Dir::open(&self.path) {
            Ok(dir) => dir,
            Err(error) if is_gone(&error) => return Err(gone(format!("is gone: {error}"))),
            Err(error) => {
                return Err(Outcome::Again(Failure::new(format!("cannot open {path}: {error}"))));
            }
        };
        let now = dir.stat(b"").map(|stat| Identity::of(&stat));
        match (now, *self.pinned.lock().unwrap_or_else(PoisonError::into_inner)) {
            (Ok(now), Some(pinned)) if now != pinned => {
                Err(gone("is not the directory it was: it was replaced or unmounted".into()))
            }
            (Ok(_), _) => Ok(dir),
            (Err(error), _) => Err(gone(format!("cannot be read: {error}"))),
        }
    }
}

/// Whether this says that there is no directory there any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
