//! Attributes, types and hard links of entries.

#[cfg(target_os = "linux")]
mod linux;

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt, chown, lchown, symlink},
    path::Path,
};

use mirror_core::job::Outcome;
use nix::{sys::stat::Mode, unistd::mkfifo};
use rustix::fs::{XattrFlags, setxattr};

use super::{CopierFixture, age, chmod, is_root};

#[test]
fn modes_and_times_of_files_links_and_directories_are_copied() {
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/b/c")).unwrap();
    fs::write(mirror.source("a/b/file"), b"content").unwrap();
    fs::write(mirror.source("a/empty"), b"").unwrap();
    symlink("b/file", mirror.source("a/link")).unwrap();
    symlink("/nowhere", mirror.source("dangling")).unwrap();
    chmod(&mirror.source("a/b/file"), 0o640);
    chmod(&mirror.source("a/b/c"), 0o1777);
    chmod(&mirror.source("a/b"), 0o2750);
    for (n, name) in ["a/b/file", "a/empty", "a/link", "dangling", "a/b/c", "a/b", "a", ""]
        .into_iter()
        .enumerate()
    {
        age(&mirror.source(name), i64::try_from(n).unwrap());
    }
    mirror.assert_mirrored();
}

#[test]
fn owners_are_copied_and_the_set_user_bit_survives() {
    if !is_root() {
        return;
    }
    let mirror = CopierFixture::new();
    fs::write(mirror.source("program"), b"#!").unwrap();
    fs::create_dir(mirror.source("directory")).unwrap();
    symlink("program", mirror.source("link")).unwrap();
    lchown(mirror.source("link"), Some(1234), Some(4321)).unwrap();
    chown(mirror.source("program"), Some(1000), Some(1001)).unwrap();
    chown(mirror.source("directory"), Some(7), Some(8)).unwrap();
    chmod(&mirror.source("program"), 0o6755);
    mirror.assert_mirrored();
    // For an existing file only the owner changes, which clears the bits.
    chown(mirror.source("program"), Some(1002), None).unwrap();
    chmod(&mirror.source("program"), 0o4711);
    assert_eq!(mirror.batch("program"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_change_of_attributes_touches_no_data() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"content").unwrap();
    age(&mirror.source("file"), 1);
    mirror.assert_mirrored();
    let before = fs::metadata(mirror.target("file")).unwrap();
    chmod(&mirror.source("file"), 0o600);
    setxattr(mirror.source("file"), "user.a", b"1", XattrFlags::empty()).unwrap();
    assert_eq!(mirror.batch("file"), Outcome::Done);
    mirror.assert_same();
    assert_eq!(fs::metadata(mirror.target("file")).unwrap().ino(), before.ino());
}

#[test]
fn a_file_of_the_same_size_and_time_is_not_read() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"source").unwrap();
    fs::write(mirror.target("file"), b"target").unwrap();
    age(&mirror.source("file"), 1);
    age(&mirror.target("file"), 1);
    assert_eq!(mirror.full(), Outcome::Done);
    assert_eq!(fs::read(mirror.target("file")).unwrap(), b"target");
    // A difference of one nanosecond is detected.
    let file = File::options().write(true).open(mirror.source("file")).unwrap();
    file.set_modified(
        file.metadata().unwrap().modified().unwrap() + std::time::Duration::from_nanos(1),
    )
    .unwrap();
    mirror.assert_mirrored();
}

#[test]
fn a_copy_made_right_after_the_write_is_not_trusted() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"before").unwrap();
    let modified = fs::metadata(mirror.source("file")).unwrap().modified().unwrap();
    assert_eq!(mirror.batch("file"), Outcome::Done);
    // Written again in the same tick of a coarse clock, or by the same call.
    fs::write(mirror.source("file"), b"behind").unwrap();
    let file = File::options().write(true).open(mirror.source("file")).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(mirror.batch("file"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn holes_stay_holes() {
    let mirror = CopierFixture::new();
    let mut file = File::create(mirror.source("disk.img")).unwrap();
    for offset in [0, 30 << 20, 60 << 20] {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(b"here").unwrap();
    }
    file.set_len(100 << 20).unwrap();
    drop(file);
    mirror.assert_mirrored();
    let blocks = fs::metadata(mirror.target("disk.img")).unwrap().blocks();
    assert!(blocks < 1000, "{blocks}");
}

#[test]
fn every_type_can_become_every_other() {
    type Make = fn(&Path);
    let make: [(&str, Make); 4] = [
        ("file", |path| fs::write(path, b"content").unwrap()),
        ("directory", |path| {
            fs::create_dir_all(path.join("in/side")).unwrap();
            fs::write(path.join("in/file"), b"content").unwrap();
        }),
        ("link", |path| symlink("somewhere", path).unwrap()),
        ("fifo", |path| mkfifo(path, Mode::S_IRUSR).unwrap()),
    ];
    for whole in [true, false] {
        for (from, before) in make {
            for (to, after) in make {
                let mirror = CopierFixture::new();
                before(&mirror.source("entry"));
                fs::write(mirror.source("other"), b"").unwrap();
                mirror.assert_mirrored();
                if from == "directory" {
                    fs::remove_dir_all(mirror.source("entry")).unwrap();
                } else {
                    fs::remove_file(mirror.source("entry")).unwrap();
                }
                after(&mirror.source("entry"));
                // A new directory is reported as a tree.
                let report = if to == "directory" { "entry/" } else { "entry" };
                let outcome = if whole { mirror.full() } else { mirror.batch(report) };
                assert_eq!(outcome, Outcome::Done, "{from} -> {to}");
                mirror.assert_same();
            }
        }
    }
}

#[test]
fn hard_links_are_preserved() {
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/b")).unwrap();
    fs::write(mirror.source("a/one"), b"content").unwrap();
    for name in ["two", "a/three", "a/b/four"] {
        fs::hard_link(mirror.source("a/one"), mirror.source(name)).unwrap();
    }
    mirror.assert_mirrored();
    // Written under one name, and only that one is reported: all names are updated.
    fs::write(mirror.source("a/three"), b"other content").unwrap();
    assert_eq!(mirror.batch("a/three"), Outcome::Done);
    mirror.assert_same();
    // One name gets a file of its own.
    fs::remove_file(mirror.source("two")).unwrap();
    fs::write(mirror.source("two"), b"other content").unwrap();
    assert_eq!(mirror.batch("two"), Outcome::Done);
    mirror.assert_same();
    // One name is removed, and one is added beside a name that was not reported.
    fs::remove_file(mirror.source("a/one")).unwrap();
    fs::hard_link(mirror.source("a/b/four"), mirror.source("a/b/five")).unwrap();
    assert_eq!(mirror.batch("a/one a/b/five"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn hard_links_of_special_files_are_preserved() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("a")).unwrap();
    symlink("nowhere", mirror.source("link")).unwrap();
    mkfifo(&mirror.source("fifo"), Mode::S_IRWXU).unwrap();
    for (name, other) in [("link", "a/link"), ("fifo", "a/fifo")] {
        fs::hard_link(mirror.source(name), mirror.source(other)).unwrap();
    }
    mirror.assert_mirrored();
    for (name, other) in [("link", "a/link2"), ("fifo", "a/fifo2")] {
        fs::hard_link(mirror.source(name), mirror.source(other)).unwrap();
        assert_eq!(mirror.batch(other), Outcome::Done);
        mirror.assert_same();
    }
    chmod(&mirror.source("fifo"), 0o640);
    assert_eq!(mirror.batch("fifo"), Outcome::Done);
    mirror.assert_same();
    // A link that replaces something is deferred, with its other names.
    fs::remove_file(mirror.source("link")).unwrap();
    symlink("elsewhere", mirror.source("link")).unwrap();
    fs::hard_link(mirror.source("link"), mirror.source("a/new")).unwrap();
    assert_eq!(mirror.batch("link a/new"), Outcome::Done);
    mirror.assert_same();
    mirror.assert_mirrored();
}

#[test]
fn a_write_under_a_deleted_name_reaches_the_other_names() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("a")).unwrap();
    fs::write(mirror.source("a/one"), b"content").unwrap();
    for name in ["two", "three"] {
        fs::hard_link(mirror.source("a/one"), mirror.source(name)).unwrap();
    }
    mirror.assert_mirrored();
    fs::write(mirror.source("two"), b"other content").unwrap();
    fs::remove_file(mirror.source("two")).unwrap();
    assert_eq!(mirror.batch("two"), Outcome::Done);
    mirror.assert_same();
    fs::write(mirror.source("three"), b"more content").unwrap();
    fs::remove_file(mirror.source("three")).unwrap();
    fs::write(mirror.source("three"), b"a file of its own").unwrap();
    assert_eq!(mirror.batch("three"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_new_link_to_a_file_with_one_name_is_linked() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("a")).unwrap();
    fs::write(mirror.source("a/one"), b"content").unwrap();
    age(&mirror.source("a/one"), 1);
    mirror.assert_mirrored();
    fs::hard_link(mirror.source("a/one"), mirror.source("two")).unwrap();
    assert_eq!(mirror.batch("two"), Outcome::Done);
    mirror.assert_same();
    // Separate copies are linked in a full pass.
    let names = ["two", "three", "a/four", "five", "a/six"];
    for name in &names[1..] {
        fs::hard_link(mirror.source("two"), mirror.source(name)).unwrap();
    }
    for name in names {
        fs::remove_file(mirror.target(name)).unwrap_or_default();
        fs::copy(mirror.source("two"), mirror.target(name)).unwrap();
        age(&mirror.target(name), 1);
    }
    mirror.assert_mirrored();
}

#[test]
fn many_new_links_are_linked() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("a")).unwrap();
    for n in 0..20 {
        fs::write(mirror.source(&format!("a/{n}")), vec![b'x'; n]).unwrap();
        age(&mirror.source(&format!("a/{n}")), 1);
    }
    mirror.assert_mirrored();
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for name in &names {
        fs::hard_link(mirror.source(&format!("a/{name}")), mirror.source(name)).unwrap();
    }
    assert_eq!(mirror.batch(&names.join(" ")), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_change_does_not_affect_links_outside_of_the_target() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"content").unwrap();
    age(&mirror.source("file"), 1);
    mirror.assert_mirrored();
    // Like incremental backups that share unchanged files.
    let backup = mirror.target.parent().unwrap().join("backup");
    fs::hard_link(mirror.target("file"), &backup).unwrap();
    chmod(&mirror.source("file"), 0o600);
    assert_eq!(mirror.batch("file"), Outcome::Done);
    assert_ne!(fs::metadata(&backup).unwrap().mode() & 0o777, 0o600);
    mirror.assert_same();
}

#[test]
fn a_directory_is_never_more_accessible_than_its_source() {
    let mirror = CopierFixture::new();
    let large = 30 << 20;
    for name in ["a/b", "c"] {
        fs::create_dir_all(mirror.source(name)).unwrap();
        fs::create_dir_all(mirror.target(name)).unwrap();
        fs::write(mirror.source(name).join("secret"), vec![7; large]).unwrap();
    }
    // One is closed itself, the other one by its parent directory.
    for name in ["a", "c"] {
        chmod(&mirror.source(name), 0o700);
        chmod(&mirror.target(name), 0o755);
    }
    chmod(&mirror.target("a/b"), 0o777);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for (name, shut) in [("a/b/secret", "a"), ("c/secret", "c")] {
                    if fs::exists(mirror.target(name)).unwrap() {
                        assert_eq!(fs::metadata(mirror.target(shut)).unwrap().mode() & 0o77, 0);
                    }
                }
            }
        });
        let outcomes = [mirror.batch("a/b/secret a c"), mirror.full()];
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        look.join().unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done), "{outcomes:?}");
    });
    mirror.assert_same();
}

#[test]
fn durable_copies_mirror_everything() {
    let mut mirror = CopierFixture::new();
    mirror.executor.settings.durable = true;
    fs::create_dir_all(mirror.source("a/b")).unwrap();
    fs::write(mirror.source("a/b/file"), b"content").unwrap();
    mirror.assert_mirrored();
    fs::write(mirror.source("a/b/file"), b"changed it").unwrap();
    fs::remove_dir(mirror.source("gone")).unwrap_err();
    assert_eq!(mirror.batch("a/b/file gone"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_directory_is_opened_after_the_files_in_it_are_private() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("d")).unwrap();
    let names: Vec<String> = (0..300).map(|n| format!("d/f{n}")).collect();
    for name in &names {
        fs::write(mirror.source(name), "").unwrap();
        chmod(&mirror.source(name), 0o644);
    }
    chmod(&mirror.source("d"), 0o700);
    mirror.assert_mirrored();
    for name in &names {
        chmod(&mirror.source(name), 0o600);
    }
    chmod(&mirror.source("d"), 0o755);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mode = |name: &str| fs::metadata(mirror.target(name)).unwrap().mode();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if mode("d") & 0o077 != 0 {
                    for name in &names {
                        assert_eq!(mode(name) & 0o077, 0, "{name}");
                    }
                }
            }
        });
        let outcome = mirror.batch(&format!("d {}", names.join(" ")));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        look.join().unwrap();
        assert_eq!(outcome, Outcome::Done);
    });
    mirror.assert_same();
}
