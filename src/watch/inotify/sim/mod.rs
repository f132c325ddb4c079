//! Simulation test of the backend with a kernel that shows, reports and loses changes in any order.
//!
//! When all is quiet, exactly the directories that a mirror wants must be watched, each must be
//! known by its path, and a model that reads only the reported locations must equal the tree.

mod check;
mod file_system;
mod kernel;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use mirror_core::{fs_event::MirrorId, path::TreePath};

use super::{
    super::{
        backend::{Backend, DrainStatus, Drained, SkipFn, WatchTree},
        tests::backend_contract::WatchRng,
    },
    InotifyBackend, InotifyLimits,
};
use crate::lock;
use check::SimModel;
use file_system::SimFileSystem;
use kernel::SimKernel;

/// Root of each mirror, and true if directories named `skip` are skipped.
const MIRRORS: [(&str, bool); 4] =
    [("in", false), ("other", true), ("in/nest", false), ("in", true)];

fn is_skipped(path: &TreePath) -> bool {
    path.as_bytes().split(|&b| b == b'/').any(|name| name == b"skip")
}

/// The backend, its file system, and the state reconstructed from its events.
struct SimHarness {
    fs: Arc<Mutex<SimFileSystem>>,
    backend: InotifyBackend<SimKernel>,
    drained: Drained,
    models: BTreeMap<MirrorId, SimModel>,
    /// Directories that were handed over for polling.
    polled: BTreeSet<(MirrorId, TreePath)>,
    rng: WatchRng,
}

impl SimHarness {
    fn new(fs: SimFileSystem, limits: InotifyLimits, counts_links: bool, rng: WatchRng) -> Self {
        let fs = Arc::new(Mutex::new(fs));
        let kernel = SimKernel::new(fs.clone(), counts_links);
        Self {
            fs,
            backend: InotifyBackend::with_kernel(kernel, limits),
            drained: Drained::default(),
            models: BTreeMap::new(),
            polled: BTreeSet::new(),
            rng,
        }
    }

    fn fs(&self) -> MutexGuard<'_, SimFileSystem> {
        self.fs.lock().unwrap()
    }

    fn cover(&mut self, id: u32) {
        let mirror = MirrorId(id);
        let (root, skips) = MIRRORS[id as usize];
        let skip: SkipFn = Arc::new(move |path| skips && is_skipped(path));
        self.models.remove(&mirror);
        self.polled.retain(|(known, _)| *known != mirror);
        let root = PathBuf::from(format!("/{root}"));
        self.backend.cover(&WatchTree { skip, ..WatchTree::whole(id, root) }).unwrap();
    }

    fn drain(&mut self) -> DrainStatus {
        let status = self.backend.drain(&mut self.drained).unwrap();
        self.apply();
        status
    }

    fn advance(&mut self) -> bool {
        let has_more = self.backend.advance(&mut self.drained);
        self.apply();
        has_more
    }

    fn flush_pending(&mut self) {
        self.backend.flush_pending(&mut self.drained);
        self.apply();
    }

    /// Processes the results as the engine does.
    fn apply(&mut self) {
        let drained = std::mem::take(&mut self.drained);
        assert!(drained.failed.is_empty(), "{:?}", drained.failed);
        let mut fs = self.fs.lock().unwrap();
        for event in &drained.fs_events {
            fs.note(|| format!("report {event:?}"));
            if let Some(model) = self.models.get_mut(&event.mirror) {
                model.apply(&fs, &event.kind);
            }
        }
        for (mirror, _) in drained.covered {
            let (root, _) = MIRRORS[mirror.0 as usize];
            self.models.insert(mirror, SimModel::of(&fs, root.as_bytes()));
        }
        self.polled.extend(drained.unwatched.into_iter().map(|it| (it.mirror, it.path)));
    }

    /// Returns the log of everything that happened.
    fn log(&self) -> String {
        let fs = lock(&self.fs);
        fs.log.as_deref().unwrap_or_default().join("\n")
    }

    fn quiesce(&mut self) {
        for _ in 0..4 {
            while self.drain() == DrainStatus::More {}
            while self.advance() {}
            self.flush_pending();
            while self.advance() {}
        }
        assert!(!self.backend.has_pending(), "something stays pending");
    }
}

/// Kinds of faults in a history.
#[derive(Clone, Copy, Debug, Default)]
struct SimFaults {
    /// The kernel's queue is short.
    overflows: bool,
    /// The kernel allows only a few watches.
    few_watches: bool,
    /// Directories become unreadable, and readable again.
    modes: bool,
}

impl SimFaults {
    /// Creates a file system without faults so far, in which these may occur from now on.
    fn fs(self, rng: &mut WatchRng) -> SimFileSystem {
        let mut fs = SimFileSystem::new(rng.0 ^ 0x5555_5555);
        fs.changes = rng.roll(80);
        while fs.changes > 0 {
            fs.change();
            fs.queue_all();
        }
        if self.overflows {
            fs.max_queued = pick(rng, &[2, 5, 12]);
        }
        if self.few_watches {
            fs.max_watches = pick(rng, &[4, 8, 16]);
        }
        fs.has_modes = self.modes;
        fs.is_busy = true;
        fs.rates = (1 + rng.roll(5), 1 + rng.roll(4));
        fs.changes = 10 + rng.roll(80);
        fs
    }
}

fn pick(rng: &mut WatchRng, from: &[usize]) -> usize {
    from[rng.roll(from.len())]
}

/// Prepares a history.
fn history(seed: u64, faults: SimFaults) -> SimHarness {
    let mut rng = WatchRng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..8).for_each(|_| _ = rng.roll(2));
    let fs = faults.fs(&mut rng);
    let limits = InotifyLimits {
        buffer: pick(&mut rng, &[0, 0, 4096]),
        max_watches: usize::MAX,
        eager_dirs: pick(&mut rng, &[0, 1, 256]),
        min_parallel_dirs: pick(&mut rng, &[1, 3, 128]),
        max_workers: 0,
        drain_time: Duration::from_hours(1),
        advance_time: Duration::ZERO,
        path_bytes: pick(&mut rng, &[0, 100, usize::MAX]),
    };
    let counts_links = rng.roll(2) == 0;
    SimHarness::new(fs, limits, counts_links, rng)
}

impl SimHarness {
    /// Runs a history to its end.
    fn run(&mut self) {
        let mut uncovered: Vec<u32> = (0..4).collect();
        for _ in 0..20 + self.rng.roll(150) {
            match self.rng.roll(56) {
                0..=3 if !uncovered.is_empty() => {
                    let which = self.rng.roll(uncovered.len());
                    self.cover(uncovered.swap_remove(which));
                }
                0 => {
                    let again = u32::try_from(self.rng.roll(MIRRORS.len())).unwrap();
                    self.cover(again);
                }
                1..=11 => self.fs().change(),
                12..=23 => self.fs().queue_next(),
                24..=35 => _ = self.drain(),
                36..=51 => _ = self.advance(),
                _ => self.flush_pending(),
            }
        }
        for id in uncovered {
            self.cover(id);
        }
        self.finish_changes();
        self.check();
    }

    /// Stops changing the tree, while the remaining events are queued bit by bit.
    fn finish_changes(&mut self) {
        self.fs().end_changes();
        while self.fs().has_unqueued() {
            match self.rng.roll(10) {
                0 => self.quiesce_briefly(),
                1 | 2 => _ = self.drain(),
                3 | 4 => _ = self.advance(),
                5 => self.flush_pending(),
                _ => self.fs().queue_next(),
            }
        }
        self.quiesce();
        // The `Ignored` events of the watches that the backend itself has removed.
        self.fs().queue_all();
        self.quiesce();
    }

    fn quiesce_briefly(&mut self) {
        for _ in 0..self.rng.roll(4) {
            while self.drain() == DrainStatus::More {}
            while self.advance() {}
            self.flush_pending();
        }
    }
}

/// Runs histories. Prints the log of the first that fails.
fn run_all(seeds: Range<u64>, faults: SimFaults) {
    for seed in seeds {
        let result = catch_unwind(|| history(seed, faults).run());
        if result.is_err() {
            let mut again = history(seed, faults);
            again.fs().log = Some(Vec::new());
            let result = catch_unwind(AssertUnwindSafe(|| again.run()));
            eprintln!("{}\nhistory {seed} of {faults:?}", again.log());
            resume_unwind(result.expect_err("it fails as before"));
        }
    }
}

/// Creates a harness with these directories, in which nothing happens by itself.
fn quiet_harness(directories: &[(&str, &'static str)]) -> SimHarness {
    let mut fs = SimFileSystem::new(1);
    for (parent, name) in directories {
        let parent = fs.find(parent.as_bytes()).unwrap();
        fs.make(parent, name, true);
        fs.queue_all();
    }
    SimHarness::new(
        fs,
        InotifyLimits { max_workers: 0, advance_time: Duration::ZERO, ..InotifyLimits::default() },
        true,
        WatchRng(1),
    )
}

fn inode_at(fs: &SimFileSystem, path: &str) -> usize {
    fs.find(path.as_bytes()).unwrap()
}

#[test]
fn a_late_rename_event_hides_no_changes() {
    let mut harness = quiet_harness(&[("in", "a"), ("in/a", "b")]);
    harness.cover(0);
    harness.quiesce();
    {
        let mut fs = harness.fs();
        let (root, b) = (inode_at(&fs, "in"), inode_at(&fs, "in/a/b"));
        fs.make(b, "c", true);
        fs.rename((root, "a"), (root, "b"));
        // The creation is reported, and the rename above it not yet.
        fs.queue_of(&[b]);
    }
    harness.quiesce();
    harness.fs().queue_all();
    harness.quiesce();
    harness.check();
}

#[test]
fn an_exchange_during_a_probe_hides_no_changes() {
    let mut harness = quiet_harness(&[("in", "a"), ("in", "b"), ("in/a", "c")]);
    harness.backend.limits.min_parallel_dirs = 1;
    harness.cover(0);
    harness.advance();
    // The watch is set on one of them, and the other one is probed for subdirectories.
    harness.fs().exchange_on_watch = Some(("in", "a", "b"));
    while harness.advance() {}
    assert_eq!(harness.fs().exchange_on_watch, None);
    harness.quiesce();
    harness.fs().queue_all();
    harness.quiesce();
    harness.check();
}

#[test]
fn an_overflow_while_covering_is_recovered() {
    let mut harness = quiet_harness(&[("in", "a"), ("in", "b"), ("in/a", "c"), ("in/b", "c")]);
    harness.cover(0);
    assert!(harness.advance() || harness.models.contains_key(&MirrorId(0)));
    {
        let mut fs = harness.fs();
        fs.max_queued = 0;
        for path in ["in/a", "in/b", "in/a/c"] {
            let directory = inode_at(&fs, path);
            fs.make(directory, "b", true);
            fs.queue_all();
        }
        fs.max_queued = usize::MAX;
    }
    harness.quiesce();
    assert!(harness.fs().has_overflowed);
    harness.check();
}

#[test]
fn a_skipped_directory_is_watched_for_a_new_mirror() {
    let mut harness = quiet_harness(&[("in", "skip"), ("in/skip", "a")]);
    harness.cover(3);
    harness.cover(0);
    harness.quiesce();
    harness.backend.uncover(MirrorId(0));
    harness.models.remove(&MirrorId(0));
    harness.quiesce();
    harness.check();
    harness.cover(0);
    harness.quiesce();
    harness.check();
}

#[test]
fn random_histories_converge() {
    run_all(0..6000, SimFaults::default());
}

#[test]
fn random_histories_with_overflows_converge() {
    run_all(0..5000, SimFaults { overflows: true, ..SimFaults::default() });
}

#[test]
fn random_histories_with_few_watches_converge() {
    run_all(0..2000, SimFaults { few_watches: true, ..SimFaults::default() });
}

#[test]
fn random_histories_with_unreadable_directories_converge() {
    run_all(0..2000, SimFaults { modes: true, ..SimFaults::default() });
}

#[test]
fn random_histories_with_all_faults_converge() {
    run_all(0..2000, SimFaults { overflows: true, few_watches: true, modes: true });
}

/// Number of histories of each kind in the long test.
const MANY: u64 = 150_000;

#[test]
#[ignore = "takes minutes: to be played after each change of how events are understood"]
fn very_many_random_histories_converge() {
    let or_not = [true, false];
    for (overflows, few_watches, modes) in
        or_not.into_iter().flat_map(|a| or_not.map(|b| or_not.map(|c| (a, b, c)))).flatten()
    {
        run_all(10_000..10_000 + MANY, SimFaults { overflows, few_watches, modes });
    }
}
