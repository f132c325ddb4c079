//! Invariants that hold when all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId},
    path::TreePath,
};
use mirror_platform::inotify::WatchId;

use super::{
    super::dir_tree::{DirState, LIMBO, ROOT},
    MIRRORS, SimHarness,
    file_system::SimFileSystem,
    is_skipped,
};

/// State of an entry: its inode, and the number of its changes.
type InodeVersion = (usize, u64);

/// State of a tree as reconstructed from the events.
#[derive(Clone, Debug, Default)]
pub(super) struct SimModel {
    root: Vec<u8>,
    known: BTreeMap<TreePath, InodeVersion>,
}

impl SimModel {
    pub(super) fn of(fs: &SimFileSystem, root: &[u8]) -> Self {
        let mut model = Self { root: root.into(), known: BTreeMap::new() };
        model.read_subtree(fs, &TreePath::root());
        model
    }

    fn read_entry(&mut self, fs: &SimFileSystem, path: &TreePath) -> Option<usize> {
        let full = [&*self.root, path.as_bytes()].join(&b'/');
        let Some(inode) = fs.find(&full) else {
            self.known.retain(|known, _| !path.contains(known));
            return None;
        };
        self.known.insert(path.clone(), (inode, fs.inodes[inode].version));
        Some(inode)
    }

    fn read_subtree(&mut self, fs: &SimFileSystem, path: &TreePath) {
        self.known.retain(|known, _| !path.contains(known));
        let Some(inode) = self.read_entry(fs, path) else { return };
        for name in fs.inodes[inode].children.keys() {
            self.read_subtree(fs, &path.join(name.as_bytes()).unwrap());
        }
    }

    pub(super) fn apply(&mut self, fs: &SimFileSystem, event: &FsEventKind) {
        match event {
            FsEventKind::Changed(Change { edit: Edit::Create | Edit::Delete, kind, path })
                if *kind == EntryKind::Directory =>
            {
                self.read_subtree(fs, path);
            }
            FsEventKind::Changed(change) => _ = self.read_entry(fs, &change.path),
            FsEventKind::Renamed { from, to, .. } => {
                self.read_subtree(fs, from);
                self.read_subtree(fs, to);
            }
            FsEventKind::Lost(path) => self.read_subtree(fs, path),
            FsEventKind::RootGone(_) => panic!("a backend does not report lost roots"),
        }
    }
}

/// A directory that a mirror wants.
struct WantedDir {
    inode: usize,
    below: TreePath,
    /// Full path without the leading slash.
    path: Vec<u8>,
}

/// Returns the directories that the mirror wants.
fn wanted_dirs(fs: &SimFileSystem, mirror: MirrorId) -> Vec<WantedDir> {
    let (root, skips) = MIRRORS[mirror.0 as usize];
    let tree = SimModel::of(fs, root.as_bytes());
    let wanted = tree.known.into_iter().filter(|(path, (inode, _))| {
        fs.inodes[*inode].is_directory && !(skips && is_skipped(path))
    });
    wanted
        .map(|(below, (inode, _))| {
            let parts = [root.as_bytes(), below.as_bytes()];
            let path = if below.is_root() { parts[0].into() } else { parts.join(&b'/') };
            WantedDir { inode, below, path }
        })
        .collect()
}

fn display_path(path: Option<Vec<u8>>) -> String {
    path.map_or_else(|| "nowhere".into(), |path| format!("/{}", path.escape_ascii()))
}

impl SimHarness {
    /// Compares the watches with the tree, and the models with the mirrors' trees.
    pub(super) fn check(&mut self) {
        self.read_polled();
        self.check_watches();
        self.check_models();
        self.check_leftovers();
    }

    fn read_polled(&mut self) {
        let fs = self.fs.lock().unwrap();
        for (mirror, path) in &self.polled {
            if let Some(model) = self.models.get_mut(mirror) {
                model.read_subtree(&fs, path);
            }
        }
    }

    /// Checks that exactly the wanted directories are watched, except polled ones, and known by
    /// their paths.
    fn check_watches(&self) {
        let (fs, dirs) = (self.fs(), &self.backend.dirs);
        let mut watched = BTreeSet::new();
        for &mirror in self.models.keys() {
            let is_polled = |below: &TreePath| {
                self.polled.iter().any(|(id, top)| *id == mirror && top.contains(below))
            };
            for WantedDir { inode, below, path } in wanted_dirs(&fs, mirror) {
                let node = self.backend.find(&path);
                match fs.inodes[inode].watch {
                    None if is_polled(&below) => {}
                    None => panic!("{} is not watched for {mirror:?}", display_path(Some(path))),
                    Some(watch) => {
                        let known = node.and_then(|node| dirs.watch(node));
                        assert_eq!(known, Some(WatchId(watch)), "{}", display_path(Some(path)));
                        watched.insert(watch);
                    }
                }
            }
        }
        let superfluous = fs.watches().filter(|(watch, _)| !watched.contains(watch));
        let superfluous: Vec<_> = superfluous
            .map(|(watch, inode)| {
                let node = dirs.node_with_watch(WatchId(watch));
                let state = node.map(|node| dirs.state(node));
                (inode, state, display_path(node.and_then(|node| dirs.path(node))))
            })
            .collect();
        assert!(superfluous.is_empty(), "watched and not wanted: {superfluous:?}");
        assert_eq!(self.backend.watches, watched.len(), "the count of the watches");
    }

    fn check_models(&self) {
        let fs = self.fs();
        for (mirror, model) in &self.models {
            let skips = MIRRORS[mirror.0 as usize].1;
            let of = |model: SimModel| -> Vec<(TreePath, InodeVersion)> {
                let known = model.known.into_iter();
                // A skipped directory itself is reported, its entries are not.
                let is_reported = |path: &TreePath| {
                    !(skips && path.parent().is_some_and(|parent| is_skipped(&parent)))
                };
                known.filter(|(path, _)| is_reported(path)).collect()
            };
            let real = SimModel::of(&fs, &model.root);
            assert_eq!(
                of(model.clone()),
                of(real),
                "{mirror:?}: the reported state and the actual one"
            );
        }
    }

    fn check_leftovers(&self) {
        let dirs = &self.backend.dirs;
        assert_eq!(dirs.children(LIMBO).count(), 0, "something is left in limbo");
        let pending = dirs.subtree(ROOT).into_iter();
        let pending = pending.filter(|&node| dirs.state(node) == DirState::Pending);
        let scheduled = self.backend.rereads.keys().filter_map(|&ticket| dirs.resolve(ticket));
        let scheduled = scheduled.filter(|&node| dirs.watch(node).is_some());
        let left: Vec<_> = pending
            .chain(scheduled)
            .map(|node| (display_path(dirs.path(node)), dirs.state(node)))
            .collect();
        assert!(left.is_empty(), "still pending: {left:?}");
    }
}
