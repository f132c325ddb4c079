//! Many directories that are new, watched and read by several threads at once.
//!
//! Nearly all of what a walk costs are calls of the kernel for directories that have nothing
//! to do with each other. Scouts make these calls and change nothing that the source knows; what
//! they saw is taken in afterwards, in the order in which the walk would have come by. They see
//! to the plain case only, a directory that was found at its place, is wanted, can be read, and was
//! watched by nobody. Everything else is left to the walk, as if nobody had looked.
//!
//! As the walk does, they look names up only in a directory that they know by its watch. But they
//! name what they watch instead of opening it, and do not read one that holds no others. What was
//! watched and what was looked at thereafter may so be two directories, if one took the place of the
//! other in between; then the directory above, which has been watched for longer, tells, at any time
//! later, that the first one left. So what was asked by its name is read when it leaves its place.

use std::{io, sync::Mutex, thread};

use mirror_core::path::TreePath;
use mirror_platform::{entries::ReadBuffer, inotify::WatchId, stand::Stand};

use super::{
    super::{
        forest::{Forest, State, Ticket},
        source::Findings,
    },
    Inotify,
    kernel::Kernel,
    mirrors::{Mirror, Mirrors},
    walk::Walk,
};

/// How many directories are scouted before the source looks for events again: some milliseconds.
const LEAP: usize = 1024;

/// How many directories a scout takes at a time.
const PIECE: usize = 32;

/// A directory to be scouted, and what was seen there in the plain case.
struct Errand {
    ticket: Ticket,
    seen: Option<Seen>,
}

/// A directory that is watched from now on, by nobody before, and was read thereafter.
struct Seen {
    watch: WatchId,
    /// The names of the directories in it, each with a NUL at its end.
    directories: Vec<u8>,
}

/// What each scout has for itself.
struct Pack {
    stand: Option<Stand>,
    buffer: ReadBuffer,
}

/// What the scouts share.
struct Scouts<'a, K> {
    kernel: &'a K,
    forest: &'a Forest,
    mirrors: &'a Mirrors,
    number: usize,
    /// Watches of directories that were not the expected ones, and that may be nobody's.
    strays: Mutex<Vec<WatchId>>,
}

impl Pack {
    fn new(stand: Option<Stand>) -> Self {
        Self { stand, buffer: ReadBuffer::new() }
    }
}

impl<K: Kernel> Inotify<K> {
    /// Whether so much of a walk is left that it is worth to send scouts.
    pub(super) fn is_for_scouts(&self, walk: &Walk) -> bool {
        let room = self.limits.watches.saturating_sub(self.watches);
        !walk.verify && walk.rest.len() >= self.limits.scouted && room >= LEAP
    }

    /// Does a large piece of a walk. Returns whether it is at its end.
    pub(super) fn leap(&mut self, walk: &mut Walk, found: &mut Findings) -> bool {
        let first = walk.rest.len().saturating_sub(LEAP);
        let ahead = walk.rest.drain(first..).rev();
        let mut errands: Vec<Errand> = ahead.map(|ticket| Errand { ticket, seen: None }).collect();
        let Self { kernel, forest, mirrors, limits, .. } = self;
        let strays = Mutex::default();
        let scouts = Scouts { kernel, forest, mirrors, number: limits.scouts, strays };
        let strays = scouts.run(&mut errands);
        let mut held = None;
        let departures = self.forest.departures();
        for Errand { ticket, seen } in errands {
            let node = self.forest.resolve(ticket);
            match (node, seen) {
                (Some(node), Some(seen)) if self.holds(&seen, departures) => {
                    self.take_in(node, &seen, walk);
                }
                (node, seen) => {
                    if let Some(seen) = seen {
                        self.let_go(seen.watch);
                    }
                    if let Some(node) = node {
                        self.visit(node, walk, &mut held, found);
                    }
                }
            }
        }
        for stray in strays {
            self.let_go(stray);
        }
        walk.rest.is_empty()
    }

    /// Whether what a scout saw is what the walk would see: no directory was found elsewhere
    /// meanwhile, this one included.
    fn holds(&self, seen: &Seen, departures: u64) -> bool {
        self.forest.departures() == departures && self.forest.watched_by(seen.watch).is_none()
    }

    fn take_in(&mut self, node: u32, seen: &Seen, walk: &mut Walk) {
        self.watches += 1;
        let node = self.occupy(node, seen.watch);
        for name in seen.directories.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            let child = self.forest.child_or_new(node, name, State::Pending);
            walk.rest.push(self.forest.ticket(child));
        }
        self.forest.set_state(node, State::Asked);
        walk.read += 1;
        if walk.tells_new() {
            walk.new.push(self.forest.ticket(node));
        }
    }

    /// Ends a watch that belongs to no node, so that the directory is new to whoever looks next.
    pub(super) fn let_go(&self, watch: WatchId) {
        if self.forest.watched_by(watch).is_none() {
            // It fails if the directory was deleted: then the kernel has ended the watch.
            let _ = self.kernel.unwatch(watch);
        }
    }
}

impl<K: Kernel> Scouts<'_, K> {
    /// Runs all errands. Returns the watches that may be nobody's.
    fn run(self, errands: &mut [Errand]) -> Vec<WatchId> {
        let number = thread::available_parallelism().map_or(1, |n| n.get().min(self.number));
        let pieces = Mutex::new(errands.chunks_mut(PIECE));
        thread::scope(|scope| {
            let scout = || self.scout(&pieces, &mut Pack::new(Stand::part().ok()));
            let sent = (0..number).filter(|_| {
                let thread = thread::Builder::new().name("scout".into());
                thread.spawn_scoped(scope, scout).is_ok()
            });
            if sent.count() == 0 {
                self.scout(&pieces, &mut Pack::new(None));
            }
        });
        self.strays.into_inner().unwrap_or_default()
    }

    /// Runs errands until there are no more.
    fn scout<'e>(&self, pieces: &Mutex<impl Iterator<Item = &'e mut [Errand]>>, pack: &mut Pack) {
        let next = || pieces.lock().ok()?.next();
        while let Some(piece) = next() {
            for family in piece.chunk_by_mut(|a, b| self.parent(a) == self.parent(b)) {
                self.see_family(family, pack);
            }
        }
    }

    fn parent(&self, errand: &Errand) -> Option<u32> {
        self.forest.parent(self.forest.resolve(errand.ticket)?)
    }

    /// Runs the errands to the children of one directory.
    fn see_family(&self, family: &mut [Errand], pack: &mut Pack) -> Option<()> {
        let parent = self.parent(family.first()?)?;
        let expected = self.forest.watch(parent)?;
        let mut wanting: Vec<_> = self.mirrors.wanting(self.forest, parent).collect();
        let dir = self.kernel.search(&self.forest.path(parent)?).ok()?;
        let leaves = self.kernel.leaves(&dir).ok()?;
        let Pack { stand, buffer } = pack;
        let there = self.kernel.vantage(&dir, stand.as_mut()).ok()?;
        self.is_at(&there, expected).then_some(())?;
        for errand in family {
            let Some(node) = self.forest.resolve(errand.ticket) else { continue };
            let is_plain = self.forest.state(node) == State::Pending
                && self.forest.watch(node).is_none()
                && !self.forest.is_root(node);
            let name = self.forest.name(node);
            let mut is_wanted = || wanting.iter_mut().any(|(m, path)| wants(m, path, name));
            if is_plain && is_wanted() {
                errand.seen = self.see((&dir, &there), name, leaves, buffer);
            }
        }
        Some(())
    }

    /// Whether a scout has come to the directory that has this watch.
    fn is_at(&self, there: &K::Vantage<'_>, expected: WatchId) -> bool {
        let Ok(watch) = self.kernel.watch_here(there) else { return false };
        let is_it = watch == expected;
        // Another scout may find it at its place: whether it is anybody's, is seen at the end.
        if !is_it && let Ok(mut strays) = self.strays.lock() {
            strays.push(watch);
        }
        is_it
    }

    /// First watches a directory, and then looks for directories in it.
    fn see(
        &self,
        (parent, there): (&K::Dir, &K::Vantage<'_>),
        name: &[u8],
        leaves: K::Leaves,
        buffer: &mut ReadBuffer,
    ) -> Option<Seen> {
        let watch = self.kernel.watch_new(there, name).ok()?;
        let Ok(directories) = directories(self.kernel, (parent, name), leaves, buffer) else {
            let _ = self.kernel.unwatch(watch);
            return None;
        };
        Some(Seen { watch, directories })
    }
}

/// The names of the directories in the directory `name` of this one, each with a NUL at its end.
fn directories<K: Kernel>(
    kernel: &K,
    (parent, name): (&K::Dir, &[u8]),
    leaves: K::Leaves,
    buffer: &mut ReadBuffer,
) -> io::Result<Vec<u8>> {
    let mut directories = Vec::new();
    if !kernel.is_leaf(leaves, parent, name)? {
        kernel.list(&kernel.open_in(parent, name)?, buffer, |name| {
            directories.extend_from_slice(name);
            directories.push(0);
        })?;
    }
    Ok(directories)
}

/// Whether a mirror wants the directory `name` of the one at `path`, which it wants.
fn wants(mirror: &Mirror, path: &mut TreePath, name: &[u8]) -> bool {
    if path.push(name).is_none() {
        return false;
    }
    let wants = mirror.wants(path);
    path.pop();
    wants
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::source::{Source, Tree},
            Limits,
        },
        *,
    };
    use mirror_core::notice::{MirrorId, News, Notice};
    use mirror_platform::{dir::Dir, leaf::Leaves, stand::Vantage};
    use std::{fs, path::PathBuf, sync::Arc};

    const DIRECTORIES: usize = 3000;

    /// A place with a wide and deep tree at `tree`, and a source.
    fn ground() -> (tempfile::TempDir, PathBuf, Inotify) {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap().join("tree");
        for number in 0..DIRECTORIES / 2 {
            fs::create_dir_all(root.join(format!("{}/{number}/below", number % 7))).unwrap();
        }
        fs::create_dir_all(root.join("6/skipped/below")).unwrap();
        (place, root, Inotify::new(Limits::default()).unwrap())
    }

    fn cover(source: &mut Inotify, id: u32, root: &std::path::Path) -> Findings {
        let skip = Arc::new(|path: &TreePath| {
            path.as_bytes().split(|&b| b == b'/').any(|name| name == b"skipped")
        });
        let mut found = Findings::default();
        source.cover(&Tree { mirror: MirrorId(id), root: root.into(), skip, exact: None }).unwrap();
        while source.work(&mut found) {}
        found
    }

    /// The paths that are told.
    fn told(source: &mut Inotify) -> Vec<(MirrorId, String)> {
        let mut found = Findings::default();
        source.drain(&mut found).unwrap();
        let mut told: Vec<_> = found
            .notices
            .into_iter()
            .map(|Notice { mirror, news }| match news {
                News::Changed(change) => (mirror, change.path.to_string()),
                other => panic!("{other:?}"),
            })
            .collect();
        told.sort_unstable();
        told.dedup();
        told
    }

    #[test]
    fn each_wanted_directory_of_a_large_tree_is_watched() {
        let (_place, root, mut source) = ground();
        let found = cover(&mut source, 0, &root);
        assert_eq!(found.covered, [(MirrorId(0), 1 + 7 + DIRECTORIES)]);
        assert_eq!(source.watches, 1 + 7 + DIRECTORIES);
        let numbers =
            (0..DIRECTORIES / 2).map(|number| format!("/{}/{number}/below/f", number % 7));
        let mut files: Vec<String> = numbers.collect();
        for file in &files {
            fs::write(root.join(&file[1..]), "").unwrap();
        }
        fs::write(root.join("6/skipped/below/f"), "").unwrap();
        files.sort_unstable();
        let told: Vec<String> = told(&mut source).into_iter().map(|(_, path)| path).collect();
        assert!(told == files, "told {} of {}", told.len(), files.len());
    }

    #[test]
    fn a_root_within_a_root_is_told_to_both() {
        let (_place, root, mut source) = ground();
        assert_eq!(cover(&mut source, 0, &root.join("3")).covered.len(), 1);
        assert_eq!(cover(&mut source, 1, &root).covered, [(MirrorId(1), 1 + 7 + DIRECTORIES)]);
        assert_eq!(source.watches, 1 + 7 + DIRECTORIES);
        fs::write(root.join("3/10/below/f"), "").unwrap();
        let expected = [(0, "/10/below/f"), (1, "/3/10/below/f")];
        assert_eq!(told(&mut source), expected.map(|(id, path)| (MirrorId(id), path.into())));
    }

    #[test]
    fn what_scouts_saw_of_a_directory_that_went_meanwhile_is_let_go() {
        let (_place, root, mut source) = ground();
        cover(&mut source, 0, &root);
        let before = source.watches;
        let new = root.join("new");
        fs::create_dir(&new).unwrap();
        let dir = Dir::open(&root).unwrap();
        let there = Vantage::new(&dir, None).unwrap();
        let watch = source.kernel.watch_new(&there, b"new").unwrap();
        source.let_go(watch);
        assert!(source.kernel.watch_new(&there, b"new").is_ok());
        assert_eq!(source.watches, before);
    }
    #[test]
    fn one_that_took_the_place_of_another_while_a_scout_looked_hides_nothing() {
        let place = tempfile::tempdir().unwrap();
        let outside = fs::canonicalize(place.path()).unwrap();
        let root = outside.join("tree");
        for directory in [root.join("x/below"), outside.join("y")] {
            fs::create_dir_all(directory).unwrap();
        }
        let mut source = Inotify::new(Limits { scouted: 1, ..Limits::default() }).unwrap();
        let tree = Tree {
            mirror: MirrorId(0),
            root: root.clone(),
            skip: Arc::new(|_| false),
            exact: None,
        };
        source.cover(&tree).unwrap();
        let mut found = Findings::default();
        // The root is read, and what is in it is still to be looked at.
        assert!(source.work(&mut found));
        let mut walk = source.walks.pop_front().unwrap();
        let node = source.forest.resolve(walk.rest.pop().unwrap()).unwrap();
        let dir = Dir::open(&root).unwrap();
        let there = Vantage::new(&dir, None).unwrap();
        let watch = source.kernel.watch_new(&there, b"x").unwrap();
        fs::rename(root.join("x"), root.join("z")).unwrap();
        fs::rename(outside.join("y"), root.join("x")).unwrap();
        let leaves = Leaves::on_file_system_of(&dir).unwrap();
        let kernel = &source.kernel;
        let directories =
            directories(kernel, (&dir, b"x"), leaves, &mut ReadBuffer::new()).unwrap();
        assert!(directories.is_empty());
        source.take_in(node, &Seen { watch, directories }, &mut walk);
        source.walks.push_back(walk);
        // What is verified is walked after the next events.
        for _ in 0..3 {
            source.drain(&mut found).unwrap();
            while source.work(&mut found) {}
        }
        assert_eq!(source.watches, 4);
        fs::write(root.join("z/below/f"), "").unwrap();
        assert_eq!(told(&mut source), [(MirrorId(0), "/z/below/f".into())]);
    }
}
