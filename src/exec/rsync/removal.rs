//! Deletions that no list can ask for.

use mirror_core::{
    job::{HeldFor, Outcome},
    path::TreePath,
    plan::rsync::Unwanted,
};

use super::{batch::Run, findings::Covered, portions::Portions, sweep::Sweep};

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
            unseen,
            why: if unseen { HeldFor::Budget } else { HeldFor::Seen },
        })
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
