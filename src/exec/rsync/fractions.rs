//! Whether a target on another machine keeps the fractions of seconds.
//!
//! Many do not: FAT, ext3, a NAS. Compared by nanoseconds all of their files differ, and to compare
//! them once more at each start costs as much as to read both sides. So some files whose times have a
//! fraction are looked at before all of the source is compared: one that is equal proves that the
//! target keeps it, and if they are equal but for the fraction, whole seconds count from then on.

use std::{collections::VecDeque, io};

use mirror_core::{
    job::Outcome,
    notice::Kind,
    path::{Escaped, TreePath},
    plan::rsync::Equal,
};
use mirror_linux::entries::ReadBuffer;
use rustix::fs::FileType;

use super::{RsyncExecutor, batch::Run, findings::Covered};
use crate::{exec::child::End, report::Category};

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
        let (same, others) = self.look_at_times(&files, Equal::Nanoseconds)?;
        if same > 0 {
            self.of.learned.learn_equal(Equal::Nanoseconds);
        }
        if same > 0 || others == 0 || self.of.learned.restricted.is_set() {
            return Ok(());
        }
        let (whole, others) = self.look_at_times(&files, Equal::Seconds)?;
        // FAT counts by two seconds.
        let two = if others > 0 { self.look_at_times(&files, Equal::Within(1))?.0 } else { 0 };
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

    /// How many of these files have the same time there, and how many another one.
    fn look_at_times(&self, files: &[TreePath], equal: Equal) -> Result<(u64, u64), Outcome> {
        let call = self.of.plan.look_at_times(files, equal);
        let covered = Covered { entries: files, ..Covered::default() };
        let (end, findings) = self.call(&call, covered)?;
        Ok(if matches!(end, End::Exited(0)) { findings.times } else { (0, 0) })
    }

    /// Some files of the source whose times have a fraction.
    fn with_fractions(&self) -> Vec<TreePath> {
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
                            && !self.of.filter.excludes_entry(&path, Kind::Other)
                            && directory
                                .stat(listed.name)
                                .is_ok_and(|stat| stat.stx_mtime.tv_nsec != 0) =>
                    {
                        of_it += 1;
                        found.push(path);
                    }
                    _ => {}
                }
                Ok(())
            });
        }
        found
    }
}
