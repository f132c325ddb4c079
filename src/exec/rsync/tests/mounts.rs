//! What is mounted in the source or in the target.

use std::os::unix::fs::PermissionsExt;

use mirror_core::job::Rename;

use super::*;
use crate::exec::test_mounts::Mounted;

/// A source and a target with the directories `a/m` and `disk`, and what each of the first is
/// mirrored to.
fn fixture() -> Option<(Fixture, Mounted)> {
    let fixture = Fixture::with_rsync()?;
    let disk = fixture.place.path().join("disk");
    for path in [fixture.source("a/m"), disk.clone()] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(disk.join("file"), "content").unwrap();
    for name in ["a/top", "kept"] {
        fs::write(fixture.source(name), "content").unwrap();
    }
    let mounted = Mounted::bind(&disk, &fixture.source("a/m"))?;
    Some((fixture, mounted))
}

#[test]
fn what_was_unmounted_in_the_source_stays_whatever_goes_around_it() {
    type Change = fn(&Fixture);
    let changes: [(Change, &[u8]); 5] = [
        (|_| (), b"a/"),
        (|fixture| fs::remove_dir(fixture.source("a/m")).unwrap(), b"a/m"),
        (|fixture| fs::remove_dir_all(fixture.source("a")).unwrap(), b"a"),
        (|fixture| fs::rename(fixture.source("a"), fixture.source("b")).unwrap(), b"a"),
        (
            |fixture| {
                fs::remove_dir_all(fixture.source("a")).unwrap();
                fs::write(fixture.source("a"), "a file").unwrap();
            },
            b"a",
        ),
    ];
    for (number, (change, mark)) in changes.into_iter().enumerate() {
        let Some((fixture, mounted)) = fixture() else { return };
        assert_eq!(fixture.full(), Outcome::Done);
        assert!(fixture.target("a/m/file").exists());
        drop(mounted);
        change(&fixture);
        let top = fixture.source("a/top").exists();
        for _ in 0..2 {
            let done = fixture.batch(&[mark]);
            assert!(matches!(done, Outcome::Done | Outcome::Partly(_)), "{number}: {done:?}");
            assert!(fixture.target("a/m/file").exists(), "{number}");
            // A file can't take the place of a directory in which something stays.
            let in_the_way = fixture.source("a").is_file();
            assert!(in_the_way || fixture.target("a/top").exists() == top, "{number}");
            let done = fixture.full();
            assert!(matches!(done, Outcome::Done | Outcome::Partly(_)), "{number}: {done:?}");
            assert!(fixture.target("a/m/file").exists(), "{number}");
        }
    }
}

#[test]
fn what_shows_in_place_of_a_mount_does_not_open_what_the_target_has_of_it() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let Some((fixture, mounted)) = fixture() else { return };
    fs::set_permissions(fixture.source("a/m"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    drop(mounted);
    for transfer in [Fixture::full, |fixture: &Fixture| fixture.batch(&[b"a/m/"])] {
        assert_eq!(transfer(&fixture), Outcome::Done);
        assert_eq!(mode(&fixture.target("a/m")), 0o700);
        assert!(fixture.target("a/m/file").exists());
    }
    // What is new there is brought all the same.
    fs::write(fixture.source("a/m/new"), "content").unwrap();
    assert_eq!(fixture.batch(&[b"a/m/"]), Outcome::Done);
    assert!(fixture.target("a/m/new").exists() && fixture.target("a/m/file").exists());
}

#[test]
fn what_is_mounted_again_in_the_source_is_mirrored_as_before() {
    let Some((fixture, mounted)) = fixture() else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    drop(mounted);
    assert_eq!(fixture.full(), Outcome::Done);
    let disk = fixture.place.path().join("disk");
    let _again = Mounted::bind(&disk, &fixture.source("a/m")).unwrap();
    fs::remove_file(fixture.source("a/m/file")).unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!fixture.target("a/m/file").exists());
}

#[test]
fn what_is_mounted_again_below_another_name_is_not_kept_below_the_old_one() {
    let Some((fixture, mounted)) = fixture() else { return };
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &Stop::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    drop(mounted);
    fs::rename(fixture.source("a"), fixture.source("b")).unwrap();
    assert_eq!(run(batch(&[b"a", b"b/"])), Outcome::Done);
    assert!(fixture.target("a/m/file").exists());
    let disk = fixture.place.path().join("disk");
    let _again = Mounted::bind(&disk, &fixture.source("b/m")).unwrap();
    for _ in 0..2 {
        assert_eq!(run(batch(&[b"b/m/"])), Outcome::Done);
    }
    assert!(fixture.target("b/m/file").exists() && !fixture.target("a").exists());
}

#[test]
fn nothing_is_deleted_through_a_mount_in_the_target() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    let disk = fixture.place.path().join("disk");
    for path in [fixture.target("old/m"), fixture.target("m"), fixture.source("m"), disk.clone()] {
        fs::create_dir_all(path).unwrap();
    }
    let Some(_mounted) = Mounted::bind(&disk, &fixture.target("old/m")) else { return };
    fs::write(disk.join("precious"), "").unwrap();
    fs::write(fixture.target("old/file"), "").unwrap();
    let failed = fixture.batch(&[b"old"]);
    assert!(matches!(failed, Outcome::Partly(_)), "{failed:?}");
    fs::write(fixture.source("kept"), "").unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(disk.join("precious").exists() && !fixture.target("old/file").exists());
    // One that the source has a directory for is a part of the mirror.
    let other = fixture.place.path().join("other");
    fs::create_dir(&other).unwrap();
    let _mounted = Mounted::bind(&other, &fixture.target("m")).unwrap();
    fs::write(other.join("gone"), "").unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!other.join("gone").exists());
}

#[test]
fn on_one_file_system_nothing_of_another_one_goes_live() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.options.short.push(b'x');
    fs::create_dir_all(fixture.source("a/m")).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&fixture.source("a/m")) else { return };
    fs::create_dir(fixture.source("a/m/d")).unwrap();
    fs::write(fixture.source("a/m/d/file"), "").unwrap();
    fs::write(fixture.source("a/beside"), "").unwrap();
    let marks: [&[u8]; 7] =
        [b"a/m", b"a/m/", b"a/m/d/", b"a/m/d/file", b"a/m/gone", b"a/m/gone/below", b"a/"];
    for mark in marks {
        assert_eq!(fixture.run(written(&[mark])), Outcome::Done, "{mark:?}");
        assert!(!fixture.target("a/m/d").exists(), "{mark:?}");
    }
    assert!(fixture.target("a/beside").exists() && fixture.target("a/m").is_dir());
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!fixture.target("a/m/d").exists());
}

/// Names that were seen to come, and one that was seen to go: what mv does between file systems.
fn moved_over(gone: &[u8], come: &[&[u8]]) -> Work {
    let marks = [&[gone][..], come].concat();
    let Work::Batch { places, moves, .. } = batch(&marks) else { panic!() };
    let Work::Batch { places: gone, .. } = batch(&[gone]) else { panic!() };
    let Work::Batch { places: written, .. } = batch(come) else { panic!() };
    let (gone, written) = ((*gone).clone(), (*written).clone());
    Work::Batch { places, heard: Arc::new(Heard { gone, written, ..Heard::default() }), moves }
}

#[test]
fn on_one_file_system_what_is_renamed_into_another_one_goes_and_comes_back() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.options.short.push(b'x');
    for path in ["a/m", "d/below"] {
        fs::create_dir_all(fixture.source(path)).unwrap();
    }
    fs::write(fixture.source("d/below/file"), "").unwrap();
    let Some(mounted) = Mounted::tmpfs(&fixture.source("a/m")) else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("d/below/file").exists());
    // In: it is there no more, and not here either.
    rename_over(&fixture.source("d"), &fixture.source("a/m/d"));
    assert_eq!(fixture.run(moved_over(b"d", &[b"a/m/d/", b"a/m/d/below/"])), Outcome::Done);
    assert!(!fixture.target("d").exists() && !fixture.target("a/m/d").exists());
    // Out again.
    rename_over(&fixture.source("a/m/d"), &fixture.source("e"));
    assert_eq!(fixture.run(moved_over(b"a/m/d", &[b"e/", b"e/below/"])), Outcome::Done);
    assert!(fixture.target("e/below/file").exists() && fixture.target("a/m").is_dir());
    // Within it, and with all that is above it.
    fs::write(fixture.source("a/m/one"), "").unwrap();
    fs::rename(fixture.source("a/m/one"), fixture.source("a/m/two")).unwrap();
    assert_eq!(fixture.run(renamed("a/m/one", "a/m/two")), Outcome::Done);
    fs::rename(fixture.source("a"), fixture.source("b")).unwrap();
    let _mounted = mounted.moved_to(&fixture.source("b/m"));
    assert_eq!(fixture.run(renamed("a", "b")), Outcome::Done);
    assert!(!fixture.target("a").exists() && fixture.target("b/m").is_dir());
    assert!(!fixture.target("b/m/one").exists() && !fixture.target("b/m/two").exists());
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!fixture.target("b/m/two").exists() && fixture.target("e/below/file").exists());
}

#[test]
fn a_directory_of_the_same_file_system_that_is_mounted_is_a_part_of_it() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.options.short.push(b'x');
    let disk = fixture.place.path().join("disk");
    for path in [fixture.source("m"), fixture.source("d"), disk.clone()] {
        fs::create_dir(path).unwrap();
    }
    fs::write(fixture.source("d/file"), "").unwrap();
    let Some(_mounted) = Mounted::bind(&disk, &fixture.source("m")) else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    // The kernel renames nothing between mounts, though it is one file system.
    rename_over(&fixture.source("d"), &fixture.source("m/d"));
    assert_eq!(fixture.run(moved_over(b"d", &[b"m/d/"])), Outcome::Done);
    assert!(!fixture.target("d").exists() && fixture.target("m/d/file").exists());
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("m/d/file").exists());
}

/// As mv does it where the kernel does not.
fn rename_over(from: &Path, to: &Path) {
    assert!(fs::rename(from, to).is_err(), "there is no mount between them");
    let moved = Command::new("mv").args([from, to]).status().unwrap();
    assert!(moved.success());
}

fn renamed(from: &str, to: &str) -> Work {
    let trees = [from, to].map(|path| [path.as_bytes(), b"/"].concat());
    let Work::Batch { places, .. } = batch(&[&trees[0], &trees[1]]) else { panic!() };
    let [from, to] = [from, to].map(|path| TreePath::new(path.as_bytes()).unwrap());
    let moved = [Place { path: to.clone(), scope: Scope::Tree }].iter().collect();
    let heard = Arc::new(Heard { moved, ..Heard::default() });
    Work::Batch { places, heard, moves: Arc::new([Rename { from, to }]) }
}
