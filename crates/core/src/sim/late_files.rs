//! Files that lost jobs have sent, and that get their names on the target later: the receiving
//! processes hang.

use alloc::vec::Vec;

use crate::{
    job::{JobId, Outcome},
    mirror::RECEIVER_TIME,
    path::TreePath,
    sim::tree::{SimNode, SimTree},
    time::Moment,
};

/// Late files of one target.
#[derive(Debug, Default)]
pub(crate) struct LateFiles {
    files: Vec<LateFile>,
    /// True after a late file: the target may be outdated, and nobody can know it.
    is_outdated: bool,
}

#[derive(Debug)]
struct LateFile {
    path: TreePath,
    node: SimNode,
    /// `None` until another job has succeeded.
    at: Option<Moment>,
}

impl LateFiles {
    /// Notes a file that a lost job was sending.
    pub(crate) fn add(&mut self, (path, node): (TreePath, SimNode)) {
        self.files.push(LateFile { path, node, at: None });
    }

    /// Notes the end of a job. After a success, the files get their names sooner or later.
    pub(crate) fn job_ended(&mut self, job: JobId, outcome: &Outcome, now: Moment) {
        if matches!(outcome, Outcome::Done | Outcome::Partial(_) | Outcome::Split { .. }) {
            let wait = RECEIVER_TIME * u32::try_from(job.0 % 4).unwrap_or(0) / 4;
            self.files.iter_mut().for_each(|file| file.at = file.at.or(Some(now + wait)));
        }
    }

    /// The time at which the next file gets its name.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.files.iter().filter_map(|file| file.at).min()
    }

    /// Gives the files their names that get them now.
    pub(crate) fn rename(&mut self, target: &mut SimTree, now: Moment) {
        let is_due = |file: &mut LateFile| file.at.is_some_and(|at| at <= now);
        for LateFile { path, node, .. } in self.files.extract_if(.., is_due) {
            let has_parent = path.parent().is_some_and(|parent| target.is_dir(&parent));
            if has_parent && !target.is_dir(&path) {
                target.put(&path, node);
                self.is_outdated = true;
            }
        }
    }

    /// Notes the state of the trees.
    pub(crate) fn note(&mut self, target: &SimTree, source: &SimTree) {
        self.is_outdated &= target != source;
    }

    /// Returns true if the target may differ from the source without anybody knowing it.
    pub(crate) const fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    /// Forgets the files.
    pub(crate) fn clear(&mut self) {
        self.files.clear();
    }
}
