//! What is done about the places of one job, and in which order.

use std::{cell::OnceCell, fmt::Write as _, time::SystemTime};

use mirror_core::{
    job::{Failure, HeldDeletions, HeldFor, Outcome, Place, Rename, Scope},
    path::{Escaped, TreePath},
    plan::{
        options::{ListForm, Phase, Rules},
        rsync::{Equal, Parts},
    },
    queue::{Heard, PlaceSet},
};
use mirror_platform::dir::Dir;

use super::{
    RsyncExecutor,
    findings::Covered,
    links::Bonds,
    portions::{Hearing, Portions, changed_since},
    sweep::Sweep,
};
use crate::{
    exec::{
        process::cancel::Stop,
        survey::{Entry, Survey, What, lists_nothing, survey},
    },
    report::Category,
};

/// `PATH_MAX` with its NUL. rsync cuts longer names off and acts on what is left.
const PATH_MAX: usize = 4096;

/// The most names that a log message lists.
pub(super) const MOST_NAMES: usize = 100;

/// One job while it runs.
pub(super) struct Run<'a> {
    pub(super) of: &'a RsyncExecutor,
    pub(super) stop: &'a Stop,
    pub(super) root: &'a Dir,
    pub(super) failed: Vec<(Place, Failure)>,
    /// Deletions that are not made.
    pub(super) held: Vec<HeldDeletions>,
    /// The files with several names, and which of them went apart.
    pub(super) bonds: Bonds,
    /// Files that are left to jobs of their own.
    left: Vec<TreePath>,
    /// All of the source goes, so that nothing is missing where the target has to be made.
    is_full: bool,
    /// Large files go with the others.
    takes_large: bool,
    /// When it began.
    began: SystemTime,
    /// The target, if it is on this machine.
    target: OnceCell<Option<Dir>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(of: &'a RsyncExecutor, stop: &'a Stop, root: &'a Dir) -> Self {
        Self {
            of,
            stop,
            root,
            failed: Vec::new(),
            held: Vec::new(),
            bonds: Bonds::default(),
            left: Vec::new(),
            is_full: false,
            takes_large: false,
            began: SystemTime::now(),
            target: OnceCell::new(),
        }
    }

    /// Whether all of the source went.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether the target is equal to the source in all that concerns it.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_full && self.held.is_empty() && self.failed.is_empty()
    }

    /// The outcome of a job of which all calls were made.
    pub(super) fn outcome(self) -> Outcome {
        let Self { failed, left: large, held, .. } = self;
        match (failed.is_empty(), large.is_empty() && held.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partly(failed),
            (_, false) => Outcome::Split { large, failed, held },
        }
    }

    /// Brings the whole target to the state of the source.
    pub(super) fn full(&mut self, phase: Phase, heard: &Heard) -> Result<(), Outcome> {
        self.is_full = true;
        let hearing = Hearing { heard, renamed: &[] };
        self.bring_heard(hearing)?;
        self.all(phase, hearing)
    }

    /// What is at these places.
    fn survey(&self, places: &PlaceSet, heard: &Heard) -> Survey {
        let RsyncExecutor { filter, plan, .. } = self.of;
        survey(self.root, places, heard, filter, plan.options.stays_on_device())
    }

    /// What was heard of some of what is compared as a whole.
    fn bring_heard(&mut self, hearing: Hearing<'_>) -> Result<(), Outcome> {
        let sets = [&hearing.heard.written, &hearing.heard.moved, &hearing.heard.gone];
        let places: PlaceSet =
            sets.into_iter().flatten().filter(|place| !place.path.is_root()).collect();
        if places.is_empty() {
            return Ok(());
        }
        let found = self.survey(&places, hearing.heard);
        self.bring(found, hearing)
    }

    fn all(&mut self, phase: Phase, hearing: Hearing<'_>) -> Result<(), Outcome> {
        let plan = &self.of.plan;
        self.tell_full();
        let all_written = hearing.heard.written.covers(&TreePath::root(), Scope::Tree);
        if !all_written {
            self.learn_times()?;
        }
        let equal = if all_written { Equal::Never } else { self.of.equal() };
        self.guarded(&Sweep {
            covered: Covered::root(Scope::Tree),
            make: &|deletions, hidden| plan.full(phase, deletions, equal, hidden),
            budget: self.of.budget(),
            deletes: plan.options.delete.applies(phase) || plan.options.deletes_excluded(phase),
            why: HeldFor::Budget,
        })
    }

    fn tell_full(&self) {
        let plan = &self.of.plan;
        let mut message = format!(
            "recursive full rsync: {} -> {}",
            Escaped(plan.source()),
            Escaped(plan.target().word())
        );
        let (what, rules): (_, &[Vec<u8>]) = match &plan.options.rules {
            Rules::None => ("", &[]),
            Rules::Excludes(rules) => (" excluding", rules),
            Rules::Filters(rules) => (" filtering", rules),
        };
        message += what;
        append_capped(&mut message, rules.iter().map(|rule| Escaped(rule).to_string()));
        self.of.log.say(Category::Normal, message);
    }

    /// Brings `places` of the target to the state of the source.
    pub(super) fn batch(
        &mut self,
        places: &PlaceSet,
        heard: &Heard,
        moves: &[Rename],
    ) -> Result<(), Outcome> {
        let mut places = places.clone();
        let renamed = self.rename(&mut places, moves)?;
        let hearing = Hearing { heard, renamed: &renamed };
        let mut found = self.survey(&places, heard);
        if found.root == Some(Scope::Tree) {
            self.is_full = true;
            self.bring_heard(hearing)?;
            return self.all(Phase::Running, hearing);
        }
        let inner = within_trees(&places, heard);
        if !inner.is_empty() {
            found.append(self.survey(&inner, heard));
        }
        self.bring(found, hearing)
    }

    /// Brings one file, however large it is.
    pub(super) fn one(&mut self, path: &TreePath, heard: &Heard) -> Result<(), Outcome> {
        self.takes_large = true;
        self.batch(&PlaceSet::entry(path), heard, &[])
    }

    /// Renames at the target what has another name now, and adds what has to be looked at because
    /// of that. The names that are right on the target now.
    fn rename(&self, places: &mut PlaceSet, moves: &[Rename]) -> Result<Vec<TreePath>, Outcome> {
        let Some(renames) = self.of.renames.as_ref().filter(|_| !moves.is_empty()) else {
            return Ok(Vec::new());
        };
        let (made, names) = renames.carry_out(self.root, moves, (&self.of.log, self.stop))?;
        for Place { path, scope } in made {
            places.insert(&path, scope);
        }
        Ok(names)
    }

    /// Brings what was found.
    fn bring(&mut self, found: Survey, hearing: Hearing<'_>) -> Result<(), Outcome> {
        let mut found = self.without_what_rsync_cannot_take(found);
        let in_trees = self.linked_in_trees(&found);
        let entries = self.other_names(&found, &in_trees);
        found.append(Survey { entries, ..Survey::default() });
        self.bind(found.entries.iter().chain(&in_trees));
        let large = self.take_large(&mut found.entries);
        self.tell(&found);
        self.spare(&mut found);
        let deletes = self.of.plan.options.delete.applies(Phase::Running);
        let mut portions = Portions::new(&found, hearing, self.target(), deletes);
        portions.keep_together(&found.entries, &in_trees);
        let (touched, links) = self.join(&mut portions);
        self.changes(&mut portions, &links, hearing)?;
        self.compared(&portions, &touched)?;
        self.unwanted(&portions)?;
        self.links(&portions.links, hearing)?;
        let mut places = found.entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
        for Entry { path, .. } in large {
            self.large(&path, hearing)?;
            places.push(path);
        }
        self.join_names()?;
        places.extend(found.trees);
        if deletes {
            places.extend(found.gone);
        }
        self.root_itself(found.root, &places)
    }

    /// Has those go with the changes that are compared only, where that costs nothing. The entries
    /// that remain to be compared, and the links that need not wait.
    fn join(&self, portions: &mut Portions) -> (Vec<TreePath>, Vec<TreePath>) {
        let links =
            if portions.is_links_only() { std::mem::take(&mut portions.links) } else { Vec::new() };
        let mut apart = std::mem::take(&mut portions.touched);
        let has_trees = !portions.trees.is_empty() || !portions.new_trees.is_empty();
        // By rules, what a directory lists is no part of it.
        if has_trees && self.of.plan.options.form == ListForm::FilesFrom {
            apart.append(&mut portions.directories);
        }
        (apart, links)
    }

    /// What has new content, with what was seen to go: one call, as far as that can be.
    fn changes(
        &mut self,
        portions: &mut Portions,
        links: &[TreePath],
        hearing: Hearing<'_>,
    ) -> Result<(), Outcome> {
        let deletes = self.of.plan.options.delete.applies(Phase::Running);
        let mut entries = portions.written.clone();
        let mut trees = portions.trees.clone();
        let fresh = !entries.is_empty() || !trees.is_empty();
        let equal = if fresh { Equal::Never } else { self.of.equal() };
        entries.extend(links.iter().cloned());
        entries.append(&mut portions.directories);
        if deletes && self.of.plan.options.form == ListForm::Filter {
            // What rules do not name they protect, also in a directory that makes way.
            trees.extend(entries.extract_if(.., |path| hearing.is_gone(path)));
        }
        let left = self.take_old_names(&mut portions.gone, hearing);
        let gone = self.list_of_gone(&portions.gone, false)?;
        let seen = deletes
            && (!gone.is_empty() || entries.iter().chain(&trees).any(|path| hearing.is_gone(path)));
        let new_trees = &*portions.new_trees;
        if !seen && !new_trees.is_empty() {
            trees.extend(new_trees.iter().cloned());
            let parts = Parts { entries: &entries, trees: &trees, ..Parts::default() };
            return self.unseen(&parts, Equal::Never);
        }
        let blocked = if seen {
            let holds = self.of.learned.holds.is_set();
            Portions::take_blocked(&mut entries, hearing, self.target(), holds)
        } else {
            Vec::new()
        };
        let parts = Parts { entries: &entries, trees: &trees, gone: &gone, hidden: &[] };
        self.seen(&parts, equal, seen)?;
        self.made_anew(&gone, hearing)?;
        self.delete_old_names(&left)?;
        self.unseen(&Parts { entries: &blocked, ..Parts::default() }, equal)?;
        self.unseen(&Parts { trees: new_trees, ..Parts::default() }, Equal::Never)
    }

    /// What was seen to go and has been made anew since this job looked: rsync found it there and
    /// deleted nothing, and what is heard of the new one does not tell that the old one went.
    fn made_anew(&mut self, gone: &[TreePath], hearing: Hearing<'_>) -> Result<(), Outcome> {
        if gone.is_empty() {
            return Ok(());
        }
        let place = |path: &TreePath| Place { path: path.clone(), scope: Scope::Tree };
        let places = gone.iter().map(place).collect();
        let found = self.survey(&places, hearing.heard);
        let entries: Vec<TreePath> = found.entries.into_iter().map(|entry| entry.path).collect();
        let parts = Parts { entries: &entries, trees: &found.trees, ..Parts::default() };
        self.seen(&parts, Equal::Never, true)
    }

    /// Makes a call that deletes what was `seen` to go, if anything was. What could not come without
    /// a deletion is brought by another one, for which that is counted.
    fn seen(&mut self, parts: &Parts<'_>, equal: Equal, seen: bool) -> Result<(), Outcome> {
        if is_empty(parts) {
            return Ok(());
        }
        self.bonds.note(parts.entries, parts.trees);
        let make = self.of.making(parts, equal);
        let (budget, deletes) = (self.of.max_delete_seen, seen);
        let covered = covered(parts);
        let sweep = Sweep { covered, make: &make, budget, deletes, why: HeldFor::Seen };
        if seen || !self.of.plan.options.delete.applies(Phase::Running) {
            return self.guarded(&sweep);
        }
        let blocked = self.withheld(&sweep)?;
        let blocked: Vec<TreePath> = blocked.into_iter().collect();
        if self.of.plan.options.form == ListForm::Filter {
            return self.unseen(&Parts { trees: &blocked, ..Parts::default() }, equal);
        }
        self.unseen(&Parts { entries: &blocked, ..Parts::default() }, equal)
    }

    /// Makes a call of which the deletions are counted first.
    fn unseen(&mut self, parts: &Parts<'_>, equal: Equal) -> Result<(), Outcome> {
        if is_empty(parts) {
            return Ok(());
        }
        self.bonds.note(parts.entries, parts.trees);
        let make = self.of.making(parts, equal);
        self.guarded(&Sweep {
            covered: covered(parts),
            make: &make,
            budget: self.of.budget(),
            deletes: self.of.plan.options.delete.applies(Phase::Running),
            why: HeldFor::Budget,
        })
    }

    /// What is only compared.
    fn compared(&mut self, portions: &Portions, touched: &[TreePath]) -> Result<(), Outcome> {
        let equal = self.of.equal();
        self.seen(&Parts { entries: touched, ..Parts::default() }, equal, false)?;
        let missing = self.list_of_gone(&portions.missing, true)?;
        let (trees, gone) = (&*portions.rescans, &*missing);
        self.unseen(&Parts { trees, gone, ..Parts::default() }, equal)
    }

    /// Links that come in the place of something else.
    fn links(&mut self, links: &[TreePath], hearing: Hearing<'_>) -> Result<(), Outcome> {
        let equal = self.of.equal();
        // One that was switched since leads to what is not in this batch.
        let (switched, links): (Vec<_>, Vec<_>) =
            links.iter().cloned().partition(|path| changed_since(self.root, path, self.began));
        self.failed.extend(switched.into_iter().map(|path| {
            let why = format!("{path} was switched while its batch was transferred");
            (Place { path, scope: Scope::Entry }, Failure::new(why))
        }));
        let (gone, others): (Vec<_>, Vec<_>) =
            links.into_iter().partition(|path| hearing.is_gone(path));
        let deletes = self.of.plan.options.delete.applies(Phase::Running);
        self.seen(&Parts { entries: &others, ..Parts::default() }, equal, false)?;
        self.seen(&Parts { entries: &gone, ..Parts::default() }, equal, deletes)
    }

    /// One file, however large it is.
    fn large(&mut self, path: &TreePath, hearing: Hearing<'_>) -> Result<(), Outcome> {
        let entries = [path.clone()];
        self.tell_names(&mut entries.iter());
        let equal = if hearing.is_written(path) { Equal::Never } else { self.of.equal() };
        self.seen(&Parts { entries: &entries, ..Parts::default() }, equal, false)
    }

    /// The attributes of the root, if they were marked and did not come with something else.
    fn root_itself(&mut self, root: Option<Scope>, places: &[TreePath]) -> Result<(), Outcome> {
        let plan = &self.of.plan;
        if root.is_none() || plan.options.brings_root(places) {
            return Ok(());
        }
        self.plain(&plan.root(), Covered::root(Scope::Entry))
    }

    /// Whether the source lists nothing, so that nothing unseen may be deleted.
    pub(super) fn is_blank(&self) -> bool {
        // What can't be read rsync can't read either, and then it deletes nothing.
        let blank = lists_nothing(self.root, &self.of.filter).unwrap_or(false);
        let told = self.of.learned.told_empty.set(blank);
        if blank && !told {
            let source = Escaped(self.of.plan.source());
            let message = format!("the source {source} is empty: nothing is deleted on the target");
            self.of.log.say(Category::Warn, message);
        }
        blank
    }

    fn target(&self) -> Option<&Dir> {
        self.target.get_or_init(|| self.of.learned.local()).as_ref()
    }

    /// Takes out the files that are too large to go with the others.
    fn take_large(&mut self, entries: &mut Vec<Entry>) -> Vec<Entry> {
        let Some(limit) = self.of.batch_size_limit.filter(|_| !self.takes_large) else {
            return Vec::new();
        };
        let is_large = |entry: &mut Entry| entry.what == What::File && entry.size > limit;
        let large: Vec<Entry> = entries.extract_if(.., is_large).collect();
        if self.of.large_apart {
            self.left.extend(large.into_iter().map(|entry| entry.path));
            return Vec::new();
        }
        large
    }

    /// Takes out the paths that are too long for rsync, and notes them as failed.
    fn without_what_rsync_cannot_take(&mut self, mut found: Survey) -> Survey {
        self.failed.append(&mut found.unreadable);
        let source = self.of.plan.source().len();
        let failed = &mut self.failed;
        let mut fits = |path: &TreePath, scope| {
            let fits = source + path.as_bytes().len() < PATH_MAX;
            if !fits {
                let why = format!(
                    "cannot mirror {path}: rsync can't take such a long path: mirror it with -direct"
                );
                failed.push((Place { path: path.clone(), scope }, Failure::new(why)));
            }
            fits
        };
        found.entries.retain(|entry| fits(&entry.path, Scope::Entry));
        found.gone.retain(|path| fits(path, Scope::Entry));
        found.unwanted.retain(|(path, _)| fits(path, Scope::Entry));
        found.trees.retain(|path| fits(path, Scope::Tree));
        found
    }

    fn tell(&self, found: &Survey) {
        let entries = found.entries.iter().map(|entry| &entry.path);
        let unwanted = found.unwanted.iter().map(|(path, _)| path);
        let mut names = entries.chain(&found.trees).chain(&found.gone).chain(unwanted);
        self.tell_names(&mut names);
    }

    fn tell_names(&self, names: &mut dyn Iterator<Item = &TreePath>) {
        let mut names = names.peekable();
        if names.peek().is_none() || !self.of.log.wants(Category::Normal) {
            return;
        }
        let mut message = "Calling rsync with filter-list of new/modified files/dirs".to_owned();
        append_capped(&mut message, names.map(ToString::to_string));
        self.of.log.say(Category::Normal, message);
    }
}

/// What was heard of places that lie in trees: those are compared, which does not tell it.
fn within_trees(places: &PlaceSet, heard: &Heard) -> PlaceSet {
    let is_within = |place: &Place| {
        let parent = place.path.parent();
        parent.is_some_and(|parent| places.covers(&parent, Scope::Tree))
    };
    // Of a tree that goes as a whole with new content, or that is gone, the rest says nothing more.
    let is_news = |place: &Place| {
        let parent = place.path.parent();
        !parent.is_some_and(|parent| {
            heard.written.covers(&parent, Scope::Tree) && !heard.is_gone(&place.path)
        })
    };
    let sets = [&heard.written, &heard.moved, &heard.gone];
    sets.into_iter().flatten().filter(|place| is_within(place) && is_news(place)).collect()
}

pub(super) const fn covered<'a>(parts: &Parts<'a>) -> Covered<'a> {
    Covered { entries: parts.entries, trees: parts.trees, gone: parts.gone, root: None }
}

const fn is_empty(parts: &Parts<'_>) -> bool {
    parts.entries.is_empty() && parts.trees.is_empty() && parts.gone.is_empty()
}

/// Appends names, a line each, but not more than a person reads.
pub(super) fn append_capped(message: &mut String, names: impl Iterator<Item = String>) {
    let mut more = 0_usize;
    for (number, name) in names.enumerate() {
        if number < MOST_NAMES {
            message.push('\n');
            message.push_str(&name);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        // Writing to a string does not fail.
        let _ = write!(message, "\n... and {more} more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_named_in_part_and_counted() {
        let message = |number: usize| {
            let mut message = "names:".to_owned();
            append_capped(&mut message, (0..number).map(|name| name.to_string()));
            message
        };
        assert_eq!(message(0), "names:");
        assert_eq!(message(2), "names:\n0\n1");
        assert!(message(MOST_NAMES).ends_with("\n98\n99"));
        assert!(message(MOST_NAMES + 7).ends_with("\n99\n... and 7 more"));
    }
}
