//! An executor that works in small steps on a source that changes meanwhile, and that can fail at
//! any of them.

use alloc::{collections::VecDeque, string::String, vec, vec::Vec};
use core::mem;

use crate::{
    job::{AfterHook, Failure, Grounds, HeldDeletions, Outcome, Place, Rename, Scope, Work},
    path::TreePath,
    sim::{
        random::Random,
        tree::{Node, PLAIN, Tree},
    },
};

/// How a job will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does all that it finds to do.
    Good,
    /// Some steps fail. The number says which.
    Partly(u64),
    /// After so many steps nobody knows what is on the target.
    Again(usize),
    /// After so many steps it ends in a way that nobody knows.
    Fatal(usize),
    /// It does all that it finds to do, and what comes after it fails.
    Hook,
}

/// One job on its way.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    moves: VecDeque<Rename>,
    todo: VecDeque<Place>,
    fate: Fate,
    failing: Random,
    steps: usize,
    failed: Vec<Place>,
    /// Whether it leaves large files out.
    splits: bool,
    large: Vec<TreePath>,
}

/// A source and its target.
pub(crate) struct Trees<'a> {
    /// `None` while it is not mounted.
    pub(crate) source: Option<&'a Tree>,
    pub(crate) target: &'a mut Tree,
}

impl Worker {
    /// A worker that leaves large files out of a batch, if it `splits`.
    pub(crate) fn new(work: &Work, fate: Fate, splits: bool) -> Self {
        let (moves, todo) = steps(work);
        let seed = if let Fate::Partly(seed) = fate { seed } else { 0 };
        let splits = splits && matches!(work, Work::Batch { .. });
        let failing = Random::new(seed);
        Self { moves, todo, fate, failing, steps: 0, failed: vec![], splits, large: vec![] }
    }

    /// Does one step. The outcome, if it was the last one.
    ///
    /// # Errors
    ///
    /// If the step took something from the target that the source still has.
    pub(crate) fn step(&mut self, trees: &mut Trees<'_>) -> Result<Option<Outcome>, String> {
        let Some(source) = trees.source else {
            return Ok(Some(Outcome::SourceGone(failure())));
        };
        match self.fate {
            Fate::Again(steps) if steps <= self.steps => {
                return Ok(Some(Outcome::Again(failure())));
            }
            Fate::Fatal(steps) if steps <= self.steps => {
                return Ok(Some(Outcome::Fatal(failure(), Grounds::Unknown)));
            }
            Fate::Good | Fate::Partly(_) | Fate::Again(_) | Fate::Fatal(_) | Fate::Hook => {}
        }
        self.steps += 1;
        let before = trees.target.clone();
        if let Some(hint) = self.moves.pop_front() {
            follow(&hint, source, trees.target);
        } else if let Some(place) = self.todo.pop_front() {
            self.bring(place, source, trees.target);
        } else {
            return Ok(Some(self.outcome()));
        }
        check_deletes(&before, trees.target, source)?;
        Ok(None)
    }

    /// Asks the job to end: nobody knows what is on the target.
    pub(crate) const fn stop(&mut self) {
        self.fate = Fate::Again(0);
    }

    fn outcome(&mut self) -> Outcome {
        if self.fate == Fate::Hook {
            return hook_failed(Vec::new());
        }
        let failed: Vec<_> = self.failed.drain(..).map(|place| (place, failure())).collect();
        match (failed.is_empty(), self.large.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partly(failed),
            (_, false) => {
                Outcome::Split { large: mem::take(&mut self.large), failed, held: vec![] }
            }
        }
    }

    fn bring(&mut self, place: Place, source: &Tree, target: &mut Tree) {
        if matches!(self.fate, Fate::Partly(_)) && self.failing.once_in(3) {
            self.failed.push(place);
            return;
        }
        let Place { path, scope } = place;
        if self.splits && scope == Scope::Entry && source.get(&path).is_some_and(is_large) {
            self.large.push(path);
            return;
        }
        let path = source.survey(path);
        bring_parents(&path, source, target);
        match source.get(&path) {
            Some(node) => target.put(&path, node),
            None => target.remove(&path),
        }
        if source.is_dir(&path) && scope == Scope::Tree {
            // What is read now is done later, when it may be wrong: then it was marked again.
            let mut below = [source.children(&path), target.children(&path)].concat();
            below.sort();
            below.dedup();
            self.todo.extend(below.into_iter().map(|path| Place { path, scope }));
        }
    }
}

/// What comes after the job has failed.
pub(super) fn hook_failed(held: Vec<HeldDeletions>) -> Outcome {
    Outcome::HookFailed { failure: failure(), then: AfterHook::Retry, held }
}

/// The renames of some work, and its places.
pub(super) fn steps(work: &Work) -> (VecDeque<Rename>, VecDeque<Place>) {
    match work {
        Work::Full { .. } => (VecDeque::new(), VecDeque::from([Place::all()])),
        Work::Batch { places, moves, .. } => {
            (moves.iter().cloned().collect(), places.iter().collect())
        }
        Work::Large { path, .. } => {
            let file = Place { path: path.clone(), scope: Scope::Entry };
            (VecDeque::new(), VecDeque::from([file]))
        }
    }
}

/// Some of the files are large.
fn is_large(node: Node) -> bool {
    matches!(node, Node::File { content, .. } if content % 3 == 0)
}

pub(super) fn failure() -> Failure {
    Failure::new("as it was meant to")
}

/// Makes the directories above `path` at the target, as they are at the source.
pub(super) fn bring_parents(path: &TreePath, source: &Tree, target: &mut Tree) {
    let mut top = TreePath::root();
    for name in path.components() {
        if !target.is_dir(&top) {
            target.put(&top, source.get(&top).unwrap_or(PLAIN));
        }
        top.push(name).unwrap();
    }
}

/// Does a rename at the target, if both trees say that it is one. Whether it did.
pub(super) fn follow(hint: &Rename, source: &Tree, target: &mut Tree) -> bool {
    let Rename { from, to } = hint;
    let is_dir = |node| matches!(node, Node::Directory { .. });
    let (Some(have), Some(want)) = (target.get(from), source.get(to)) else { return false };
    let in_the_way = target.get(to).is_some_and(is_dir) || is_dir(have) != is_dir(want);
    let there = source.get(from).is_some() || target.get(to).is_some_and(|_| is_dir(have));
    let follows = !in_the_way && !there && target.has_room_at(to) && !from.contains(to);
    if follows {
        target.rename(from, to);
    }
    follows
}

/// A name may go from the target only if the source does not have it.
fn check_deletes(before: &Tree, after: &Tree, source: &Tree) -> Result<(), String> {
    let gone = before.paths().filter(|path| after.get(path).is_none());
    match gone.into_iter().find(|path| source.get(path).is_some()) {
        Some(path) => Err(alloc::format!("{path} was deleted, and the source has it")),
        None => Ok(()),
    }
}
