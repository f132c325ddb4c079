//! What is mounted in the source or in the target.

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
