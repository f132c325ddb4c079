//! An executor that takes equal size and time for equal content, and that holds deletions.

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    vec::Vec,
};
use core::cell::Cell;

use crate::{
    guard::{DeletionTerms, MaxDelete},
    job::{DirtyPath, HeldDeletions, HoldReason, Job, Outcome, Rename, Scope},
    path::TreePath,
    queue::{ObservedChanges, PathSet},
    sim::{
        random::SimRng,
        tree::{SimNode, SimTree},
        worker::{JobFault, copy_parents, failure, hook_failed, repeat_rename, steps},
    },
};

/// The budgets for deletions.
#[derive(Clone, Copy)]
pub(in crate::sim) struct SimBudgets {
    pub(in crate::sim) unobserved: MaxDelete,
    pub(in crate::sim) observed: MaxDelete,
}

impl SimBudgets {
    pub(in crate::sim) const UNLIMITED: Self =
        Self { unobserved: MaxDelete::Unlimited, observed: MaxDelete::Unlimited };
    /// No deletion that was not observed.
    pub(in crate::sim) const OBSERVED_ONLY: Self =
        Self { unobserved: MaxDelete::Count(0), ..Self::UNLIMITED };
    /// No deletion that was observed.
    pub(in crate::sim) const UNOBSERVED_ONLY: Self =
        Self { observed: MaxDelete::Count(0), ..Self::UNLIMITED };
}

/// The budgets, and what the jobs know of held deletions.
#[derive(Clone)]
pub(in crate::sim) struct SimGuard {
    pub(in crate::sim) budgets: SimBudgets,
    /// True if a job knows of observed deletions that are held.
    pub(in crate::sim) holds_observed: Rc<Cell<bool>>,
}

impl SimGuard {
    pub(in crate::sim) fn new(budgets: SimBudgets) -> Self {
        Self { budgets, holds_observed: Rc::default() }
    }

    /// The terms for deletions that were observed, or not.
    fn terms(&self, are_observed: bool) -> DeletionTerms {
        let SimBudgets { unobserved, observed } = self.budgets;
        if are_observed {
            return DeletionTerms::observed(observed);
        }
        let terms = DeletionTerms::unobserved(unobserved);
        if self.holds_observed.get() { terms.with_observed(observed) } else { terms }
    }
}

/// The most names that the simulated executor lists of held deletions: fewer than the real ones,
/// so that often some are not listed.
const MAX_LISTED: usize = 2;

/// A running job.
pub(in crate::sim) struct SimCopier {
    renames: VecDeque<Rename>,
    /// Paths to compare, each with the path of the batch that it belongs to.
    todo: VecDeque<(DirtyPath, DirtyPath)>,
    observed: Arc<ObservedChanges>,
    /// Destinations of the renames, and whether the target has there what it had under the old
    /// name.
    renamed: BTreeMap<TreePath, bool>,
    guard: SimGuard,
    /// The paths of the job.
    pub(in crate::sim) paths: PathSet,
    /// Held deletions with all their names.
    pub(in crate::sim) held: Vec<HeldDeletions>,
    failed: Vec<DirtyPath>,
    pub(in crate::sim) fault: JobFault,
    failing: SimRng,
    steps: usize,
}

/// Returns the part of a node that a comparison of size and time sees.
pub(in crate::sim) fn visible_part(node: SimNode) -> SimNode {
    match node {
        SimNode::File { content, mode } => SimNode::File { content: content % 3, mode },
        other => other,
    }
}

impl SimCopier {
    pub(in crate::sim) fn new(job: &Job, guard: &SimGuard, fault: JobFault) -> Self {
        let (renames, todo) = steps(&job.work);
        Self {
            paths: todo.iter().cloned().collect(),
            renames,
            todo: todo.into_iter().map(|dirty| (dirty.clone(), dirty)).collect(),
            observed: Arc::clone(job.work.observed()),
            renamed: BTreeMap::new(),
            guard: guard.clone(),
            held: Vec::new(),
            failed: Vec::new(),
            fault,
            failing: SimRng::new(fault.seed()),
            steps: 0,
        }
    }

    pub(in crate::sim) fn step(
        &mut self,
        source: Option<&SimTree>,
        target: &mut SimTree,
    ) -> Option<Outcome> {
        let Some(source) = source else { return Some(Outcome::SourceGone(failure())) };
        if self.fault.outcome_after(self.steps).is_some() {
            // The mirror goes on after it.
            return Some(Outcome::Retry(failure()));
        }
        self.steps += 1;
        if let Some(hint) = self.renames.pop_front() {
            // The entry that the rename would replace may be the wanted one.
            let [is, should] = [&*target, source].map(|tree| tree.get(&hint.to).map(visible_part));
            let is_repeated = is != should && repeat_rename(&hint, source, target);
            let Rename { from, to } = hint;
            self.renamed.retain(|path, _| !from.contains(path) && !to.contains(path));
            self.renamed.insert(to, is_repeated);
        } else if let Some((dirty, compared)) = self.todo.pop_front() {
            self.transfer(dirty, &compared, source, target);
        } else {
            let failed = self.failed.drain(..).map(|dirty| (dirty, failure())).collect();
            let mut held = self.held.clone();
            for names in held.iter_mut().map(|it| &mut it.names) {
                if names.len() > MAX_LISTED {
                    names.truncate(MAX_LISTED);
                    names.resize(HeldDeletions::MAX_NAMES, names[0].clone());
                }
            }
            if self.fault == JobFault::Hook {
                return Some(hook_failed(held));
            }
            return Some(Outcome::Split { large: Vec::new(), failed, held });
        }
        None
    }

    fn transfer(
        &mut self,
        dirty: DirtyPath,
        compared: &DirtyPath,
        source: &SimTree,
        target: &mut SimTree,
    ) {
        if matches!(self.fault, JobFault::Partly(_)) && self.failing.once_in(3) {
            self.failed.push(dirty);
            return;
        }
        let scope = dirty.scope;
        let path = source.survey(dirty.path);
        let Some(node) = source.get(&path) else {
            if target.get(&path).is_some() {
                self.delete(&path, compared, target);
            }
            return;
        };
        let mut top = TreePath::root();
        for name in path.components() {
            // A non-directory in place of a directory would have to be deleted.
            if !target.is_dir(&top) && !self.clear_path(&top, compared, target) {
                return;
            }
            top.push(name).unwrap();
        }
        copy_parents(&path, source, target);
        let is_dir = matches!(node, SimNode::Directory { .. });
        if target.is_dir(&path) && !is_dir && !self.clear_path(&path, compared, target) {
            return;
        }
        let is_equal = target.get(&path).is_some_and(|it| visible_part(it) == visible_part(node));
        if !is_equal || self.is_written(&path) {
            target.put(&path, node);
        }
        if is_dir && scope == Scope::Tree {
            let mut below = [source.children(&path), target.children(&path)].concat();
            below.sort();
            below.dedup();
            let below = below.into_iter().map(|path| DirtyPath { path, scope });
            self.todo.extend(below.map(|dirty| (dirty, compared.clone())));
        }
    }

    fn is_written(&self, path: &TreePath) -> bool {
        self.observed.is_written(path, || {
            let mut above = self.renamed.iter().filter(|(to, _)| to.contains(path));
            above.next_back().is_some_and(|(_, is_repeated)| *is_repeated)
        })
    }

    /// Returns false if the entry at `path` has to stay.
    fn clear_path(&mut self, path: &TreePath, compared: &DirtyPath, target: &mut SimTree) -> bool {
        target.get(path).is_none() || self.delete(path, compared, target)
    }

    /// Like the executors, it knows of a held deletion only in which of the compared paths it is.
    fn delete(&mut self, path: &TreePath, compared: &DirtyPath, target: &mut SimTree) -> bool {
        let names: Vec<_> = target.paths().filter(|it| path.contains(it)).cloned().collect();
        let count = names.len() as u64;
        let Some(reason) = self.reason_to_hold(path, count) else {
            target.remove(path);
            return true;
        };
        if reason == HoldReason::Observed {
            self.guard.holds_observed.set(true);
        }
        let is_it = |it: &&mut HeldDeletions| it.reason == reason && it.paths.contains(compared);
        if let Some(held) = self.held.iter_mut().find(is_it) {
            held.names.extend(names);
            held.names.sort();
            held.names.dedup();
            held.count = held.names.len() as u64;
        } else {
            let paths = Vec::from([compared.clone()]);
            self.held.push(HeldDeletions { paths, count, total: None, names, reason });
        }
        false
    }

    fn reason_to_hold(&self, path: &TreePath, count: u64) -> Option<HoldReason> {
        if self.observed.renamed_from.has_at_or_above(path) {
            return None;
        }
        self.guard.terms(self.observed.is_deleted(path)).reason_to_hold(count, None)
    }
}
