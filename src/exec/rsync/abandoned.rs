//! Temporary files that an rsync has left on a local target.
//!
//! The receiving process removes its temporary file at its end, unless it is killed or the file
//! system has become read-only. No later list of paths names that file, so it would stay until the
//! next full transfer.

use std::{
    io,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mirror_core::{
    job::{DirtyPath, Scope},
    path::TreePath,
    plan::stderr::final_names,
};
use mirror_platform::{dir::Dir, entries::ReadBuffer, stat::Stat};
use rustix::{
    fs::{AtFlags, FileType, unlinkat},
    io::Errno,
};

use crate::exec::{lock, lookup::may_exist};

/// Tolerated inaccuracy of the times of files.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// The paths of calls that may have left temporary files.
#[derive(Debug, Default)]
pub(super) struct AbandonedFiles {
    calls: Mutex<Option<AbandonedCalls>>,
}

#[derive(Debug)]
struct AbandonedCalls {
    /// The start of the first of them.
    since: SystemTime,
    paths: Vec<DirtyPath>,
}

impl AbandonedFiles {
    /// Notes that a call for these paths may have left a temporary file.
    pub(super) fn note(&self, since: SystemTime, paths: impl Iterator<Item = DirtyPath>) {
        let mut calls = lock(&self.calls);
        let calls = calls.get_or_insert_with(|| AbandonedCalls { since, paths: Vec::new() });
        calls.paths.extend(paths);
    }

    /// Removes the temporary files of earlier calls, all of whose processes have ended. Returns
    /// their paths. What is on a read-only file system is tried again the next time.
    pub(super) fn remove(&self, source: &Dir, target: &Dir) -> Vec<TreePath> {
        let Some(AbandonedCalls { since: first, paths }) = lock(&self.calls).take() else {
            return Vec::new();
        };
        let since = first.checked_sub(CLOCK_TOLERANCE).unwrap_or(UNIX_EPOCH);
        let (removed, kept) = (Vec::new(), Vec::new());
        let mut search = AbandonedSearch { source, target, since, removed, kept };
        let directory = |dirty: DirtyPath| match dirty.scope {
            Scope::Entry => Some((dirty.path.parent()?, Scope::Entry)),
            Scope::Tree => Some((dirty.path, Scope::Tree)),
        };
        let mut pending: Vec<(TreePath, Scope)> = paths.into_iter().filter_map(directory).collect();
        pending.sort();
        pending.dedup();
        while let Some((path, scope)) = pending.pop() {
            // A directory that cannot be read is the business of the next transfer.
            let inner = search.visit(&path).unwrap_or_default();
            if scope == Scope::Tree {
                pending.extend(inner.into_iter().map(|path| (path, Scope::Tree)));
            }
        }
        if !search.kept.is_empty() {
            let entry = |path| DirtyPath { path, scope: Scope::Entry };
            self.note(first, search.kept.into_iter().map(entry));
        }
        search.removed
    }
}

/// A search for temporary files.
struct AbandonedSearch<'a> {
    source: &'a Dir,
    target: &'a Dir,
    since: SystemTime,
    removed: Vec<TreePath>,
    kept: Vec<TreePath>,
}

impl AbandonedSearch<'_> {
    /// Removes the temporary files in a directory. Returns the directories in it.
    fn visit(&mut self, path: &TreePath) -> io::Result<Vec<TreePath>> {
        let directory = self.target.open_below(path.as_bytes())?;
        let (mut files, mut inner) = (Vec::new(), Vec::new());
        directory.read(&mut ReadBuffer::new(), |entry| {
            if entry.file_type == FileType::RegularFile {
                files.extend(path.join(entry.name));
            } else if entry.file_type == FileType::Directory {
                inner.extend(path.join(entry.name));
            }
            Ok(())
        })?;
        for file in files {
            let name = file.name().unwrap_or_default();
            if self.is_abandoned(&file)
                && directory.stat(name).is_ok_and(|stat| changed_since(&stat, self.since))
            {
                match unlinkat(&directory, name, AtFlags::empty()) {
                    Ok(()) => self.removed.push(file),
                    Err(Errno::ROFS) => self.kept.push(file),
                    // The next full transfer removes it.
                    Err(_) => {}
                }
            }
        }
        Ok(inner)
    }

    /// Returns true if only the target has this name, and if it is a temporary one of a file that
    /// the source has.
    fn is_abandoned(&self, path: &TreePath) -> bool {
        final_names(path).iter().any(|name| may_exist(self.source, name))
            && !may_exist(self.source, path)
    }
}

fn changed_since(stat: &Stat, since: SystemTime) -> bool {
    let seconds = u64::try_from(stat.ctime.seconds).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, stat.ctime.nanoseconds) >= since
}
