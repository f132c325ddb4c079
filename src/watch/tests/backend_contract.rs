//! Contract tests that every backend must pass: a model of each tree, updated only from the events,
//! must equal the tree when all is quiet.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

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

use super::super::backend::{Backend, DrainStatus, Drained, SkipFn, WatchTree};

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
            self.backend.catch_up();
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
