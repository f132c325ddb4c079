//! Tests with inotify, fanotify and mounts.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use mirror_core::fs_event::{RootGone, WriteDetection};

use super::{
    super::{backends::Backends, inotify::InotifyLimits, poll::PollCommand},
    *,
};

impl WatchFixture {
    fn with_backends(backends: Backends) -> Self {
        Self::with_reader(|reader| reader.with_backends(backends))
    }

    fn with_reader(change: impl FnOnce(WatchReader) -> WatchReader) -> Self {
        let mut fixture = Self::new(Preference::Auto);
        let (sender, inbox) = mpsc::channel();
        let commands = CommandSender { sender, waker: Arc::new(Waker::new().unwrap()) };
        let outbox = Arc::new(Outbox::new());
        let counters = Arc::new(WatchCounters::default());
        let (wake, woken) = mpsc::channel();
        let wake = Box::new(move || {
            // The receiver is gone once the test has seen what it needs.
            let _ = wake.send(());
        });
        let channels = ReaderChannels {
            commands: commands.clone(),
            inbox,
            outbox: outbox.clone(),
            counters: counters.clone(),
            wake,
        };
        let reader = WatchReader::new(Preference::Auto, Log::default(), channels);
        let reader = change(reader.unwrap());
        let reader = Some(thread::spawn(move || reader.run()));
        fixture.watcher = Watcher { commands, outbox, counters, reader };
        fixture.woken = woken;
        fixture
    }

    /// Returns the events of everything that has happened up to now.
    fn events(&self) -> Vec<(u32, FsEventKind)> {
        let sources = fs::read_dir(self.path("")).unwrap().map(|entry| entry.unwrap().path());
        self.watcher.barrier(7, sources.collect());
        let messages = self.wait_for(|message| *message == WatchMessage::Barrier(7));
        messages
            .into_iter()
            .filter_map(|message| match message {
                WatchMessage::Event(event) => Some((event.mirror.0, event.kind)),
                _ => None,
            })
            .collect()
    }
}

fn is_root_gone(message: &WatchMessage, how: RootGone) -> bool {
    *message
        == WatchMessage::Event(FsEvent { mirror: MirrorId(0), kind: FsEventKind::RootGone(how) })
}

/// The message that events at a path of mirror 0 were lost.
fn lost_message(name: &str) -> WatchMessage {
    let kind = FsEventKind::Lost(path(name));
    WatchMessage::Event(FsEvent { mirror: MirrorId(0), kind })
}

/// Reports a skipped test, because `error` means missing privileges; fails if `CI` is set.
fn report_skipped(what: &str, error: &io::Error) {
    assert!(std::env::var_os("CI").is_none(), "{what}: {error}");
    eprintln!("skipped: {what}: {error}");
}

#[test]
fn a_rename_between_mirrors_is_a_deletion_and_a_creation() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fixture.cover(fixture.tree(0, "a"));
        fixture.cover(fixture.tree(1, "b"));
        fs::create_dir_all(fixture.path("a/d/e")).unwrap();
        fixture.events();
        fs::rename(fixture.path("a/d"), fixture.path("b/d")).unwrap();
        let expected = [
            (0, changed(Edit::Delete, EntryKind::Directory, "d")),
            (1, changed(Edit::Create, EntryKind::Directory, "d")),
        ];
        assert_eq!(fixture.events(), expected, "{preference:?}");
        fs::create_dir(fixture.path("b/d/e/f")).unwrap();
        let expected = [(1, changed(Edit::Create, EntryKind::Directory, "d/e/f"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
        fs::rename(fixture.path("b/d/e"), fixture.path("b/x")).unwrap();
        let (from, to) = (path("d/e"), path("x"));
        let moved = FsEventKind::Renamed { from, to, kind: EntryKind::Directory };
        assert_eq!(fixture.events(), [(1, moved)], "{preference:?}");
        fs::create_dir(fixture.path("b/x/f/g")).unwrap();
        let expected = [(1, changed(Edit::Create, EntryKind::Directory, "x/f/g"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_directory_moved_out_is_no_longer_watched() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fixture.cover(fixture.tree(0, "a"));
        fs::create_dir_all(fixture.path("a/d/e")).unwrap();
        fixture.events();
        fs::rename(fixture.path("a/d"), fixture.path("d")).unwrap();
        let expected = [(0, changed(Edit::Delete, EntryKind::Directory, "d"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
        fs::create_dir(fixture.path("d/e/f")).unwrap();
        assert_eq!(fixture.events(), [], "{preference:?}");
    }
}

#[test]
fn nested_and_shared_roots_all_get_events() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        for (mirror, root) in [(0, "a"), (1, "a/b"), (2, "a/b")] {
            fixture.cover(fixture.tree(mirror, root));
        }
        fs::create_dir(fixture.path("a/b/c")).unwrap();
        let events: BTreeMap<u32, FsEventKind> = fixture.events().into_iter().collect();
        let of = |text| changed(Edit::Create, EntryKind::Directory, text);
        assert_eq!(events, BTreeMap::from([(0, of("b/c")), (1, of("c")), (2, of("c"))]));
        fixture.watcher.uncover(MirrorId(0));
        fixture.watcher.uncover(MirrorId(2));
        // The barrier is reached after the uncover commands.
        fixture.events();
        fs::create_dir(fixture.path("a/b/c/d")).unwrap();
        assert_eq!(fixture.events(), [(1, of("c/d"))], "{preference:?}");
    }
}

#[test]
fn own_files_are_not_reported() {
    let fixture = WatchFixture::new(Preference::Auto);
    fixture.watcher.ignore(fixture.path("a/log"));
    fixture.cover(fixture.tree(0, "a"));
    fixture.watcher.ignore(fixture.path("a/d/status"));
    fs::create_dir(fixture.path("a/d")).unwrap();
    fixture.events();
    fs::write(fixture.path("a/log"), "x").unwrap();
    fs::write(fixture.path("a/d/status"), "x").unwrap();
    assert_eq!(fixture.events(), []);
}

#[test]
fn a_skipped_directory_is_not_reported() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        let mut tree = fixture.tree(0, "a");
        fs::create_dir_all(fixture.path("a/skip/d")).unwrap();
        tree.skip = Arc::new(|path| path.as_bytes().starts_with(b"skip"));
        fixture.cover(tree);
        fs::write(fixture.path("a/skip/f"), "x").unwrap();
        fs::create_dir(fixture.path("a/skip/d/e")).unwrap();
        assert_eq!(fixture.events(), [], "{preference:?}");
        // It is reported once it is renamed to a wanted name.
        fs::rename(fixture.path("a/skip"), fixture.path("a/keep")).unwrap();
        assert!(!fixture.events().is_empty(), "{preference:?}");
        fs::create_dir(fixture.path("a/keep/d/f")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "keep/d/f"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_lost_root_is_reported_and_can_be_covered_again() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fixture.cover(fixture.tree(0, "a"));
        fs::rename(fixture.path("a"), fixture.path("b")).unwrap();
        fixture.wait_for(|message| is_root_gone(message, RootGone::Removed));
        fs::write(fixture.path("b/f"), "x").unwrap();
        assert_eq!(fixture.events(), []);
        fixture.cover(fixture.tree(0, "a"));
        fs::create_dir(fixture.path("a/d")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "d"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_source_that_does_not_answer_delays_no_other_barrier() {
    let (poller, hanging) = mpsc::channel();
    let source = PathBuf::from("/hanging");
    let fixture = WatchFixture::with_reader(|reader| reader.with_poller(source.clone(), poller));
    fixture.cover(fixture.tree(0, "a"));
    fixture.watcher.barrier(1, [source, fixture.path("a")].into());
    fs::create_dir(fixture.path("a/d")).unwrap();
    let expected = [(0, changed(Edit::Create, EntryKind::Directory, "d"))];
    assert_eq!(fixture.events(), expected);
    let asked: Vec<PollCommand> = hanging.try_iter().collect();
    let barriers = asked.iter().filter(|command| matches!(command, PollCommand::Barrier(_)));
    assert_eq!(barriers.count(), 1, "{asked:?}");
    assert!(!fixture.watcher.take().contains(&WatchMessage::Barrier(1)));
}

#[test]
fn large_trees_switch_to_fanotify() {
    if let Err(error) =
        fanotify::FanotifyBackend::new(mirror_platform::fanotify::FanotifyQueue::Unlimited)
    {
        return report_skipped("fanotify", &error);
    }
    let backends = Backends::with_limits(Preference::Auto, 5, InotifyLimits::default()).unwrap();
    let fixture = WatchFixture::with_backends(backends);
    (0..4).for_each(|n| fs::create_dir_all(fixture.path(&format!("small/{n}"))).unwrap());
    (0..400).for_each(|n| fs::create_dir_all(fixture.path(&format!("large/{n}"))).unwrap());
    let small = fixture.cover(fixture.tree(0, "small"));
    assert_eq!((small.backend, small.reason.as_str()), ("inotify", "inotify: 5 directories"));
    let large = fixture.cover(fixture.tree(1, "large"));
    assert_eq!(large.backend, "fanotify", "{large:?}");
    assert!(large.reason.starts_with("fanotify: more than 5 directories on "), "{large:?}");
    fs::create_dir(fixture.path("large/7/d")).unwrap();
    fs::create_dir(fixture.path("small/3/d")).unwrap();
    let events: BTreeMap<u32, FsEventKind> = fixture.events().into_iter().collect();
    let of = |text| changed(Edit::Create, EntryKind::Directory, text);
    assert_eq!(events, BTreeMap::from([(0, of("3/d")), (1, of("7/d"))]));
}

#[test]
fn directories_beyond_the_watch_limit_are_polled() {
    let limits = InotifyLimits { max_watches: 3, ..InotifyLimits::default() };
    let backends = Backends::with_limits(Preference::Inotify, usize::MAX, limits).unwrap();
    let fixture = WatchFixture::with_backends(backends);
    for name in ["a/1", "a/2", "a/3", "a/4/5"] {
        fs::create_dir_all(fixture.path(name)).unwrap();
    }
    let coverage = fixture.cover(fixture.tree(0, "a"));
    assert_eq!(coverage.directories, 3);
    assert!(coverage.polled == 2 || coverage.polled == 3, "{coverage:?}");
    for name in ["a/1/f", "a/2/f", "a/3/f", "a/4/5/f"] {
        fs::write(fixture.path(name), "x").unwrap();
    }
    // Each of them is reported, by a watch or by polling.
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    fixture.wait_for(|message| {
        let mut seen = seen.borrow_mut();
        match message {
            WatchMessage::Event(FsEvent { kind: FsEventKind::Changed(change), .. }) => {
                seen.extend(change.path.parent());
            }
            WatchMessage::Event(FsEvent { kind: FsEventKind::Lost(path), .. }) => {
                seen.insert(path.clone());
            }
            _ => {}
        }
        ["1", "2", "3", "4/5"].iter().all(|name| seen.contains(&path(name)))
    });
}

/// A mounted file system that is unmounted on drop.
pub(super) struct TempMount(PathBuf);

impl TempMount {
    pub(super) fn tmpfs(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", at, "tmpfs", flags, None) {
            Ok(()) => Some(Self(at.into())),
            Err(error) => {
                report_skipped("mount", &error.into());
                None
            }
        }
    }

    fn bind(from: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        match rustix::mount::mount_bind(from, at) {
            Ok(()) => Some(Self(at.into())),
            Err(error) => {
                report_skipped("mount", &error.into());
                None
            }
        }
    }

    fn unmount(&self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

impl Drop for TempMount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn an_unmounted_root_is_gone() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        let Some(mounted) = TempMount::tmpfs(&fixture.path("a")) else { return };
        fixture.cover(fixture.tree(0, "a"));
        // No open descriptor keeps the file system from being unmounted.
        mounted.unmount();
        fixture.wait_for(|message| is_root_gone(message, RootGone::Unmounted));
    }
}

#[test]
fn an_unmount_below_a_root_is_not_reported_as_deletion() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        let tree = fixture.tree(0, "a");
        let Some(mounted) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fs::create_dir(fixture.path("a/m/d")).unwrap();
        fixture.cover(tree);
        fs::create_dir(fixture.path("a/m/d/e")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "m/d/e"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
        mounted.unmount();
        let lost = lost_message("m");
        fixture.wait_for(|message| *message == lost);
        assert_eq!(fixture.events(), [], "{preference:?}");
        // Its sibling on the other file system is still watched.
        fs::create_dir(fixture.path("a/beside")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "beside"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
        // The directory that is visible now in its place is watched, too.
        fs::create_dir(fixture.path("a/m/bare")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "m/bare"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
        // After it is mounted again, it is rescanned and watched.
        let Some(_mounted) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fixture.wait_for(|message| *message == lost);
        fs::create_dir(fixture.path("a/m/x")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "m/x"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_populated_mount_in_a_tree_is_reported_and_watched() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        let tree = fixture.tree(0, "a");
        for name in ["a/m/hidden", "full/x/deep"] {
            fs::create_dir_all(fixture.path(name)).unwrap();
        }
        fixture.cover(tree);
        let Some(_mounted) = TempMount::bind(&fixture.path("full"), &fixture.path("a/m")) else {
            return;
        };
        let lost = lost_message("m");
        fixture.wait_for(|message| *message == lost);
        fs::create_dir(fixture.path("a/m/x/deep/new")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "m/x/deep/new"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_mount_below_a_renamed_directory_is_still_watched() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        for before in [true, false] {
            let fixture = WatchFixture::new(preference);
            let tree = fixture.tree(0, "a");
            let point = fixture.path("a/r/m");
            fs::create_dir_all(&point).unwrap();
            let mount = || TempMount::tmpfs(&point);
            let mut mounted = if before { Some(mount()) } else { None };
            fixture.cover(tree);
            if mounted.is_none() {
                mounted = Some(mount());
                let lost = lost_message("r/m");
                if mounted.as_ref().is_some_and(Option::is_some) {
                    fixture.wait_for(|message| *message == lost);
                }
            }
            let Some(Some(mut mounted)) = mounted else { return };
            for (from, to) in [("a/r", "a/s"), ("a/s", "a/t")] {
                fs::rename(fixture.path(from), fixture.path(to)).unwrap();
                mounted.0 = fixture.path(to).join("m");
                fixture.events();
                fs::create_dir(mounted.0.join("new")).unwrap();
                let name = format!("{}/m/new", &to[2..]);
                let expected = [(0, changed(Edit::Create, EntryKind::Directory, &name))];
                assert_eq!(fixture.events(), expected, "{preference:?} {before}");
                fs::remove_dir(mounted.0.join("new")).unwrap();
                fixture.events();
            }
        }
    }
}

#[test]
fn a_mount_that_is_moved_is_reported_at_both_places() {
    use rustix::mount::{MountPropagationFlags, mount_change, mount_move};
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        // A mount below a shared one can't be moved.
        let Some(_root) = TempMount::tmpfs(&fixture.path("a")) else { return };
        mount_change(fixture.path("a"), MountPropagationFlags::PRIVATE).unwrap();
        for name in ["a/m/hidden", "a/n"] {
            fs::create_dir_all(fixture.path(name)).unwrap();
        }
        let tree = fixture.tree(0, "a");
        let Some(mut mounted) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fs::create_dir(fixture.path("a/m/d")).unwrap();
        fixture.cover(tree);
        mount_move(fixture.path("a/m"), fixture.path("a/n")).unwrap();
        mounted.0 = fixture.path("a/n");
        let left = std::cell::RefCell::new(vec![lost_message("m"), lost_message("n")]);
        fixture.wait_for(|message| {
            left.borrow_mut().retain(|it| it != message);
            left.borrow().is_empty()
        });
        fixture.events();
        for name in ["m/hidden/new", "n/d/new"] {
            fs::create_dir(fixture.path(&format!("a/{name}"))).unwrap();
            let expected = [(0, changed(Edit::Create, EntryKind::Directory, name))];
            assert_eq!(fixture.events(), expected, "{preference:?}");
        }
    }
}

#[test]
fn a_mount_that_was_hidden_by_another_is_watched_again() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        let tree = fixture.tree(0, "a");
        let Some(_lower) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fs::create_dir(fixture.path("a/m/d")).unwrap();
        fixture.cover(tree);
        let lost = lost_message("m");
        let Some(upper) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fixture.wait_for(|message| *message == lost);
        upper.unmount();
        fixture.wait_for(|message| *message == lost);
        // What is visible again may be reported a second time.
        fixture.events();
        fs::create_dir(fixture.path("a/m/d/e")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "m/d/e"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_mount_is_reported_although_a_root_is_added_meanwhile() {
    let temp_dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(temp_dir.path()).unwrap();
    fs::create_dir_all(root.join("a")).unwrap();
    fs::create_dir_all(root.join("b")).unwrap();
    let mut monitor = root_monitor::RootMonitor::new().unwrap();
    monitor.add(MirrorId(0), &root.join("a"), None).unwrap();
    let Some(mounted) = TempMount::tmpfs(&root.join("a/m")) else { return };
    monitor.add(MirrorId(1), &root.join("b"), None).unwrap();
    let point = mounted.0.as_os_str().as_encoded_bytes().to_vec();
    assert_eq!(monitor.check().mounted, [point]);
    assert!(monitor.check().mounted.is_empty());
}

#[test]
fn a_mount_that_is_replaced_at_once_is_reported_and_watched() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        let tree = fixture.tree(0, "a");
        let Some(first) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fixture.cover(tree);
        first.unmount();
        // It gets the mount id of the first one, unless another test takes that.
        let Some(_second) = TempMount::tmpfs(&fixture.path("a/m")) else { return };
        fs::create_dir(fixture.path("a/m/early")).unwrap();
        let lost = lost_message("m");
        fixture.wait_for(|message| *message == lost);
        fixture.events();
        fs::create_dir(fixture.path("a/m/late")).unwrap();
        let expected = [(0, changed(Edit::Create, EntryKind::Directory, "m/late"))];
        assert_eq!(fixture.events(), expected, "{preference:?}");
    }
}

#[test]
fn a_replaced_mount_is_reported_although_it_has_the_same_id() {
    let temp_dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(temp_dir.path()).unwrap();
    let mut monitor = root_monitor::RootMonitor::new().unwrap();
    let Some(first) = TempMount::tmpfs(&root.join("m")) else { return };
    monitor.add(MirrorId(0), &root, None).unwrap();
    let point = first.0.as_os_str().as_encoded_bytes().to_vec();
    for _ in 0..20 {
        first.unmount();
        let Some(second) = TempMount::tmpfs(&first.0) else { return };
        let changes = monitor.check();
        assert_eq!(
            (changes.unmounted, changes.mounted),
            (vec![point.clone()], vec![point.clone()])
        );
        std::mem::forget(second);
    }
}

#[test]
fn a_bind_mounted_root_gets_events_under_its_own_path() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fs::create_dir_all(fixture.path("real/d")).unwrap();
        fs::create_dir_all(fixture.path("elsewhere")).unwrap();
        let Some(_bound) = TempMount::bind(&fixture.path("real"), &fixture.path("bound")) else {
            return;
        };
        fixture.cover(fixture.tree(0, "bound"));
        fixture.cover(fixture.tree(1, "real/d"));
        fs::create_dir(fixture.path("real/d/e")).unwrap();
        fs::create_dir(fixture.path("elsewhere/e")).unwrap();
        let events: BTreeMap<u32, FsEventKind> = fixture.events().into_iter().collect();
        let of = |text| changed(Edit::Create, EntryKind::Directory, text);
        assert_eq!(events, BTreeMap::from([(0, of("d/e")), (1, of("e"))]), "{preference:?}");
    }
}

#[test]
fn names_of_any_bytes_and_paths_of_any_length_are_reported() {
    use std::os::unix::ffi::OsStrExt;
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fixture.cover(fixture.tree(0, "a"));
        for name in [&b"\xff\n -"[..], &[b'n'; 255]] {
            fs::create_dir(fixture.path("a").join(std::ffi::OsStr::from_bytes(name))).unwrap();
            let change = Change {
                edit: Edit::Create,
                kind: EntryKind::Directory,
                path: TreePath::root().join(name).unwrap(),
            };
            assert_eq!(fixture.events(), [(0, FsEventKind::Changed(change))], "{preference:?}");
        }
        // Deeper than PATH_MAX.
        let root = mirror_platform::dir::Dir::open(&fixture.path("a")).unwrap();
        let mut deep = TreePath::root();
        for _ in 0..30 {
            let here = root.open_below(deep.as_bytes()).unwrap();
            let name = [b'd'; 200];
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mkdirat(&here, std::ffi::OsStr::from_bytes(&name), mode).unwrap();
            deep.push(&name).unwrap();
        }
        fixture.events();
        let here = root.open_below(deep.as_bytes()).unwrap();
        rustix::fs::mkdirat(&here, "last", rustix::fs::Mode::RWXU).unwrap();
        let events = fixture.events();
        let last = deep.join(b"last").unwrap();
        assert!(!events.is_empty());
        for (_, kind) in events {
            match kind {
                FsEventKind::Changed(change) => assert_eq!(change.path, last),
                FsEventKind::Lost(path) => assert!(path.contains(&last)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn many_changes_are_all_reported() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fixture.cover(fixture.tree(0, "a"));
        let mut names = std::collections::BTreeSet::new();
        for n in 0..20_000 {
            fs::File::create(fixture.path("a").join(n.to_string())).unwrap();
            // At most as many as the kernel queues for a reader that does not run.
            if n % 5_000 == 4_999 {
                names.extend(fixture.events().into_iter().filter_map(|(_, kind)| match kind {
                    FsEventKind::Changed(change) => Some(change.path),
                    _ => None,
                }));
            }
        }
        assert_eq!(names.len(), 20_000, "{preference:?}");
    }
}

#[test]
fn exact_mirrors_get_writes_and_closes_as_requested() {
    let fixture = WatchFixture::new(Preference::Fanotify);
    for (mirror, writes) in
        [(0, WriteDetection::OnClose), (1, WriteDetection::OnModify), (2, WriteDetection::Both)]
    {
        let coverage =
            fixture.cover(WatchTree { exact: Some(writes), ..fixture.tree(mirror, "a") });
        // The other backend merges changes into one event.
        assert_eq!(coverage.backend, "inotify");
    }
    fixture.cover(fixture.tree(3, "b"));
    let mut files = Vec::new();
    for root in ["a", "b"] {
        fs::write(fixture.path(root).join("f"), "").unwrap();
        files.push(fs::File::options().append(true).open(fixture.path(root).join("f")).unwrap());
    }
    let modified = |fixture: &WatchFixture| {
        let mut counts = [0; 4];
        for (mirror, kind) in fixture.events() {
            if matches!(kind, FsEventKind::Changed(Change { edit: Edit::Modify | Edit::Write, .. }))
            {
                counts[mirror as usize] += 1;
            }
        }
        counts
    };
    modified(&fixture);
    for file in &mut files {
        file.write_all(b"x").unwrap();
    }
    let [closed, written, both, merged] = modified(&fixture);
    assert_eq!((closed, written, both), (0, 1, 1));
    assert!(merged > 0);
    drop(files);
    let [closed, written, both, _] = modified(&fixture);
    assert_eq!((closed, written, both), (1, 0, 1));
}
