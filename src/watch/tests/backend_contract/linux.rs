//! The backends of Linux, and FSEvents with the events of inotify.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::{
    super::super::{
        fanotify::FanotifyBackend,
        fsevents::{FsEventsBackend, relay::RelayedStreams},
        inotify::{InotifyBackend, InotifyLimits},
    },
    *,
};

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
    use std::time::Duration;

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
    fn random_changes_converge_with_one_event_per_drain() {
        for seed in 1..=4 {
            converge(
                backend(InotifyLimits { path_bytes: 0, ..InotifyLimits::default() }),
                seed * 0x51ed_2701,
                40,
            );
        }
    }

    /// Events that come as fast as they are handled must not keep those of others unpublished.
    #[test]
    fn a_drain_ends_after_its_time_or_with_long_paths() {
        let limits = [
            InotifyLimits { drain_time: Duration::ZERO, ..InotifyLimits::default() },
            InotifyLimits { path_bytes: 1, ..InotifyLimits::default() },
        ];
        for limits in limits {
            let temp = temp_tree();
            let root = temp.path().join("in");
            let mut harness = BackendHarness::new(backend(limits));
            harness.cover(0, &root);
            for name in ["1", "2", "3"] {
                fs::create_dir(root.join(name)).unwrap();
            }
            for left in [2, 1, 0] {
                assert_eq!(harness.backend.drain(&mut harness.drained).unwrap(), DrainStatus::More);
                assert_eq!(harness.drained.kernel_events, 3 - left);
                let is_left = harness.backend.unhandled_bytes() > 0;
                assert_eq!(is_left, left > 0);
            }
            harness.check();
        }
    }

    #[test]
    fn concurrent_changes_converge() {
        converge_concurrently(backend(InotifyLimits { buffer: 0, ..InotifyLimits::default() }), 40);
    }

    /// Uses parallel steps even for a single directory, and changes in between.
    fn with_parallel_steps() -> Box<dyn Backend> {
        backend(InotifyLimits {
            eager_dirs: 0,
            min_parallel_dirs: 1,
            advance_time: Duration::ZERO,
            ..InotifyLimits::default()
        })
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
        let Some(_mounted) = super::super::super::linux::TempMount::tmpfs(&root) else { return };
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
