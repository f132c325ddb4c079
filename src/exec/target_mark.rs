//! Mark on a target: tells whether the target is as the last snapshot describes it.
//!
//! If source and snapshot are restored from a backup together, they agree, but the target is newer.
//! So each snapshot has a mark of its own, which the target has, too: as an extended attribute of
//! its directory, since a file would be deleted as one that the source lacks.

use std::{os::fd::AsFd, path::Path, sync::Arc};

use mirror_platform::{
    answers::within_limit,
    dir::Dir,
    identity::{DirIdentity, FileSystem},
    metadata::FileRef,
};

use super::{
    target_identity::TargetIdentity,
    trusted_path::{self, TrustedOpenError},
};

/// Name of the extended attribute, which is never mirrored.
pub(crate) const MARK_ATTRIBUTE: &std::ffi::CStr = c"user.lsyncd.mark";

/// Mark that was read from a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetMark {
    /// Identity of the directory: stable across mounts and restarts.
    pub identity: String,
    /// The mark, if there is one.
    pub mark: Option<String>,
}

impl TargetIdentity {
    /// Reads the mark of a local target. `None`: the target is on another machine.
    ///
    /// # Errors
    ///
    /// A message if the target can't be opened or identified, or does not answer.
    pub(crate) fn read_mark(self: &Arc<Self>) -> Option<Result<TargetMark, String>> {
        self.look(Self::mark_at)
    }

    /// Sets the mark of a local target. `None`: it is on another machine. A target that does not
    /// answer gets the mark once it does: if it got another one meanwhile, the next start does not
    /// know this one, and transfers everything.
    ///
    /// # Errors
    ///
    /// A message if the target can't be opened, does not store it or does not answer.
    pub(crate) fn write_mark(self: &Arc<Self>, mark: &str) -> Option<Result<(), String>> {
        let mark = mark.to_owned();
        self.look(move |_, path| set_mark(path, &mark))
    }

    /// Replaces the mark of a local target, if it has one, by one that belongs to no snapshot.
    ///
    /// # Errors
    ///
    /// As [`write_mark`](Self::write_mark).
    pub(crate) fn outdate_mark(self: &Arc<Self>) -> Result<(), String> {
        let outdate = |target: &Self, path: &Path| match mark_of(&target.open_instance(path)?) {
            Some(_) => set_mark(path, "outdated"),
            None => Ok(()),
        };
        self.look(outdate).unwrap_or(Ok(()))
    }

    /// Looks at a local target, for which no other one waits. `None`: it is on another machine.
    fn look<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Self, &Path) -> Result<T, String> + Send + 'static,
    ) -> Option<Result<T, String>> {
        let target = Arc::clone(self);
        let found = within_limit(self.path()?, move |path| look(&target, path));
        Some(found.unwrap_or_else(|| Err("its file system does not answer".into())))
    }

    fn mark_at(&self, path: &Path) -> Result<TargetMark, String> {
        let directory = self.open_instance(path)?;
        Ok(TargetMark { identity: directory_identity(&directory)?, mark: mark_of(&directory) })
    }

    /// Opens the target, unless it is another directory than before.
    fn open_instance(&self, path: &Path) -> Result<Dir, String> {
        let directory = open(path)?;
        self.check_instance(&directory)?;
        Ok(directory)
    }
}

fn mark_of(directory: &Dir) -> Option<String> {
    let mark = FileRef::Open(directory.as_fd()).xattr(MARK_ATTRIBUTE).ok()?;
    String::from_utf8(mark).ok()
}

fn set_mark(path: &Path, mark: &str) -> Result<(), String> {
    let directory = open(path)?;
    let directory = FileRef::Open(directory.as_fd());
    directory.set_xattr(MARK_ATTRIBUTE, mark.as_bytes()).map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<Dir, String> {
    let open = || Ok(trusted_path::readable(trusted_path::open_path(path)?)?);
    open().map_err(|error: TrustedOpenError| error.to_string())
}

/// Returns the identity of a directory, independent of where its file system is mounted.
///
/// # Errors
///
/// A message if it has no reliable identity.
pub(crate) fn directory_identity(directory: impl AsFd) -> Result<String, String> {
    let directory = directory.as_fd();
    let read = || Ok((FileSystem::of(directory)?, DirIdentity::of(directory)?));
    let (file_system, found) = read().map_err(|error: std::io::Error| error.to_string())?;
    let inode = found.inode();
    if !inode.is_reliable() {
        return Err("its file system does not identify directories".into());
    }
    Ok(format!("{} {}", file_system.stable_text(), inode.encode()))
}
