//! One job while it runs: what all its threads share.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mirror_core::{
    filter::Filter,
    job::{Failure, Outcome, Place, Scope},
    notice::Kind,
    path::TreePath,
};
use mirror_linux::dir::{Dir, Stat};

use super::{
    super::{source::Identity, stop::Stop},
    DirectExecutor,
    grain::Grain,
    path_text,
    search::Search,
    trouble::Trouble,
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
    /// Whether what the source does not have is deleted.
    pub(super) delete: bool,
    /// The files with several names, if they had to be searched for.
    pub(super) search: Search,
    target_identity: Option<Identity>,
    visits_all: AtomicBool,
    stop: &'a Stop,
    ended: AtomicBool,
    findings: Mutex<Findings>,
}

/// What went wrong so far.
#[derive(Debug, Default)]
struct Findings {
    /// The trouble of the whole target, which ended the job.
    fatal: Option<Failure>,
    places: BTreeMap<Place, Failure>,
}

impl<'a> Pass<'a> {
    /// A job between these two roots, source first.
    pub(super) fn new(
        direct: &'a DirectExecutor,
        roots: (Dir, Dir),
        delete: bool,
        stop: &'a Stop,
    ) -> Self {
        let (source, target) = roots;
        let (ended, findings) = (AtomicBool::new(false), Mutex::default());
        let target_identity = target.stat(b"").ok().map(|stat| Identity::of(&stat));
        Self {
            direct,
            source,
            target,
            delete,
            search: Search::default(),
            target_identity,
            visits_all: AtomicBool::new(false),
            stop,
            ended,
            findings,
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
        if matches!(trouble, Trouble::Stopped) {
            return;
        }
        let roots = (path_text(self.direct.source.path()), path_text(&self.direct.settings.target));
        let path = if place.path.is_root() { String::new() } else { place.path.to_string() };
        let failure = Failure::new(trouble.sentence((&roots.0, &roots.1), &path));
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.remedy().is_some() {
            self.ended.store(true, Ordering::Relaxed);
            findings.fatal.get_or_insert(failure);
        } else {
            findings.add(place, failure);
        }
    }

    /// Whether a directory is the target, which can't be copied into itself.
    pub(super) fn is_target(&self, stat: &Stat) -> bool {
        self.target_identity.is_some_and(|target| target == Identity::of(stat))
    }

    /// What does not concern the mirror.
    pub(super) fn filter(&self) -> &Filter {
        &self.direct.settings.filter
    }

    /// Whether the path may be deleted at the target, the source being without it.
    pub(super) fn may_delete(&self, path: &TreePath, kind: Kind) -> bool {
        if !self.delete || self.filter().protects(path, kind) {
            return false;
        }
        let Some(mount) = self.direct.mounts.lost(&self.source, path) else { return true };
        if self.direct.warnings.take(Topic::Unmounted(mount.clone())) {
            let root = path_text(self.direct.source.path());
            self.direct.log.say(
                Category::Warn,
                format_args!(
                    "nothing is mounted on {root}{mount} any more: what came from there stays at \
                     the target until the next start"
                ),
            );
        }
        false
    }

    /// How finely the target keeps times.
    pub(super) fn grain(&self) -> Grain {
        self.direct.grain.get().copied().unwrap_or(Grain::FINE)
    }

    /// Says something once in the life of the executor.
    pub(super) fn warn_once(&self, topic: Topic, text: &str) {
        if self.direct.warnings.take(topic) {
            let target = path_text(&self.direct.settings.target);
            self.direct.log.say(Category::Warn, format_args!("{target}: {text}"));
        }
    }

    /// How the job ended.
    pub(super) fn into_outcome(self) -> Outcome {
        let findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = findings.fatal {
            return Outcome::Again(failure);
        }
        if self.stop.is_asked() {
            return Outcome::Again(Failure::new("it was asked to stop"));
        }
        if findings.places.is_empty() {
            return Outcome::Done;
        }
        Outcome::Partly(findings.places.into_iter().collect())
    }
}

impl Findings {
    fn add(&mut self, place: Place, failure: Failure) {
        let place = match (self.places.len(), place.path.parent()) {
            (0..MOST_PLACES, _) => place,
            (_, Some(path)) if self.places.len() < 2 * MOST_PLACES => {
                Place { path, scope: Scope::Tree }
            }
            _ => Place { path: TreePath::root(), scope: Scope::Tree },
        };
        self.places.entry(place).or_insert(failure);
    }
}
