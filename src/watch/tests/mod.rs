//! The whole of watching, with its threads, against the real kernel.

pub(super) mod trial;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use mirror_core::{
    notice::{Change, Edit, Gone, Kind, MirrorId, News, Notice, Writes},
    path::TreePath,
};

use super::*;
use super::{
    choose::Sources,
    inotify::Limits,
    reader::{Command, Reader},
};

/// Longer than anything here takes, if it comes at all.
const LONG: Duration = Duration::from_mins(3);

struct Trial {
    watch: Watch,
    woken: mpsc::Receiver<()>,
    place: tempfile::TempDir,
    barriers: u64,
}

impl Trial {
    fn new(preference: Preference) -> Self {
        let (wake, woken) = mpsc::channel();
        let wake = Box::new(move || {
            // Who does not listen any more has seen what it wanted.
            let _ = wake.send(());
        });
        let watch = Watch::start(preference, Log::default(), wake).unwrap();
        Self { watch, woken, place: tempfile::tempdir().unwrap(), barriers: 0 }
    }

    fn with_sources(sources: Sources) -> Self {
        let mut trial = Self::new(Preference::Auto);
        let bell = rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let (commands, inbox) = mpsc::channel();
        let asks = Asks { commands, bell: Arc::new(bell) };
        let outbox = Arc::new(Outbox::new());
        let (wake, woken) = mpsc::channel();
        let wake = Box::new(move || {
            // Who does not listen any more has seen what it wanted.
            let _ = wake.send(());
        });
        let to_engine: (_, Box<dyn Fn() + Send>) = (outbox.clone(), wake);
        let from_engine = (asks.clone(), inbox);
        let reader = Reader::new(Preference::Auto, Log::default(), from_engine, to_engine);
        let reader = reader.unwrap().with_sources(sources);
        let reader = Some(thread::spawn(move || reader.run()));
        trial.watch = Watch { asks, outbox, reader };
        trial.woken = woken;
        trial
    }

    fn path(&self, below: &str) -> PathBuf {
        fs::canonicalize(self.place.path()).unwrap().join(below)
    }

    fn tree(&self, mirror: u32, below: &str) -> Tree {
        let root = self.path(below);
        fs::create_dir_all(&root).unwrap();
        Tree { mirror: MirrorId(mirror), root, skip: Arc::new(|_| false), exact: None }
    }

    /// What comes, up to the first that is `last`.
    fn until(&self, last: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            self.woken.recv_timeout(LONG).unwrap_or_else(|_| panic!("only {all:?}"));
            let told = self.watch.take();
            let is_end = told.iter().any(&last);
            all.extend(told);
            if is_end {
                return all;
            }
        }
    }

    fn cover(&self, tree: Tree) -> Coverage {
        let mirror = tree.mirror;
        self.watch.cover(tree, None);
        let told = self.until(|told| matches!(told, Told::Covered { .. }));
        match told.last() {
            Some(Told::Covered { mirror: covered, coverage }) if *covered == mirror => {
                coverage.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is told of what happened up to now.
    fn news(&mut self) -> Vec<(u32, News)> {
        self.barriers += 1;
        let barrier = Barrier(self.barriers);
        self.watch.drain(barrier);
        let told = self.until(|told| *told == Told::Drained(barrier));
        assert_eq!(told.last(), Some(&Told::Drained(barrier)));
        told.into_iter()
            .filter_map(|told| match told {
                Told::Notice(notice) => Some((notice.mirror.0, notice.news)),
                _ => None,
            })
            .collect()
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn changed(edit: Edit, kind: Kind, text: &str) -> News {
    News::Changed(Change { edit, kind, path: path(text) })
}

fn gone(told: &Told, how: Gone) -> bool {
    *told == Told::Notice(Notice { mirror: MirrorId(0), news: News::Gone(how) })
}

/// Whether `error` means that the rights for a test are missing; where `CI` is set, it fails.
fn skipped(what: &str, error: &io::Error) {
    assert!(std::env::var_os("CI").is_none(), "{what}: {error}");
    eprintln!("skipped: {what}: {error}");
}

#[test]
fn a_change_is_told_without_being_asked_for() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let trial = Trial::new(preference);
        trial.cover(trial.tree(0, "a"));
        fs::write(trial.path("a/f"), "x").unwrap();
        // It may be seen before it is closed.
        let is_first = |edit| {
            let news = changed(edit, Kind::Other, "f");
            Told::Notice(Notice { mirror: MirrorId(0), news })
        };
        let first = [Edit::Create, Edit::Write].map(is_first);
        trial.until(|told| first.contains(told));
    }
}

#[test]
fn a_rename_between_two_mirrors_is_a_removal_and_an_arrival() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        trial.cover(trial.tree(0, "a"));
        trial.cover(trial.tree(1, "b"));
        fs::create_dir_all(trial.path("a/d/e")).unwrap();
        trial.news();
        fs::rename(trial.path("a/d"), trial.path("b/d")).unwrap();
        let expected = [
            (0, changed(Edit::Delete, Kind::Directory, "d")),
            (1, changed(Edit::Create, Kind::Directory, "d")),
        ];
        assert_eq!(trial.news(), expected, "{preference:?}");
        fs::create_dir(trial.path("b/d/e/f")).unwrap();
        let expected = [(1, changed(Edit::Create, Kind::Directory, "d/e/f"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
        fs::rename(trial.path("b/d/e"), trial.path("b/x")).unwrap();
        let (from, to) = (path("d/e"), path("x"));
        let moved = News::Moved { from, to, kind: Kind::Directory };
        assert_eq!(trial.news(), [(1, moved)], "{preference:?}");
        fs::create_dir(trial.path("b/x/f/g")).unwrap();
        let expected = [(1, changed(Edit::Create, Kind::Directory, "x/f/g"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
    }
}

#[test]
fn what_left_the_tree_is_heard_of_no_more() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        trial.cover(trial.tree(0, "a"));
        fs::create_dir_all(trial.path("a/d/e")).unwrap();
        trial.news();
        fs::rename(trial.path("a/d"), trial.path("d")).unwrap();
        let expected = [(0, changed(Edit::Delete, Kind::Directory, "d"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
        fs::create_dir(trial.path("d/e/f")).unwrap();
        assert_eq!(trial.news(), [], "{preference:?}");
    }
}

#[test]
fn nested_and_shared_roots_are_all_told() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        for (mirror, root) in [(0, "a"), (1, "a/b"), (2, "a/b")] {
            trial.cover(trial.tree(mirror, root));
        }
        fs::create_dir(trial.path("a/b/c")).unwrap();
        let news: BTreeMap<u32, News> = trial.news().into_iter().collect();
        let of = |text| changed(Edit::Create, Kind::Directory, text);
        assert_eq!(news, BTreeMap::from([(0, of("b/c")), (1, of("c")), (2, of("c"))]));
        trial.watch.uncover(MirrorId(0));
        trial.watch.uncover(MirrorId(2));
        // Behind this, it has heard of it.
        trial.news();
        fs::create_dir(trial.path("a/b/c/d")).unwrap();
        assert_eq!(trial.news(), [(1, of("c/d"))], "{preference:?}");
    }
}

#[test]
fn files_of_our_own_are_not_told() {
    let mut trial = Trial::new(Preference::Auto);
    trial.watch.ignore(trial.path("a/log"));
    trial.cover(trial.tree(0, "a"));
    trial.watch.ignore(trial.path("a/d/status"));
    fs::create_dir(trial.path("a/d")).unwrap();
    trial.news();
    fs::write(trial.path("a/log"), "x").unwrap();
    fs::write(trial.path("a/d/status"), "x").unwrap();
    assert_eq!(trial.news(), []);
}

#[test]
fn a_skipped_directory_is_not_told_of() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        let mut tree = trial.tree(0, "a");
        fs::create_dir_all(trial.path("a/skip/d")).unwrap();
        tree.skip = Arc::new(|path| path.as_bytes().starts_with(b"skip"));
        trial.cover(tree);
        fs::write(trial.path("a/skip/f"), "x").unwrap();
        fs::create_dir(trial.path("a/skip/d/e")).unwrap();
        assert_eq!(trial.news(), [], "{preference:?}");
        // Under a name that is wanted it is told of.
        fs::rename(trial.path("a/skip"), trial.path("a/keep")).unwrap();
        assert!(!trial.news().is_empty(), "{preference:?}");
        fs::create_dir(trial.path("a/keep/d/f")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "keep/d/f"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
    }
}

#[test]
fn a_root_that_goes_is_told_and_can_be_covered_again() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        trial.cover(trial.tree(0, "a"));
        fs::rename(trial.path("a"), trial.path("b")).unwrap();
        trial.until(|told| gone(told, Gone::Removed));
        fs::write(trial.path("b/f"), "x").unwrap();
        assert_eq!(trial.news(), []);
        trial.cover(trial.tree(0, "a"));
        fs::create_dir(trial.path("a/d")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "d"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
    }
}

#[test]
fn a_root_that_is_not_there_cannot_be_covered() {
    let trial = Trial::new(Preference::Auto);
    let tree = trial.tree(0, "a");
    fs::remove_dir(trial.path("a")).unwrap();
    trial.watch.cover(tree, None);
    let told = trial.until(|_| true);
    assert!(matches!(told.as_slice(), [Told::CannotCover { mirror: MirrorId(0), .. }]));
}

#[test]
fn large_trees_are_handed_over_to_fanotify() {
    if let Err(error) = fanotify::Fanotify::new(mirror_platform::fanotify::Queue::Unlimited) {
        return skipped("fanotify", &error);
    }
    let sources = Sources::with_limits(Preference::Auto, 5, Limits::default()).unwrap();
    let mut trial = Trial::with_sources(sources);
    (0..4).for_each(|n| fs::create_dir_all(trial.path(&format!("small/{n}"))).unwrap());
    (0..400).for_each(|n| fs::create_dir_all(trial.path(&format!("large/{n}"))).unwrap());
    let small = trial.cover(trial.tree(0, "small"));
    assert_eq!((small.by, small.reason.as_str()), ("inotify", "inotify: 5 directories"));
    let large = trial.cover(trial.tree(1, "large"));
    assert_eq!(large.by, "fanotify", "{large:?}");
    assert!(large.reason.starts_with("fanotify: more than 5 directories on "), "{large:?}");
    fs::create_dir(trial.path("large/7/d")).unwrap();
    fs::create_dir(trial.path("small/3/d")).unwrap();
    let news: BTreeMap<u32, News> = trial.news().into_iter().collect();
    let of = |text| changed(Edit::Create, Kind::Directory, text);
    assert_eq!(news, BTreeMap::from([(0, of("3/d")), (1, of("7/d"))]));
}

#[test]
fn what_the_limit_of_watches_leaves_out_is_polled() {
    let limits = Limits { watches: 3, ..Limits::default() };
    let sources = Sources::with_limits(Preference::Inotify, usize::MAX, limits).unwrap();
    let trial = Trial::with_sources(sources);
    for name in ["a/1", "a/2", "a/3", "a/4/5"] {
        fs::create_dir_all(trial.path(name)).unwrap();
    }
    let coverage = trial.cover(trial.tree(0, "a"));
    assert_eq!(coverage.directories, 3);
    assert!(coverage.polled == 2 || coverage.polled == 3, "{coverage:?}");
    for name in ["a/1/f", "a/2/f", "a/3/f", "a/4/5/f"] {
        fs::write(trial.path(name), "x").unwrap();
    }
    // Each of them is told, by the watch or by the polling.
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    trial.until(|told| {
        let mut seen = seen.borrow_mut();
        match told {
            Told::Notice(Notice { news: News::Changed(change), .. }) => {
                seen.extend(change.path.parent());
            }
            Told::Notice(Notice { news: News::Lost(path), .. }) => drop(seen.insert(path.clone())),
            _ => {}
        }
        ["1", "2", "3", "4/5"].iter().all(|name| seen.contains(&path(name)))
    });
}

/// A file system that is unmounted when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", at, "tmpfs", flags, None) {
            Ok(()) => Some(Self(at.into())),
            Err(error) => {
                skipped("mount", &error.into());
                None
            }
        }
    }

    fn bind(from: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        match rustix::mount::mount_bind(from, at) {
            Ok(()) => Some(Self(at.into())),
            Err(error) => {
                skipped("mount", &error.into());
                None
            }
        }
    }

    fn unmount(&self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn an_unmounted_root_is_gone() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let trial = Trial::new(preference);
        let Some(mounted) = Mounted::tmpfs(&trial.path("a")) else { return };
        trial.cover(trial.tree(0, "a"));
        // Nothing that is held open keeps it from being unmounted.
        mounted.unmount();
        trial.until(|told| gone(told, Gone::Unmounted));
    }
}

#[test]
fn what_is_unmounted_below_a_root_is_not_told_as_deleted() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        let tree = trial.tree(0, "a");
        let Some(mounted) = Mounted::tmpfs(&trial.path("a/m")) else { return };
        fs::create_dir(trial.path("a/m/d")).unwrap();
        trial.cover(tree);
        fs::create_dir(trial.path("a/m/d/e")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "m/d/e"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
        mounted.unmount();
        let lost = Told::Notice(Notice { mirror: MirrorId(0), news: News::Lost(path("m")) });
        trial.until(|told| *told == lost);
        assert_eq!(trial.news(), [], "{preference:?}");
        // What lies beside it, on the other file system, is still watched.
        fs::create_dir(trial.path("a/beside")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "beside"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
        // And so is the directory that shows in its place.
        fs::create_dir(trial.path("a/m/bare")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "m/bare"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
        // Mounted again, it is read again, and then watched.
        let Some(_mounted) = Mounted::tmpfs(&trial.path("a/m")) else { return };
        trial.until(|told| *told == lost);
        fs::create_dir(trial.path("a/m/x")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "m/x"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
    }
}

#[test]
fn something_full_that_is_mounted_in_a_tree_is_told_and_watched() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        let tree = trial.tree(0, "a");
        for name in ["a/m/hidden", "full/x/deep"] {
            fs::create_dir_all(trial.path(name)).unwrap();
        }
        trial.cover(tree);
        let Some(_mounted) = Mounted::bind(&trial.path("full"), &trial.path("a/m")) else { return };
        let lost = Told::Notice(Notice { mirror: MirrorId(0), news: News::Lost(path("m")) });
        trial.until(|told| *told == lost);
        fs::create_dir(trial.path("a/m/x/deep/new")).unwrap();
        let expected = [(0, changed(Edit::Create, Kind::Directory, "m/x/deep/new"))];
        assert_eq!(trial.news(), expected, "{preference:?}");
    }
}

#[test]
fn what_is_mounted_below_a_directory_that_is_renamed_is_still_watched() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        for before in [true, false] {
            let mut trial = Trial::new(preference);
            let tree = trial.tree(0, "a");
            let point = trial.path("a/r/m");
            fs::create_dir_all(&point).unwrap();
            let mount = || Mounted::tmpfs(&point);
            let mut mounted = if before { Some(mount()) } else { None };
            trial.cover(tree);
            if mounted.is_none() {
                mounted = Some(mount());
                let lost =
                    Told::Notice(Notice { mirror: MirrorId(0), news: News::Lost(path("r/m")) });
                if mounted.as_ref().is_some_and(Option::is_some) {
                    trial.until(|told| *told == lost);
                }
            }
            let Some(Some(mut mounted)) = mounted else { return };
            for (from, to) in [("a/r", "a/s"), ("a/s", "a/t")] {
                fs::rename(trial.path(from), trial.path(to)).unwrap();
                mounted.0 = trial.path(to).join("m");
                trial.news();
                fs::create_dir(mounted.0.join("new")).unwrap();
                let name = format!("{}/m/new", &to[2..]);
                let expected = [(0, changed(Edit::Create, Kind::Directory, &name))];
                assert_eq!(trial.news(), expected, "{preference:?} {before}");
                fs::remove_dir(mounted.0.join("new")).unwrap();
                trial.news();
            }
        }
    }
}

#[test]
fn what_is_mounted_is_told_also_if_another_root_comes_at_that_time() {
    let place = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(place.path()).unwrap();
    fs::create_dir_all(root.join("a")).unwrap();
    fs::create_dir_all(root.join("b")).unwrap();
    let mut sentinel = sentinel::Sentinel::new().unwrap();
    sentinel.add(MirrorId(0), &root.join("a"), None).unwrap();
    let Some(mounted) = Mounted::tmpfs(&root.join("a/m")) else { return };
    sentinel.add(MirrorId(1), &root.join("b"), None).unwrap();
    let point = mounted.0.as_os_str().as_encoded_bytes().to_vec();
    assert_eq!(sentinel.look().mounted, [point]);
    assert!(sentinel.look().mounted.is_empty());
}

#[test]
fn a_root_behind_a_bind_mount_is_told_under_its_own_name() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        fs::create_dir_all(trial.path("real/d")).unwrap();
        fs::create_dir_all(trial.path("elsewhere")).unwrap();
        let Some(_bound) = Mounted::bind(&trial.path("real"), &trial.path("bound")) else { return };
        trial.cover(trial.tree(0, "bound"));
        trial.cover(trial.tree(1, "real/d"));
        fs::create_dir(trial.path("real/d/e")).unwrap();
        fs::create_dir(trial.path("elsewhere/e")).unwrap();
        let news: BTreeMap<u32, News> = trial.news().into_iter().collect();
        let of = |text| changed(Edit::Create, Kind::Directory, text);
        assert_eq!(news, BTreeMap::from([(0, of("d/e")), (1, of("e"))]), "{preference:?}");
    }
}

#[test]
fn names_of_any_bytes_and_paths_of_any_length_are_told() {
    use std::os::unix::ffi::OsStrExt;
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        trial.cover(trial.tree(0, "a"));
        for name in [&b"\xff\n -"[..], &[b'n'; 255]] {
            fs::create_dir(trial.path("a").join(std::ffi::OsStr::from_bytes(name))).unwrap();
            let change = Change {
                edit: Edit::Create,
                kind: Kind::Directory,
                path: TreePath::root().join(name).unwrap(),
            };
            assert_eq!(trial.news(), [(0, News::Changed(change))], "{preference:?}");
        }
        // Deeper than PATH_MAX.
        let root = mirror_platform::dir::Dir::open(&trial.path("a")).unwrap();
        let mut deep = TreePath::root();
        for _ in 0..30 {
            let here = root.open_below(deep.as_bytes()).unwrap();
            let name = [b'd'; 200];
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mkdirat(&here, std::ffi::OsStr::from_bytes(&name), mode).unwrap();
            deep.push(&name).unwrap();
        }
        trial.news();
        let here = root.open_below(deep.as_bytes()).unwrap();
        rustix::fs::mkdirat(&here, "last", rustix::fs::Mode::RWXU).unwrap();
        let news = trial.news();
        let last = deep.join(b"last").unwrap();
        assert!(!news.is_empty());
        for (_, news) in news {
            match news {
                News::Changed(change) => assert_eq!(change.path, last),
                News::Lost(path) => assert!(path.contains(&last)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn many_changes_are_all_told() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let mut trial = Trial::new(preference);
        trial.cover(trial.tree(0, "a"));
        let mut names = std::collections::BTreeSet::new();
        for n in 0..20_000 {
            fs::File::create(trial.path("a").join(n.to_string())).unwrap();
            // At most so many as the kernel keeps for a reader that does not get to read.
            if n % 5_000 == 4_999 {
                names.extend(trial.news().into_iter().filter_map(|(_, news)| match news {
                    News::Changed(change) => Some(change.path),
                    _ => None,
                }));
            }
        }
        assert_eq!(names.len(), 20_000, "{preference:?}");
    }
}

#[test]
fn who_wants_each_change_is_told_when_a_file_is_written_or_closed() {
    let mut trial = Trial::new(Preference::Fanotify);
    for (mirror, writes) in [(0, Writes::Closed), (1, Writes::Written), (2, Writes::Both)] {
        let coverage = trial.cover(Tree { exact: Some(writes), ..trial.tree(mirror, "a") });
        // The other source tells of several changes as one.
        assert_eq!(coverage.by, "inotify");
    }
    trial.cover(trial.tree(3, "b"));
    let mut files = Vec::new();
    for root in ["a", "b"] {
        fs::write(trial.path(root).join("f"), "").unwrap();
        files.push(fs::File::options().append(true).open(trial.path(root).join("f")).unwrap());
    }
    let modified = |trial: &mut Trial| {
        let mut counts = [0; 4];
        for (mirror, news) in trial.news() {
            if matches!(news, News::Changed(Change { edit: Edit::Modify | Edit::Write, .. })) {
                counts[mirror as usize] += 1;
            }
        }
        counts
    };
    modified(&mut trial);
    for file in &mut files {
        file.write_all(b"x").unwrap();
    }
    let [closed, written, both, merged] = modified(&mut trial);
    assert_eq!((closed, written, both), (0, 1, 1));
    assert!(merged > 0);
    drop(files);
    let [closed, written, both, _] = modified(&mut trial);
    assert_eq!((closed, written, both), (1, 0, 1));
}

#[test]
fn stopping_ends_the_threads() {
    let trial = Trial::new(Preference::Auto);
    trial.cover(trial.tree(0, "a"));
    trial.watch.asks.send(Command::Stop);
    drop(trial);
}
