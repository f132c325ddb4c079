//! Directories that the kernel does not tell about: they are read again and again.
//!
//! The polling has a thread of its own, since a network file system may keep it waiting, and only
//! while there is something to poll.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use hashbrown::DefaultHashBuilder;
use mirror_core::{notice::MirrorId, path::TreePath};
use mirror_platform::{
    dir::{Dir, Stat, device},
    entries::ReadBuffer,
};

use super::source::Tree;

/// The shortest time between two rounds.
const SHORTEST: Duration = Duration::from_secs(5);

/// A round may take this part of the time.
const SHARE: u32 = 20;

/// What the polling is asked for. It ends when nobody can ask any more.
#[derive(Debug)]
pub(super) enum Order {
    /// Poll the directory at the path in the tree, and all below it. The answer, when the
    /// directories are known, is [`Answer::Known`].
    Add(Tree, TreePath),
    /// Poll nothing for the mirror any more.
    Remove(MirrorId),
}

/// What the polling found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// From here on changes at and below the path are found, in this many directories.
    Known(MirrorId, TreePath, usize),
    /// What a directory lists has changed.
    Changed(MirrorId, TreePath),
}

/// What is polled, and what it looked like.
#[derive(Debug, Default)]
pub(super) struct Polled {
    subtrees: Vec<Subtree>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Subtree {
    tree: Tree,
    top: TreePath,
    prints: HashMap<TreePath, u64>,
}

/// Polls as it is ordered, until `orders` has no sender any more. `tell` gets the answers.
pub(super) fn run(orders: &Receiver<Order>, tell: impl Fn(Vec<Answer>)) {
    let mut polled = Polled::default();
    let mut wait = SHORTEST;
    loop {
        let order = if polled.is_empty() {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            orders.recv_timeout(wait)
        };
        match order {
            Ok(order) => tell(polled.obey(order)),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let began = Instant::now();
                tell(polled.round());
                wait = SHORTEST.max(began.elapsed() * SHARE);
            }
        }
    }
}

/// Starts the thread.
///
/// # Errors
///
/// If there can't be another thread.
pub(super) fn start(tell: impl Fn(Vec<Answer>) + Send + 'static) -> std::io::Result<Sender<Order>> {
    let (sender, orders) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("watch-poll".into()).spawn(move || run(&orders, tell))?;
    Ok(sender)
}

impl Polled {
    fn is_empty(&self) -> bool {
        self.subtrees.is_empty()
    }

    /// Does what is ordered.
    ///
    /// Where each change matters, a mirror may be polled only until another one is, in its place:
    /// then what differs by now is told of it first.
    pub(super) fn obey(&mut self, order: Order) -> Vec<Answer> {
        match order {
            Order::Remove(mirror) => {
                self.subtrees.retain(|subtree| subtree.tree.mirror != mirror);
                Vec::new()
            }
            Order::Add(tree, top) => {
                let mirror = tree.mirror;
                self.subtrees
                    .retain(|known| known.tree.mirror != mirror || !top.contains(&known.top));
                let is_known =
                    |known: &Subtree| known.tree.mirror == mirror && known.top.contains(&top);
                let (mut count, mut answers) = (0, Vec::new());
                if !self.subtrees.iter().any(is_known) {
                    let mut subtree = Subtree { tree, top: top.clone(), prints: HashMap::new() };
                    subtree.round(&self.hasher);
                    count = subtree.prints.len();
                    answers = self.round_of(|other| subtree.may_replace(other));
                    self.subtrees.push(subtree);
                }
                answers.push(Answer::Known(mirror, top, count));
                answers
            }
        }
    }

    /// Reads all directories. What differs from the last time is told.
    pub(super) fn round(&mut self) -> Vec<Answer> {
        self.round_of(|_| true)
    }

    fn round_of(&mut self, is_wanted: impl Fn(&Subtree) -> bool) -> Vec<Answer> {
        let Self { subtrees, hasher } = self;
        subtrees
            .iter_mut()
            .filter(|subtree| is_wanted(subtree))
            .flat_map(|subtree| {
                let mirror = subtree.tree.mirror;
                let changed = subtree.round(hasher);
                changed.into_iter().map(move |path| Answer::Changed(mirror, path))
            })
            .collect()
    }
}

impl Subtree {
    fn may_replace(&self, other: &Self) -> bool {
        let is_exact = self.tree.exact.is_some() && other.tree.exact.is_some();
        let overlap = self.top.contains(&other.top) || other.top.contains(&self.top);
        is_exact && overlap && self.tree.root == other.tree.root
    }

    /// Reads all directories. Returns those that are not what they were, and those that were not
    /// there.
    fn round(&mut self, hasher: &DefaultHashBuilder) -> Vec<TreePath> {
        let mut prints = HashMap::with_capacity(self.prints.len());
        let mut changed = Vec::new();
        let mut rest = vec![self.top.clone()];
        let mut buffer = ReadBuffer::new();
        // If the root is not there, that is for the sentinel.
        let Ok(root) = Dir::open(&self.tree.root) else { return changed };
        while let Some(path) = rest.pop() {
            let mut children = Vec::new();
            // What can't be read now has no print: it is told when it can be read again.
            let Some(print) = read(&root, &path, &mut buffer, |name| children.push(name), hasher)
            else {
                continue;
            };
            if self.prints.get(&path) != Some(&print) {
                changed.push(path.clone());
            }
            let below = children.iter().filter_map(|name| path.join(name));
            rest.extend(below.filter(|child| !(self.tree.skip)(child)));
            prints.insert(path, print);
        }
        self.prints = prints;
        changed
    }
}

/// Reads a directory. Returns a number that differs when anything of its entries differs.
fn read(
    root: &Dir,
    path: &TreePath,
    buffer: &mut ReadBuffer,
    mut child: impl FnMut(Box<[u8]>),
    hasher: &DefaultHashBuilder,
) -> Option<u64> {
    let dir = root.open_below(path.as_bytes()).ok()?;
    let own = dir.stat(b"").ok()?;
    // Its times tell of an entry that came and went since, which somebody may have copied meanwhile.
    let times = [own.stx_mtime, own.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec));
    // A sum, since directories list their entries in no order.
    let mut print = hasher.hash_one((look(&own, b""), times));
    dir.read(buffer, |entry| {
        // An entry that is gone by now makes the difference by being absent.
        if let Ok(stat) = dir.stat(entry.name) {
            print = print.wrapping_add(hasher.hash_one(look(&stat, entry.name)));
        }
        if entry.file_type.is_dir() {
            child(entry.name.into());
        }
        Ok(())
    })
    .ok()?;
    Some(print)
}

/// What tells an entry from what it was before.
fn look<'a>(stat: &Stat, name: &'a [u8]) -> impl std::hash::Hash + use<'a> {
    let is_directory = stat.stx_mode & 0o170_000 == 0o040_000;
    let [modified, changed] =
        [stat.stx_mtime, stat.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec));
    // The size and the times of a directory tell of its own entries, with which it is read anyway.
    let content = (!is_directory).then_some((stat.stx_size, modified, changed));
    (name, stat.stx_mode, stat.stx_uid, stat.stx_gid, (device(stat), stat.stx_ino), content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::notice::Writes;
    use std::{fs, path::Path, sync::Arc};

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn tree(mirror: u32, root: &Path) -> Tree {
        let skip = Arc::new(|path: &TreePath| path.as_bytes().starts_with(b"skipped"));
        Tree { mirror: MirrorId(mirror), root: root.into(), skip, exact: None }
    }

    fn order(root: &Path, top: &str) -> Order {
        Order::Add(tree(1, root), path(top))
    }

    fn changed(paths: &[&str]) -> Vec<Answer> {
        paths.iter().map(|p| Answer::Changed(MirrorId(1), path(p))).collect()
    }

    #[test]
    fn a_change_is_told_as_the_directory_that_lists_it() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a/b", "c", "skipped"] {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        fs::write(place.path().join("a/b/f"), "one").unwrap();
        let mut polled = Polled::default();
        let known = polled.obey(order(place.path(), ""));
        assert_eq!(known, [Answer::Known(MirrorId(1), path(""), 4)]);
        assert_eq!(polled.round(), []);
        // Of another length: in one tick of a coarse clock its time is the same.
        fs::write(place.path().join("a/b/f"), "another").unwrap();
        fs::write(place.path().join("skipped/f"), "two").unwrap();
        assert_eq!(polled.round(), changed(&["a/b"]));
        fs::create_dir(place.path().join("c/new")).unwrap();
        assert_eq!(polled.round(), changed(&["c", "c/new"]));
        fs::remove_dir(place.path().join("c/new")).unwrap();
        assert_eq!(polled.round(), changed(&["c"]));
        polled.obey(Order::Remove(MirrorId(1)));
        assert!(polled.is_empty());
    }

    #[test]
    fn what_came_and_went_between_two_rounds_has_changed_its_directory() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("a")).unwrap();
        let mut polled = Polled::default();
        polled.obey(order(place.path(), ""));
        // Where the clock is coarse, it may take a tick until that can be seen.
        let began = fs::metadata(place.path().join("a")).unwrap().modified().unwrap();
        while fs::metadata(place.path().join("a")).unwrap().modified().unwrap() == began {
            fs::write(place.path().join("a/f"), "").unwrap();
            fs::remove_file(place.path().join("a/f")).unwrap();
        }
        assert_eq!(polled.round(), changed(&["a"]));
        assert_eq!(polled.round(), []);
    }

    #[test]
    fn a_subtree_is_polled_once() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        let mut polled = Polled::default();
        for top in ["a/b", "a", "a/b", "a"] {
            assert!(matches!(&*polled.obey(order(place.path(), top)), [Answer::Known(..)]));
        }
        assert_eq!(polled.subtrees.len(), 1);
        fs::write(place.path().join("a/b/f"), "").unwrap();
        assert_eq!(polled.round(), changed(&["a/b"]));
    }

    #[test]
    fn what_differs_when_another_begins_in_its_place_is_told_before() {
        let place = tempfile::tempdir().unwrap();
        let mut polled = Polled::default();
        let add = |polled: &mut Polled, mirror, exact| {
            polled.obey(Order::Add(Tree { exact, ..tree(mirror, place.path()) }, path("")))
        };
        let known = |mirror| Answer::Known(MirrorId(mirror), path(""), 1);
        assert_eq!(add(&mut polled, 1, Some(Writes::default())), [known(1)]);
        fs::write(place.path().join("f"), "").unwrap();
        assert_eq!(add(&mut polled, 2, None), [known(2)]);
        let changed = Answer::Changed(MirrorId(1), path(""));
        assert_eq!(add(&mut polled, 3, Some(Writes::default())), [changed, known(3)]);
        assert_eq!(polled.round(), []);
    }
}
