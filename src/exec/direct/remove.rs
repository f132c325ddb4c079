//! Removal of extraneous entries from the target.

use std::{io, os::fd::AsFd};

use mirror_core::{fs_event::EntryKind, path::TreePath};
use mirror_platform::{dir::Dir, entries::ReadBuffer, metadata::FileRef, stat::Stat};
use rustix::fs::{AtFlags, FileType, unlinkat};

use super::{
    backup::{BackedUp, move_to_backup},
    copy_job::CopyJob,
    error::{self, EntryError, is_absent},
};
use crate::exec::inode::{EntryType, Inode};

/// Result of the removal of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// Number of entries that were removed, or would be.
    pub(super) count: u64,
    /// True if something is left: protected entries and the directories that contain them.
    pub(super) kept: bool,
}

/// Removes the entry at `path` from its target directory `parent`, with everything in it. Symbolic
/// links are not followed, and mounted file systems are kept.
///
/// # Errors
///
/// The first error, after everything else was removed.
pub(super) fn remove(
    job: &CopyJob<'_>,
    parent: &Dir,
    path: &TreePath,
    stat: &Stat,
) -> Result<Removed, EntryError> {
    if stat.file_type() == FileType::Directory {
        if parent.stat(b"").is_ok_and(|parent| parent.mount != stat.mount) {
            return Err(EntryError::Mounted);
        }
        return Removal::new(job, path, stat, false).run(parent);
    }
    let removed = unlink(job, parent, path).map_err(error::target_error("remove"))?;
    let has_gone = matches!(removed, Unlinked::Removed | Unlinked::BackedUp);
    Ok(Removed { count: has_gone.into(), kept: removed == Unlinked::Kept })
}

/// Counts what [`remove`] would remove.
///
/// # Errors
///
/// If the job was cancelled. Entries that cannot be read, or are mounted, count as kept.
pub(super) fn count(
    job: &CopyJob<'_>,
    parent: &Dir,
    path: &TreePath,
    stat: &Stat,
) -> Result<Removed, EntryError> {
    if stat.file_type() != FileType::Directory {
        return Ok(Removed { count: 1, kept: false });
    }
    match Removal::new(job, path, stat, true).run(parent) {
        Err(EntryError::Cancelled) => Err(EntryError::Cancelled),
        counted => Ok(counted.unwrap_or(Removed { count: 1, kept: true })),
    }
}

/// Result for an entry that is not a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unlinked {
    Removed,
    /// It was renamed to a backup in the same directory.
    BackedUp,
    /// The limit of `max-delete` is reached.
    Kept,
    Missing,
}

/// Removes the entry at `path`, which is in `dir` and is not a directory, or makes it a backup.
fn unlink(job: &CopyJob<'_>, dir: &Dir, path: &TreePath) -> io::Result<Unlinked> {
    let name = path.name().unwrap_or_default();
    if !job.take_deletion_quota(path) {
        return Ok(Unlinked::Kept);
    }
    let removed = match move_to_backup(job, dir, path) {
        Ok(BackedUp::Beside) => Ok(Unlinked::BackedUp),
        Ok(BackedUp::Elsewhere) => Ok(Unlinked::Removed),
        Ok(BackedUp::No) => match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => Ok(Unlinked::Removed),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error),
    };
    match removed {
        Ok(how) => {
            job.count_removed();
            Ok(how)
        }
        Err(error) if is_absent(&error) => Ok(Unlinked::Missing),
        Err(error) => Err(error),
    }
}

/// Removal of a tree, from its leaves up.
///
/// Only one directory is open at a time, whatever the depth of the tree; each one is found from the
/// previous one.
struct Removal<'a> {
    job: &'a CopyJob<'a>,
    /// Root of the tree.
    top: &'a TreePath,
    /// Current position of the walk.
    path: TreePath,
    /// Mount of the tree. The walk does not leave it.
    mount: u64,
    /// True if entries are only counted.
    dry_run: bool,
    buffer: ReadBuffer,
    count: u64,
    /// First error of the removal.
    first_error: Option<EntryError>,
}

/// Directory between the root and the current position.
struct RemovalLevel {
    /// Inode of the directory.
    inode: Inode,
    /// Subdirectories that are still to be removed.
    below: Vec<Box<[u8]>>,
    kept: bool,
}

impl<'a> Removal<'a> {
    fn new(job: &'a CopyJob<'a>, top: &'a TreePath, stat: &Stat, dry_run: bool) -> Self {
        let (path, mount, buffer) = (top.clone(), stat.mount, ReadBuffer::new());
        Self { job, top, path, mount, dry_run, buffer, count: 0, first_error: None }
    }

    fn run(mut self, parent: &Dir) -> Result<Removed, EntryError> {
        let name = self.top.name().unwrap_or_default();
        let (mut here, first) = self.enter(parent, name)?;
        let mut levels = vec![first];
        while let Some(level) = levels.last_mut() {
            if !self.job.should_continue() {
                return Err(EntryError::Cancelled);
            }
            if let Some(name) = level.below.pop() {
                if let Some((dir, below)) = self.descend(&here, &name, level) {
                    levels.push(below);
                    here = dir;
                }
                continue;
            }
            let Some(done) = levels.pop() else { break };
            let Some(above) = levels.last_mut() else {
                let kept = done.kept || !self.remove_dir(parent, name, self.top);
                return self.finish(kept);
            };
            here = self.open_parent(&here, above.inode)?;
            let name = self.path.name().map(Box::from).unwrap_or_default();
            let path = self.path.clone();
            self.path.pop();
            above.kept |= done.kept || !self.remove_dir(&here, &name, &path);
        }
        self.finish(true)
    }

    fn finish(self, kept: bool) -> Result<Removed, EntryError> {
        match self.first_error {
            Some(error) => Err(error),
            None => Ok(Removed { count: self.count, kept }),
        }
    }

    /// Enters the subdirectory `name` of `here`, if possible.
    fn descend(
        &mut self,
        here: &Dir,
        name: &[u8],
        level: &mut RemovalLevel,
    ) -> Option<(Dir, RemovalLevel)> {
        self.path.push(name)?;
        match self.enter(here, name) {
            Ok(entered) => return Some(entered),
            Err(EntryError::Changed) => {}
            Err(error) => {
                level.kept = true;
                self.record_error(error);
            }
        }
        self.path.pop();
        None
    }

    /// Opens the directory `name` of `parent`, which is at the current path, and removes all
    /// entries but its subdirectories.
    fn enter(&mut self, parent: &Dir, name: &[u8]) -> Result<(Dir, RemovalLevel), EntryError> {
        let absent = |error| {
            if is_absent(&error) {
                EntryError::Changed
            } else {
                EntryError::Target("remove", error)
            }
        };
        let dir = parent.open_below(name).map_err(absent)?;
        let stat = dir.stat(b"").map_err(error::target_error("stat"))?;
        if stat.mount != self.mount {
            return Err(EntryError::Mounted);
        }
        if !self.dry_run && !self.job.executor.privileged && stat.mode & 0o700 != 0o700 {
            // If this is not allowed, the removal reports the error.
            let _ = FileRef::Open(dir.as_fd()).chmod(0o700);
        }
        let mut entries = Vec::new();
        let listed = dir.read(&mut self.buffer, |entry| {
            entries.push((Box::from(entry.name), EntryType::from(entry.file_type).kind()));
            Ok(())
        });
        listed.map_err(error::target_error("list"))?;
        let mut level = RemovalLevel { inode: Inode::of(&stat), below: Vec::new(), kept: false };
        for (name, kind) in entries {
            self.remove_entry(&dir, name, kind, &mut level);
        }
        Ok((dir, level))
    }

    /// Removes an entry, or queues it if it is a directory.
    fn remove_entry(
        &mut self,
        dir: &Dir,
        name: Box<[u8]>,
        kind: EntryKind,
        level: &mut RemovalLevel,
    ) {
        if self.may_protect_target(&name, kind) {
            level.kept = true;
        } else if kind == EntryKind::Directory {
            level.below.push(name);
        } else if self.dry_run {
            self.count += 1;
        } else if let Some(path) = self.path.join(&name) {
            match unlink(self.job, dir, &path) {
                Ok(Unlinked::Removed) => self.count += 1,
                Ok(Unlinked::BackedUp) => {
                    self.count += 1;
                    level.kept = true;
                }
                Ok(Unlinked::Missing) => {}
                Ok(Unlinked::Kept) => level.kept = true,
                Err(error) => {
                    level.kept = true;
                    self.record_error(EntryError::Target("remove", error));
                }
            }
        }
    }

    fn may_protect_target(&self, name: &[u8], kind: EntryKind) -> bool {
        let path = if self.job.protects_nothing() { None } else { self.path.join(name) };
        path.is_some_and(|path| self.job.protects_in_removed(self.top, &path, kind))
    }

    /// Opens the parent directory of `here`. If `here` was moved or removed, its parent is found by
    /// path.
    fn open_parent(&self, here: &Dir, inode: Inode) -> Result<Dir, EntryError> {
        let is_it = |dir: &Dir| dir.stat(b"").is_ok_and(|stat| Inode::of(&stat) == inode);
        if let Some(dir) = here.open_parent().ok().filter(is_it) {
            return Ok(dir);
        }
        let path = self.path.parent().unwrap_or_default();
        let dir = self.job.target.open_below(path.as_bytes());
        dir.ok().filter(is_it).ok_or(EntryError::Changed)
    }

    /// Removes the empty directory at `path`, `name` in `parent`. Returns false if it still exists.
    fn remove_dir(&mut self, parent: &Dir, name: &[u8], path: &TreePath) -> bool {
        if self.dry_run {
            self.count += 1;
            return true;
        }
        if !self.job.take_deletion_quota(path) {
            return false;
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.count += 1;
                self.job.count_removed();
                true
            }
            Err(error) if is_absent(&error.into()) => true,
            Err(error) => {
                self.record_error(EntryError::Target("remove", error.into()));
                false
            }
        }
    }

    /// Records an error, unless entries are only counted.
    fn record_error(&mut self, error: EntryError) {
        if !self.dry_run {
            self.first_error.get_or_insert(error);
        }
    }
}
