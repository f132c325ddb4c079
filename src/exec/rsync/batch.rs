//! The calls of one job.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
};

use mirror_core::{
    job::{Failure, Outcome, Place, Rename, Scope},
    path::{Escaped, TreePath},
    plan::{
        complaint::Names,
        exit::ExitClass,
        options::{ListForm, Phase, Rules},
        rsync::{Call, Deletions},
    },
    queue::PlaceSet,
};
use mirror_linux::dir::Dir;

use super::{
    RsyncExecutor,
    findings::{Covered, Findings, Refusal},
    large::take_large,
};
use crate::{
    exec::{
        child::End,
        stop::Stop,
        survey::{Survey, survey},
    },
    report::Category,
};

/// `PATH_MAX` with its NUL. rsync cuts longer names off and acts on what is left.
const PATH_MAX: usize = 4096;

/// The longest path that is hidden by a rule; a longer one is hidden with its directory.
const LONGEST_HIDDEN: usize = 1000;

/// The most paths that are hidden, each by two words, ..
const MOST_HIDDEN: usize = 2000;

/// .. and the most bytes of them: a command line takes 2 MB by default, with the environment.
const MOST_BYTES: usize = 256 * 1024;

/// What rsync returns when its `--timeout` has passed.
const TIMEOUT: i32 = 30;

/// The most names that a log message lists.
pub(super) const MOST_NAMES: usize = 100;

/// One job while it runs.
pub(super) struct Run<'a> {
    pub(super) of: &'a RsyncExecutor,
    stop: &'a Stop,
    pub(super) root: &'a Dir,
    pub(super) failed: Vec<(Place, Failure)>,
    /// Files that are left to jobs of their own.
    left: Vec<TreePath>,
    /// All of the source goes, so that nothing is missing where the target has to be made.
    is_full: bool,
}

impl<'a> Run<'a> {
    pub(super) const fn new(of: &'a RsyncExecutor, stop: &'a Stop, root: &'a Dir) -> Self {
        Self { of, stop, root, failed: Vec::new(), left: Vec::new(), is_full: false }
    }

    /// Whether all of the source went.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// The outcome of a job of which all calls were made.
    pub(super) fn outcome(self) -> Outcome {
        let Self { failed, left: large, .. } = self;
        let held = Vec::new();
        match (failed.is_empty(), large.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partly(failed),
            (_, false) => Outcome::Split { large, failed, held },
        }
    }

    /// Brings the whole target to the state of the source.
    pub(super) fn full(&mut self, phase: Phase) -> Result<(), Outcome> {
        let plan = &self.of.plan;
        let deletions = self.deletions_from_root();
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
        self.is_full = true;
        self.sweep(Covered::Root(Scope::Tree), |hidden| plan.full(phase, deletions, hidden))
    }

    /// Brings `places` of the target to the state of the source.
    pub(super) fn batch(&mut self, places: &PlaceSet, moves: &[Rename]) -> Result<(), Outcome> {
        let places = self.rename(places, moves)?;
        let found = survey(self.root, &places, &self.of.filter);
        if found.root == Some(Scope::Tree) {
            return self.full(Phase::Running);
        }
        let mut found = self.without_what_rsync_cannot_take(found);
        let limit = self.of.batch_size_limit;
        let large = limit.map(|limit| take_large(self.root, &mut found.entries, limit));
        let mut large = large.unwrap_or_default();
        if self.of.large_apart {
            self.left.append(&mut large);
        }
        self.tell(&found);
        self.delete_around(&mut found)?;
        self.list(&found)?;
        self.trees(&found.trees)?;
        for path in large {
            let alone = Survey { entries: vec![path], ..Survey::default() };
            self.tell(&alone);
            self.list(&alone)?;
            found.entries.extend(alone.entries);
        }
        self.root_itself(&found)
    }

    /// Brings one file, however large it is.
    pub(super) fn large(&mut self, path: &TreePath) -> Result<(), Outcome> {
        let found = survey(self.root, &PlaceSet::entry(path), &self.of.filter);
        let mut found = self.without_what_rsync_cannot_take(found);
        self.tell(&found);
        self.delete_around(&mut found)?;
        self.list(&found)?;
        self.trees(&found.trees)?;
        self.root_itself(&found)
    }

    /// Renames at the target what has another name now. The places that are still to be looked at.
    fn rename<'p>(
        &self,
        places: &'p PlaceSet,
        moves: &[Rename],
    ) -> Result<Cow<'p, PlaceSet>, Outcome> {
        let mut places = Cow::Borrowed(places);
        if let Some(renames) = self.of.renames.as_ref().filter(|_| !moves.is_empty()) {
            for Place { path, scope } in
                renames.carry_out(self.root, moves, (&self.of.log, self.stop))?
            {
                places.to_mut().insert(&path, scope);
            }
        }
        Ok(places)
    }

    /// The entries themselves. First, since a directory may have to make way for one of the trees.
    fn list(&mut self, found: &Survey) -> Result<(), Outcome> {
        let plan = &self.of.plan;
        let (entries, gone) = (found.entries.as_slice(), found.gone.as_slice());
        let gone = if plan.options.delete.applies(Phase::Running) { gone } else { &[] };
        if entries.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let broken = &self.of.broken_receiver;
        if gone.is_empty() || !broken.load(Ordering::Relaxed) {
            let (end, findings) = self.call(&plan.list(entries, gone))?;
            if findings.refusal != Some(Refusal::BrokenReceiver) {
                let known = self.failed.len();
                self.settle(&end, &findings, Covered::List { entries, gone })?;
                return self.make_way(known);
            }
            self.tell_broken_receiver(broken);
        }
        if !gone.is_empty() {
            let (end, findings) = self.call(&plan.deletions(gone))?;
            self.settle(&end, &findings, Covered::List { entries: &[], gone })?;
        }
        if entries.is_empty() {
            return Ok(());
        }
        let (end, findings) = self.call(&plan.list(entries, &[]))?;
        self.settle(&end, &findings, Covered::List { entries, gone: &[] })
    }

    /// A list of rules protects what it does not name, so that a directory on the target does not
    /// make way for a file: the places that failed are tried once more with all that is below them.
    /// The first `known` of the failed ones failed for other reasons.
    fn make_way(&mut self, known: usize) -> Result<(), Outcome> {
        let plan = &self.of.plan;
        if plan.options.form == ListForm::FilesFrom || self.failed.len() == known {
            return Ok(());
        }
        let failed = self.failed.split_off(known);
        let failed: Vec<TreePath> = failed.into_iter().map(|(place, _)| place.path).collect();
        let (end, findings) = self.call(&plan.trees(&failed, Deletions::Allowed, &[]))?;
        self.settle(&end, &findings, Covered::List { entries: &failed, gone: &[] })
    }

    fn trees(&mut self, trees: &[TreePath]) -> Result<(), Outcome> {
        if trees.is_empty() {
            return Ok(());
        }
        let plan = &self.of.plan;
        let call = |hidden: &[TreePath]| plan.trees(trees, Deletions::Allowed, hidden);
        self.sweep(Covered::Trees(trees), call)
    }

    /// The attributes of the root, if they were marked and did not come with something else.
    fn root_itself(&mut self, found: &Survey) -> Result<(), Outcome> {
        let plan = &self.of.plan;
        let deletes = plan.options.delete.applies(Phase::Running);
        let gone = if deletes { &*found.gone } else { &[] };
        let places = found.entries.iter().chain(&found.trees).chain(gone);
        if found.root.is_none() || plan.options.brings_root(places) {
            return Ok(());
        }
        let (end, findings) = self.call(&plan.root())?;
        self.settle(&end, &findings, Covered::Root(Scope::Entry))
    }

    /// A call that deletes what the source does not have. After an error at the source rsync
    /// deletes nothing more, so it is called once more without the places that it could not read:
    /// these stay, and all else that is gone goes.
    fn sweep(
        &mut self,
        covered: Covered<'_>,
        make: impl Fn(&[TreePath]) -> Call,
    ) -> Result<(), Outcome> {
        let call = make(&[]);
        let deletes = call.args.iter().any(|word| word.starts_with(b"--del"));
        let (end, mut findings) = self.call(&call)?;
        self.settle(&end, &findings, covered)?;
        let hidden = hidden(&findings);
        if deletes && findings.kept_from_deleting() && !hidden.is_empty() {
            let end;
            (end, findings) = self.call(&make(&hidden))?;
            self.settle(&end, &findings, covered)?;
        }
        if deletes && findings.kept_from_deleting() {
            let failure = findings.failure(None, "what is gone may not be deleted");
            self.failed.extend(covered.places().map(|place| (place, failure.clone())));
        }
        Ok(())
    }

    /// Makes a call, unless the job has to end. One that brings only a part fails where the target
    /// is gone.
    pub(super) fn call(&self, call: &Call) -> Result<(End, Findings), Outcome> {
        if self.is_full || !self.of.presence.is_seen() {
            return self.call_or_narrower(call);
        }
        let plan = &self.of.plan;
        let (end, findings) =
            self.of.existing.call(plan, call, |call| self.call_or_narrower(call))?;
        if findings.refusal == Some(Refusal::TargetGone) && !matches!(end, End::Exited(0)) {
            self.of.presence.lost();
            return Err(Outcome::Again(findings.failure(None, "the target is gone")));
        }
        Ok((end, findings))
    }

    /// Where the other side refuses an option that we can do without, the call is made without it.
    fn call_or_narrower(&self, call: &Call) -> Result<(End, Findings), Outcome> {
        let restricted = &self.of.restricted;
        if restricted.load(Ordering::Relaxed) {
            return self.call_once(&call.clone().without_window());
        }
        let (end, findings) = self.call_once(call)?;
        let narrower = call.clone().without_window();
        if findings.refusal != Some(Refusal::Restricted) || narrower == *call {
            return Ok((end, findings));
        }
        restricted.store(true, Ordering::Relaxed);
        let target = Escaped(self.of.plan.target().word());
        let message = format!("{target} is behind rrsync: times are compared by whole seconds");
        self.of.log.say(Category::Normal, message);
        self.call_once(&narrower)
    }

    fn call_once(&self, call: &Call) -> Result<(End, Findings), Outcome> {
        let stopped = || Outcome::Again(Failure::new("rsync was stopped"));
        if self.stop.is_asked() {
            return Err(stopped());
        }
        // RACE: rsync opens the target by its name; the look afterwards tells what it found.
        self.of.presence.check_path()?;
        let call = &*self.protecting(call);
        self.tell_call(call);
        let plan = &self.of.plan;
        let names = Names { source: plan.source(), target: plan.target() };
        let mut findings = Findings::default();
        let patience = &self.of.patience;
        let mut hear = |line: &[u8]| findings.hear(&names, line);
        let end = self.of.program.run_within(patience.limit(), call, self.stop, &mut hear);
        self.of.presence.check_path()?;
        patience.learn(&end);
        if self.stop.is_asked() && !matches!(end, End::Exited(0)) {
            return Err(stopped());
        }
        Ok((end, findings))
    }

    /// What the end of a call means.
    pub(super) fn settle(
        &mut self,
        end: &End,
        findings: &Findings,
        covered: Covered<'_>,
    ) -> Result<(), Outcome> {
        let binary = Escaped(self.of.program.binary.as_encoded_bytes()).to_string();
        let (code, what) = match end {
            End::Exited(code) => (*code, format!("{binary} failed")),
            End::Hung(_) => (TIMEOUT, end.of(&binary)),
            End::Killed(_) | End::Lost(_) => {
                return Err(Outcome::Again(findings.failure(None, &end.of(&binary))));
            }
            End::NotStarted(error) => {
                let message = format!("Failed executing [ {binary} ]!");
                self.of.log.say(Category::Error, &message);
                let failure = Failure { code: Some(255), why: format!("{message} {error}") };
                return Err(Outcome::Again(failure));
            }
        };
        let failure = || findings.failure(Some(code), &what);
        match self.of.codes.class(code) {
            ExitClass::Ok => {}
            ExitClass::Partial | ExitClass::Vanished => {
                self.failed.extend(findings.failed_places(covered, code));
            }
            ExitClass::Again => return Err(Outcome::Again(failure())),
            ExitClass::Fatal(grounds) => return Err(Outcome::Fatal(failure(), grounds)),
        }
        Ok(())
    }

    /// An empty root is more likely a disk that is not mounted than a wish to lose the mirror.
    fn deletions_from_root(&self) -> Deletions {
        let is_entry = |name: &[u8]| name != b"." && name != b"..";
        let mut listing = rustix::fs::Dir::read_from(self.root).into_iter().flatten();
        // What can't be read is left to rsync, which then deletes nothing.
        let empty = !listing
            .any(|entry| entry.map_or(true, |entry| is_entry(entry.file_name().to_bytes())));
        let told = self.of.told_empty.swap(empty, Ordering::Relaxed);
        if !empty {
            return Deletions::Allowed;
        }
        if !told {
            let source = Escaped(self.of.plan.source());
            let message = format!("the source {source} is empty: nothing is deleted on the target");
            self.of.log.say(Category::Warn, message);
        }
        Deletions::Withheld
    }

    /// Takes out the paths that are too long for rsync, and notes them as failed.
    fn without_what_rsync_cannot_take(&mut self, mut found: Survey) -> Survey {
        self.failed.append(&mut found.unreadable);
        let source = self.of.plan.source().len();
        let failed = &mut self.failed;
        for (list, scope) in [
            (&mut found.entries, Scope::Entry),
            (&mut found.gone, Scope::Entry),
            (&mut found.trees, Scope::Tree),
        ] {
            list.retain(|path| {
                let fits = source + path.as_bytes().len() < PATH_MAX;
                if !fits {
                    let why = format!(
                        "cannot mirror {path}: rsync can't take such a long path: mirror it with -direct"
                    );
                    failed.push((Place { path: path.clone(), scope }, Failure::new(why)));
                }
                fits
            });
        }
        found
    }

    fn tell_broken_receiver(&self, broken: &AtomicBool) {
        if !broken.swap(true, Ordering::Relaxed) {
            let target = Escaped(self.of.plan.target().word());
            let message = format!(
                "the rsync at {target} can't delete by a list (3.4.3, and older versions with its \
                 security patch): deleting in a slower way; update rsync there"
            );
            self.of.log.say(Category::Warn, message);
        }
    }

    fn tell(&self, found: &Survey) {
        let lists = [&found.entries, &found.trees, &found.gone];
        if lists.iter().all(|list| list.is_empty()) || !self.of.log.wants(Category::Normal) {
            return;
        }
        let mut message = "Calling rsync with filter-list of new/modified files/dirs".to_owned();
        append_capped(&mut message, lists.into_iter().flatten().map(ToString::to_string));
        self.of.log.say(Category::Normal, message);
    }

    fn tell_call(&self, call: &Call) {
        let category = Category::Debug("Exec");
        if !self.of.log.wants(category) {
            return;
        }
        let mut message = self.of.program.line(call);
        if let Some(stdin) = &call.stdin {
            let names = stdin.split(|&b| b == 0).filter(|name| !name.is_empty());
            message += " [<]";
            append_capped(&mut message, names.map(|name| Escaped(name).to_string()));
        }
        self.of.log.say(category, message);
    }
}

/// What rsync has to leave alone so that it deletes the rest. Nothing if the root is among it, or
/// if it is more than a command line takes.
fn hidden(findings: &Findings) -> Vec<TreePath> {
    let shortened = findings.unread.iter().cloned().map(|mut path| {
        while path.as_bytes().len() > LONGEST_HIDDEN {
            path.pop();
        }
        path
    });
    let hidden: BTreeSet<TreePath> = shortened.collect();
    let length: usize = hidden.iter().map(|path| path.as_bytes().len()).sum();
    if hidden.iter().any(TreePath::is_root) || hidden.len() > MOST_HIDDEN || length > MOST_BYTES {
        return Vec::new();
    }
    hidden.into_iter().collect()
}

/// Appends names, a line each, but not more than a person reads.
fn append_capped(message: &mut String, names: impl Iterator<Item = String>) {
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
