//! Tests of lookups that do not find a directory.

use std::{cell::RefCell, fs, path::PathBuf};

use mirror_core::fs_event::{Change, Edit};
use mirror_platform::fanotify::FanotifyMask;

use super::*;

thread_local! {
    /// The handle whose lookup has a fixed answer.
    static FIXED: RefCell<Option<(FileHandle, Location)>> = const { RefCell::new(None) };
}

fn locate(mount: &Dir, handle: &[u8]) -> io::Result<Location> {
    let fixed = FIXED.with_borrow(Clone::clone);
    match fixed {
        Some((fixed, location)) if fixed.as_bytes() == handle => Ok(location),
        _ => location::locate(mount, handle),
    }
}

/// A backend that covers one directory, with a subdirectory `a`.
struct LookupFixture {
    backend: FanotifyBackend,
    root: PathBuf,
    _temp: tempfile::TempDir,
}

impl LookupFixture {
    /// `None` without the privileges; then the test is skipped, or fails where `CI` is set.
    fn new() -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temp.path()).unwrap();
        fs::create_dir(root.join("a")).unwrap();
        let mut backend = match FanotifyBackend::new(FanotifyQueue::Unlimited) {
            Ok(backend) => FanotifyBackend { locate, ..backend },
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "fanotify: {error}");
                eprintln!("skipped: fanotify: {error}");
                return None;
            }
        };
        backend.cover(&WatchTree::whole(0, &root)).unwrap();
        backend.advance(&mut Drained::default());
        Some(Self { backend, root, _temp: temp })
    }

    fn handle(&self, below: &str) -> FileHandle {
        FileHandle::of(Dir::open(&self.root.join(below)).unwrap()).unwrap()
    }

    fn path(&self, below: &str) -> Vec<u8> {
        self.root.join(below).as_os_str().as_bytes().to_vec()
    }

    /// Makes the lookup of `a` answer `location`, until [`Self::release`].
    fn fix(&self, location: Location) {
        FIXED.set(Some((self.handle("a"), location)));
    }

    fn release() {
        FIXED.set(None);
    }

    fn drain(&mut self) -> Vec<FsEventKind> {
        let mut drained = Drained::default();
        while self.backend.drain(&mut drained).unwrap() == DrainStatus::More {}
        drained.fs_events.into_iter().map(|event| event.kind).collect()
    }

    fn flush(&mut self) -> Vec<FsEventKind> {
        let mut drained = Drained::default();
        self.backend.flush_pending(&mut drained);
        assert!(!self.backend.has_pending());
        drained.fs_events.into_iter().map(|event| event.kind).collect()
    }
}

fn tree_path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn created(text: &str) -> FsEventKind {
    let (edit, kind, path) = (Edit::Create, EntryKind::Directory, tree_path(text));
    FsEventKind::Changed(Change { edit, kind, path })
}

#[test]
fn a_directory_that_is_found_late_is_rescanned() {
    let Some(mut fixture) = LookupFixture::new() else { return };
    fixture.fix(Location::Missing);
    fs::create_dir(fixture.root.join("a/lost")).unwrap();
    assert_eq!(fixture.drain(), []);
    assert!(fixture.backend.has_pending());
    LookupFixture::release();
    fs::create_dir(fixture.root.join("a/later")).unwrap();
    let events = fixture.drain();
    let rescanned = [events, fixture.flush()].concat();
    assert!(rescanned.contains(&FsEventKind::Lost(tree_path("a"))), "{rescanned:?}");
    fs::create_dir(fixture.root.join("a/seen")).unwrap();
    assert_eq!(fixture.drain(), [created("a/seen")]);
}

#[test]
fn a_missing_directory_is_looked_up_again_for_later_events() {
    let Some(mut fixture) = LookupFixture::new() else { return };
    fixture.fix(Location::Missing);
    fs::create_dir(fixture.root.join("a/lost")).unwrap();
    assert_eq!([fixture.drain(), fixture.flush()].concat(), []);
    LookupFixture::release();
    fs::create_dir(fixture.root.join("a/seen")).unwrap();
    assert_eq!(fixture.drain(), [created("a/seen")]);
}

#[test]
fn a_directory_in_the_middle_of_a_rename_rescans_the_one_above_it() {
    let Some(mut fixture) = LookupFixture::new() else { return };
    fixture.fix(Location::Moving(fixture.path("")));
    fs::create_dir(fixture.root.join("a/lost")).unwrap();
    assert_eq!(fixture.drain(), [FsEventKind::Lost(TreePath::root())]);
    LookupFixture::release();
    fs::create_dir(fixture.root.join("a/seen")).unwrap();
    assert_eq!(fixture.drain(), [created("a/seen")]);
}

#[test]
fn only_events_that_are_reported_by_name_as_well_may_lack_a_name() {
    let Some(mut fixture) = LookupFixture::new() else { return };
    fixture.drain();
    let none = FanotifyMask::default();
    let mut handle = |mask, object| {
        let mut drained = Drained::default();
        fixture.backend.is_all_lost = false;
        let event = FanotifyEvent { mask, entry: None, renamed_to: None, object };
        fixture.backend.handle(&event, &mut drained);
        drained.fs_events.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let object = Some(&b"key"[..]);
    assert_eq!(handle(FanotifyMask { attrib: true, ..none }, object), []);
    let lost = [FsEventKind::Lost(TreePath::root())];
    assert_eq!(handle(FanotifyMask { attrib: true, ..none }, None), lost);
    assert_eq!(handle(FanotifyMask { create: true, ..none }, object), lost);
    assert_eq!(handle(FanotifyMask { delete: true, ..none }, object), lost);
    assert_eq!(handle(FanotifyMask { rename: true, ..none }, object), lost);
}
