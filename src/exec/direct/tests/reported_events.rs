//! Reported writes take precedence over size and time.

use std::{fs, os::unix::fs::MetadataExt, os::unix::fs::symlink, sync::Arc};

use mirror_core::{
    job::{Outcome, Work},
    queue::ObservedChanges,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{CopierFixture, age, dirty_path, observed_changes, rename};

/// Creates a mirror of old files.
fn mirror(names: &[&str]) -> CopierFixture {
    let mirror = CopierFixture::new();
    for name in names {
        fs::create_dir_all(mirror.source(name).parent().unwrap()).unwrap();
        write(&mirror, name, "aaa");
    }
    mirror.assert_mirrored();
    mirror
}

/// Writes three letters without a change of size or time.
fn write(mirror: &CopierFixture, name: &str, content: &str) {
    fs::write(mirror.source(name), content).unwrap();
    age(&mirror.source(name), 0);
}

fn content(mirror: &CopierFixture, name: &str) -> String {
    fs::read_to_string(mirror.target(name)).unwrap()
}

#[test]
fn reported_writes_are_copied_despite_equal_size_and_time() {
    let mirror = mirror(&["file", "d/one", "d/two"]);
    for (name, paths, written) in
        [("file", "file", "file"), ("d/one", "d/", "d/one"), ("d/two", "d/two", "d/")]
    {
        write(&mirror, name, "bbb");
        assert_eq!(mirror.batch_observed(paths, "", written), Outcome::Done);
        assert_eq!(content(&mirror, name), "bbb");
        write(&mirror, name, "ccc");
        assert_eq!(
            mirror.run(Work::Full { observed: observed_changes("", written) }),
            Outcome::Done
        );
        assert_eq!(content(&mirror, name), "ccc");
    }
}

#[test]
fn a_reported_write_of_equal_content_is_not_copied() {
    let mirror = mirror(&["file"]);
    let inode = || fs::metadata(mirror.target("file")).unwrap().ino();
    let before = inode();
    // While it is open, its inode number is not reused.
    let kept = fs::File::open(mirror.target("file")).unwrap();
    assert_eq!(mirror.batch_observed("file", "", "file"), Outcome::Done);
    assert_eq!(inode(), before);
    drop(kept);
}

#[test]
fn a_new_name_counts_as_written_unless_the_rename_was_applied_at_the_target() {
    let moved = |mirror: &CopierFixture, renames: &str| {
        let observed = ObservedChanges {
            renamed_to: [dirty_path("new")].iter().collect(),
            ..ObservedChanges::default()
        };
        let paths = ["old", "new"].map(dirty_path).iter().collect();
        let renames = renames.split_whitespace().map(rename).collect();
        mirror.run(Work::Batch { paths: Arc::new(paths), observed: Arc::new(observed), renames })
    };
    let old = mirror(&["old"]);
    fs::rename(old.source("old"), old.source("new")).unwrap();
    assert_eq!(moved(&old, "old>new"), Outcome::Done);
    old.assert_same();
    // The target already has a file of the same size and time under the new name.
    let both = mirror(&["old", "new"]);
    write(&both, "old", "bbb");
    fs::rename(both.source("old"), both.source("new")).unwrap();
    for renames in ["", "old>new"] {
        assert_eq!(moved(&both, renames), Outcome::Done);
        assert_eq!(content(&both, "new"), "bbb");
    }
}

#[test]
fn a_write_under_one_name_reaches_all_names() {
    for whole in [false, true] {
        for written in ["a", "x/b", "x/c"] {
            let mirror = mirror(&["a", "x/other"]);
            for name in ["x/b", "x/c"] {
                fs::hard_link(mirror.source("a"), mirror.source(name)).unwrap();
            }
            mirror.assert_mirrored();
            age(&mirror.source("a"), 100);
            mirror.assert_mirrored();
            fs::write(mirror.source("a"), "bbb").unwrap();
            age(&mirror.source("a"), 100);
            let outcome = if whole {
                mirror.run(Work::Full { observed: observed_changes("", written) })
            } else {
                mirror.batch_observed(written, "", written)
            };
            assert_eq!(outcome, Outcome::Done);
            mirror.assert_same();
        }
    }
}

#[test]
fn exchanged_files_of_equal_size_and_time_are_distinguished() {
    let mirror = mirror(&["one", "two"]);
    write(&mirror, "two", "bbb");
    assert_eq!(mirror.batch_observed("two", "", "two"), Outcome::Done);
    let (one, two) = (mirror.source("one"), mirror.source("two"));
    renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(mirror.batch_observed("one two", "", "one two"), Outcome::Done);
    assert_eq!((content(&mirror, "one"), content(&mirror, "two")), ("bbb".into(), "aaa".into()));
}

#[test]
fn the_former_target_of_a_symlink_is_deleted_after_the_switch() {
    let names: Vec<String> = (0..2000).map(|n| format!("a/f{n}")).collect();
    let mirror = mirror(&names.iter().map(String::as_str).collect::<Vec<_>>());
    fs::create_dir(mirror.source("b")).unwrap();
    fs::write(mirror.source("b/f0"), b"new").unwrap();
    symlink("a", mirror.source("z")).unwrap();
    mirror.assert_mirrored();
    fs::remove_file(mirror.source("z")).unwrap();
    symlink("b", mirror.source("z")).unwrap();
    fs::remove_dir_all(mirror.source("a")).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                fs::metadata(mirror.target("z/f0")).unwrap();
            }
        });
        let outcome = mirror.batch_observed("a z", "a z", "z");
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        look.join().unwrap();
        assert_eq!(outcome, Outcome::Done);
    });
    mirror.assert_same();
}

#[test]
fn a_retargeted_symlink_is_synced_last() {
    let mirror = mirror(&["releases/r1/v"]);
    symlink("releases/r1", mirror.source("current")).unwrap();
    mirror.assert_mirrored();
    let size = 64 << 20;
    fs::create_dir(mirror.source("releases/r2")).unwrap();
    fs::File::create(mirror.source("releases/r2/large")).unwrap().set_len(size).unwrap();
    fs::write(mirror.source("releases/r2/v"), b"").unwrap();
    fs::remove_file(mirror.source("current")).unwrap();
    symlink("releases/r2", mirror.source("current")).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            // The target of the link is complete at any moment.
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(link) = fs::read_link(mirror.target("current"))
                    && link.ends_with("r2")
                {
                    let is_there = |name| fs::metadata(mirror.target("releases/r2").join(name));
                    assert_eq!(is_there("large").unwrap().len(), size);
                    assert!(is_there("v").is_ok());
                }
            }
        });
        let outcome = mirror.batch("current releases/r2/");
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        look.join().unwrap();
        assert_eq!(outcome, Outcome::Done);
    });
    mirror.assert_same();
}
