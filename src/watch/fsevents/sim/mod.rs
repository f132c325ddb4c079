//! Simulation test of the backend with a played FSEvents.
//!
//! The service merges and repeats flags, delays, repeats, coalesces and drops events, and lets its
//! ids wrap. Volumes come and go, the root is renamed and another directory takes its place, and
//! names may differ in case only. Once all is quiet, a mirror that has read only the reported
//! places must equal the tree. No event may tell a deletion of what exists.

mod check;
mod streams;
mod tree;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use mirror_core::fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId};
use mirror_platform::event_streams::StreamEvent;

use super::{
    super::{
        backend::{Backend, Drained, SkipFn, WatchTree},
        tests::backend_contract::WatchRng,
    },
    FsEventsBackend,
    flags::EventFlags,
};
use crate::lock;
use check::{MirroredTree, is_skipped};
use streams::{PlayedStreams, ServiceFaults, SimMachine};
use tree::{PlayedTree, TOP, TOP_PATH};
use view::{MissingPaths, SimView};

/// Root of each mirror below the top, and true if directories named `skip` are skipped.
const MIRRORS: [(&str, bool); 3] = [("in", false), ("in", true), ("in/nest", false)];

/// A mistake of the backend, which the invariants must reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The flags of dropped events mean nothing.
    Dropped,
    /// The flag for a whole tree means nothing.
    MustScan,
    /// A changed root means nothing.
    RootChanged,
    /// Only one event of a rename is understood.
    RenamedFrom,
    RenamedTo,
    /// An entry is gone if it was removed once.
    TrustRemoved,
    /// Created directories are not read.
    CreatedDirectory,
    /// All that was found counts as a file.
    Kinds,
    /// Streams begin at the time when the service has opened them.
    SinceNow,
    /// Mounted volumes are unknown.
    Volumes,
    /// Names are not compared with those of the directories.
    StoredNames,
    /// A barrier does not wait for the service.
    CatchUp,
}

impl Mistake {
    /// Returns false if the backend does not understand an event. Removes flags that it does not
    /// understand.
    fn passes(self, event: &mut StreamEvent) -> bool {
        let flags = EventFlags(event.flags);
        let is_half = |at: u64| {
            flags.has(EventFlags::ITEM_RENAMED) && event.inode.is_some_and(|it| it % 2 == at)
        };
        match self {
            Self::Dropped => !flags.has(EventFlags::DROPPED),
            Self::MustScan => {
                flags.has(EventFlags::DROPPED) || !flags.has(EventFlags::MUST_SCAN_SUBDIRS)
            }
            Self::RootChanged => !flags.has(EventFlags::ROOT_CHANGED),
            Self::Volumes => !flags.has(EventFlags::MOUNT | EventFlags::UNMOUNT),
            Self::RenamedFrom => !is_half(0),
            Self::RenamedTo => !is_half(1),
            _ => true,
        }
    }

    /// Changes what the backend reports.
    fn spoil(self, event: &mut FsEventKind) {
        if self == Self::CreatedDirectory
            && let FsEventKind::Changed(Change { edit, kind: EntryKind::Directory, .. }) = event
            && *edit == Edit::Create
        {
            *edit = Edit::Attrib;
        }
    }
}

fn below_top(path: &Path) -> &str {
    path.to_str().and_then(|path| path.strip_prefix(TOP_PATH)).expect("a path of the simulation")
}

fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).expect("names of the simulation are UTF-8")
}

/// The backend, its machine, and its mirrors.
struct PlayedHarness {
    machine: Arc<Mutex<SimMachine>>,
    missing: Arc<Mutex<MissingPaths>>,
    backend: FsEventsBackend<PlayedStreams, SimView>,
    drained: Drained,
    mirrors: BTreeMap<MirrorId, MirroredTree>,
    /// Mirrors that are being covered.
    covering: BTreeMap<MirrorId, usize>,
    uncovered: BTreeSet<MirrorId>,
    mounted: Option<String>,
    /// While names change all the time, only a mirror that compares them is right. The executors
    /// always do; while names are quiet, the backend is tested without that help.
    compares_names: bool,
    rng: WatchRng,
}

impl PlayedHarness {
    fn new(machine: SimMachine, entries_per_step: usize, rng: WatchRng) -> Self {
        let (mounted, compares_names) = (machine.tree.mounted_volume(), machine.busy > 0);
        let machine = Arc::new(Mutex::new(machine));
        let missing = Arc::new(Mutex::new(MissingPaths::new()));
        let view = SimView { machine: machine.clone(), missing: missing.clone() };
        let backend = FsEventsBackend::with_view(PlayedStreams::new(machine.clone()), view);
        Self {
            machine,
            missing,
            backend: FsEventsBackend { entries_per_step, ..backend },
            drained: Drained::default(),
            mirrors: BTreeMap::new(),
            covering: BTreeMap::new(),
            uncovered: (0..3).map(MirrorId).collect(),
            mounted,
            compares_names,
            rng,
        }
    }

    fn machine(&self) -> MutexGuard<'_, SimMachine> {
        self.machine.lock().unwrap()
    }

    /// Covers a mirror, if its root exists.
    fn cover(&mut self, mirror: MirrorId) {
        let (root, skips) = MIRRORS[mirror.0 as usize];
        let skip: SkipFn = Arc::new(move |path| skips && is_skipped(path));
        let below = PathBuf::from(format!("{TOP_PATH}/{root}"));
        self.uncover(mirror);
        let tree = WatchTree { skip, ..WatchTree::whole(mirror.0, below) };
        if self.backend.cover(&tree).is_ok() {
            self.uncovered.remove(&mirror);
            let covered = self.backend.sources.last().expect("it was added").identity;
            self.covering.insert(mirror, usize::try_from(covered.1).unwrap());
        }
    }

    fn uncover(&mut self, mirror: MirrorId) {
        self.backend.uncover(mirror);
        self.mirrors.remove(&mirror);
        self.covering.remove(&mirror);
        self.uncovered.insert(mirror);
    }

    /// Does what the reader does for changed mounts.
    fn check_mounts(&mut self) {
        let now = self.machine().tree.mounted_volume();
        if self.machine().mistake == Mistake::Volumes {
            return;
        }
        let before = std::mem::replace(&mut self.mounted, now.clone());
        if before != now {
            if let Some(point) = before {
                self.backend.on_unmounted(point.as_bytes(), &mut self.drained);
            }
            if let Some(point) = now {
                self.backend.on_mounted(point.as_bytes());
            }
        }
    }

    /// Does what the reader does if roots may be gone.
    fn check_roots(&mut self) {
        let mirrors = self.mirrors.iter().map(|(mirror, tree)| (*mirror, tree.root()));
        let known: Vec<_> = mirrors.chain(self.covering.clone()).collect();
        for (mirror, root) in known {
            let (path, _) = MIRRORS[mirror.0 as usize];
            let now = self.machine().tree.find(TOP, path);
            if now != Some(root) {
                self.machine().tree.note(|| format!("{mirror:?} is gone"));
                self.uncover(mirror);
            }
        }
    }

    fn drain(&mut self) {
        self.check_mounts();
        lock(&self.missing).clear();
        self.backend.drain(&mut self.drained).unwrap();
        self.apply();
    }

    fn advance(&mut self) -> bool {
        lock(&self.missing).clear();
        let has_more = self.backend.advance(&mut self.drained);
        self.apply();
        has_more
    }

    /// Processes the results as the engine does.
    fn apply(&mut self) {
        let drained = std::mem::take(&mut self.drained);
        assert!(drained.failed.is_empty(), "{:?}", drained.failed);
        {
            let mut machine = self.machine.lock().unwrap();
            let mistake = machine.mistake;
            for mut event in drained.fs_events {
                mistake.spoil(&mut event.kind);
                machine.tree.note(|| format!("report {event:?}"));
                if let Some(mirrored) = self.mirrors.get_mut(&event.mirror) {
                    mirrored.check_deletion(&event.kind, &lock(&self.missing));
                    mirrored.apply(&machine.tree, &event.kind);
                }
            }
            for (mirror, _) in drained.covered {
                if let Some(root) = self.covering.remove(&mirror) {
                    machine.tree.note(|| format!("{mirror:?} is covered"));
                    let mirrored = MirroredTree::of(&machine.tree, root, self.compares_names);
                    self.mirrors.insert(mirror, mirrored);
                }
            }
        }
        if drained.checks_roots {
            self.check_roots();
        }
    }

    /// Waits for a barrier, and compares the mirrors with the tree.
    fn pass_barrier(&mut self) {
        let busy = std::mem::take(&mut self.machine().busy);
        self.backend.catch_up();
        self.drain();
        while self.advance() {}
        self.check("after a barrier");
        self.machine().busy = busy;
    }

    fn check(&self, context: &str) {
        let machine = self.machine();
        for (mirror, mirrored) in &self.mirrors {
            let (path, skips) = MIRRORS[mirror.0 as usize];
            let is_root = machine.tree.find(TOP, path) == Some(mirrored.root());
            assert!(is_root, "{context}: {mirror:?} has another root");
            mirrored.check(&machine.tree, skips, &format!("{context}: {mirror:?}"));
        }
    }

    /// Runs a history to its end.
    fn run(&mut self) {
        for _ in 0..20 + self.rng.roll(100) {
            match self.rng.roll(64) {
                0..=5 => {
                    let uncovered = self.uncovered.iter().copied().collect::<Vec<_>>();
                    if !uncovered.is_empty() {
                        let which = self.rng.roll(uncovered.len());
                        self.cover(uncovered[which]);
                    }
                }
                6 => {
                    let mirror = MirrorId(u32::try_from(self.rng.roll(MIRRORS.len())).unwrap());
                    self.uncover(mirror);
                }
                7 => self.pass_barrier(),
                8..=33 => self.machine().change(),
                34..=43 => self.machine().deliver(false),
                44..=53 => self.drain(),
                _ => _ = self.advance(),
            }
        }
        self.finish();
    }

    /// Stops changing the tree, and compares once all events are delivered.
    fn finish(&mut self) {
        self.machine().end_changes();
        while self.machine().has_undelivered() {
            self.machine().deliver(false);
            if self.rng.roll(3) == 0 {
                self.drain();
            }
        }
        self.drain();
        while self.advance() {}
        for mirror in self.uncovered.clone() {
            self.cover(mirror);
        }
        self.drain();
        while self.advance() {}
        assert_eq!(self.mirrors.len(), MIRRORS.len(), "all are covered");
        self.check("in the end");
    }

    /// Returns the log of everything that happened.
    fn log(&self) -> String {
        lock(&self.machine).tree.log.as_deref().unwrap_or_default().join("\n")
    }
}

impl ServiceFaults {
    fn random(rng: &mut WatchRng) -> Self {
        let mut rate = || [0, 0, 5, 30][rng.roll(4)];
        let (drops, coalesces, repeats, delays) = (rate(), rate(), rate(), rate());
        let mut may = || rng.roll(2) == 0;
        let (is_sticky, moves_root, ignores_case) = (may(), may(), may());
        Self { drops, coalesces, repeats, delays, is_sticky, moves_root, ignores_case }
    }
}

/// Prepares a history.
fn history(seed: u64, mistake: Mistake) -> PlayedHarness {
    let mut rng = WatchRng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..8).for_each(|_| _ = rng.roll(2));
    let faults = ServiceFaults::random(&mut rng);
    let mut tree = PlayedTree::new(rng.0 ^ 0x5555_5555, faults.ignores_case);
    (0..rng.roll(60)).for_each(|_| tree.change());
    tree.reports.clear();
    tree.moves_root = faults.moves_root;
    // The ids of every other history wrap.
    let first_id = [1, u64::MAX - rng.roll(40) as u64][rng.roll(2)];
    let mut machine = SimMachine::new(tree, faults, first_id);
    machine.mistake = mistake;
    machine.busy = [0, 1, 3][rng.roll(3)];
    machine.changes = 10 + rng.roll(80);
    PlayedHarness::new(machine, [1, 3, 1000][rng.roll(3)], rng)
}

/// Runs histories. Prints the log of the first that fails.
fn run_all(seeds: Range<u64>) {
    for seed in seeds {
        let result = catch_unwind(|| history(seed, Mistake::None).run());
        if result.is_err() {
            let mut again = history(seed, Mistake::None);
            again.machine().tree.log = Some(Vec::new());
            let result = catch_unwind(AssertUnwindSafe(|| again.run()));
            eprintln!("{}\nhistory {seed}", again.log());
            resume_unwind(result.expect_err("it fails as before"));
        }
    }
}

#[test]
fn random_histories_of_a_played_fsevents_converge() {
    run_all(0..2_000);
}

#[test]
#[ignore = "takes minutes: to be played after each change of how events are understood"]
fn very_many_histories_of_a_played_fsevents_converge() {
    run_all(2_000..102_000);
}

#[test]
fn each_mistake_is_found() {
    for mistake in [
        Mistake::Dropped,
        Mistake::MustScan,
        Mistake::RootChanged,
        Mistake::RenamedFrom,
        Mistake::RenamedTo,
        Mistake::TrustRemoved,
        Mistake::CreatedDirectory,
        Mistake::Kinds,
        Mistake::SinceNow,
        Mistake::Volumes,
        Mistake::StoredNames,
        Mistake::CatchUp,
    ] {
        let fails = |seed| catch_unwind(|| history(seed, mistake).run()).is_err();
        assert!((0..2_000).any(fails), "{mistake:?}");
    }
}
