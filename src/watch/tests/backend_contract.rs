//! Contract tests that every backend must pass: a model of each tree, updated only from the events,
//! must equal the tree when all is quiet.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEvent, FsEventKind, MirrorId},
    path::TreePath,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::super::{
    backend::{Backend, DrainStatus, Drained, SkipFn, WatchTree},
    fanotify::FanotifyBackend,
    fsevents::{FsEventsBackend, relay::RelayedStreams},
    inotify::{InotifyBackend, InotifyLimits},
};

/// State of an entry, as read when an event reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum EntryState {
    Directory { inode: u64, mode: u32 },
    Other { inode: u64, mode: u32, size: u64, modified: (i64, i64) },
}

/// State of a tree as reconstructed from the events.
#[derive(Debug)]
struct TreeModel {
    root: PathBuf,
    known: BTreeMap<PathBuf, EntryState>,
}

impl TreeModel {
    fn read(root: &Path) -> Self {
        let mut model = Self { root: root.into(), known: BTreeMap::new() };
        model.read_subtree(Path::new(""));
        model
    }

    fn read_entry(&mut self, path: &Path) {
        let state = fs::symlink_metadata(self.root.join(path)).map(|data| {
            let (inode, mode) = (data.ino(), data.mode());
            if data.is_dir() {
                return EntryState::Directory { inode, mode };
            }
            let modified = (data.mtime(), data.mtime_nsec());
            EntryState::Other { inode, mode, size: data.len(), modified }
        });
        if !matches!(state, Ok(EntryState::Directory { .. })) {
            // Nothing is below it, whatever was there. A whole map would take too long to search.
            let from = self.known.range(path.to_owned()..).map(|(known, _)| known);
            let below: Vec<PathBuf> =
                from.take_while(|known| known.starts_with(path)).cloned().collect();
            for known in below {
                self.known.remove(&known);
            }
        }
        if let Ok(state) = state {
            self.known.insert(path.into(), state);
        }
    }

    fn read_subtree(&mut self, path: &Path) {
        self.known.retain(|known, _| !known.starts_with(path));
        self.read_entry(path);
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return };
        for entry in entries.flatten() {
            let below = path.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.read_subtree(&below),
                _ => self.read_entry(&below),
            }
        }
    }

    fn apply(&mut self, kind: &FsEventKind) {
        match kind {
            FsEventKind::Changed(Change { edit, kind: EntryKind::Directory, path })
                if *edit != Edit::Attrib =>
            {
                self.read_subtree(&on_disk(path));
            }
            FsEventKind::Changed(change) => self.read_entry(&on_disk(&change.path)),
            FsEventKind::Renamed { from, to, .. } => {
                self.read_subtree(&on_disk(from));
                self.read_subtree(&on_disk(to));
            }
            FsEventKind::Lost(path) => self.read_subtree(&on_disk(path)),
            FsEventKind::RootGone(_) => panic!("a backend does not report lost roots"),
        }
    }
}

fn on_disk(path: &TreePath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())).into()
}

/// A backend and the models of its mirrors.
struct BackendHarness {
    backend: Box<dyn Backend>,
    drained: Drained,
    models: BTreeMap<MirrorId, TreeModel>,
}

impl BackendHarness {
    fn new(backend: Box<dyn Backend>) -> Self {
        Self { backend, drained: Drained::default(), models: BTreeMap::new() }
    }

    fn cover_except(&mut self, id: u32, root: &Path, skip: SkipFn) {
        let mirror = MirrorId(id);
        let root = fs::canonicalize(root).unwrap();
        self.backend.cover(&WatchTree { skip, ..WatchTree::whole(id, &root) }).unwrap();
        while !self.drained.covered.iter().any(|(covered, _)| *covered == mirror) {
            self.backend.advance(&mut self.drained);
            assert!(self.drained.failed.is_empty(), "{:?}", self.drained.failed);
        }
        self.models.insert(mirror, TreeModel::read(&root));
    }

    fn cover(&mut self, id: u32, root: &Path) {
        self.cover_except(id, root, Arc::new(|_| false));
    }

    /// Drains the backend once.
    fn drain(&mut self) {
        let status = self.backend.drain(&mut self.drained).unwrap();
        if status == DrainStatus::Empty {
            self.backend.flush_pending(&mut self.drained);
        }
        self.backend.advance(&mut self.drained);
        self.apply();
    }

    fn apply(&mut self) -> Vec<FsEvent> {
        let events = std::mem::take(&mut self.drained.fs_events);
        for event in &events {
            if let Some(model) = self.models.get_mut(&event.mirror) {
                model.apply(&event.kind);
            }
        }
        events
    }

    /// Drains the backend until everything that happened before is reported.
    fn quiesce(&mut self) -> Vec<FsEvent> {
        let mut all = Vec::new();
        for _ in 0..3 {
            while self.backend.drain(&mut self.drained).unwrap() == DrainStatus::More {}
            while self.backend.advance(&mut self.drained) {}
            self.backend.flush_pending(&mut self.drained);
            while self.backend.advance(&mut self.drained) {}
            all.extend(self.apply());
        }
        assert!(!self.backend.has_pending());
        all
    }

    /// Quiesces, and compares the models with the trees.
    fn check(&mut self) -> Vec<FsEvent> {
        let events = self.quiesce();
        let Drained { warnings, unwatched, .. } = &self.drained;
        let context = format!("{events:?} {warnings:?} {unwatched:?}");
        for (mirror, model) in &self.models {
            let real = TreeModel::read(&model.root);
            for (path, state) in &real.known {
                assert_eq!(model.known.get(path), Some(state), "{mirror:?}: {path:?} {context}");
            }
            for path in model.known.keys() {
                assert!(real.known.contains_key(path), "{mirror:?}: {path:?} is gone {context}");
            }
        }
        events
    }
}

/// Deterministic pseudo-random numbers (xorshift).
#[derive(Debug)]
pub(in crate::watch) struct WatchRng(pub(in crate::watch) u64);

impl WatchRng {
    pub(in crate::watch) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Makes a random change below `dir`; most of them fail, because the name does not exist.
fn random_change(dir: &Path, rng: &mut WatchRng) {
    let (a, b) = (random_path(dir, rng), random_path(dir, rng));
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let result: io::Result<()> = match rng.roll(14) {
        0..=3 => fs::create_dir_all(&a),
        4 | 5 => fs::write(&a, vec![b'x'; rng.roll(100)]),
        6..=8 => fs::rename(&a, &b),
        9 => rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, exchange)
            .map_err(Into::into),
        10 => fs::remove_dir_all(&a),
        11 => fs::remove_file(&a),
        12 => fs::OpenOptions::new()
            .write(true)
            .open(&a)
            .and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH)),
        _ => fs::rename(&a, &b).and_then(|()| fs::rename(&b, &a)).and_then(|()| fs::rename(&a, &b)),
    };
    drop(result);
}

fn random_path(dir: &Path, rng: &mut WatchRng) -> PathBuf {
    let mut path = dir.join(["in", "in", "in/nest", "out", "other"][rng.roll(5)]);
    for _ in 0..=rng.roll(3) {
        path.push(["a", "b", "c", "a name of more than twenty-two bytes"][rng.roll(4)]);
    }
    path
}

fn temp_tree() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for name in ["in/nest", "out", "other"] {
        fs::create_dir_all(temp.path().join(name)).unwrap();
    }
    temp
}

/// Makes random changes, drains after a random number of them, and compares now and then.
fn converge(backend: Box<dyn Backend>, seed: u64, rounds: usize) {
    let temp = temp_tree();
    let mut rng = WatchRng(seed);
    let mut harness = BackendHarness::new(backend);
    harness.cover(0, &temp.path().join("in"));
    harness.cover(1, &temp.path().join("other"));
    harness.cover(2, &temp.path().join("in/nest"));
    harness.cover(3, &temp.path().join("in"));
    for _ in 0..rounds {
        for _ in 0..rng.roll(60) {
            random_change(temp.path(), &mut rng);
            if rng.roll(4) == 0 {
                harness.drain();
            }
        }
        // The nested root must persist: its loss is handled by the root monitor.
        assert!(temp.path().join("in/nest").is_dir());
        harness.check();
    }
}

/// As `converge`, but other threads make the changes while the backend is drained.
fn converge_concurrently(backend: Box<dyn Backend>, rounds: u64) {
    let temp = temp_tree();
    let mut harness = BackendHarness::new(backend);
    harness.cover(0, &temp.path().join("in"));
    harness.cover(1, &temp.path().join("other"));
    for round in 0..rounds {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..=2)
                .map(|worker| {
                    let path = temp.path();
                    scope.spawn(move || {
                        let mut rng = WatchRng(round * 7 + worker * 1_000_003);
                        (0..150).for_each(|_| random_change(path, &mut rng));
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                harness.drain();
            }
        });
        harness.check();
    }
}

/// Makes more changes than the kernel's queue holds, and then some that no event reports.
fn recover_from_overflow(backend: Box<dyn Backend>, limit: &str) {
    let temp = temp_tree();
    let root = temp.path().join("in");
    fs::create_dir(root.join("before")).unwrap();
    let mut harness = BackendHarness::new(backend);
    harness.cover(0, &root);
    fs::write(root.join("before/f"), "").unwrap();
    harness.check();
    let limit: usize = fs::read_to_string(limit).unwrap().trim().parse().unwrap();
    // Each file causes at least one event.
    (0..=limit).for_each(|n| drop(fs::File::create(root.join(n.to_string())).unwrap()));
    fs::create_dir_all(root.join("unseen/a/b")).unwrap();
    fs::remove_dir(root.join("nest")).unwrap();
    fs::rename(root.join("before"), root.join("after")).unwrap();
    let events = harness.check();
    let lost = FsEventKind::Lost(TreePath::root());
    assert!(events.iter().any(|event| event.kind == lost), "nothing overflowed");
    assert!(!harness.drained.overflows.is_empty(), "no overflow is recorded");
    fs::write(root.join("after/f"), "more").unwrap();
    fs::create_dir(root.join("unseen/a/b/c")).unwrap();
    harness.check();
}

/// Runs `act` on this thread without the capabilities that override file permissions.
fn without_capabilities<T>(act: impl FnOnce() -> T) -> T {
    let before = capabilities(None).unwrap();
    let mut less = before;
    less.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, less).unwrap();
    let result = act();
    set_capabilities(None, before).unwrap();
    result
}

mod inotify_contract {
    use super::*;

    fn backend(limits: InotifyLimits) -> Box<dyn Backend> {
        Box::new(InotifyBackend::new(limits).unwrap())
    }

    #[test]
    fn an_overflow_is_recovered() {
        let limit = "/proc/sys/fs/inotify/max_queued_events";
        recover_from_overflow(backend(InotifyLimits::default()), limit);
    }

    #[test]
    fn a_directory_that_becomes_readable_is_watched() {
        use std::os::unix::fs::PermissionsExt;
        let temp = temp_tree();
        let path = temp.path().join("in/a");
        let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        fs::create_dir_all(path.join("b")).unwrap();
        set_mode(0).unwrap();
        let mut harness = BackendHarness::new(backend(InotifyLimits::default()));
        without_capabilities(|| {
            harness.cover(0, &temp.path().join("in"));
            assert!(harness.drained.warnings.iter().any(|text| text.contains("in/a:")));
            set_mode(0o755).unwrap();
            harness.check();
            fs::create_dir(path.join("b/c")).unwrap();
            harness.check();
        });
    }

    #[test]
    fn random_changes_converge() {
        for seed in 1..=8 {
            converge(backend(InotifyLimits::default()), seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn random_changes_converge_with_the_smallest_buffer() {
        for seed in 1..=4 {
            converge(
                backend(InotifyLimits { buffer: 0, ..InotifyLimits::default() }),
                seed * 0x51ed_2701,
                40,
            );
        }
    }

    #[test]
    fn concurrent_changes_converge() {
        converge_concurrently(backend(InotifyLimits { buffer: 0, ..InotifyLimits::default() }), 40);
    }

    /// Uses parallel steps even for a single directory, and changes in between.
    fn with_parallel_steps() -> Box<dyn Backend> {
        backend(InotifyLimits { eager_dirs: 0, min_parallel_dirs: 1, ..InotifyLimits::default() })
    }

    #[test]
    fn a_directory_moved_out_of_a_partly_watched_tree_converges() {
        let temp = temp_tree();
        let (from, to) = (temp.path().join("in/from"), temp.path().join("other/to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        let mut harness = BackendHarness::new(with_parallel_steps());
        harness.cover(0, &temp.path().join("other"));
        let root = fs::canonicalize(temp.path().join("in")).unwrap();
        let tree = WatchTree::whole(1, root);
        harness.backend.cover(&tree).unwrap();
        let mut run_steps = |steps: usize| {
            assert!(
                (0..steps).all(|_| harness.backend.advance(&mut harness.drained)),
                "all is watched"
            );
            assert_eq!(harness.backend.drain(&mut harness.drained).unwrap(), DrainStatus::Empty);
            harness.apply();
        };
        // Each step watches one more level, so `a` is known and not yet watched.
        run_steps(3);
        fs::rename(&from, &to).unwrap();
        run_steps(0);
        fs::write(to.join("a/b/f"), "").unwrap();
        harness.check();
    }

    #[test]
    fn concurrent_changes_converge_while_walks_are_queued() {
        converge_concurrently(
            backend(InotifyLimits { eager_dirs: 0, ..InotifyLimits::default() }),
            40,
        );
    }

    #[test]
    fn random_changes_converge_with_parallel_steps() {
        for seed in 1..=8 {
            converge(with_parallel_steps(), seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn concurrent_changes_converge_with_parallel_steps() {
        converge_concurrently(with_parallel_steps(), 40);
    }
}

mod fanotify_contract {
    use super::*;
    use mirror_platform::fanotify::FanotifyQueue;

    #[test]
    fn an_overflow_is_recovered() {
        let Some(_) = backend() else { return };
        let limit = "/proc/sys/fs/fanotify/max_queued_events";
        recover_from_overflow(
            Box::new(FanotifyBackend::new(FanotifyQueue::Limited).unwrap()),
            limit,
        );
    }

    /// `None` without the privileges; then the test is skipped, or fails where `CI` is set.
    fn backend() -> Option<Box<dyn Backend>> {
        match FanotifyBackend::new(FanotifyQueue::Unlimited) {
            Ok(backend) => Some(Box::new(backend)),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "fanotify: {error}");
                eprintln!("skipped: fanotify: {error}");
                None
            }
        }
    }

    #[test]
    fn random_changes_converge() {
        for seed in 1..=8 {
            let Some(backend) = backend() else { return };
            converge(backend, seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn an_unresolvable_directory_causes_a_rescan() {
        let Some(backend) = backend() else { return };
        let temp = temp_tree();
        let path = temp.path().join("in/a");
        fs::create_dir(&path).unwrap();
        let mut harness = BackendHarness::new(backend);
        harness.cover(0, &temp.path().join("in"));
        fs::write(path.join("f"), "").unwrap();
        let events = without_capabilities(|| harness.quiesce());
        let lost = FsEventKind::Lost(TreePath::root());
        assert!(events.iter().any(|event| event.kind == lost), "{events:?}");
        fs::write(path.join("g"), "").unwrap();
        harness.check();
    }

    #[test]
    fn a_mount_that_cannot_be_opened_for_a_while_causes_a_rescan() {
        use std::os::unix::fs::PermissionsExt;
        let Some(backend) = backend() else { return };
        let temp = temp_tree();
        let root = temp.path().join("in");
        let Some(_mounted) = super::super::TempMount::tmpfs(&root) else { return };
        fs::create_dir(root.join("a")).unwrap();
        let mut harness = BackendHarness::new(backend);
        harness.cover(0, &root);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o000)).unwrap();
        harness.check();
        fs::write(root.join("a/f"), "").unwrap();
        without_capabilities(|| harness.backend.drain(&mut harness.drained)).unwrap();
        harness.check();
        fs::write(root.join("a/g"), "").unwrap();
        harness.check();
    }

    #[test]
    fn concurrent_changes_converge() {
        let Some(backend) = backend() else { return };
        converge_concurrently(backend, 40);
    }
}

/// The events of inotify in the form of FSEvents.
mod fsevents_contract {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn backend(seed: u64) -> Box<dyn Backend> {
        Box::new(FsEventsBackend::new(RelayedStreams::new(WatchRng(seed))))
    }

    #[test]
    fn random_changes_converge() {
        for seed in 1..=8 {
            converge(backend(seed), seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn concurrent_changes_converge() {
        converge_concurrently(backend(7), 40);
    }

    #[test]
    fn a_rename_is_recognised_by_the_inode() {
        let temp = temp_tree();
        let root = temp.path().join("in");
        fs::create_dir_all(root.join("a/b")).unwrap();
        let mut harness = BackendHarness::new(backend(1));
        harness.cover(0, &root);
        fs::rename(root.join("a"), root.join("nest/c")).unwrap();
        let [from, to] = ["a", "nest/c"].map(|path| TreePath::new(path.as_bytes()).unwrap());
        let kind = FsEventKind::Renamed { from, to, kind: EntryKind::Directory };
        assert_eq!(harness.check(), [FsEvent { mirror: MirrorId(0), kind }]);
    }

    #[test]
    fn a_barrier_asks_the_service_for_its_events() {
        let temp = temp_tree();
        let root = temp.path().join("in");
        let mut harness = BackendHarness::new(backend(1));
        harness.cover(0, &root);
        fs::create_dir(root.join("a")).unwrap();
        harness.backend.catch_up();
        let mut fds = [PollFd::from_borrowed_fd(harness.backend.as_fd(), PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec::default()));
        assert_eq!(ready, Ok(1), "it is readable");
        assert_eq!(harness.check().len(), 1);
    }
}
