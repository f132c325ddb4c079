//! Calls that may delete: what nobody saw go is counted first.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    guard::MaxDelete,
    job::{HeldDeletions, HeldFor, Outcome, Place, Scope},
    path::{Escaped, TreePath},
    plan::{
        options::Phase,
        rsync::{Call, Deletions, Equal, Parts, Unwanted},
    },
};

use super::{
    RsyncExecutor,
    batch::Run,
    findings::{Covered, Findings, Refusal},
};
use crate::{exec::process::child::End, report::Category};

/// The longest path that is hidden by a rule; a longer one is hidden with its directory.
const LONGEST_HIDDEN: usize = 1000;

/// The most paths that are hidden, each by two words, ..
const MOST_HIDDEN: usize = 2000;

/// .. and the most bytes of them: a command line takes 2 MB by default, with the environment.
const MOST_BYTES: usize = 256 * 1024;

/// What rsync returns when it can't write a file: it ends at once.
const CANNOT_WRITE: i32 = 11;

/// What rsync 3.5.0 returns, among others, where a file of several names does not come since a
/// directory does not make way for it: with `-H` it loses count of the names, if it ends at all.
const PROTOCOL: i32 = 2;

/// The most places that are held with their names.
const MOST_HELD: usize = 1000;

/// How many files that can't be written are left out of a call, one after the other.
const MOST_STUCK: usize = 16;

/// What is brought and deleted by calls of one form.
#[derive(Clone, Copy)]
pub(super) struct Sweep<'s> {
    /// The places.
    pub(super) covered: Covered<'s>,
    /// The call that deletes so much, and leaves these paths alone.
    pub(super) make: &'s dyn Fn(Deletions, &[TreePath]) -> Call,
    /// What may be deleted.
    pub(super) budget: MaxDelete,
    /// Whether anything is deleted.
    pub(super) deletes: bool,
    /// Why what is more than the budget is held: for what was seen to go it is another budget.
    pub(super) why: HeldFor,
}

impl RsyncExecutor {
    /// The calls for these parts.
    pub(super) fn making<'p>(
        &'p self,
        parts: &'p Parts<'p>,
        equal: Equal,
    ) -> impl Fn(Deletions, &[TreePath]) -> Call + 'p {
        move |deletions, hidden| {
            if hidden.is_empty() {
                return self.plan.parts(parts, deletions, equal);
            }
            let known: BTreeSet<&TreePath> = hidden.iter().collect();
            let left = |paths: &[TreePath]| -> Vec<TreePath> {
                paths.iter().filter(|path| !known.contains(path)).cloned().collect()
            };
            let (entries, trees, gone) = (left(parts.entries), left(parts.trees), left(parts.gone));
            let in_trees: Vec<TreePath> = hidden
                .iter()
                .filter(|path| trees.iter().any(|tree| tree.contains(path)))
                .cloned()
                .collect();
            let (entries, trees, gone) = (&*entries, &*trees, &*gone);
            let parts = Parts { entries, trees, gone, hidden: &in_trees };
            self.plan.parts(&parts, deletions, equal)
        }
    }

    /// How many deletions may be made that nobody saw.
    pub(super) fn budget(&self) -> MaxDelete {
        self.learned.presence.budget(self.max_delete)
    }
}

impl Run<'_> {
    /// Makes calls that bring everything, and delete as far as the budget allows it.
    ///
    /// The first deletes nothing and only tells how much it would. If that is something, and may
    /// be, a second one deletes so much.
    pub(super) fn guarded(&mut self, sweep: &Sweep<'_>) -> Result<(), Outcome> {
        if !sweep.deletes {
            return self.blame_what_is_in_the_way(sweep, Deletions::Withheld);
        }
        let sweep = &if sweep.why != HeldFor::Seen && self.is_blank() {
            Sweep { budget: MaxDelete::Count(0), why: HeldFor::EmptySource, ..*sweep }
        } else {
            *sweep
        };
        if sweep.budget == MaxDelete::Unlimited {
            return self.blame_what_is_in_the_way(sweep, Deletions::Allowed);
        }
        if self.of.learned.unbounded.is_set() {
            return self.guarded_by_telling(sweep);
        }
        let findings = self.all_calls(sweep, Deletions::AtMost(0))?;
        match findings.refusal {
            Some(Refusal::BrokenReceiver) => return self.delete_otherwise(sweep),
            Some(Refusal::Limit) => {
                self.of.learned.unbounded.set(true);
                return self.guarded_by_telling(sweep);
            }
            _ => {}
        }
        // With `-H` rsync tries some twice.
        let is_unsure = findings.is_incomplete
            || self.of.plan.options.keeps_links() && !findings.in_the_way.is_empty();
        let told = if is_unsure { Some(self.tell_deletions(sweep)?) } else { None };
        // What makes way is not told itself.
        let making_way = findings.in_the_way.len() as u64;
        let count = match told.as_ref().map(|told| told.deleting.0) {
            None => findings.would_delete(),
            Some(0) => 0,
            Some(told) => told.saturating_add(making_way),
        };
        let total = self.total(sweep, &findings, count);
        if count == 0 {
            self.failed.extend(findings.blocked());
            self.nothing_is_held(sweep);
            return Ok(());
        }
        if sweep.budget.allows(count, total) {
            return self.delete(sweep, count);
        }
        let total = self.total_now(sweep, total)?;
        if sweep.budget.allows(count, total) {
            return self.delete(sweep, count);
        }
        match told {
            Some(told) => self.keep(sweep, (count, total), told),
            None => self.hold(sweep, (count, total))?,
        }
        Ok(())
    }

    /// Deletes what was counted, and not more.
    fn delete(&mut self, sweep: &Sweep<'_>, count: u64) -> Result<(), Outcome> {
        let by_user = self.of.plan.options.max_delete();
        let most = by_user.map_or(count, |most| most.min(count));
        let findings = self.all_calls(sweep, Deletions::AtMost(most))?;
        if findings.limited.is_some() && most < count {
            return self.hold_by_user(sweep, &findings);
        }
        self.failed.extend(findings.blocked());
        if findings.limited.is_some() {
            let failure = findings.failure(None, "more is missing now than was counted");
            self.failed.extend(sweep.covered.places().map(|place| (place, failure.clone())));
        }
        self.nothing_is_held(sweep);
        Ok(())
    }

    /// The same where the other side takes no bound: then another call tells what would go.
    fn guarded_by_telling(&mut self, sweep: &Sweep<'_>) -> Result<(), Outcome> {
        let told = self.all_calls(sweep, Deletions::Told)?;
        let count = told.deleting.0;
        let mut total = self.total(sweep, &told, count);
        if !sweep.budget.allows(count, total) {
            total = self.total_now(sweep, total)?;
        }
        if sweep.budget.allows(count, total) {
            self.nothing_is_held(sweep);
            return self.blame_what_is_in_the_way(sweep, Deletions::Allowed);
        }
        self.withheld(sweep)?;
        self.keep(sweep, (count, total), told);
        Ok(())
    }

    /// Makes the calls without a bound of ours.
    fn blame_what_is_in_the_way(
        &mut self,
        sweep: &Sweep<'_>,
        deletions: Deletions,
    ) -> Result<(), Outcome> {
        let findings = self.all_calls(sweep, deletions)?;
        if findings.refusal == Some(Refusal::BrokenReceiver) {
            return self.delete_otherwise(sweep);
        }
        if findings.limited.is_some() {
            return self.hold_by_user(sweep, &findings);
        }
        self.failed.extend(findings.blocked());
        Ok(())
    }

    /// Makes the calls without deletions. That for which something did not make way.
    pub(super) fn withheld(&mut self, sweep: &Sweep<'_>) -> Result<BTreeSet<TreePath>, Outcome> {
        let findings = self.all_calls(sweep, Deletions::Withheld)?;
        Ok(findings.in_the_way.into_keys().collect())
    }

    /// Makes a call, as often as it takes to bring what can be brought.
    ///
    /// After an error at the source rsync deletes nothing more, and after one of writing it ends.
    /// So it is called once more without what it could not read or write: that stays as it is.
    fn all_calls(&mut self, sweep: &Sweep<'_>, deletions: Deletions) -> Result<Findings, Outcome> {
        let (mut hidden, mut stuck, mut read_again) = (BTreeSet::new(), 0, false);
        let mut blocked = BTreeMap::new();
        loop {
            let listed: Vec<TreePath> = hidden.iter().cloned().collect();
            let call = (sweep.make)(deletions, &listed);
            let (end, mut findings) = self.call(&call, sweep.covered)?;
            findings.is_incomplete = !blocked.is_empty();
            findings.in_the_way.extend(blocked.clone());
            if matches!(findings.refusal, Some(Refusal::BrokenReceiver | Refusal::Limit)) {
                return Ok(findings);
            }
            if matches!(end, End::Exited(CANNOT_WRITE)) && stuck < MOST_STUCK {
                let before = hidden.len();
                hidden.extend(findings.unwritten.iter().cloned());
                if hidden.len() > before {
                    self.failed.extend(findings.complained(Some(CANNOT_WRITE)));
                    if stuck == 0 {
                        self.make_room(sweep, deletions)?;
                    }
                    stuck += 1;
                    continue;
                }
            }
            if matches!(end, End::Exited(PROTOCOL) | End::Doomed) && stuck < MOST_STUCK {
                let before = hidden.len();
                hidden.extend(findings.in_the_way.keys().cloned());
                if hidden.len() > before {
                    blocked = findings.in_the_way;
                    stuck += 1;
                    continue;
                }
            }
            self.settle(&end, &findings, sweep.covered)?;
            if !call.deletes() || !findings.kept_from_deleting() {
                return Ok(findings);
            }
            let unread = hidden_of(&findings);
            if read_again || unread.is_empty() {
                let failure = findings.failure(None, "what is gone may not be deleted");
                self.failed.extend(sweep.covered.places().map(|place| (place, failure.clone())));
                return Ok(findings);
            }
            read_again = true;
            hidden.extend(unread);
        }
    }

    /// Deletes what may be deleted before anything is written on a full target.
    fn make_room(&mut self, sweep: &Sweep<'_>, deletions: Deletions) -> Result<(), Outcome> {
        let only = match deletions {
            Deletions::Allowed => {
                Deletions::Only(self.of.plan.options.max_delete().unwrap_or(u64::MAX))
            }
            Deletions::AtMost(0) => {
                let told = self.tell_deletions(sweep)?;
                let count = told.deleting.0;
                let total = self.total(sweep, &told, count);
                if count == 0 || !sweep.budget.allows(count, total) {
                    return Ok(());
                }
                let by_user = self.of.plan.options.max_delete();
                Deletions::Only(by_user.map_or(count, |most| most.min(count)))
            }
            Deletions::AtMost(_) | Deletions::Only(_) | Deletions::Told | Deletions::Withheld => {
                return Ok(());
            }
        };
        if self.of.learned.unbounded.is_set() {
            return Ok(());
        }
        self.call(&(sweep.make)(only, &[]), sweep.covered).map(drop)
    }

    /// How many entries the target holds before the call, where all of it was compared, else how
    /// many it held after the last such call. `count` of them are not in the source.
    fn total(&self, sweep: &Sweep<'_>, findings: &Findings, count: u64) -> Option<u64> {
        if sweep.covered.root.is_none() {
            return self.of.learned.total();
        }
        let total = findings.held_before().map(|held| held.saturating_add(count));
        let stays = if sweep.budget.allows(count, total) { 0 } else { count };
        if let Some(files) = findings.listed() {
            self.of.learned.learn_total(files.saturating_add(stays));
        }
        total
    }

    /// How many entries the target holds, where that would be too few and may have become more since
    /// all of it was compared: it is looked at once more.
    fn total_now(&self, sweep: &Sweep<'_>, total: Option<u64>) -> Result<Option<u64>, Outcome> {
        let is_share = matches!(sweep.budget, MaxDelete::Share(_));
        if sweep.covered.root.is_some() || !is_share {
            return Ok(total);
        }
        let call = self.of.plan.full(Phase::Running, Deletions::Told, Equal::Seconds, &[]);
        let told = self.call(&call, Covered::root(Scope::Tree))?.1;
        let held = told.held_before().map(|held| held.saturating_add(told.deleting.0));
        held.inspect(|&held| self.of.learned.learn_total(held));
        Ok(held.or(total))
    }

    /// What would be deleted.
    fn tell_deletions(&self, sweep: &Sweep<'_>) -> Result<Findings, Outcome> {
        Ok(self.call(&(sweep.make)(Deletions::Told, &[]), sweep.covered)?.1)
    }

    fn nothing_is_held(&self, sweep: &Sweep<'_>) {
        if sweep.covered.root.is_some() {
            self.of.learned.holds.set(false);
        }
    }

    fn hold(&mut self, sweep: &Sweep<'_>, count: (u64, Option<u64>)) -> Result<(), Outcome> {
        let told = self.tell_deletions(sweep)?;
        self.keep(sweep, count, told);
        Ok(())
    }

    /// The user's own bound was reached. To delete the rest by another call would pass it by.
    fn hold_by_user(&mut self, sweep: &Sweep<'_>, findings: &Findings) -> Result<(), Outcome> {
        let count = findings.would_delete();
        let target = Escaped(self.of.plan.target().word());
        let bound = self.of.plan.options.max_delete().unwrap_or_default();
        let message = format!(
            "{count} deletions at {target} are left out since rsync is called with \
             --max-delete={bound}: raise that to have them made"
        );
        self.of.log.say(Category::Warn, message);
        self.hold(sweep, (count, None))
    }

    fn keep(&mut self, sweep: &Sweep<'_>, (count, of): (u64, Option<u64>), told: Findings) {
        self.of.learned.holds.set(true);
        let Findings { deleting: (_, names), deleting_in, .. } = told;
        let mut places: Vec<Place> = deleting_in.into_iter().collect();
        if places.is_empty() {
            places.extend(sweep.covered.places());
        }
        if places.len() > MOST_HELD {
            places = vec![Place::all()];
        }
        self.held.push(HeldDeletions { places, count, of, names, why: sweep.why });
    }

    /// Deletes what a list can't have deleted there, and brings the rest.
    fn delete_otherwise(&mut self, sweep: &Sweep<'_>) -> Result<(), Outcome> {
        self.tell_broken_receiver();
        let Covered { entries, trees, gone, .. } = sweep.covered;
        let names: Vec<_> = gone.iter().map(|path| (path.clone(), Unwanted::Anything)).collect();
        self.remove(&names, sweep.why != HeldFor::Seen)?;
        if entries.is_empty() && trees.is_empty() {
            return Ok(());
        }
        let make = |deletions, hidden: &[TreePath]| {
            let hidden: Vec<TreePath> = hidden.iter().chain(gone).cloned().collect();
            (sweep.make)(deletions, &hidden)
        };
        let covered = Covered { gone: &[], ..sweep.covered };
        self.guarded(&Sweep { covered, make: &make, ..*sweep })
    }
}

/// What rsync has to leave alone so that it deletes the rest. Nothing if the root is among it, or
/// if it is more than a command line takes.
fn hidden_of(findings: &Findings) -> BTreeSet<TreePath> {
    let shortened = findings.unread.iter().cloned().map(|mut path| {
        while path.as_bytes().len() > LONGEST_HIDDEN {
            path.pop();
        }
        path
    });
    let hidden: BTreeSet<TreePath> = shortened.collect();
    let length: usize = hidden.iter().map(|path| path.as_bytes().len()).sum();
    if hidden.iter().any(TreePath::is_root) || hidden.len() > MOST_HIDDEN || length > MOST_BYTES {
        return BTreeSet::new();
    }
    hidden
}
