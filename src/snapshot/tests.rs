//! Tests of snapshots of real directories.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    time::Duration,
};

use mirror_core::{path::TreePath, snapshot::DifferenceKind};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use super::{file::RecordReader, *};

/// Source with a place for its snapshot.
struct SnapshotFixture {
    scratch: TempDir,
    root: PathBuf,
    file: PathBuf,
}

impl SnapshotFixture {
    fn new() -> Self {
        let scratch = TempDir::new().unwrap();
        let (root, file) = (scratch.path().join("source"), scratch.path().join("snapshot"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("c")).unwrap();
        for name in ["one", "a/two", "a/b/three", "c/four"] {
            fs::write(root.join(name), "").unwrap();
        }
        Self { scratch, root, file }
    }

    fn compare(&self) -> Comparison {
        self.with_source(|source| compare(source).unwrap())
    }

    fn with_source<T>(&self, act: impl FnOnce(&SnapshotSource<'_>) -> T) -> T {
        let root = Dir::open(&self.root).unwrap();
        let source = SnapshotSource {
            file: &self.file,
            root: &root,
            skip: &|_| false,
            is_cancelled: &|| false,
        };
        act(&source)
    }

    /// Takes a snapshot of entries whose stamps prove something.
    fn take(&self) {
        let new = self.settled();
        new.writer.prepare(&Footer::default()).unwrap().commit(&[]).unwrap();
    }

    /// Reads the source when all of its entries are old enough.
    fn settled(&self) -> NewRecords {
        loop {
            let new = self.compare().new;
            if new.unsettled.is_empty() {
                return new;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes a snapshot after these names were touched, as soon as its stamps prove something.
    fn refresh(&self, names: &[&str]) {
        let entry = |name: &&str| DirtyPath {
            path: TreePath::new(name.as_bytes()).unwrap(),
            scope: Scope::Entry,
        };
        let touched = names.iter().map(entry).collect::<Vec<_>>().iter().collect();
        loop {
            let new = self.with_source(|source| refresh(source, &touched).unwrap());
            let is_settled = new.unsettled.is_empty();
            new.writer.prepare(&Footer::default()).unwrap().commit(&[]).unwrap();
            if is_settled {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn differences(&self) -> Vec<String> {
        let found = self.compare().last.unwrap().differences.unwrap();
        let mut shown: Vec<_> = found.iter().map(shown).collect();
        shown.sort();
        shown
    }

    fn expect(&self, expected: &[&str]) {
        assert_eq!(self.differences(), expected);
    }

    /// Returns the records of the snapshot.
    fn records(&self) -> BTreeMap<String, Vec<u8>> {
        let mut reader = RecordReader::open(&self.file).unwrap();
        let mut all = BTreeMap::new();
        while let Some(record) = reader.next_record().unwrap() {
            assert_eq!(all.insert(record.path.to_string(), record.bytes.to_vec()), None);
        }
        all
    }
}

fn shown(it: &SourceDifference) -> String {
    let kind = match it.kind {
        DifferenceKind::Compared => "compared",
        DifferenceKind::Written => "written",
        DifferenceKind::Missing => "missing",
    };
    let tree = if it.dirty.scope == Scope::Tree { "/**" } else { "" };
    format!("{kind} {}{tree}", it.dirty.path)
}

#[test]
fn new_changed_and_missing_entries_are_differences() {
    let fixture = SnapshotFixture::new();
    assert!(fixture.compare().last.unwrap_err().contains("no snapshot"));
    fixture.take();
    fixture.expect(&[]);
    let at = |name: &str| fixture.root.join(name);
    fs::write(at("one"), "").unwrap();
    fixture.expect(&["written /one"]);
    fs::remove_file(at("c/four")).unwrap();
    fixture.expect(&["compared /c", "missing /c/four", "written /one"]);
    fs::rename(at("a/b"), at("c/b")).unwrap();
    symlink("four", at("c/link")).unwrap();
    fixture.expect(&[
        "compared /a",
        "compared /c",
        "missing /a/b/**",
        "missing /c/four",
        "written /c/b/**",
        "written /c/link",
        "written /one",
    ]);
    fs::remove_file(at("a/two")).unwrap();
    fs::create_dir(at("a/two")).unwrap();
    assert!(fixture.differences().contains(&"written /a/two/**".to_owned()));
    fs::remove_dir_all(at("a")).unwrap();
    fs::write(at("a"), "").unwrap();
    assert!(fixture.differences().contains(&"written /a/**".to_owned()));
}

#[test]
fn a_changed_mode_or_owner_is_a_difference() {
    let fixture = SnapshotFixture::new();
    fixture.take();
    for name in ["a/b", "a/b/three"] {
        let path = fixture.root.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    fixture.expect(&["compared /a/b", "written /a/b/three"]);
}

#[test]
fn unsettled_stamps_are_compared_and_read_again() {
    let fixture = SnapshotFixture::new();
    fs::write(fixture.root.join("a/two"), "").unwrap();
    let new = fixture.compare().new;
    assert!(!new.unsettled.is_empty());
    new.writer.prepare(&Footer::default()).unwrap().commit(&[]).unwrap();
    assert!(fixture.differences().contains(&"written /a/two".to_owned()));
}

/// A directory that could not be read has no record, and so has one on another mount.
#[test]
fn a_directory_without_record_is_compared_as_a_tree() {
    let fixture = SnapshotFixture::new();
    drop(fixture.settled());
    let skip: &UnwantedFn = &|path| path.as_bytes() == b"a/b";
    let new = fixture.with_source(|&SnapshotSource { file, root, is_cancelled, .. }| {
        compare(&SnapshotSource { file, root, skip, is_cancelled }).unwrap().new
    });
    new.writer.prepare(&Footer::default()).unwrap().commit(&[]).unwrap();
    fixture.expect(&["written /a/b/**"]);
}

#[test]
fn a_refreshed_snapshot_equals_a_new_one() {
    let fixture = SnapshotFixture::new();
    fixture.take();
    let mut random = 7_u64;
    let mut below = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    for _ in 0..4 {
        let mut touched = PathSet::new();
        for _ in 0..12 {
            let depth = 1 + below(3);
            let names: Vec<_> =
                (0..depth).map(|_| ["a", "b", "c"][usize::try_from(below(3)).unwrap()]).collect();
            let name = names.join("/");
            let path = fixture.root.join(&name);
            let scope = match below(3) {
                0 => fs::create_dir_all(&path).map(|()| Scope::Tree),
                1 => fs::write(&path, "x").map(|()| Scope::Entry),
                _ => fs::remove_dir_all(&path).map(|()| Scope::Tree),
            };
            // Parents may be new as well.
            let top = mirror_core::path::TreePath::new(names[0].as_bytes()).unwrap();
            if scope.is_ok() {
                touched.insert(&top, Scope::Tree);
            }
        }
        let _ = fixture.settled();
        let refreshed = fixture.with_source(|source| refresh(source, &touched).unwrap());
        let directories = refreshed.directories;
        refreshed.writer.prepare(&Footer::default()).unwrap().commit(&[]).unwrap();
        let refreshed = fixture.records();
        assert_eq!(refreshed.len() as u64, directories);
        fixture.expect(&[]);
        // With the same key, a walk through everything gives the same records.
        fixture.take();
        assert_eq!(refreshed, fixture.records());
    }
}

#[test]
fn each_flipped_bit_and_each_truncation_is_refused() {
    let fixture = SnapshotFixture::new();
    let new = fixture.settled();
    let path = StoredPath { path: "61".into(), is_tree: true, is_written: false };
    let target = StoredTarget { unconfirmed: Some(vec![path.clone()]), ..StoredTarget::default() };
    let footer = Footer { targets: vec![target], mark: "mark".into(), ..Footer::default() };
    let journal = [
        JournalEntry::Opened { boot: "boot".into() },
        JournalEntry::Changed { target: "target".into(), paths: vec![path] },
        JournalEntry::Marked { mark: "mark".into(), targets: vec!["target".into()] },
        JournalEntry::Marking { mark: "new".into(), targets: vec!["target".into()] },
        JournalEntry::Closed,
    ];
    new.writer.prepare(&footer).unwrap().commit(&journal).unwrap();
    let whole = file::read(&fixture.file).unwrap().unwrap();
    assert_eq!((whole.footer, &whole.journal[..]), (footer, &journal[..]));
    let bytes = fs::read(&fixture.file).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            assert!(file::decode(bytes).is_none(), "byte {at}, bit {bit}");
        }
        // A journal may end after any of its lines.
        let is_line = bytes[..at].ends_with(b"\n") || bytes[..at].ends_with(b"]}]}");
        assert!(is_line || file::decode(bytes[..at].to_vec()).is_none(), "truncated to {at}");
    }
}

#[test]
fn damaged_notes_are_refused() {
    let scratch = TempDir::new().unwrap();
    let file = scratch.path().join("a.notes");
    let notes = vec!["one".to_owned(), "two".to_owned()];
    assert_eq!(read_notes::<Vec<String>>(&file), Ok(None));
    for notes in [&notes[..1], &notes] {
        write_notes(&file, &notes).unwrap();
        assert_eq!(read_notes(&file), Ok(Some(notes.to_vec())));
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&file, bytes).unwrap();
            assert!(read_notes::<Vec<String>>(&file).is_err(), "byte {at}, bit {bit}");
        }
        fs::write(&file, &bytes[..at]).unwrap();
        assert!(read_notes::<Vec<String>>(&file).is_err(), "truncated to {at}");
    }
    fs::File::options().write(true).open(&file).unwrap().set_len(1 << 42).unwrap();
    assert!(read_notes::<Vec<String>>(&file).is_err());
}

#[test]
fn notes_are_not_written_through_links() {
    let scratch = TempDir::new().unwrap();
    let [file, victim] = ["a.notes", "victim"].map(|name| scratch.path().join(name));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, scratch.path().join("a.notes.new")).unwrap();
    write_notes(&file, &"notes").unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(read_notes(&file), Ok(Some("notes".to_owned())));
}

#[test]
fn a_state_directory_that_another_user_could_replace_is_refused() {
    let scratch = TempDir::new().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let set_mode =
        |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    for name in ["open", "sticky", "victim", "foreign"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("victim/file.new"), "").unwrap();
    symlink(at("victim"), at("sticky/link")).unwrap();
    symlink(at("sticky"), at("link")).unwrap();
    set_mode("open", 0o777);
    set_mode("sticky", 0o1777);
    let refused = StateDir::open(&at("open/state")).unwrap_err();
    assert!(refused.ends_with("nobody else write to it"), "{refused}");
    StateDir::open(&at("link/state/of/lsyncd")).unwrap();
    if lchown(at("sticky/link"), Some(65_534), None).is_err() {
        println!("skipped: this needs the rights of root");
        return;
    }
    chown(at("foreign"), Some(65_534), None).unwrap();
    let refused = StateDir::open(&at("foreign/state")).unwrap_err();
    assert!(refused.ends_with("nobody else write to it"), "{refused}");
    assert!(refused.contains("foreign, and nobody"), "{refused}");
    for path in ["sticky/link", "link/link", "sticky/link/new"] {
        let refused = StateDir::open(&at(path)).unwrap_err();
        assert!(refused.contains("link is a symbolic link, and another user"), "{refused}");
    }
    let left: Vec<_> = fs::read_dir(at("victim")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left, [at("victim/file.new")]);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let fixture = SnapshotFixture::new();
    fixture.take();
    let snapshot = fs::read(&fixture.file).unwrap();
    let huge = fixture.scratch.path().join("huge");
    fs::write(&huge, &snapshot).unwrap();
    fs::File::options().write(true).open(&huge).unwrap().set_len(1 << 42).unwrap();
    assert!(file::read(&huge).is_err());
    let link = fixture.scratch.path().join("link");
    symlink(&fixture.file, &link).unwrap();
    assert!(file::read(&link).is_err());
    assert!(append_journal(&link, &[JournalEntry::Closed]).is_err());
    assert!(file::read(&fixture.root).unwrap_err().contains("regular file"));
    assert_eq!(fs::read(&fixture.file).unwrap(), snapshot);
}

#[test]
fn what_is_no_file_in_a_state_directory_does_no_harm() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    drop(StateDir::open(&state).unwrap());
    fs::create_dir(state.join("0.new")).unwrap();
    drop(StateDir::open(&state).unwrap());
    fs::remove_file(state.join("lock")).unwrap();
    mkfifo(&state.join("lock"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let refused = StateDir::open(&state).unwrap_err();
    assert!(refused.contains("cannot open its file \"lock\": "), "{refused}");
}

#[test]
fn a_write_that_nobody_has_reported_stays_a_difference() {
    let fixture = SnapshotFixture::new();
    let outside = fixture.scratch.path().join("outside");
    fs::hard_link(fixture.root.join("a/two"), &outside).unwrap();
    fixture.take();
    fs::write(&outside, "written outside of the source").unwrap();
    // The directory is read again, because of another name in it.
    fs::write(fixture.root.join("a/new"), "").unwrap();
    fixture.refresh(&["a/new", "a"]);
    fixture.expect(&["written /a/two"]);
    fixture.refresh(&["a/two"]);
    fixture.expect(&[]);
}
