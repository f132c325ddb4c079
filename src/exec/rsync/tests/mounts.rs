//! Mounts in the source and in the target.

use std::os::unix::fs::PermissionsExt;

use mirror_core::job::Rename;

use super::*;
use crate::exec::test_mounts::TestMount;

/// Creates a source with the directory `a/m`, on which the directory `disk` is mounted.
fn fixture() -> Option<(RsyncFixture, TestMount)> {
    let fixture = RsyncFixture::with_rsync()?;
    let disk = fixture.dir.path().join("disk");
    for path in [fixture.source("a/m"), disk.clone()] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(disk.join("file"), "content").unwrap();
    for name in ["a/top", "kept"] {
        fs::write(fixture.source(name), "content").unwrap();
    }
    let mounted = TestMount::bind(&disk, &fixture.source("a/m"))?;
    Some((fixture, mounted))
}

#[test]
fn unmounted_parts_of_the_source_stay_on_the_target() {
    type SourceChange = fn(&RsyncFixture);
    let changes: [(SourceChange, &[u8]); 5] = [
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
            assert!(matches!(done, Outcome::Done | Outcome::Partial(_)), "{number}: {done:?}");
            assert!(fixture.target("a/m/file").exists(), "{number}");
            // A file cannot replace a directory with protected entries.
            let in_the_way = fixture.source("a").is_file();
            assert!(in_the_way || fixture.target("a/top").exists() == top, "{number}");
            let done = fixture.full();
            assert!(matches!(done, Outcome::Done | Outcome::Partial(_)), "{number}: {done:?}");
            assert!(fixture.target("a/m/file").exists(), "{number}");
        }
    }
}

#[test]
fn a_bare_mount_point_does_not_loosen_permissions_on_the_target() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let Some((fixture, mounted)) = fixture() else { return };
    fs::set_permissions(fixture.source("a/m"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    drop(mounted);
    for transfer in [RsyncFixture::full, |fixture: &RsyncFixture| fixture.batch(&[b"a/m/"])] {
        assert_eq!(transfer(&fixture), Outcome::Done);
        assert_eq!(mode(&fixture.target("a/m")), 0o700);
        assert!(fixture.target("a/m/file").exists());
    }
    // New files in the mount point are transferred all the same.
    fs::write(fixture.source("a/m/new"), "content").unwrap();
    assert_eq!(fixture.batch(&[b"a/m/"]), Outcome::Done);
    assert!(fixture.target("a/m/new").exists() && fixture.target("a/m/file").exists());
}

#[test]
fn a_remounted_file_system_is_mirrored_again() {
    let Some((fixture, mounted)) = fixture() else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    drop(mounted);
    assert_eq!(fixture.full(), Outcome::Done);
    let disk = fixture.dir.path().join("disk");
    let _again = TestMount::bind(&disk, &fixture.source("a/m")).unwrap();
    fs::remove_file(fixture.source("a/m/file")).unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!fixture.target("a/m/file").exists());
}

#[test]
fn a_file_system_remounted_elsewhere_is_deleted_at_its_old_name() {
    let Some((fixture, mounted)) = fixture() else { return };
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    drop(mounted);
    fs::rename(fixture.source("a"), fixture.source("b")).unwrap();
    assert_eq!(run(batch(&[b"a", b"b/"])), Outcome::Done);
    assert!(fixture.target("a/m/file").exists());
    let disk = fixture.dir.path().join("disk");
    let _again = TestMount::bind(&disk, &fixture.source("b/m")).unwrap();
    for _ in 0..2 {
        assert_eq!(run(batch(&[b"b/m/"])), Outcome::Done);
    }
    assert!(fixture.target("b/m/file").exists() && !fixture.target("a").exists());
}

#[test]
fn nothing_is_deleted_through_a_mount_in_the_target() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let disk = fixture.dir.path().join("disk");
    for path in [fixture.target("old/m"), fixture.target("m"), fixture.source("m"), disk.clone()] {
        fs::create_dir_all(path).unwrap();
    }
    let Some(_mounted) = TestMount::bind(&disk, &fixture.target("old/m")) else { return };
    fs::write(disk.join("precious"), "").unwrap();
    fs::write(fixture.target("old/file"), "").unwrap();
    let failed = fixture.batch(&[b"old"]);
    assert!(matches!(failed, Outcome::Partial(_)), "{failed:?}");
    fs::write(fixture.source("kept"), "").unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(disk.join("precious").exists() && !fixture.target("old/file").exists());
    // A mount with a counterpart in the source is a part of the mirror.
    let other = fixture.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let _mounted = TestMount::bind(&other, &fixture.target("m")).unwrap();
    fs::write(other.join("gone"), "").unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!other.join("gone").exists());
}

#[test]
fn one_file_system_excludes_other_file_systems_live() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.short.push(b'x');
    fs::create_dir_all(fixture.source("a/m")).unwrap();
    let Some(_mounted) = TestMount::tmpfs(&fixture.source("a/m")) else { return };
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

/// Returns a batch with one observed deletion and some new names: the events of mv between file
/// systems.
fn moved_across(gone: &[u8], come: &[&[u8]]) -> Work {
    let marks = [&[gone][..], come].concat();
    let Work::Batch { paths, renames, .. } = batch(&marks) else { panic!() };
    let Work::Batch { paths: gone, .. } = batch(&[gone]) else { panic!() };
    let Work::Batch { paths: written, .. } = batch(come) else { panic!() };
    let (gone, written) = ((*gone).clone(), (*written).clone());
    Work::Batch {
        paths,
        observed: Arc::new(ObservedChanges {
            deleted: gone,
            written,
            ..ObservedChanges::default()
        }),
        renames,
    }
}

#[test]
fn one_file_system_handles_renames_across_its_boundary() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.short.push(b'x');
    for path in ["a/m", "d/below"] {
        fs::create_dir_all(fixture.source(path)).unwrap();
    }
    fs::write(fixture.source("d/below/file"), "").unwrap();
    let Some(mounted) = TestMount::tmpfs(&fixture.source("a/m")) else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("d/below/file").exists());
    // Into it: missing at the old name, and excluded at the new one.
    move_across(&fixture.source("d"), &fixture.source("a/m/d"));
    assert_eq!(fixture.run(moved_across(b"d", &[b"a/m/d/", b"a/m/d/below/"])), Outcome::Done);
    assert!(!fixture.target("d").exists() && !fixture.target("a/m/d").exists());
    // Out of it again.
    move_across(&fixture.source("a/m/d"), &fixture.source("e"));
    assert_eq!(fixture.run(moved_across(b"a/m/d", &[b"e/", b"e/below/"])), Outcome::Done);
    assert!(fixture.target("e/below/file").exists() && fixture.target("a/m").is_dir());
    // Within it, and together with its ancestors.
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
fn a_bind_mount_of_the_same_file_system_is_included() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.short.push(b'x');
    let disk = fixture.dir.path().join("disk");
    for path in [fixture.source("m"), fixture.source("d"), disk.clone()] {
        fs::create_dir(path).unwrap();
    }
    fs::write(fixture.source("d/file"), "").unwrap();
    let Some(_mounted) = TestMount::bind(&disk, &fixture.source("m")) else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    // The kernel does not rename across mounts, even within one file system.
    move_across(&fixture.source("d"), &fixture.source("m/d"));
    assert_eq!(fixture.run(moved_across(b"d", &[b"m/d/"])), Outcome::Done);
    assert!(!fixture.target("d").exists() && fixture.target("m/d/file").exists());
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("m/d/file").exists());
}

/// Moves a file with mv, which copies where the kernel cannot rename.
fn move_across(from: &Path, to: &Path) {
    assert!(fs::rename(from, to).is_err(), "there is no mount between them");
    let moved = Command::new("mv").args([from, to]).status().unwrap();
    assert!(moved.success());
}

fn renamed(from: &str, to: &str) -> Work {
    let trees = [from, to].map(|path| [path.as_bytes(), b"/"].concat());
    let Work::Batch { paths, .. } = batch(&[&trees[0], &trees[1]]) else { panic!() };
    let [from, to] = [from, to].map(|path| TreePath::new(path.as_bytes()).unwrap());
    let moved = [DirtyPath { path: to.clone(), scope: Scope::Tree }].iter().collect();
    let observed = Arc::new(ObservedChanges { renamed_to: moved, ..ObservedChanges::default() });
    Work::Batch { paths, observed, renames: Arc::new([Rename { from, to }]) }
}
