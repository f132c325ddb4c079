//! One job while it runs: what all its threads share.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use mirror_core::{
    filter::Filter,
    guard::MaxDelete,
    job::{Failure, HeldDeletions, HeldFor, Outcome, Place, Scope},
    notice::Kind,
    path::TreePath,
    queue::Heard,
};
use mirror_platform::dir::{Dir, Stat, device};

use super::{
    super::{process::cancel::Stop, source_root::Identity, survey::lists_nothing},
    DirectExecutor,
    grain::Grain,
    moves::Repeated,
    near::Near,
    options, path_text,
    search::Search,
    traits::Traits,
    trouble::Trouble,
    unseen::{Counted, Deletion, Witness},
    warn::Topic,
};
use crate::report::Category;

/// How many places are told one by one; after that it is "the directory that it lies in", and
/// after as many of those, everything.
const MOST_PLACES: usize = 1000;

/// One job while it runs.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    /// Whose job it is.
    pub(super) direct: &'a DirectExecutor,
    /// The root of the source, which was checked.
    pub(super) source: Dir,
    /// The root of the target.
    pub(super) target: Dir,
    /// What was heard of the places of the job.
    pub(super) heard: &'a Heard,
    /// Whether what the source does not have is deleted.
    pub(super) delete: bool,
    /// Whether anything is, or was, mounted inside the source.
    has_mounts: bool,
    /// The files with several names, if they had to be searched for.
    pub(super) search: Search,
    /// What only the target has, and is counted: what nobody saw go, ..
    pub(super) unseen: Counted,
    /// .. and what somebody did, if there is a budget for that.
    pub(super) seen: Counted,
    /// The renames that were repeated on the target.
    pub(super) repeated: Repeated,
    /// How many entries were met.
    pub(super) tally: Tally,
    /// What waits until all else is done.
    pub(super) late: Late,
    /// The directories that were opened last.
    pub(super) near: Near,
    source_device: (u32, u32),
    target_identity: Option<Identity>,
    is_source_empty: OnceLock<bool>,
    visits_all: AtomicBool,
    stop: &'a Stop,
    ended: AtomicBool,
    findings: Mutex<Findings>,
}

/// How many entries were met by a job.
#[derive(Debug, Default)]
pub(super) struct Tally {
    both: AtomicU64,
    added: AtomicU64,
    removed: AtomicU64,
    kept: AtomicU64,
    /// How many deletions were asked for, of those that the user allows.
    allowed: AtomicU64,
    /// Whether what is met now was counted before.
    is_over: AtomicBool,
}

impl Tally {
    /// An entry that the source has, and the target had or not.
    pub(super) fn mirrored(&self, was_there: bool) {
        if !self.is_over.load(Ordering::Relaxed) {
            let counter = if was_there { &self.both } else { &self.added };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the source has is not counted any more: what is met from now on was met before.
    pub(super) fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// So many entries of the target have gone.
    pub(super) fn removed(&self, count: u64) {
        self.removed.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether anything has gone.
    pub(super) fn has_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed) > 0
    }

    /// How many entries the target held before the job, which came to all, but for those that were
    /// counted elsewhere.
    pub(super) fn before(&self) -> u64 {
        self.both.load(Ordering::Relaxed) + self.removed.load(Ordering::Relaxed)
    }

    /// How many it holds of those that a job came to, which came to all.
    pub(super) fn after(&self) -> u64 {
        let counters = [&self.both, &self.added, &self.kept];
        counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// How many it holds after a job that came to some, if it held so many before.
    pub(super) fn changed(&self, before: u64) -> u64 {
        let (added, removed) =
            (self.added.load(Ordering::Relaxed), self.removed.load(Ordering::Relaxed));
        (before + added).saturating_sub(removed)
    }
}

/// What waits until all else is done.
#[derive(Debug, Default)]
pub(super) struct Late {
    paths: Mutex<Vec<TreePath>>,
    is_over: AtomicBool,
}

impl Late {
    /// How many paths can wait.
    const MOST: usize = 65_536;

    /// Puts off what is to be done about the entry at `path`. Returns false if it has to be done now.
    pub(super) fn put_off(&self, path: &TreePath) -> bool {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = !self.is_over.load(Ordering::Relaxed) && paths.len() < Self::MOST;
        if waits {
            paths.push(path.clone());
        }
        waits
    }

    /// What was put off. From now on nothing is any more.
    pub(super) fn take(&self) -> Vec<TreePath> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        std::mem::take(&mut *paths)
    }
}

/// What went wrong so far.
#[derive(Debug, Default)]
struct Findings {
    /// The trouble of the whole target, which ended the job.
    fatal: Option<Failure>,
    places: BTreeMap<Place, (Failure, Cause)>,
    held: Vec<HeldDeletions>,
}

/// Why a place failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// There was no room for it.
    Room,
    Other,
}

impl<'a> Pass<'a> {
    /// A job between these two roots, source first.
    pub(super) fn new(
        direct: &'a DirectExecutor,
        (source, target): (Dir, Dir),
        (heard, delete): (&'a Heard, bool),
        stop: &'a Stop,
    ) -> Self {
        let target_identity = target.stat(b"").ok().map(|stat| Identity::of(&stat));
        let source_device = source.stat(b"").map(|stat| device(&stat)).unwrap_or_default();
        Self {
            direct,
            source,
            target,
            heard,
            delete,
            has_mounts: direct.source.has_mounts(),
            search: Search::default(),
            unseen: Counted::default(),
            seen: Counted::default(),
            repeated: Repeated::default(),
            tally: Tally::default(),
            late: Late::default(),
            near: Near::default(),
            source_device,
            target_identity,
            is_source_empty: OnceLock::new(),
            visits_all: AtomicBool::new(false),
            stop,
            ended: AtomicBool::new(false),
            findings: Mutex::default(),
        }
    }

    /// From now on the job comes to everything that there is.
    pub(super) fn visit_all(&self) {
        self.visits_all.store(true, Ordering::Relaxed);
    }

    /// Whether the job comes to everything that there is.
    pub(super) fn visits_all(&self) -> bool {
        self.visits_all.load(Ordering::Relaxed)
    }

    /// Whether there is any use in going on.
    pub(super) fn goes_on(&self) -> bool {
        !self.stop.is_asked() && !self.ended.load(Ordering::Relaxed)
    }

    /// Takes note of what went wrong at a place. Trouble of the target as a whole ends the job.
    pub(super) fn note(&self, place: Place, trouble: &Trouble) {
        if trouble.is_silent() {
            return;
        }
        let roots = (path_text(self.direct.source.path()), path_text(&self.direct.settings.target));
        let path = if place.path.is_root() { String::new() } else { place.path.to_string() };
        let failure = Failure::new(trouble.sentence((&roots.0, &roots.1), &path));
        let mut findings = self.findings();
        if trouble.remedy().is_some() {
            self.ended.store(true, Ordering::Relaxed);
            findings.fatal.get_or_insert(failure);
        } else {
            let cause = if trouble.wants_room() { Cause::Room } else { Cause::Other };
            findings.add(place, failure, cause);
        }
    }

    /// Takes note of deletions that are not made.
    pub(super) fn hold(&self, held: Vec<HeldDeletions>) {
        self.findings().held.extend(held);
    }

    /// Whether there was no room for something.
    pub(super) fn wants_room(&self) -> bool {
        self.findings().places.values().any(|(_, cause)| *cause == Cause::Room)
    }

    /// The places that there was no room for: they are tried again now.
    pub(super) fn take_without_room(&self) -> Vec<Place> {
        let mut findings = self.findings();
        let taken = findings.places.extract_if(.., |_, (_, cause)| *cause == Cause::Room);
        taken.map(|(place, _)| place).collect()
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something lies on another file system than the root of the source, and is not to be
    /// mirrored because of that.
    pub(super) fn is_elsewhere(&self, stat: &Stat) -> bool {
        self.direct.settings.options.one_file_system && device(stat) != self.source_device
    }

    /// Whether the content of a file may differ though its size and time are the same.
    pub(super) fn is_written(&self, path: &TreePath) -> bool {
        self.heard.is_written(path, || self.repeated.has(path))
    }

    /// Whether a directory is the target, which can't be copied into itself.
    pub(super) fn is_target(&self, stat: &Stat) -> bool {
        self.target_identity.is_some_and(|target| target == Identity::of(stat))
    }

    /// What does not concern the mirror.
    pub(super) fn filter(&self) -> &Filter {
        &self.direct.settings.filter
    }

    /// What becomes of the path at the target, the source being without it.
    pub(super) fn deletion(&self, path: &TreePath, kind: Kind) -> Deletion {
        if !self.delete || self.protects(path, kind) || self.is_unmounted(path) {
            return Deletion::Never;
        }
        if self.heard.is_gone(path) {
            return match self.direct.settings.max_delete_seen {
                MaxDelete::Unlimited => Deletion::Now,
                _ => self.seen.verdict(Witness::Seen),
            };
        }
        self.unseen.verdict(Witness::Unseen)
    }

    /// What is counted of this kind.
    pub(super) const fn counted(&self, witness: Witness) -> &Counted {
        match witness {
            Witness::Seen => &self.seen,
            Witness::Unseen => &self.unseen,
        }
    }

    /// Whether the target's own entry at this path is not to be deleted.
    fn protects(&self, path: &TreePath, kind: Kind) -> bool {
        options::is_backup(&self.direct.settings.options, path, kind)
            || self.filter().protects(path, kind)
    }

    /// Whether an entry stays though the directory `removed` goes.
    pub(super) fn protects_in(&self, removed: &TreePath, path: &TreePath, kind: Kind) -> bool {
        options::is_backup(&self.direct.settings.options, path, kind)
            || self.filter().protects_in_removed(removed, path, kind)
            || self.is_unmounted(path)
    }

    /// Whether nothing below a directory that is removed can have to stay.
    pub(super) fn protects_nothing(&self) -> bool {
        self.filter().is_empty()
            && self.direct.settings.options.backup.is_none()
            && !self.has_mounts
    }

    /// Takes one of the deletions that the user allows a job at most. Returns false if there is none
    /// left.
    pub(super) fn may_remove(&self) -> bool {
        let Some(most) = self.direct.settings.options.max_delete else { return true };
        let may = self.tally.allowed.fetch_add(1, Ordering::Relaxed) < most;
        if !may {
            let text = "the most that max-delete allows is deleted: the rest stays";
            self.warn_once(Topic::MaxDelete, text);
        }
        may
    }

    /// Whether the path is of what was mounted in the source and is not any more.
    pub(super) fn is_unmounted(&self, path: &TreePath) -> bool {
        self.has_mounts && self.direct.source.is_absent(&self.source, path)
    }

    /// Whether the path is where something was mounted in the source and is not any more.
    pub(super) fn is_unmounted_place(&self, path: &TreePath) -> bool {
        self.has_mounts && self.direct.source.is_absent_place(&self.source, path)
    }

    /// Whether the root of the source lists nothing that is mirrored: that is more often a disk that is
    /// not mounted than a wish (law 2).
    fn is_source_empty(&self) -> bool {
        let is_empty = *self.is_source_empty.get_or_init(|| self.lists_nothing());
        if is_empty {
            let text =
                "the source is empty: nothing is deleted here until there is something in it";
            self.warn_once(Topic::EmptySource, text);
        }
        is_empty
    }

    fn lists_nothing(&self) -> bool {
        // What can't be read may be anything: then it counts as empty as well.
        let is_empty = lists_nothing(&self.source, self.filter()).unwrap_or(true);
        if !is_empty {
            self.direct.learned.warnings.renew(Topic::EmptySource);
        }
        is_empty
    }

    /// How many entries the target held before the job, as far as it is known.
    pub(super) fn total(&self) -> Option<u64> {
        if self.visits_all() { Some(self.tally.before()) } else { self.direct.learned.total() }
    }

    /// How many deletions are made that nobody saw, and why others are held.
    pub(super) fn budget(&self) -> (MaxDelete, HeldFor) {
        if self.is_source_empty() {
            return (MaxDelete::Count(0), HeldFor::EmptySource);
        }
        let budget = self.direct.presence.budget(self.direct.settings.max_delete);
        (budget, HeldFor::Budget)
    }

    /// So many entries are held: the target still has them.
    pub(super) fn keep(&self, count: u64) {
        self.tally.kept.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes note of how many entries the target holds now.
    fn learn_total(&self) {
        let learned = &self.direct.learned;
        if self.visits_all() {
            learned.set_total(self.tally.after());
        } else if let Some(before) = learned.total() {
            learned.set_total(self.tally.changed(before));
        }
    }

    /// What the target can hold.
    pub(super) fn traits(&self) -> Traits {
        self.direct.learned.traits()
    }

    /// How finely the target keeps times, or the user wants them compared.
    pub(super) fn grain(&self) -> Grain {
        self.traits().grain.within(self.direct.settings.modify_window)
    }

    /// Says something once in the life of the executor.
    pub(super) fn warn_once(&self, topic: Topic, text: &str) {
        if self.direct.learned.warnings.take(topic) {
            let target = path_text(&self.direct.settings.target);
            self.direct.log.say(Category::Warn, format_args!("{target}: {text}"));
        }
    }

    /// How the job ended.
    pub(super) fn into_outcome(self) -> Outcome {
        self.learn_total();
        let findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = findings.fatal {
            return Outcome::Again(failure);
        }
        if self.stop.is_asked() {
            return Outcome::Again(Failure::new("it was asked to stop"));
        }
        let failed = findings.places.into_iter();
        let failed: Vec<_> = failed.map(|(place, (failure, _))| (place, failure)).collect();
        match (failed.is_empty(), findings.held.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partly(failed),
            (_, false) => Outcome::Split { large: Vec::new(), failed, held: findings.held },
        }
    }
}

impl Findings {
    fn add(&mut self, place: Place, failure: Failure, cause: Cause) {
        let place = match (self.places.len(), place.path.parent()) {
            (0..MOST_PLACES, _) => place,
            (_, Some(path)) if self.places.len() < 2 * MOST_PLACES => {
                Place { path, scope: Scope::Tree }
            }
            _ => Place::all(),
        };
        self.places.entry(place).or_insert((failure, cause));
    }
}
