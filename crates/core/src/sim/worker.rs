//! An executor that works in small steps on a changing source, and that can fail at each step.

use alloc::{collections::VecDeque, string::String, vec, vec::Vec};
use core::mem;

use crate::{
    job::{
        DirtyPath, Failure, FatalReason, HeldDeletions, HookFailureAction, Outcome, Rename, Scope,
        Work,
    },
    path::TreePath,
    sim::{
        random::SimRng,
        tree::{PLAIN, SimNode, SimTree},
    },
};

/// Injected fault of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobFault {
    /// The job succeeds.
    None,
    /// Some steps fail, chosen by this seed.
    Partly(u64),
    /// After this number of steps the job fails, and the state of the target is unknown.
    Again(usize),
    /// The same, and the file that it was sending gets its name on the target later.
    Late(usize),
    /// After this number of steps the job exits with an unknown code.
    Fatal(usize),
    /// The job succeeds, and the hook after it fails.
    Hook,
}

impl JobFault {
    /// Returns the outcome of a job that ends after this number of steps. `None`: it goes on.
    pub(crate) fn outcome_after(self, steps: usize) -> Option<Outcome> {
        match self {
            Self::Again(limit) | Self::Late(limit) if limit <= steps => {
                Some(Outcome::Retry(failure()))
            }
            Self::Fatal(limit) if limit <= steps => {
                Some(Outcome::Fatal(failure(), FatalReason::Unknown))
            }
            Self::None
            | Self::Partly(_)
            | Self::Again(_)
            | Self::Late(_)
            | Self::Fatal(_)
            | Self::Hook => None,
        }
    }

    /// Returns the seed by which the failing steps are chosen.
    pub(crate) const fn seed(self) -> u64 {
        match self {
            Self::Partly(seed) => seed,
            Self::None | Self::Again(_) | Self::Late(_) | Self::Fatal(_) | Self::Hook => 0,
        }
    }
}

/// A running job.
#[derive(Clone, Debug)]
pub(crate) struct SimWorker {
    renames: VecDeque<Rename>,
    todo: VecDeque<DirtyPath>,
    fault: JobFault,
    failing: SimRng,
    steps: usize,
    failed: Vec<DirtyPath>,
    /// True if the job skips large files.
    splits: bool,
    large: Vec<TreePath>,
}

/// A source and its target.
pub(crate) struct TreePair<'a> {
    /// `None` while it is not mounted.
    pub(crate) source: Option<&'a SimTree>,
    pub(crate) target: &'a mut SimTree,
}

impl SimWorker {
    /// Creates a worker. If `splits`, it skips the large files of a batch.
    pub(crate) fn new(work: &Work, fault: JobFault, splits: bool) -> Self {
        let (renames, todo) = steps(work);
        let splits = splits && matches!(work, Work::Batch { .. });
        let failing = SimRng::new(fault.seed());
        Self { renames, todo, fault, failing, steps: 0, failed: vec![], splits, large: vec![] }
    }

    /// Executes one step. Returns the outcome after the last one.
    ///
    /// # Errors
    ///
    /// If the step deleted an entry from the target that the source still has.
    pub(crate) fn step(&mut self, trees: &mut TreePair<'_>) -> Result<Option<Outcome>, String> {
        let Some(source) = trees.source else {
            return Ok(Some(Outcome::SourceGone(failure())));
        };
        if let Some(outcome) = self.fault.outcome_after(self.steps) {
            return Ok(Some(outcome));
        }
        self.steps += 1;
        let before = trees.target.clone();
        if let Some(hint) = self.renames.pop_front() {
            repeat_rename(&hint, source, trees.target);
        } else if let Some(dirty) = self.todo.pop_front() {
            self.transfer(dirty, source, trees.target);
        } else {
            return Ok(Some(self.outcome()));
        }
        check_deletes(&before, trees.target, source)?;
        Ok(None)
    }

    /// Returns the file that a lost job was sending, if it gets its name on the target later.
    pub(crate) fn late_file(&self, source: Option<&SimTree>) -> Option<(TreePath, SimNode)> {
        let DirtyPath { path, .. } = self.todo.front()?;
        let node = source?.get(path)?;
        let is_late = matches!((self.fault, node), (JobFault::Late(_), SimNode::File { .. }));
        is_late.then(|| (path.clone(), node))
    }

    /// Stops the job; the state of the target is then unknown.
    pub(crate) const fn stop(&mut self) {
        self.fault = match self.fault {
            JobFault::Late(_) => JobFault::Late(0),
            _ => JobFault::Again(0),
        };
    }

    fn outcome(&mut self) -> Outcome {
        if self.fault == JobFault::Hook {
            return hook_failed(Vec::new());
        }
        let failed: Vec<_> = self.failed.drain(..).map(|dirty| (dirty, failure())).collect();
        match (failed.is_empty(), self.large.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partial(failed),
            (_, false) => {
                Outcome::Split { large: mem::take(&mut self.large), failed, held: vec![] }
            }
        }
    }

    fn transfer(&mut self, dirty: DirtyPath, source: &SimTree, target: &mut SimTree) {
        if matches!(self.fault, JobFault::Partly(_)) && self.failing.once_in(3) {
            self.failed.push(dirty);
            return;
        }
        let DirtyPath { path, scope } = dirty;
        if self.splits && scope == Scope::Entry && source.get(&path).is_some_and(is_large) {
            self.large.push(path);
            return;
        }
        let path = source.survey(path);
        copy_parents(&path, source, target);
        match source.get(&path) {
            Some(node) => target.put(&path, node),
            None => target.remove(&path),
        }
        if source.is_dir(&path) && scope == Scope::Tree {
            // The listing may be outdated when its entries are processed; then they were marked
            // again.
            let mut below = [source.children(&path), target.children(&path)].concat();
            below.sort();
            below.dedup();
            self.todo.extend(below.into_iter().map(|path| DirtyPath { path, scope }));
        }
    }
}

/// Returns the outcome of a job whose hook failed.
pub(super) fn hook_failed(held: Vec<HeldDeletions>) -> Outcome {
    Outcome::HookFailed { failure: failure(), action: HookFailureAction::Retry, held }
}

/// Returns the renames and paths of a job.
pub(super) fn steps(work: &Work) -> (VecDeque<Rename>, VecDeque<DirtyPath>) {
    match work {
        Work::Full { .. } => (VecDeque::new(), VecDeque::from([DirtyPath::root_tree()])),
        Work::Batch { paths, renames, .. } => {
            (renames.iter().cloned().collect(), paths.iter().collect())
        }
        Work::Large { path, .. } => {
            let file = DirtyPath { path: path.clone(), scope: Scope::Entry };
            (VecDeque::new(), VecDeque::from([file]))
        }
    }
}

/// Returns true for the files that count as large.
fn is_large(node: SimNode) -> bool {
    matches!(node, SimNode::File { content, .. } if content % 3 == 0)
}

pub(super) fn failure() -> Failure {
    Failure::new("as it was meant to")
}

/// Creates the ancestors of `path` on the target, as they are at the source.
pub(super) fn copy_parents(path: &TreePath, source: &SimTree, target: &mut SimTree) {
    let mut top = TreePath::root();
    for name in path.components() {
        if !target.is_dir(&top) {
            target.put(&top, source.get(&top).unwrap_or(PLAIN));
        }
        top.push(name).unwrap();
    }
}

/// Repeats a rename on the target if both trees confirm it. Returns true if it did.
pub(super) fn repeat_rename(hint: &Rename, source: &SimTree, target: &mut SimTree) -> bool {
    let Rename { from, to } = hint;
    let is_dir = |node| matches!(node, SimNode::Directory { .. });
    let (Some(have), Some(want)) = (target.get(from), source.get(to)) else { return false };
    let in_the_way = target.get(to).is_some_and(is_dir) || is_dir(have) != is_dir(want);
    let there = source.get(from).is_some() || target.get(to).is_some_and(|_| is_dir(have));
    let is_possible = !in_the_way && !there && target.has_room_at(to) && !from.contains(to);
    if is_possible {
        target.rename(from, to);
    }
    is_possible
}

/// Checks that an entry is deleted from the target only if the source lacks it.
fn check_deletes(before: &SimTree, after: &SimTree, source: &SimTree) -> Result<(), String> {
    let gone = before.paths().filter(|path| after.get(path).is_none());
    match gone.into_iter().find(|path| source.get(path).is_some()) {
        Some(path) => Err(alloc::format!("{path} was deleted, and the source has it")),
        None => Ok(()),
    }
}
