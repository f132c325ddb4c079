//! Rename hints: they save copies, and wrong ones do no harm.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mirror_core::{job::Outcome, plan::options::DeletePolicy};

use super::{CopierFixture, age, chmod};

/// Creates a mirror with old files of different sizes.
fn mirror(names: &str) -> CopierFixture {
    let mirror = CopierFixture::new();
    for (n, name) in names.split_whitespace().enumerate() {
        fs::create_dir_all(mirror.source(name).parent().unwrap()).unwrap();
        fs::write(mirror.source(name), vec![b'x'; n + 1]).unwrap();
        age(&mirror.source(name), 0);
    }
    mirror.assert_mirrored();
    mirror
}

/// Maps the size of each file to its inode.
fn inodes(root: &Path) -> BTreeMap<u64, u64> {
    let mut inodes = BTreeMap::new();
    let mut paths = vec![PathBuf::from(root)];
    while let Some(path) = paths.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            inodes.insert(stat.len(), stat.ino());
        }
    }
    inodes
}

/// Asserts that the batch copies nothing: each file keeps its inode.
#[track_caller]
fn assert_moved(mirror: &CopierFixture, places: &str, renames: &str) {
    let before = inodes(&mirror.target);
    assert_eq!(mirror.batch_with(places, renames), Outcome::Done);
    mirror.assert_same();
    assert_eq!(inodes(&mirror.target), before);
}

fn rename(mirror: &CopierFixture, from: &str, to: &str) {
    fs::rename(mirror.source(from), mirror.source(to)).unwrap();
}

#[test]
fn disabled_renames_copy_the_file() {
    let mut mirror = mirror("file");
    mirror.executor.settings.renames = false;
    let before = inodes(&mirror.target);
    // While it is open, its inode number is not reused.
    let kept = fs::File::open(mirror.target("file")).unwrap();
    rename(&mirror, "file", "other");
    assert_eq!(mirror.batch_with("file other", "file>other"), Outcome::Done);
    mirror.assert_same();
    assert_ne!(inodes(&mirror.target), before);
    drop(kept);
}

#[test]
fn files_and_directories_are_renamed() {
    let mirror = mirror("a/one a/b/two file");
    rename(&mirror, "file", "a/file");
    rename(&mirror, "a", "c");
    assert_moved(&mirror, "file a/ c/", "file>a/file a>c");
}

#[test]
fn a_rename_into_a_new_directory_copies_nothing() {
    let mirror = mirror("a/one");
    fs::create_dir_all(mirror.source("new/er")).unwrap();
    fs::write(mirror.source("new/file"), b"not reported, but there").unwrap();
    rename(&mirror, "a", "new/er/a");
    let before = inodes(&mirror.target);
    assert_eq!(mirror.batch_with("a/ new new/er new/er/a/", "a>new/er/a"), Outcome::Done);
    mirror.assert_same();
    assert_eq!(inodes(&mirror.target)[&1], before[&1]);
}

#[test]
fn chained_and_rotated_names_are_renamed() {
    let mirror = mirror("log log.1 log.2 d/x");
    rename(&mirror, "log.2", "log.3");
    rename(&mirror, "log.1", "log.2");
    rename(&mirror, "log", "log.1");
    rename(&mirror, "d", "e");
    rename(&mirror, "e", "f");
    assert_moved(
        &mirror,
        "log log.1 log.2 log.3 d/ e/ f/",
        "log.2>log.3 log.1>log.2 log>log.1 d>e e>f",
    );
}

#[test]
fn a_rotation_that_ends_with_a_new_file_copies_only_that_file() {
    let mirror = mirror("log log.1 log.2");
    let before = inodes(&mirror.target);
    rename(&mirror, "log.1", "log.2");
    rename(&mirror, "log", "log.1");
    fs::write(mirror.source("log"), b"a new one").unwrap();
    let renames = "log.1>log.2 log>log.1";
    assert_eq!(mirror.batch_with("log log.1 log.2", renames), Outcome::Done);
    mirror.assert_same();
    let after = inodes(&mirror.target);
    assert_eq!((after[&1], after[&2]), (before[&1], before[&2]));
}

#[test]
fn exchanged_files_and_directories_are_renamed() {
    let mirror = mirror("a/one b/two x y");
    for (one, two) in [("a", "b"), ("x", "y")] {
        rename(&mirror, one, "t");
        rename(&mirror, two, one);
        rename(&mirror, "t", two);
    }
    assert_moved(&mirror, "a/ b/ x y t", "a>t b>a t>b x>t y>x t>y");
}

#[test]
fn a_rename_replaces_an_existing_file() {
    let mirror = mirror("old new");
    rename(&mirror, "new", "old");
    assert_eq!(mirror.batch_with("new old", "new>old"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn wrong_hints_do_no_harm() {
    let hints = [
        "a>b",
        "b>a",
        "a/one>a",
        "a>a/one",
        "a>a",
        "gone>a",
        "a>gone",
        "a/one>b/two",
        "x>y",
        "y>x",
        "x>b",
        "b>x",
        "link>x",
        "x>link",
        "x>new/a",
        "a>new/a",
        "x>.x.lsyncd-abcdefghijkl",
    ];
    for hint in hints {
        for other in hints {
            let mirror = mirror("a/one b/two x y");
            std::os::unix::fs::symlink("x", mirror.source("link")).unwrap();
            mirror.assert_mirrored();
            let places = "a/ b/ x y link gone new/";
            assert_eq!(mirror.batch_with(places, &format!("{hint} {other}")), Outcome::Done);
            mirror.assert_same();
        }
    }
}

#[test]
fn changes_after_a_rename_are_synced() {
    let mirror = mirror("a/one a/two");
    rename(&mirror, "a", "b");
    fs::remove_file(mirror.source("b/one")).unwrap();
    fs::write(mirror.source("b/two"), b"changed").unwrap();
    fs::write(mirror.source("b/three"), b"new").unwrap();
    assert_eq!(mirror.batch_with("a/ b/", "a>b"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn without_deletion_a_rename_keeps_the_old_name() {
    for renames in ["file>other", "d>e"] {
        let mut mirror = mirror("file d/one");
        mirror.executor.settings.delete = DeletePolicy::Never;
        let (from, to) = renames.split_once('>').unwrap();
        rename(&mirror, from, to);
        let places = format!("{from}/ {to}/");
        assert_eq!(mirror.batch_with(&places, renames), Outcome::Done);
        assert!(fs::exists(mirror.target(from)).unwrap() && fs::exists(mirror.target(to)).unwrap());
    }
}

/// An entry that was private by its old directory must be private by itself, or by its new one,
/// before it is moved there.
#[test]
fn a_rename_gives_no_access_that_the_source_does_not_grant() {
    let mirror = CopierFixture::new();
    let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    for root in [mirror.source(""), mirror.target("")] {
        for directory in ["private", "shut", "open"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
    }
    for name in &names {
        for directory in ["shut", "open"] {
            fs::write(mirror.source("private").join(format!("{directory}{name}")), name).unwrap();
        }
    }
    chmod(&mirror.source("private"), 0o700);
    mirror.assert_mirrored();
    // One directory is closed, the files of the other one are.
    chmod(&mirror.source("shut"), 0o700);
    let (mut paths, mut renames) = (vec!["shut private".to_owned()], Vec::new());
    for name in &names {
        for directory in ["shut", "open"] {
            let (old, new) = (format!("private/{directory}{name}"), format!("{directory}/{name}"));
            if directory == "open" {
                chmod(&mirror.source(&old), 0o600);
            }
            fs::rename(mirror.source(&old), mirror.source(&new)).unwrap();
            paths.push(format!("{old} {new}"));
            renames.push(format!("{old}>{new}"));
        }
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mode = |path: PathBuf| fs::metadata(path).map(|found| found.mode() & 0o77);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for name in ["0", "500", "999"] {
                    if let Ok(mode) = mode(mirror.target("open").join(name)) {
                        assert_eq!(mode, 0, "open/{name}");
                    }
                    if fs::exists(mirror.target("shut").join(name)).unwrap() {
                        assert_eq!(mode(mirror.target("shut")).unwrap(), 0, "shut/{name}");
                    }
                }
            }
        });
        let outcome = mirror.batch_with(&paths.join(" "), &renames.join(" "));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        look.join().unwrap();
        assert_eq!(outcome, Outcome::Done);
    });
    mirror.assert_same();
}
