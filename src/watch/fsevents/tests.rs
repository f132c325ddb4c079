//! Tests of the translation with events as the service reports them.

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind},
    path::TreePath,
};

use super::{
    flags::EventFlags,
    translation::{EntryNotice, Notice, report, translate},
    view::{SeenEntry, Sighting},
};

const ROOT: &[u8] = b"/Users/me/src";

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn entry(text: &str) -> Notice {
    Notice { entry: Some(path(text)), ..Notice::default() }
}

fn lost(text: &str) -> Notice {
    Notice { lost: Some(path(text)), ..Notice::default() }
}

#[test]
fn each_form_of_a_path_leads_to_the_entry() {
    let of = |root: &[u8], event: &[u8]| translate(root, event, EventFlags::ITEM_CREATED);
    for event in ["/Users/me/src/a", "/Users/me/src/a/", "/System/Volumes/Data/Users/me/src/a"] {
        assert_eq!(of(ROOT, event.as_bytes()), entry("a"), "{event}");
    }
    let data = b"/System/Volumes/Data/Users/me/src";
    assert_eq!(of(data, b"/Users/me/src/a/b"), entry("a/b"));
    for event in ["/private/var/x/a", "/var/x/a", "/System/Volumes/Data/private/var/x/a"] {
        for root in ["/private/var/x", "/System/Volumes/Data/private/var/x"] {
            assert_eq!(of(root.as_bytes(), event.as_bytes()), entry("a"), "{root} {event}");
        }
    }
    assert_eq!(of(b"/", b"/private/var/a"), entry("private/var/a"));
    assert_eq!(of(b"/private/other", b"/private/other/a"), entry("a"));
}

#[test]
fn a_path_elsewhere_rescans_the_root_and_checks_it() {
    let all = Notice { checks_root: true, ..lost("") };
    let outside: [&[u8]; 6] =
        [b"", b"/", b"/Users/me", b"/Users/me/src2/a", b"/other/Users/me/src/a", b"/var/x"];
    for event in outside {
        let display = event.escape_ascii();
        let flags = EventFlags::ITEM_MODIFIED | EventFlags::MUST_SCAN_SUBDIRS;
        assert_eq!(translate(ROOT, event, flags), all, "{display}");
        assert_eq!(translate(ROOT, event, EventFlags::MOUNT), all, "{display}");
    }
    // A path that no directory can have.
    assert_eq!(translate(ROOT, b"/Users/me/src/../a", EventFlags::ITEM_CREATED), all);
}

#[test]
fn each_flag_of_the_stream_has_its_meaning() {
    let of = |flags: EventFlags| translate(ROOT, b"/Users/me/src/a", flags);
    assert_eq!(of(EventFlags::HISTORY_DONE), Notice::default());
    assert_eq!(of(EventFlags::MUST_SCAN_SUBDIRS), lost("a"));
    assert_eq!(of(EventFlags::EVENT_IDS_WRAPPED), lost(""));
    for dropped in [EventFlags::USER_DROPPED, EventFlags::KERNEL_DROPPED] {
        let all = Notice { is_dropped: true, ..lost("") };
        assert_eq!(of(dropped | EventFlags::MUST_SCAN_SUBDIRS), all);
        assert_eq!(of(dropped), all);
    }
    assert_eq!(of(EventFlags::ROOT_CHANGED), Notice { checks_root: true, ..lost("") });
    for volume in [EventFlags::MOUNT, EventFlags::UNMOUNT] {
        assert_eq!(of(volume), Notice { volume: Some(path("a")), ..lost("a") });
    }
    // Without a flag, and with one of a later system.
    assert_eq!(of(EventFlags::default()), lost("a"));
    let later = EventFlags::ITEM_CREATED | EventFlags(0x800_0000);
    assert_eq!(of(later), lost("a"));
    let root = translate(ROOT, ROOT, EventFlags::ITEM_REMOVED);
    assert_eq!(root, Notice { checks_root: true, ..entry("") });
    assert_eq!(translate(ROOT, ROOT, EventFlags::ITEM_XATTR_MOD), entry(""));
}

const FILE: SeenEntry = SeenEntry::Found { kind: EntryKind::Other, inode: 7 };
const DIRECTORY: SeenEntry = SeenEntry::Found { kind: EntryKind::Directory, inode: 7 };

fn notice(text: &str, flags: EventFlags, entry: SeenEntry) -> EntryNotice {
    let sighting = Sighting { path: path(text), other_name_in: None, device: 1, entry };
    let (path, inode) = (path(text), Some(7));
    EntryNotice { path, flags, inode, sighting, is_deletion_certain: true }
}

fn changed(edit: Edit, kind: EntryKind, text: &str) -> FsEventKind {
    FsEventKind::Changed(Change { edit, kind, path: path(text) })
}

fn renamed(from: &str, to: &str, kind: EntryKind) -> FsEventKind {
    FsEventKind::Renamed { from: path(from), to: path(to), kind }
}

#[test]
fn what_is_there_decides_and_not_the_flags() {
    let all = EventFlags::ITEM_CREATED
        | EventFlags::ITEM_REMOVED
        | EventFlags::ITEM_MODIFIED
        | EventFlags::ITEM_IS_DIR
        | EventFlags::ITEM_IS_FILE;
    let of = |flags, entry| report(&[notice("a", flags, entry)]);
    let (dir, other) = (EntryKind::Directory, EntryKind::Other);
    assert_eq!(of(all, FILE), [changed(Edit::Create, other, "a")]);
    assert_eq!(of(all, DIRECTORY), [changed(Edit::Create, dir, "a")]);
    assert_eq!(of(all, SeenEntry::Missing), [changed(Edit::Delete, dir, "a")]);
    assert_eq!(of(all, SeenEntry::Unknown), [FsEventKind::Lost(path("a"))]);
    let written = EventFlags::ITEM_MODIFIED | EventFlags::ITEM_XATTR_MOD | EventFlags::ITEM_IS_FILE;
    assert_eq!(of(written, FILE), [changed(Edit::Modify, other, "a")]);
    assert_eq!(of(written, SeenEntry::Missing), [changed(Edit::Delete, other, "a")]);
    // It was a file at that time.
    assert_eq!(of(written, DIRECTORY), [changed(Edit::Create, dir, "a")]);
    assert_eq!(of(EventFlags::ITEM_XATTR_MOD, DIRECTORY), [changed(Edit::Attrib, dir, "a")]);
    assert_eq!(of(EventFlags::ITEM_CHANGE_OWNER, FILE), [changed(Edit::Attrib, other, "a")]);
    assert_eq!(of(EventFlags::ITEM_CLONED, FILE), [changed(Edit::Modify, other, "a")]);
}

#[test]
fn an_entry_that_may_only_be_out_of_sight_is_not_deleted() {
    let gone = notice("a", EventFlags::ITEM_RENAMED, SeenEntry::Missing);
    let gone = EntryNotice { is_deletion_certain: false, ..gone };
    let there = notice("b", EventFlags::ITEM_RENAMED, DIRECTORY);
    let (edit, kind) = (Edit::Modify, EntryKind::Directory);
    let created = changed(Edit::Create, kind, "b");
    assert_eq!(report(&[gone, there]), [changed(edit, kind, "a"), created]);
}

#[test]
fn a_pair_of_the_same_inode_is_a_rename() {
    let flags = EventFlags::ITEM_RENAMED | EventFlags::ITEM_IS_DIR;
    let (from, to) = (notice("a", flags, SeenEntry::Missing), notice("b", flags, DIRECTORY));
    let kind = EntryKind::Directory;
    let pair = [renamed("a", "b", kind)];
    assert_eq!(report(&[from.clone(), to.clone()]), pair);
    assert_eq!(report(&[to.clone(), from.clone()]), pair);
    // Flags alone do not make a rename, and neither do three names.
    let (deleted, created) = (changed(Edit::Delete, kind, "a"), changed(Edit::Create, kind, "b"));
    let two = [deleted, created];
    let other = EntryNotice { inode: Some(8), ..from.clone() };
    assert_eq!(report(&[other, to.clone()]), two);
    let other = EntryNotice { inode: None, ..from.clone() };
    assert_eq!(report(&[other, to.clone()]), two);
    let third = notice("c", flags, SeenEntry::Missing);
    assert_eq!(report(&[from.clone(), to.clone(), third])[..2], two);
    let moved_in = EntryNotice { flags: EventFlags::ITEM_CREATED, ..from };
    assert_eq!(report(&[moved_in, to]), two);
    // A file that was also written.
    let flags = EventFlags::ITEM_RENAMED | EventFlags::ITEM_MODIFIED | EventFlags::ITEM_IS_FILE;
    let (from, to) = (notice("a", flags, SeenEntry::Missing), notice("b", flags, FILE));
    let kind = EntryKind::Other;
    let expected = [renamed("a", "b", kind), changed(Edit::Modify, kind, "b")];
    assert_eq!(report(&[from, to]), expected);
}

#[test]
fn a_rename_that_changes_only_case_is_a_rename() {
    let flags = EventFlags::ITEM_RENAMED | EventFlags::ITEM_IS_FILE;
    let mut old = notice("d/name", flags, FILE);
    old.sighting.path = path("d/Name");
    old.sighting.other_name_in = Some(path("d"));
    let new = notice("d/Name", flags, FILE);
    let rename = renamed("d/name", "d/Name", EntryKind::Other);
    let listed = FsEventKind::Lost(path("d"));
    assert_eq!(report(&[old.clone(), new]), [rename, listed.clone()]);
    // Only one event has arrived.
    let created = changed(Edit::Create, EntryKind::Other, "d/Name");
    assert_eq!(report(&[old.clone()]), [created, listed]);
    // The name was the old one when the file was written.
    old.flags = EventFlags::ITEM_MODIFIED;
    assert_eq!(report(&[old]), [changed(Edit::Modify, EntryKind::Other, "d/Name")]);
}

#[test]
fn any_flags_and_paths_lead_to_a_place() {
    let mut seed = 1_u64;
    let mut roll = |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % sides
    };
    for _ in 0..100_000 {
        let flags = EventFlags((0..roll(4)).fold(0, |all, _| all | 1 << roll(32)));
        let parts = ["/", "Users/me/src", "a", "..", "/System/Volumes/Data", "private/var", "\0"];
        let text: String = (0..roll(6)).map(|_| parts[usize::try_from(roll(7)).unwrap()]).collect();
        let event = if roll(2) == 0 { format!("/Users/me/src/{text}") } else { text };
        let notice = translate(ROOT, event.as_bytes(), flags);
        let has_place = notice.entry.is_some() || notice.lost.is_some();
        assert!(has_place || flags == EventFlags::HISTORY_DONE, "{event:?} {flags:?}");
    }
}
