//! Detection of the time precision of remote targets.
//!
//! Many targets do not store fractions of seconds: FAT, ext3, a NAS. Compared by nanoseconds, all
//! of their files differ, and comparing their content at each start costs as much as reading both
//! sides. So before a full comparison, some files with fractional times are compared by time: one
//! that is equal proves that the target stores fractions. If none is, they are compared with empty
//! files of the same names whose times are truncated: an equal one proves that the target
//! truncates, and whole seconds are compared from then on. Another time within the same second
//! proves nothing: the file may have been written again.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, SystemTime},
};

use mirror_core::{
    fs_event::EntryKind,
    job::Outcome,
    path::{Escaped, TreePath},
    plan::rsync::QuickCheck,
};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use super::{RsyncExecutor, call_paths::CallPaths, call_report::TimeMatches, run::RsyncRun};
use crate::{exec::process::end::ProcessExit, report::Category};

/// Limit on sampled files.
const MAX_FILES: usize = 20;

/// Limit on sampled files of one directory, since files that change together are often in one
/// directory.
const MAX_FILES_PER_DIR: usize = 8;

/// Limit on directories to search.
const MAX_DIRS: usize = 1000;

/// Limit on entries to read of each directory.
const MAX_ENTRIES_PER_DIR: usize = 10_000;

impl RsyncExecutor {
    /// Returns true if the time precision of the target matters and is unknown.
    fn needs_time_precision(&self) -> bool {
        self.modify_window.is_none()
            && self.plan.needs_time_probe()
            && !self.state.capabilities.lacks_modify_window.is_set()
            && self.state.quick_check().is_none()
    }
}

impl RsyncRun<'_> {
    /// Measures the time precision of the target. Leaves it unknown if nothing can be proved.
    /// Failures of the target are left to the calls that transfer something.
    ///
    /// # Errors
    ///
    /// The outcome of the job if it has to end.
    pub(super) fn probe_time_precision(&self) -> Result<(), Outcome> {
        if !self.executor.needs_time_precision() {
            return Ok(());
        }
        let files = self.sample_files();
        if files.is_empty() {
            return Ok(());
        }
        let paths: Vec<TreePath> = files.iter().map(|(path, _)| path.clone()).collect();
        let TimeMatches { equal, different } =
            self.compare_times(&paths, self.executor.plan.source())?;
        if equal > 0 {
            self.executor.state.set_quick_check(QuickCheck::Nanoseconds);
        }
        if equal > 0
            || different == 0
            || self.executor.state.capabilities.lacks_modify_window.is_set()
        {
            return Ok(());
        }
        let whole = self.count_truncated(&files, &paths, 1)?;
        // FAT stores times in units of two seconds.
        let two = self.count_truncated(&files, &paths, 2)?;
        let (quick_check, what) = match (whole, two) {
            (0, 0) => return Ok(()),
            (whole, two) if two > whole => (QuickCheck::Within(1), "units of two seconds"),
            _ => (QuickCheck::Seconds, "whole seconds"),
        };
        self.executor.state.set_quick_check(quick_check);
        let target = Escaped(self.executor.plan.target().as_arg());
        let message = format!(
            "{target} stores times in {what}: they are compared with that precision, as with \
             modifyWindow"
        );
        self.executor.log.say(Category::Normal, message);
        Ok(())
    }

    /// Returns the number of these files whose time at the target is exactly their own, truncated
    /// to a multiple of `seconds`.
    fn count_truncated(
        &self,
        files: &[(TreePath, i64)],
        paths: &[TreePath],
        seconds: i64,
    ) -> Result<u64, Outcome> {
        // A failure leaves the precision unknown.
        let Ok(references) = tempfile::tempdir() else { return Ok(0) };
        for (path, time) in files {
            if create_reference_file(references.path(), path, time - time.rem_euclid(seconds))
                .is_err()
            {
                return Ok(0);
            }
        }
        Ok(self.compare_times(paths, references.path().as_os_str().as_bytes())?.equal)
    }

    /// Compares the times of these files at the target with those below `source`.
    fn compare_times(&self, files: &[TreePath], source: &[u8]) -> Result<TimeMatches, Outcome> {
        let call = self.executor.plan.probe_times(files, source);
        let call_paths = CallPaths { entries: files, ..CallPaths::default() };
        let (end, report) = self.call(&call, call_paths)?;
        let is_complete = matches!(end, ProcessExit::Exited(0));
        Ok(if is_complete { report.time_matches } else { TimeMatches::default() })
    }

    /// Returns some source files with fractional times, each with its time in whole seconds.
    fn sample_files(&self) -> Vec<(TreePath, i64)> {
        let mut buffer = ReadBuffer::new();
        let mut found = Vec::new();
        let mut directories = VecDeque::from([TreePath::root()]);
        for _ in 0..MAX_DIRS {
            let Some(path) = directories.pop_front().filter(|_| found.len() < MAX_FILES) else {
                break;
            };
            let Ok(directory) = self.root.open_below(path.as_bytes()) else { continue };
            let (mut entries, mut of_it) = (0, 0);
            // An unreadable directory has no counterpart on the target either.
            let _ = directory.read(&mut buffer, |listed| {
                entries += 1;
                if entries > MAX_ENTRIES_PER_DIR {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let Some(path) = path.join(listed.name) else { return Ok(()) };
                let excludes = |kind| self.executor.filter.excludes_entry(&path, kind);
                if listed.file_type == FileType::Directory {
                    if directories.len() < MAX_DIRS && !excludes(EntryKind::Directory) {
                        directories.push_back(path);
                    }
                } else if listed.file_type == FileType::RegularFile
                    && of_it < MAX_FILES_PER_DIR
                    && !excludes(EntryKind::Other)
                {
                    let time = directory.stat(listed.name).map(|stat| stat.mtime);
                    if let Some(time) = time.ok().filter(|time| time.nanoseconds != 0) {
                        of_it += 1;
                        found.push((path, time.seconds));
                    }
                }
                Ok(())
            });
        }
        found
    }
}

/// Creates an empty file at `path` below `root`, with this time in seconds since the epoch.
fn create_reference_file(root: &Path, path: &TreePath, time: i64) -> io::Result<()> {
    let since = Duration::from_secs(time.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if time < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    let path = root.join(OsStr::from_bytes(path.as_bytes()));
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    File::create(path)?.set_modified(time.ok_or(io::ErrorKind::InvalidInput)?)
}
