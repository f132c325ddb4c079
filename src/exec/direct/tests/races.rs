//! Concurrent changes by other processes during a copy.

use std::{
    fs,
    io::{Seek, SeekFrom, Write as _},
    os::unix::fs::{FileExt, MetadataExt as _, symlink},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use mirror_core::job::Outcome;
use mirror_platform::dir::Dir;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{CopierFixture, failures, is_root};

/// Repeats `interfere` in a second thread while `work` runs.
fn meanwhile<T>(interfere: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                interfere();
                thread::yield_now();
            }
        });
        let _end = StopOnDrop(&done);
        work()
    })
}

/// Stops the second thread, also if `work` panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_link_that_replaces_a_source_directory_is_not_followed() {
    let mirror = CopierFixture::new();
    let outside = mirror.source.with_file_name("outside");
    fs::create_dir_all(outside.join("b/c")).unwrap();
    fs::write(outside.join("b/c/secret"), b"").unwrap();
    fs::create_dir_all(mirror.source("a/b/c")).unwrap();
    fs::write(mirror.source("a/b/c/file"), b"").unwrap();
    let link = mirror.source.with_file_name("link");
    symlink(&outside, &link).unwrap();
    meanwhile(
        || exchange(&link, &mirror.source("a")),
        || {
            for round in 0..300 {
                let outcome = if round % 2 == 0 {
                    mirror.full()
                } else {
                    mirror.batch("a/b/c/secret a/b/c/file")
                };
                assert!(matches!(outcome, Outcome::Done | Outcome::Partial(_)), "{outcome:?}");
                // The link itself may be mirrored; it must not be followed here.
                let dir = Dir::open(&mirror.target).unwrap().open_below(b"a/b/c");
                assert!(dir.and_then(|dir| dir.stat(b"secret")).is_err());
            }
        },
    );
}

#[test]
fn a_link_that_replaces_a_target_directory_is_not_followed() {
    let mirror = CopierFixture::new();
    let outside = mirror.source.with_file_name("outside");
    fs::create_dir_all(outside.join("b")).unwrap();
    fs::write(outside.join("b/precious"), b"").unwrap();
    fs::create_dir_all(mirror.source("a/b")).unwrap();
    fs::write(mirror.source("a/b/file"), b"content").unwrap();
    let link = mirror.source.with_file_name("link");
    meanwhile(
        || {
            // The copier removes the link, so it is created again each time.
            let _ = symlink(&outside, &link);
            let _ = renameat_with(CWD, &link, CWD, mirror.target("a"), RenameFlags::EXCHANGE);
            let _ = fs::remove_dir_all(&link);
            let _ = fs::remove_file(&link);
        },
        || {
            for round in 0..300 {
                let outcome =
                    if round % 2 == 0 { mirror.full() } else { mirror.batch("a/b/file a/b/x") };
                assert!(matches!(outcome, Outcome::Done | Outcome::Partial(_)), "{outcome:?}");
            }
        },
    );
    assert!(fs::exists(outside.join("b/precious")).unwrap());
    assert!(!fs::exists(outside.join("b/file")).unwrap());
    let _ = fs::remove_file(&link);
    mirror.assert_mirrored();
}

/// A user who may write in the target could gain another's file under the name of one that is made.
#[test]
fn a_file_with_the_temporary_name_of_a_link_gets_no_other_owner() {
    if !is_root() {
        return;
    }
    let mirror = CopierFixture::new();
    let victim = mirror.source.with_file_name("victim");
    let victims = Mutex::new(Vec::new());
    meanwhile(
        || {
            let names = fs::read_dir(&mirror.target).unwrap().flatten();
            let mut names = names.map(|entry| entry.path());
            let temporary = names.find(|path| path.to_string_lossy().contains(".lsyncd-"));
            let Some(temporary) = temporary else { return };
            let file = fs::File::create(&victim).unwrap();
            if renameat_with(CWD, &victim, CWD, &temporary, RenameFlags::EXCHANGE).is_ok() {
                victims.lock().unwrap().push(file);
            }
            fs::remove_file(&victim).unwrap();
        },
        || {
            for round in 0..500 {
                let link = mirror.source("link");
                let _ = fs::remove_file(&link);
                symlink(format!("{round}"), &link).unwrap();
                std::os::unix::fs::lchown(&link, Some(1000), Some(1000)).unwrap();
                let outcome = mirror.batch("link");
                assert!(matches!(outcome, Outcome::Done | Outcome::Partial(_)), "{outcome:?}");
            }
        },
    );
    for file in victims.into_inner().unwrap() {
        assert_eq!(file.metadata().unwrap().uid(), 0);
    }
}

#[test]
fn concurrent_creations_and_deletions_do_no_harm() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("kept")).unwrap();
    let name = |n: usize| mirror.source(&format!("kept/{}", n % 50));
    let count = std::sync::atomic::AtomicUsize::new(0);
    meanwhile(
        || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let path = name(n * 7);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir_all(&path);
            match n % 4 {
                0 => drop(fs::write(&path, b"content")),
                1 => drop(fs::create_dir_all(path.join("in"))),
                2 => drop(symlink("x", &path)),
                _ => drop(fs::rename(name(n * 3), &path)),
            }
        },
        || {
            for _ in 0..200 {
                let outcome = mirror.full();
                assert!(matches!(outcome, Outcome::Done | Outcome::Partial(_)), "{outcome:?}");
            }
        },
    );
    mirror.assert_mirrored();
}

#[test]
fn a_file_written_during_the_copy_is_copied_consistently_or_not_at_all() {
    const SIZE: u64 = 4 << 20;
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), vec![0; usize::try_from(SIZE).unwrap()]).unwrap();
    let file = fs::File::options().write(true).open(mirror.source("file")).unwrap();
    let count = AtomicU64::new(0);
    meanwhile(
        || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            file.write_all_at(&n.to_le_bytes(), n * 4093 % (SIZE - 8)).unwrap();
        },
        || {
            for _ in 0..50 {
                let before = fs::read(mirror.target("file")).ok();
                let outcome = mirror.batch("file");
                if outcome != Outcome::Done {
                    let failures = failures(outcome);
                    assert!(failures[0].1.ends_with("it changed during the copy"));
                    assert!(fs::read(mirror.target("file")).ok() == before, "it was touched");
                }
                let names: Vec<_> = fs::read_dir(&mirror.target).unwrap().collect();
                assert!(names.len() <= 1, "{names:?}");
            }
        },
    );
    // The event of the last write.
    assert_eq!(mirror.batch("file"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_growing_log_is_copied_up_to_its_size_at_the_start() {
    let mirror = CopierFixture::new();
    let path = mirror.source("log");
    fs::write(&path, vec![b'.'; 8 << 20]).unwrap();
    let log = std::sync::Mutex::new(fs::File::options().append(true).open(&path).unwrap());
    let outcome =
        meanwhile(|| log.lock().unwrap().write_all(b"a line\n").unwrap(), || mirror.batch("log"));
    let copied = fs::read(mirror.target("log")).unwrap();
    let written = fs::read(&path).unwrap();
    assert!(matches!(outcome, Outcome::Done | Outcome::Partial(_)), "{outcome:?}");
    assert!(copied.len() >= 8 << 20 && written.starts_with(&copied));
    log.lock().unwrap().seek(SeekFrom::Start(0)).unwrap();
    mirror.assert_mirrored();
}
