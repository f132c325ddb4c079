//! Deletions that no list can ask for.

use mirror_core::{
    guard::MaxDelete,
    job::{HeldFor, Outcome, Scope},
    path::TreePath,
    plan::{
        options::Phase,
        rsync::{Equal, Parts, Unwanted},
    },
};

use super::{
    batch::{Run, covered},
    findings::Covered,
    portions::{Hearing, Portions},
    sweep::Sweep,
};

impl Run<'_> {
    /// What the target may have under a name, depending on what it is.
    pub(super) fn unwanted(&mut self, portions: &Portions) -> Result<(), Outcome> {
        self.remove(&portions.unwanted, false)?;
        self.remove(&portions.unseen, true)
    }

    pub(super) fn remove(
        &mut self,
        names: &[(TreePath, Unwanted)],
        unseen: bool,
    ) -> Result<(), Outcome> {
        if names.is_empty() {
            return Ok(());
        }
        let plan = &self.of.plan;
        let gone: Vec<TreePath> = names.iter().map(|(path, _)| path.clone()).collect();
        let budget = if unseen { self.of.budget() } else { self.of.max_delete_seen };
        let make = |deletions, hidden: &[TreePath]| {
            let names: Vec<_> =
                names.iter().filter(|(path, _)| !hidden.contains(path)).cloned().collect();
            plan.removal(&names, deletions)
        };
        let covered = Covered { gone: &gone, ..Covered::default() };
        self.guarded(&Sweep {
            covered,
            make: &make,
            budget,
            deletes: true,
            why: if unseen { HeldFor::Budget } else { HeldFor::Seen },
        })
    }

    /// Takes out the old names of what was renamed, where what was seen to go has a budget: a rename is
    /// no deletion, but that can't be told from the number of those.
    pub(super) fn take_old_names(
        &self,
        gone: &mut Vec<TreePath>,
        hearing: Hearing<'_>,
    ) -> Vec<TreePath> {
        if self.of.max_delete_seen == MaxDelete::Unlimited {
            return Vec::new();
        }
        gone.extract_if(.., |path| hearing.heard.left.covers(path, Scope::Entry)).collect()
    }

    /// Deletes what has its new name on the target by now.
    pub(super) fn delete_old_names(&mut self, left: &[TreePath]) -> Result<(), Outcome> {
        let gone = self.list_of_gone(left, false)?;
        if gone.is_empty() {
            return Ok(());
        }
        let parts = Parts { gone: &gone, ..Parts::default() };
        let make = self.of.making(&parts, Equal::Never);
        let deletes = self.of.plan.options.delete.applies(Phase::Running);
        let (covered, budget, why) = (covered(&parts), MaxDelete::Unlimited, HeldFor::Seen);
        self.guarded(&Sweep { covered, make: &make, budget, deletes, why })
    }

    /// What of this can go by a list: where the receiver can't delete by one, it is deleted
    /// otherwise, and nothing is left.
    pub(super) fn list_of_gone(
        &mut self,
        gone: &[TreePath],
        unseen: bool,
    ) -> Result<Vec<TreePath>, Outcome> {
        if !self.of.learned.broken_receiver.is_set() {
            return Ok(gone.to_vec());
        }
        let names: Vec<_> = gone.iter().map(|path| (path.clone(), Unwanted::Anything)).collect();
        self.remove(&names, unseen)?;
        Ok(Vec::new())
    }
}
