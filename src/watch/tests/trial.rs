//! Trials that every source has to pass: a model of each tree, kept from the notices and from
//! nothing else, has to be equal to the tree when all is quiet.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    notice::{Change, Edit, Kind, MirrorId, News, Notice},
    path::TreePath,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::super::{
    fanotify::Fanotify,
    inotify::{Inotify, Limits},
    source::{Findings, Ready, Skip, Source, Tree},
};

/// What an entry looks like to somebody who looks only where a notice told to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Looks {
    Directory { inode: u64, mode: u32 },
    Other { inode: u64, mode: u32, size: u64, modified: (i64, i64) },
}

/// A tree as it is known from the notices.
#[derive(Debug)]
struct Model {
    root: PathBuf,
    known: BTreeMap<PathBuf, Looks>,
}

impl Model {
    fn read(root: &Path) -> Self {
        let mut model = Self { root: root.into(), known: BTreeMap::new() };
        model.look_below(Path::new(""));
        model
    }

    fn look_at(&mut self, path: &Path) {
        let looks = fs::symlink_metadata(self.root.join(path)).map(|data| {
            let (inode, mode) = (data.ino(), data.mode());
            if data.is_dir() {
                return Looks::Directory { inode, mode };
            }
            let modified = (data.mtime(), data.mtime_nsec());
            Looks::Other { inode, mode, size: data.len(), modified }
        });
        match looks {
            Ok(looks) => {
                self.known.insert(path.into(), looks);
            }
            Err(_) => {
                self.known.remove(path);
            }
        }
    }

    fn look_below(&mut self, path: &Path) {
        self.known.retain(|known, _| !known.starts_with(path));
        self.look_at(path);
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return };
        for entry in entries.flatten() {
            let below = path.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.look_below(&below),
                _ => self.look_at(&below),
            }
        }
    }

    fn apply(&mut self, news: &News) {
        match news {
            News::Changed(Change { edit: Edit::Create | Edit::Delete, kind, path })
                if *kind == Kind::Directory =>
            {
                self.look_below(&on_disk(path));
            }
            News::Changed(change) => self.look_at(&on_disk(&change.path)),
            News::Moved { from, to, .. } => {
                self.look_below(&on_disk(from));
                self.look_below(&on_disk(to));
            }
            News::Lost(path) => self.look_below(&on_disk(path)),
            News::Gone(_) => panic!("a source does not tell that a root is gone"),
        }
    }
}

fn on_disk(path: &TreePath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())).into()
}

/// A source and the mirrors that it tells about.
pub(in crate::watch) struct Trial {
    source: Box<dyn Source>,
    found: Findings,
    models: BTreeMap<MirrorId, Model>,
}

impl Trial {
    pub(in crate::watch) fn new(source: Box<dyn Source>) -> Self {
        Self { source, found: Findings::default(), models: BTreeMap::new() }
    }

    pub(in crate::watch) fn cover_except(&mut self, id: u32, root: &Path, skip: Skip) {
        let mirror = MirrorId(id);
        let root = fs::canonicalize(root).unwrap();
        self.source.cover(&Tree { mirror, root: root.clone(), skip, exact: None }).unwrap();
        while !self.found.covered.iter().any(|(covered, _)| *covered == mirror) {
            self.source.work(&mut self.found);
            assert!(self.found.failed.is_empty(), "{:?}", self.found.failed);
        }
        self.models.insert(mirror, Model::read(&root));
    }

    pub(in crate::watch) fn cover(&mut self, id: u32, root: &Path) {
        self.cover_except(id, root, Arc::new(|_| false));
    }

    /// Lets the source find out what it can at once.
    pub(in crate::watch) fn drain(&mut self) {
        let ready = self.source.drain(&mut self.found).unwrap();
        if ready == Ready::Nothing {
            self.source.settle(&mut self.found);
        }
        self.source.work(&mut self.found);
        self.apply();
    }

    fn apply(&mut self) -> Vec<Notice> {
        let notices = std::mem::take(&mut self.found.notices);
        for notice in &notices {
            if let Some(model) = self.models.get_mut(&notice.mirror) {
                model.apply(&notice.news);
            }
        }
        notices
    }

    /// Everything that the source has to tell of what was done before.
    pub(in crate::watch) fn quiesce(&mut self) -> Vec<Notice> {
        let mut all = Vec::new();
        for _ in 0..3 {
            while self.source.drain(&mut self.found).unwrap() == Ready::More {}
            while self.source.work(&mut self.found) {}
            self.source.settle(&mut self.found);
            while self.source.work(&mut self.found) {}
            all.extend(self.apply());
        }
        assert!(!self.source.awaits());
        all
    }

    /// Quiesces, and holds the models to the trees.
    pub(in crate::watch) fn check(&mut self) -> Vec<Notice> {
        let notices = self.quiesce();
        let Findings { warnings, unwatched, .. } = &self.found;
        let told = format!("{notices:?} {warnings:?} {unwatched:?}");
        for (mirror, model) in &self.models {
            let real = Model::read(&model.root);
            for (path, looks) in &real.known {
                assert_eq!(model.known.get(path), Some(looks), "{mirror:?}: {path:?} {told}");
            }
            for path in model.known.keys() {
                assert!(real.known.contains_key(path), "{mirror:?}: {path:?} is gone {told}");
            }
        }
        notices
    }
}

/// Numbers that look random, and are the same in each run.
#[derive(Debug)]
pub(in crate::watch) struct Dice(pub(in crate::watch) u64);

impl Dice {
    pub(in crate::watch) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Does something to the trees below `place`; most of it fails, as there is nothing of that name.
pub(in crate::watch) fn churn(place: &Path, dice: &mut Dice) {
    let (a, b) = (somewhere(place, dice), somewhere(place, dice));
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let result: io::Result<()> = match dice.roll(14) {
        0..=3 => fs::create_dir_all(&a),
        4 | 5 => fs::write(&a, vec![b'x'; dice.roll(100)]),
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

fn somewhere(place: &Path, dice: &mut Dice) -> PathBuf {
    let mut path = place.join(["in", "in", "in/nest", "out", "other"][dice.roll(5)]);
    for _ in 0..=dice.roll(3) {
        path.push(["a", "b", "c", "a name of more than twenty-two bytes"][dice.roll(4)]);
    }
    path
}

pub(in crate::watch) fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for name in ["in/nest", "out", "other"] {
        fs::create_dir_all(place.path().join(name)).unwrap();
    }
    place
}

/// Random changes, told in pieces of random size, and a look at the whole now and then.
pub(in crate::watch) fn converge(source: Box<dyn Source>, seed: u64, rounds: usize) {
    let place = place();
    let mut dice = Dice(seed);
    let mut trial = Trial::new(source);
    trial.cover(0, &place.path().join("in"));
    trial.cover(1, &place.path().join("other"));
    trial.cover(2, &place.path().join("in/nest"));
    trial.cover(3, &place.path().join("in"));
    for _ in 0..rounds {
        for _ in 0..dice.roll(60) {
            churn(place.path(), &mut dice);
            if dice.roll(4) == 0 {
                trial.drain();
            }
        }
        // The nested root is not to be lost: that is for the sentinel.
        assert!(place.path().join("in/nest").is_dir());
        trial.check();
    }
}

/// As `converge`, but the changes come from other threads while the source is drained.
pub(in crate::watch) fn converge_in_a_race(source: Box<dyn Source>, rounds: u64) {
    let place = place();
    let mut trial = Trial::new(source);
    trial.cover(0, &place.path().join("in"));
    trial.cover(1, &place.path().join("other"));
    for round in 0..rounds {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..=2)
                .map(|worker| {
                    let path = place.path();
                    scope.spawn(move || {
                        let mut dice = Dice(round * 7 + worker * 1_000_003);
                        (0..150).for_each(|_| churn(path, &mut dice));
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                trial.drain();
            }
        });
        trial.check();
    }
}

/// More changes than the kernel's queue holds, and then some of which no event tells.
pub(in crate::watch) fn survive_an_overflow(source: Box<dyn Source>, limit: &str) {
    let place = place();
    let root = place.path().join("in");
    fs::create_dir(root.join("before")).unwrap();
    let mut trial = Trial::new(source);
    trial.cover(0, &root);
    fs::write(root.join("before/f"), "").unwrap();
    trial.check();
    let limit: usize = fs::read_to_string(limit).unwrap().trim().parse().unwrap();
    // Each file is at least one event.
    (0..=limit).for_each(|n| drop(fs::File::create(root.join(n.to_string())).unwrap()));
    fs::create_dir_all(root.join("unseen/a/b")).unwrap();
    fs::remove_dir(root.join("nest")).unwrap();
    fs::rename(root.join("before"), root.join("after")).unwrap();
    let notices = trial.check();
    let lost = News::Lost(TreePath::root());
    assert!(notices.iter().any(|notice| notice.news == lost), "nothing overflowed");
    assert!(!trial.found.overflows.is_empty(), "nobody says so");
    fs::write(root.join("after/f"), "more").unwrap();
    fs::create_dir(root.join("unseen/a/b/c")).unwrap();
    trial.check();
}

/// Does something without the right to read what others may not, on this thread.
fn without_rights<T>(act: impl FnOnce() -> T) -> T {
    let before = capabilities(None).unwrap();
    let mut less = before;
    less.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, less).unwrap();
    let result = act();
    set_capabilities(None, before).unwrap();
    result
}

mod inotify_passes {
    use super::*;

    #[test]
    fn an_overflow() {
        let limit = "/proc/sys/fs/inotify/max_queued_events";
        survive_an_overflow(source(Limits::default()), limit);
    }

    #[test]
    fn a_directory_that_becomes_readable() {
        use std::os::unix::fs::PermissionsExt;
        let place = place();
        let path = place.path().join("in/a");
        let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        fs::create_dir_all(path.join("b")).unwrap();
        set_mode(0).unwrap();
        let mut trial = Trial::new(source(Limits::default()));
        without_rights(|| {
            trial.cover(0, &place.path().join("in"));
            assert!(trial.found.warnings.iter().any(|text| text.contains("in/a:")));
            set_mode(0o755).unwrap();
            trial.check();
            fs::create_dir(path.join("b/c")).unwrap();
            trial.check();
        });
    }

    fn source(limits: Limits) -> Box<dyn Source> {
        Box::new(Inotify::new(limits).unwrap())
    }

    #[test]
    fn random_changes() {
        for seed in 1..=8 {
            converge(source(Limits::default()), seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn random_changes_read_in_the_smallest_pieces() {
        for seed in 1..=4 {
            converge(source(Limits { buffer: 0, ..Limits::default() }), seed * 0x51ed_2701, 40);
        }
    }

    #[test]
    fn random_changes_of_others_at_the_same_time() {
        converge_in_a_race(source(Limits { buffer: 0, ..Limits::default() }), 40);
    }

    /// Scouts are sent even to a single directory, and changes come in between.
    fn with_scouts() -> Box<dyn Source> {
        source(Limits { at_once: 0, scouted: 1, ..Limits::default() })
    }

    #[test]
    fn a_directory_that_comes_out_of_a_tree_that_is_still_being_watched() {
        let place = place();
        let (from, to) = (place.path().join("in/from"), place.path().join("other/to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        let mut trial = Trial::new(with_scouts());
        trial.cover(0, &place.path().join("other"));
        let root = fs::canonicalize(place.path().join("in")).unwrap();
        let tree = Tree { mirror: MirrorId(1), root, skip: Arc::new(|_| false), exact: None };
        trial.source.cover(&tree).unwrap();
        let mut listen = |work: usize| {
            assert!((0..work).all(|_| trial.source.work(&mut trial.found)), "all is watched");
            assert_eq!(trial.source.drain(&mut trial.found).unwrap(), Ready::Nothing);
            trial.apply();
        };
        // Each time one more level is watched, so that `a` is known and not yet watched.
        listen(3);
        fs::rename(&from, &to).unwrap();
        listen(0);
        fs::write(to.join("a/b/f"), "").unwrap();
        trial.check();
    }

    #[test]
    fn random_changes_of_others_while_walks_wait() {
        converge_in_a_race(source(Limits { at_once: 0, ..Limits::default() }), 40);
    }

    #[test]
    fn random_changes_seen_by_scouts() {
        for seed in 1..=8 {
            converge(with_scouts(), seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn random_changes_of_others_while_scouts_are_out() {
        converge_in_a_race(with_scouts(), 40);
    }
}

mod fanotify_passes {
    use super::*;
    use mirror_platform::fanotify::Queue;

    #[test]
    fn an_overflow() {
        let Some(_) = source() else { return };
        let limit = "/proc/sys/fs/fanotify/max_queued_events";
        survive_an_overflow(Box::new(Fanotify::new(Queue::Limited).unwrap()), limit);
    }

    /// `None` without the rights; then the test is skipped, or fails where `CI` is set.
    fn source() -> Option<Box<dyn Source>> {
        match Fanotify::new(Queue::Unlimited) {
            Ok(source) => Some(Box::new(source)),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "fanotify: {error}");
                eprintln!("skipped: fanotify: {error}");
                None
            }
        }
    }

    #[test]
    fn random_changes() {
        for seed in 1..=8 {
            let Some(source) = source() else { return };
            converge(source, seed * 0x9e37_79b9, 40);
        }
    }

    #[test]
    fn a_directory_that_could_not_be_looked_for_and_then_can() {
        let Some(source) = source() else { return };
        let place = place();
        let path = place.path().join("in/a");
        fs::create_dir(&path).unwrap();
        let mut trial = Trial::new(source);
        trial.cover(0, &place.path().join("in"));
        fs::write(path.join("f"), "").unwrap();
        let notices = without_rights(|| trial.quiesce());
        let lost = News::Lost(TreePath::root());
        assert!(notices.iter().any(|notice| notice.news == lost), "{notices:?}");
        fs::write(path.join("g"), "").unwrap();
        trial.check();
    }

    #[test]
    fn random_changes_of_others_at_the_same_time() {
        let Some(source) = source() else { return };
        converge_in_a_race(source, 40);
    }
}
