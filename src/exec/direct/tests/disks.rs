//! Full, read-only, unmounted and nested file systems.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mirror_core::job::{Outcome, Work};

use super::{ALWAYS, CopierFixture, executor, failures, is_root};
use crate::exec::{Executor, process::cancel::CancelToken};

/// tmpfs, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    /// Returns `None` if mounting is not permitted, which is an error in CI.
    fn mount(path: &Path, options: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        assert!(mounted || std::env::var_os("CI").is_none(), "cannot mount anything here");
        mounted.then(|| Self(path.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(
            Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success()
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[track_caller]
fn again(outcome: Outcome) -> String {
    let Outcome::Retry(failure) = outcome else { panic!("{outcome:?}") };
    failure.message
}

#[test]
fn a_full_disk_is_reported_and_used_again_once_there_is_space() {
    let mirror = CopierFixture::new();
    let Some(disk) = Disk::mount(&mirror.target, "size=1m") else { return };
    fs::write(mirror.source("large"), vec![7; 3 << 20]).unwrap();
    let failed = failures(mirror.full());
    let [(path, why)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(path, "/large");
    assert!(why.starts_with("cannot write "), "{why}");
    assert!(
        why.ends_with("target/large: No space left on device: free space or inodes there"),
        "{why}"
    );
    assert_eq!(fs::read_dir(&mirror.target).unwrap().count(), 0, "a part of it is left");
    // The others of the same job are copied. They are empty and need no space: a process that
    // another test forks can hold the space of the failed copy for a moment.
    for name in ["first", "other"] {
        fs::write(mirror.source(name), b"").unwrap();
    }
    let failed = failures(mirror.batch("first large other"));
    assert!(failed.len() == 1 && failed[0].1.contains("No space left"), "{failed:?}");
    for name in ["first", "other"] {
        assert!(fs::exists(mirror.target(name)).unwrap(), "{name}");
    }
    disk.remount("size=10m");
    mirror.assert_mirrored();
}

#[test]
fn deletions_make_space_on_a_full_disk() {
    // With and without a reported deletion, in a full and in a partial transfer.
    for (gone, all) in [("old", false), ("", false), ("", true)] {
        let mirror = CopierFixture::new();
        let Some(_disk) = Disk::mount(&mirror.target, "size=4m") else { return };
        fs::write(mirror.source("old"), vec![7; 3 << 20]).unwrap();
        mirror.assert_mirrored();
        fs::remove_file(mirror.source("old")).unwrap();
        fs::write(mirror.source("new"), vec![8; 7 << 19]).unwrap();
        let outcome = if all { mirror.full() } else { mirror.batch_observed("new old", gone, "") };
        assert_eq!(outcome, Outcome::Done);
        mirror.assert_same();
    }
}

#[test]
fn a_target_without_free_inodes_is_reported() {
    let mirror = CopierFixture::new();
    let Some(_disk) = Disk::mount(&mirror.target, "nr_inodes=10") else { return };
    for n in 0..30 {
        fs::create_dir(mirror.source(&n.to_string())).unwrap();
    }
    let failed = failures(mirror.full());
    assert!(failed.len() > 10, "{failed:?}");
    let (_, why) = &failed[0];
    assert!(why.contains("cannot make ") && why.contains("No space left"), "{why}");
}

#[test]
fn a_read_only_target_aborts_the_job() {
    let mirror = CopierFixture::new();
    let Some(disk) = Disk::mount(&mirror.target, "size=10m") else { return };
    for name in ["file", "gone", "mode"] {
        fs::write(mirror.source(name), b"content").unwrap();
    }
    mirror.assert_mirrored();
    disk.remount("ro");
    fs::write(mirror.source("file"), b"changed it").unwrap();
    let why = again(mirror.batch("file"));
    assert!(why.ends_with("target/file: Read-only file system: remount it read-write"), "{why}");
    fs::remove_file(mirror.source("gone")).unwrap();
    let why = again(mirror.batch_observed("gone", "gone", ""));
    assert!(why.contains("cannot remove ") && why.contains("Read-only"), "{why}");
    disk.remount("rw");
    mirror.assert_mirrored();
}

#[test]
fn an_unmounted_source_deletes_nothing() {
    let mirror = CopierFixture::new();
    let Some(disk) = Disk::mount(&mirror.source, "size=10m") else { return };
    fs::write(mirror.source("file"), b"content").unwrap();
    let executor = executor(&mirror.source, &mirror.target, ALWAYS);
    let job = |work| {
        mirror_core::job::Job::new(
            mirror_core::job::JobId(1),
            mirror_core::fs_event::MirrorId(0),
            work,
        )
    };
    assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
    drop(disk);
    let gone = executor.run(&mut job(Work::full()), &CancelToken::default());
    assert!(matches!(gone, Outcome::SourceGone(_)), "{gone:?}");
    assert!(fs::exists(mirror.target("file")).unwrap());
}

#[test]
fn a_file_system_mounted_in_the_source_is_kept_after_it_is_unmounted() {
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/disk")).unwrap();
    let Some(disk) = Disk::mount(&mirror.source("a/disk"), "size=10m") else { return };
    fs::create_dir(mirror.source("a/disk/b")).unwrap();
    fs::write(mirror.source("a/disk/b/file"), b"content").unwrap();
    fs::set_permissions(mirror.source("a/disk"), fs::Permissions::from_mode(0o700)).unwrap();
    mirror.assert_mirrored();
    drop(disk);
    fs::write(mirror.source("a/other"), b"").unwrap();
    for outcome in [mirror.full(), mirror.batch("a/disk/b/file a/disk/"), mirror.batch("a/")] {
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(fs::read(mirror.target("a/disk/b/file")).unwrap(), b"content");
        assert!(fs::exists(mirror.target("a/other")).unwrap());
        let disk = fs::metadata(mirror.target("a/disk")).unwrap();
        assert_eq!(disk.permissions().mode() & 0o777, 0o700, "of what was mounted");
    }
    // Not even if the mount point is removed as well.
    fs::remove_dir(mirror.source("a/disk")).unwrap();
    assert_eq!(mirror.full(), Outcome::Done);
    assert!(fs::exists(mirror.target("a/disk/b/file")).unwrap());
    // The files of another disk are copied, but those of the first one are kept.
    fs::create_dir(mirror.source("a/disk")).unwrap();
    let _disk = Disk::mount(&mirror.source("a/disk"), "size=10m").unwrap();
    fs::write(mirror.source("a/disk/new"), b"content").unwrap();
    assert_eq!(mirror.full(), Outcome::Done);
    for name in ["a/disk/new", "a/disk/b/file"] {
        assert_eq!(fs::read(mirror.target(name)).unwrap(), b"content");
    }
}

#[test]
fn an_unmounted_file_system_is_kept_when_its_parent_is_deleted_or_renamed() {
    for renamed in [true, false] {
        let mirror = CopierFixture::new();
        fs::create_dir_all(mirror.source("a/disk")).unwrap();
        for name in ["a/top", "kept"] {
            fs::write(mirror.source(name), b"content").unwrap();
        }
        let Some(disk) = Disk::mount(&mirror.source("a/disk"), "size=10m") else { return };
        fs::write(mirror.source("a/disk/file"), b"content").unwrap();
        mirror.assert_mirrored();
        drop(disk);
        let (is_kept, renames) = if renamed {
            fs::rename(mirror.source("a"), mirror.source("b")).unwrap();
            ("b/disk/file", "a>b")
        } else {
            fs::remove_dir_all(mirror.source("a")).unwrap();
            ("a/disk/file", "")
        };
        assert_eq!(mirror.batch_with("a/ b/", renames), Outcome::Done);
        assert_eq!(mirror.full(), Outcome::Done);
        assert!(fs::exists(mirror.target(is_kept)).unwrap(), "{is_kept}");
        assert!(!fs::exists(mirror.target("a/top")).unwrap());
    }
}

#[test]
fn a_file_system_mounted_in_the_target_is_not_deleted() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("kept"), b"").unwrap();
    fs::create_dir_all(mirror.target("old/disk")).unwrap();
    fs::write(mirror.target("old/file"), b"").unwrap();
    let Some(_disk) = Disk::mount(&mirror.target("old/disk"), "size=10m") else { return };
    fs::write(mirror.target("old/disk/precious"), b"").unwrap();
    let failures = failures(mirror.full());
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].1.contains("target/old: a file system is mounted there"), "{failures:?}");
    assert!(fs::exists(mirror.target("old/disk/precious")).unwrap());
    assert!(!fs::exists(mirror.target("old/file")).unwrap());
}

#[test]
fn a_target_on_another_file_system_is_mirrored() {
    let mirror = CopierFixture::new();
    let Some(_disk) = Disk::mount(&mirror.target, "size=100m") else { return };
    fs::create_dir(mirror.source("a")).unwrap();
    for size in [0, 1, 4096, 300_000, 20 << 20] {
        let content: Vec<u8> = (0..size).map(|n: u32| (n % 251).to_le_bytes()[0]).collect();
        fs::write(mirror.source(&format!("a/{size}")), content).unwrap();
    }
    fs::hard_link(mirror.source("a/1"), mirror.source("one")).unwrap();
    mirror.assert_mirrored();
}

#[test]
fn an_unmounted_target_is_retried_and_fully_synced() {
    let mirror = CopierFixture::new();
    // The target is the root of the disk, or is inside it.
    for target in [mirror.target.clone(), mirror.target("inner")] {
        let Some(disk) = Disk::mount(&mirror.target, "size=10m") else { return };
        for name in ["file", "other"] {
            fs::write(mirror.source(name), b"content").unwrap();
        }
        let executor = executor(&mirror.source, &target, ALWAYS);
        let run = |work| {
            let (id, mirror) = (mirror_core::job::JobId(1), mirror_core::fs_event::MirrorId(0));
            executor.run(&mut mirror_core::job::Job::new(id, mirror, work), &CancelToken::default())
        };
        let batch = || run(super::work(&[super::dirty_path("file")], &[]));
        assert_eq!(run(Work::full()), Outcome::Done);
        drop(disk);
        let why = again(batch());
        assert!(why.starts_with("no file system is mounted on "), "{why}");
        assert_eq!(fs::read_dir(&mirror.target).unwrap().count(), 0);
        // It has the same device and inode numbers, but another mount ID.
        let _disk = Disk::mount(&mirror.target, "size=10m").unwrap();
        assert_eq!(batch(), Outcome::Done);
        super::tree::assert_same(&mirror.source, &target);
    }
}

#[test]
fn one_file_system_excludes_nested_mounts() {
    let mut mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/disk")).unwrap();
    let Some(_disk) = Disk::mount(&mirror.source("a/disk"), "size=10m") else { return };
    mirror.executor.settings.options.one_file_system = true;
    fs::create_dir(mirror.source("a/disk/b")).unwrap();
    fs::write(mirror.source("a/disk/b/file"), b"content").unwrap();
    fs::write(mirror.source("a/file"), b"content").unwrap();
    for outcome in [
        mirror.batch("a/disk/ a/disk/b/file"),
        mirror.full(),
        mirror.batch("a/disk/b/ a/disk/b/file a/disk"),
        mirror.batch("a/"),
    ] {
        assert_eq!(outcome, Outcome::Done);
        assert!(fs::exists(mirror.target("a/disk")).unwrap());
        assert_eq!(fs::read_dir(mirror.target("a/disk")).unwrap().count(), 0);
    }
    // The target's own files there are kept.
    fs::write(mirror.target("a/disk/own"), b"content").unwrap();
    assert_eq!(mirror.batch("a/disk/own a/disk/"), Outcome::Done);
    assert_eq!(mirror.full(), Outcome::Done);
    assert!(fs::exists(mirror.target("a/disk/own")).unwrap());
    assert!(fs::exists(mirror.target("a/file")).unwrap());
    // Files that are moved onto it are deleted, and return when they are moved back. mv copies
    // them.
    let mv = |from, to| {
        let names = [mirror.source(from), mirror.source(to)];
        assert!(Command::new("mv").args(names).status().unwrap().success());
    };
    mv("a/disk/b", "d");
    assert_eq!(mirror.batch("a/disk/b d/"), Outcome::Done);
    assert!(fs::exists(mirror.target("d/file")).unwrap());
    mv("d", "a/disk/d");
    assert_eq!(mirror.batch("d a/disk/d/"), Outcome::Done);
    let is_there = |name| fs::exists(mirror.target(name)).unwrap();
    assert!(!is_there("d") && !is_there("a/disk/d") && is_there("a/disk/own"));
}
