//! What is held to when all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    notice::{Change, Edit, Kind, MirrorId, News},
    path::TreePath,
};
use mirror_platform::inotify::WatchId;

use super::{
    super::super::forest::{LIMBO, State, TOP},
    MIRRORS, Trial, is_skipped,
    world::World,
};

/// What an entry looks like: its inode, and how often it was changed.
type Looks = (usize, u64);

/// A tree as it is known from the notices.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    root: Vec<u8>,
    known: BTreeMap<TreePath, Looks>,
}

impl Model {
    pub(super) fn of(world: &World, root: &[u8]) -> Self {
        let mut model = Self { root: root.into(), known: BTreeMap::new() };
        model.look_below(world, &TreePath::root());
        model
    }

    fn look_at(&mut self, world: &World, path: &TreePath) -> Option<usize> {
        let full = [&*self.root, path.as_bytes()].join(&b'/');
        let Some(inode) = world.find(&full) else {
            self.known.retain(|known, _| !path.contains(known));
            return None;
        };
        self.known.insert(path.clone(), (inode, world.inodes[inode].version));
        Some(inode)
    }

    fn look_below(&mut self, world: &World, path: &TreePath) {
        self.known.retain(|known, _| !path.contains(known));
        let Some(inode) = self.look_at(world, path) else { return };
        for name in world.inodes[inode].children.keys() {
            self.look_below(world, &path.join(name.as_bytes()).unwrap());
        }
    }

    pub(super) fn apply(&mut self, world: &World, news: &News) {
        match news {
            News::Changed(Change { edit: Edit::Create | Edit::Delete, kind, path })
                if *kind == Kind::Directory =>
            {
                self.look_below(world, path);
            }
            News::Changed(change) => _ = self.look_at(world, &change.path),
            News::Moved { from, to, .. } => {
                self.look_below(world, from);
                self.look_below(world, to);
            }
            News::Lost(path) => self.look_below(world, path),
            News::Gone(_) => panic!("a source does not tell that a root is gone"),
        }
    }
}

/// A directory that a mirror wants.
struct Wanted {
    inode: usize,
    /// Where it is in the tree.
    below: TreePath,
    /// Where it is, without the leading slash.
    path: Vec<u8>,
}

/// What the mirror wants.
fn wanted(world: &World, mirror: MirrorId) -> Vec<Wanted> {
    let (root, skips) = MIRRORS[mirror.0 as usize];
    let tree = Model::of(world, root.as_bytes());
    let wanted = tree.known.into_iter().filter(|(path, (inode, _))| {
        world.inodes[*inode].is_directory && !(skips && is_skipped(path))
    });
    wanted
        .map(|(below, (inode, _))| {
            let parts = [root.as_bytes(), below.as_bytes()];
            let path = if below.is_root() { parts[0].into() } else { parts.join(&b'/') };
            Wanted { inode, below, path }
        })
        .collect()
}

fn shown(path: Option<Vec<u8>>) -> String {
    path.map_or_else(|| "nowhere".into(), |path| format!("/{}", path.escape_ascii()))
}

impl Trial {
    /// Holds the watches to the tree, and the models to what they stand for.
    pub(super) fn check(&mut self) {
        self.look_at_polled();
        self.check_watches();
        self.check_models();
        self.check_leftovers();
    }

    fn look_at_polled(&mut self) {
        let world = self.world.lock().unwrap();
        for (mirror, path) in &self.polled {
            if let Some(model) = self.models.get_mut(mirror) {
                model.look_below(&world, path);
            }
        }
    }

    /// Exactly what is wanted is watched, but for what is polled, and known by its path.
    fn check_watches(&self) {
        let (world, forest) = (self.world(), &self.source.forest);
        let mut watched = BTreeSet::new();
        for &mirror in self.models.keys() {
            let is_polled = |below: &TreePath| {
                self.polled.iter().any(|(id, top)| *id == mirror && top.contains(below))
            };
            for Wanted { inode, below, path } in wanted(&world, mirror) {
                let node = self.source.find(&path);
                match world.inodes[inode].watch {
                    None if is_polled(&below) => {}
                    None => panic!("{} is not watched for {mirror:?}", shown(Some(path))),
                    Some(watch) => {
                        let known = node.and_then(|node| forest.watch(node));
                        assert_eq!(known, Some(WatchId(watch)), "{}", shown(Some(path)));
                        watched.insert(watch);
                    }
                }
            }
        }
        let superfluous = world.watches().filter(|(watch, _)| !watched.contains(watch));
        let superfluous: Vec<_> = superfluous
            .map(|(watch, inode)| {
                let node = forest.watched_by(WatchId(watch));
                let state = node.map(|node| forest.state(node));
                (inode, state, shown(node.and_then(|node| forest.path(node))))
            })
            .collect();
        assert!(superfluous.is_empty(), "watched and not wanted: {superfluous:?}");
        assert_eq!(self.source.watches, watched.len(), "the count of the watches");
    }

    fn check_models(&self) {
        let world = self.world();
        for (mirror, model) in &self.models {
            let skips = MIRRORS[mirror.0 as usize].1;
            let of = |model: Model| -> Vec<(TreePath, Looks)> {
                let known = model.known.into_iter();
                // A directory that is skipped itself is told, what is in it is not.
                let is_told = |path: &TreePath| {
                    !(skips && path.parent().is_some_and(|parent| is_skipped(&parent)))
                };
                known.filter(|(path, _)| is_told(path)).collect()
            };
            let real = Model::of(&world, &model.root);
            assert_eq!(of(model.clone()), of(real), "{mirror:?}: what was told, and what there is");
        }
    }

    fn check_leftovers(&self) {
        let forest = &self.source.forest;
        assert_eq!(forest.children(LIMBO).count(), 0, "something is left in limbo");
        let pending = forest.subtree(TOP).into_iter();
        let pending = pending.filter(|&node| forest.state(node) == State::Pending);
        let doubted = self.source.doubts.keys().filter_map(|&ticket| forest.resolve(ticket));
        let doubted = doubted.filter(|&node| forest.watch(node).is_some());
        let left: Vec<_> = pending
            .chain(doubted)
            .map(|node| (shown(forest.path(node)), forest.state(node)))
            .collect();
        assert!(left.is_empty(), "still to be looked at: {left:?}");
    }
}
