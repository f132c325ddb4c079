//! Temporary files that a receiving rsync has left on another machine.
//!
//! The receiver removes its temporary file unless it is killed, or the file system has become
//! read-only. Nobody can see that from here. So after a call that did not end well, whatever has
//! the name of a temporary file of its paths is removed by the next job that has transferred them.
//! A receiver may live on for a while (`docs/decisions/0029-lost-jobs.md`), so that is done once
//! more when these paths are compared again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use mirror_core::{
    fs_event::EntryKind,
    job::{Outcome, Scope},
    path::TreePath,
    plan::stderr::final_names,
    queue::PathSet,
};

use super::{call_paths::CallPaths, run::RsyncRun};
use crate::{
    exec::{lock, lookup::may_exist, process::end::ProcessExit},
    report::Category,
};

/// The longest life of a receiver whose connection is lost.
const RECEIVER_LIFE: Duration = Duration::from_secs(50);

/// The most files whose temporary files are looked for. Others are left to the next full transfer.
const MAX_FILES: usize = 1_000;

/// The most directories that are looked into by one job.
const MAX_DIRECTORIES: usize = 100;

/// The files that receivers may have left temporary files of.
#[derive(Debug, Default)]
pub(super) struct RemoteTempFiles {
    files: Mutex<BTreeMap<TreePath, NotedFile>>,
}

#[derive(Clone, Copy, Debug)]
struct NotedFile {
    /// The time from which no receiver can be alive any more.
    gone_at: Instant,
    /// Its temporary files were removed before that time.
    is_tried: bool,
}

impl RemoteTempFiles {
    /// Notes files of a call. Its receiver `may_live` on.
    pub(super) fn note(&self, files: impl Iterator<Item = TreePath>, may_live: bool) {
        let now = Instant::now();
        let gone_at = if may_live { now + RECEIVER_LIFE } else { now };
        let mut noted = lock(&self.files);
        for file in files {
            if noted.len() < MAX_FILES || noted.contains_key(&file) {
                noted.insert(file, NotedFile { gone_at, is_tried: false });
            }
        }
    }

    /// Returns those of the noted files that can be tried now, if a job has transferred `paths`.
    fn due(&self, paths: &PathSet, now: Instant) -> BTreeSet<TreePath> {
        let noted = lock(&self.files);
        let due = noted.iter().filter(|(path, file)| {
            (!file.is_tried || file.gone_at <= now) && paths.covers(path, Scope::Entry)
        });
        due.map(|(path, _)| path.clone()).collect()
    }

    /// Notes that the temporary files of these files were removed at `now`.
    fn removed(&self, files: &BTreeSet<TreePath>, now: Instant) {
        lock(&self.files).retain(|path, file| {
            file.is_tried |= files.contains(path);
            !files.contains(path) || now < file.gone_at
        });
    }
}

impl RsyncRun<'_> {
    /// Removes the temporary files that earlier receivers have left of the files among `paths`,
    /// which this job has transferred.
    pub(super) fn remove_remote_temp_files(&self, paths: &PathSet) {
        let temp_files = &self.executor.state.remote_temp_files;
        let now = Instant::now();
        let files = temp_files.due(paths, now);
        if files.is_empty() {
            return;
        }
        // After a failure the next job tries again.
        if matches!(self.try_remove_temp_files(&files), Ok(true)) {
            temp_files.removed(&files, now);
        }
    }

    /// Returns true if the target has no temporary files of these files any more.
    fn try_remove_temp_files(&self, files: &BTreeSet<TreePath>) -> Result<bool, Outcome> {
        let plan = &self.executor.plan;
        let directories: BTreeSet<_> = files.iter().filter_map(TreePath::parent).collect();
        let directories: Vec<_> = directories.into_iter().take(MAX_DIRECTORIES).collect();
        let is_done = |end: &ProcessExit| matches!(end, ProcessExit::Exited(0));
        let (end, report) =
            self.call(&plan.temp_file_listing(&directories), CallPaths::default())?;
        let listed = report.deletions.names;
        let found: Vec<_> = listed.into_iter().filter(|it| self.is_temp_file(it, files)).collect();
        if found.is_empty() || !is_done(&end) {
            return Ok(is_done(&end));
        }
        let (end, _) = self.call(&plan.temp_file_removal(&found), CallPaths::default())?;
        if is_done(&end) {
            for path in found {
                let text = format_args!("removed the temporary file {path} that an rsync has left");
                self.executor.log.say(Category::Debug("Exec"), text);
            }
        }
        Ok(is_done(&end))
    }

    /// Returns true if an entry that only the target has is a temporary one of these files.
    fn is_temp_file(&self, path: &TreePath, files: &BTreeSet<TreePath>) -> bool {
        let filter = &self.executor.filter;
        final_names(path).iter().any(|name| files.contains(name))
            && !may_exist(self.root, path)
            && !filter.excludes(path, EntryKind::Other)
            && !filter.certainly_protects(path, EntryKind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_tried_twice_if_its_receiver_may_live() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let temp_files = RemoteTempFiles::default();
        temp_files.note(["lost", "other"].map(path).into_iter(), true);
        temp_files.note([path("ended")].into_iter(), false);
        let now = Instant::now();
        let paths: PathSet = PathSet::entry(&path("lost"));
        assert_eq!(temp_files.due(&paths, now), [path("lost")].into());
        let all: PathSet = [mirror_core::job::DirtyPath::root_tree()].iter().collect();
        let due = temp_files.due(&all, now);
        assert_eq!(due, ["ended", "lost", "other"].map(path).into());
        temp_files.removed(&due, now);
        assert!(temp_files.due(&all, now).is_empty());
        let later = now + RECEIVER_LIFE;
        let due = temp_files.due(&all, later);
        assert_eq!(due, ["lost", "other"].map(path).into());
        temp_files.removed(&due, later);
        assert!(temp_files.due(&all, later).is_empty());
        // A call that was lost since counts anew.
        temp_files.note([path("lost")].into_iter(), true);
        assert_eq!(temp_files.due(&all, later), [path("lost")].into());
    }
}
