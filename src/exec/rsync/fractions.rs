//! Whether a target on another machine keeps the fractions of seconds.
//!
//! Many do not: FAT, ext3, a NAS. Compared by nanoseconds all of their files differ, and to compare
//! them once more at each start costs as much as to read both sides. So some files whose times have a
//! fraction are looked at before all of the source is compared: one that is equal proves that the
//! target keeps it. If none is, they are compared with empty files of the same names whose times have
//! no fraction: one that is equal to such a time proves that the target drops it, and whole seconds
//! count from then on. That it has some other time within the same second proves nothing: the file
//! may have been written again.

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
    job::Outcome,
    notice::Kind,
    path::{Escaped, TreePath},
    plan::rsync::Equal,
};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use super::{RsyncExecutor, batch::Run, findings::Covered};
use crate::{exec::process::child::End, report::Category};

/// How many files are looked at, ..
const FILES: usize = 20;

/// .. of one directory at most, as what somebody works on lies together, ..
const FILES_OF_ONE: usize = 8;

/// .. in how many directories they are looked for, ..
const DIRECTORIES: usize = 1000;

/// .. and among how many entries of each.
const ENTRIES: usize = 10_000;

impl RsyncExecutor {
    /// Returns true if it matters what the times of the target tell, and nobody knows.
    fn may_learn_times(&self) -> bool {
        self.modify_window.is_none()
            && self.plan.has_to_look_at_times()
            && !self.learned.restricted.is_set()
            && self.learned.equal().is_none()
    }
}

impl Run<'_> {
    /// Finds out what the times of the target tell. What can't be found out is left for the next
    /// time, and what is wrong with the target for the call that brings something.
    ///
    /// # Errors
    ///
    /// The outcome of the job if it has to end.
    pub(super) fn learn_times(&self) -> Result<(), Outcome> {
        if !self.of.may_learn_times() {
            return Ok(());
        }
        let files = self.with_fractions();
        if files.is_empty() {
            return Ok(());
        }
        let paths: Vec<TreePath> = files.iter().map(|(path, _)| path.clone()).collect();
        let (same, others) = self.look_at_times(&paths, self.of.plan.source())?;
        if same > 0 {
            self.of.learned.learn_equal(Equal::Nanoseconds);
        }
        if same > 0 || others == 0 || self.of.learned.restricted.is_set() {
            return Ok(());
        }
        let whole = self.count_multiples(&files, &paths, 1)?;
        // FAT counts by two seconds.
        let two = self.count_multiples(&files, &paths, 2)?;
        let (equal, what) = match (whole, two) {
            (0, 0) => return Ok(()),
            (whole, two) if two > whole => (Equal::Within(1), "two seconds"),
            _ => (Equal::Seconds, "whole seconds"),
        };
        self.of.learned.learn_equal(equal);
        let target = Escaped(self.of.plan.target().word());
        let message = format!(
            "{target} keeps times by {what}: they are compared so, as modifyWindow would have it"
        );
        self.of.log.say(Category::Normal, message);
        Ok(())
    }

    /// How many of these files have at the target exactly the time that is left of theirs where times
    /// are multiples of so many seconds.
    fn count_multiples(
        &self,
        files: &[(TreePath, i64)],
        paths: &[TreePath],
        seconds: i64,
    ) -> Result<u64, Outcome> {
        // What can't be found out is left for the next time.
        let Ok(models) = tempfile::tempdir() else { return Ok(0) };
        for (path, time) in files {
            if model(models.path(), path, time - time.rem_euclid(seconds)).is_err() {
                return Ok(0);
            }
        }
        Ok(self.look_at_times(paths, models.path().as_os_str().as_bytes())?.0)
    }

    /// How many of these files have the same time there as below `source`, and how many another one.
    fn look_at_times(&self, files: &[TreePath], source: &[u8]) -> Result<(u64, u64), Outcome> {
        let call = self.of.plan.look_at_times(files, source);
        let covered = Covered { entries: files, ..Covered::default() };
        let (end, findings) = self.call(&call, covered)?;
        Ok(if matches!(end, End::Exited(0)) { findings.times } else { (0, 0) })
    }

    /// Some files of the source whose times have a fraction, with the second of each.
    fn with_fractions(&self) -> Vec<(TreePath, i64)> {
        let mut buffer = ReadBuffer::new();
        let mut found = Vec::new();
        let mut directories = VecDeque::from([TreePath::root()]);
        for _ in 0..DIRECTORIES {
            let Some(path) = directories.pop_front().filter(|_| found.len() < FILES) else { break };
            let Ok(directory) = self.root.open_below(path.as_bytes()) else { continue };
            let (mut entries, mut of_it) = (0, 0);
            // Of what can't be read there is nothing to see at the target either.
            let _ = directory.read(&mut buffer, |listed| {
                entries += 1;
                if entries > ENTRIES {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let Some(path) = path.join(listed.name) else { return Ok(()) };
                match listed.file_type {
                    FileType::Directory
                        if directories.len() < DIRECTORIES
                            && !self.of.filter.excludes_entry(&path, Kind::Directory) =>
                    {
                        directories.push_back(path);
                    }
                    FileType::RegularFile
                        if of_it < FILES_OF_ONE
                            && !self.of.filter.excludes_entry(&path, Kind::Other) =>
                    {
                        let time = directory.stat(listed.name).map(|stat| stat.stx_mtime);
                        if let Some(time) = time.ok().filter(|time| time.tv_nsec != 0) {
                            of_it += 1;
                            found.push((path, time.tv_sec));
                        }
                    }
                    _ => {}
                }
                Ok(())
            });
        }
        found
    }
}

/// Makes an empty file at `path` below `root`, with the time of so many seconds since the epoch.
fn model(root: &Path, path: &TreePath, time: i64) -> io::Result<()> {
    let since = Duration::from_secs(time.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if time < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    let path = root.join(OsStr::from_bytes(path.as_bytes()));
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    File::create(path)?.set_modified(time.ok_or(io::ErrorKind::InvalidInput)?)
}
