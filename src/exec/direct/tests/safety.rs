//! Deletions that must be made, and those that must not.

use std::{fs, num::NonZeroUsize, os::unix::fs::symlink, sync::Arc, time::Duration};

use mirror_core::{
    fs_event::MirrorId,
    job::{HoldReason, Job, JobId, Outcome, Work},
    plan::options::{DeletePolicy, TransferPhase},
};

use super::{ALWAYS, CopierFixture, age, failures};
use crate::{
    exec::{
        Executor,
        direct::{
            DirectExecutor,
            capabilities::TargetCapabilities,
            default_workers,
            state::DirectState,
            temp_file::{TempEntry, TempFile},
        },
        process::cancel::CancelToken,
    },
    report::Log,
};

fn names(path: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn extraneous_entries_are_deleted() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("kept"), b"").unwrap();
    fs::create_dir_all(mirror.target("a/b/c")).unwrap();
    fs::write(mirror.target("a/b/file"), b"").unwrap();
    fs::write(mirror.target("file"), b"").unwrap();
    symlink("/etc", mirror.target("link")).unwrap();
    symlink("/etc", mirror.target("a/link")).unwrap();
    mirror.assert_mirrored();
    assert!(fs::exists("/etc/passwd").unwrap());
}

#[test]
fn an_empty_source_deletes_nothing() {
    let mirror = CopierFixture::new();
    assert_eq!(mirror.full(), Outcome::Done);
    fs::write(mirror.target("precious"), b"").unwrap();
    let holds = |outcome| match outcome {
        Outcome::Split { held, .. } => {
            held.iter().all(|it| it.reason == HoldReason::EmptySource && it.count > 0)
        }
        _ => false,
    };
    assert!(holds(mirror.full()));
    assert!(holds(mirror.batch("/")));
    assert_eq!(names(&mirror.target), ["precious"]);
    // A single deletion that was reported is intended.
    fs::write(mirror.target("other"), b"").unwrap();
    assert_eq!(mirror.batch_observed("other", "other", ""), Outcome::Done);
    assert_eq!(names(&mirror.target), ["precious"]);
    // An unreported one is held as long as the source is empty.
    assert!(holds(mirror.batch("precious")));
    assert_eq!(names(&mirror.target), ["precious"]);
    for name in ["lost+found", "System Volume Information", ".Trash-1000"] {
        fs::create_dir_all(mirror.source(name)).unwrap();
        fs::create_dir_all(mirror.target(name).join("old")).unwrap();
        assert!(holds(mirror.full()));
        assert_eq!(names(&mirror.target.join(name)), ["old"]);
    }
    assert!(names(&mirror.target).contains(&"precious".into()));
    fs::write(mirror.source("new"), b"").unwrap();
    mirror.assert_mirrored();
}

#[test]
fn a_replaced_or_missing_source_changes_nothing() {
    let mirror = CopierFixture::new();
    fs::write(mirror.target("precious"), b"").unwrap();
    fs::write(mirror.source("file"), b"").unwrap();
    let aside = mirror.source.with_file_name("aside");
    fs::rename(&mirror.source, &aside).unwrap();
    assert!(matches!(mirror.full(), Outcome::SourceGone(_)));
    fs::create_dir(&mirror.source).unwrap();
    assert!(matches!(mirror.batch("precious"), Outcome::SourceGone(_)));
    assert_eq!(names(&mirror.target), ["precious"]);
    fs::remove_dir(&mirror.source).unwrap();
    fs::rename(&aside, &mirror.source).unwrap();
    mirror.assert_mirrored();
}

#[test]
fn deletions_are_made_in_the_configured_phases() {
    for delete in [DeletePolicy::Never, DeletePolicy::Startup, DeletePolicy::Running] {
        let mirror = CopierFixture::with(delete);
        let [startup, running] =
            [TransferPhase::Startup, TransferPhase::Running].map(|phase| delete.applies(phase));
        fs::write(mirror.source("kept"), b"").unwrap();
        fs::create_dir(mirror.target("old")).unwrap();
        fs::write(mirror.target("gone"), b"").unwrap();
        assert_eq!(mirror.batch("gone"), Outcome::Done);
        assert_eq!(fs::exists(mirror.target("gone")).unwrap(), !running);
        assert_eq!(mirror.full(), Outcome::Done);
        assert_eq!(fs::exists(mirror.target("old")).unwrap(), !startup);
    }
}

#[test]
fn without_deletion_only_empty_directories_are_replaced() {
    let mirror = CopierFixture::with(DeletePolicy::Never);
    for name in ["full", "empty"] {
        fs::write(mirror.source(name), b"content").unwrap();
        fs::create_dir(mirror.target(name)).unwrap();
    }
    fs::write(mirror.target("full/precious"), b"").unwrap();
    let failures = failures(mirror.full());
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, "/full");
    assert!(failures[0].1.ends_with("it is a directory with entries that must not be deleted"));
    assert!(fs::exists(mirror.target("full/precious")).unwrap());
    assert_eq!(fs::read(mirror.target("empty")).unwrap(), b"content");
}

#[test]
fn a_path_that_vanished_before_the_job_is_deleted_at_the_target() {
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/b/c")).unwrap();
    fs::write(mirror.source("a/b/c/file"), b"").unwrap();
    fs::write(mirror.source("kept"), b"").unwrap();
    mirror.assert_mirrored();
    // The deepest path was reported, but all its ancestors have been removed since.
    fs::remove_dir_all(mirror.source("a")).unwrap();
    assert_eq!(mirror.batch("a/b/c/file"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn missing_parents_are_synced_as_trees() {
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/b/c")).unwrap();
    fs::write(mirror.source("a/b/c/file"), b"").unwrap();
    fs::write(mirror.source("a/other"), b"").unwrap();
    for name in ["a/b/c", "a/b", "a", ""] {
        age(&mirror.source(name), 5);
    }
    assert_eq!(mirror.batch("a/b/c/file a/b"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_dirty_directory_entry_is_not_walked() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("a")).unwrap();
    fs::write(mirror.source("a/file"), b"before").unwrap();
    mirror.assert_mirrored();
    fs::write(mirror.source("a/file"), b"longer than before").unwrap();
    age(&mirror.source("a"), 9);
    assert_eq!(mirror.batch("a"), Outcome::Done);
    assert_eq!(fs::read(mirror.target("a/file")).unwrap(), b"before");
    assert_eq!(
        fs::metadata(mirror.target("a")).unwrap().modified().unwrap(),
        fs::metadata(mirror.source("a")).unwrap().modified().unwrap()
    );
    assert_eq!(mirror.batch("a/"), Outcome::Done);
    mirror.assert_same();
}

/// Creates an incomplete file under a temporary name of another process and returns the name.
fn left_over(dir: &std::path::Path) -> String {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "exec::direct::tests::safety::leaves_a_stale_temp_file", "--ignored"]);
    assert!(child.env("LSYNCD_TEST_LEAVES", dir).output().unwrap().status.success());
    names(dir).into_iter().find(|name| name.contains(".lsyncd-")).unwrap()
}

#[test]
#[ignore = "a child of another test"]
fn leaves_a_stale_temp_file() {
    let Some(path) = std::env::var_os("LSYNCD_TEST_LEAVES") else { return };
    let dir = mirror_platform::dir::Dir::open(path.as_ref()).unwrap();
    std::mem::forget(TempFile::named(&dir, b"file").unwrap());
}

#[test]
fn stale_temp_files_are_removed_and_never_mirrored() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"").unwrap();
    left_over(&mirror.source);
    let name = left_over(&mirror.target);
    for outcome in [mirror.batch(&name), mirror.full(), mirror.full()] {
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(names(&mirror.target), ["file"]);
    }
}

/// The source of this mirror is the target of another one.
#[test]
fn temp_files_of_another_mirror_are_not_kept_at_the_target() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"content").unwrap();
    let dir = mirror_platform::dir::Dir::open(&mirror.source).unwrap();
    // Another link to a complete file looks like any other file.
    let link = |name: &[u8]| {
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::linkat(&dir, c"file", &dir, name, flags)
    };
    let (temporary, ()) = TempEntry::new(&dir, b"name", link).unwrap();
    let name = str::from_utf8(temporary.name()).unwrap().to_owned();
    assert_eq!(mirror.full(), Outcome::Done);
    assert!(fs::exists(mirror.target(&name)).unwrap());
    drop(temporary);
    assert_eq!(mirror.batch_observed(&name, "", &name), Outcome::Done);
    assert_eq!(names(&mirror.target), ["file"]);
    let link = |name: &[u8]| rustix::fs::symlinkat(c"file", &dir, name);
    let (temporary, ()) = TempEntry::new(&dir, b"link", link).unwrap();
    assert_eq!(mirror.full(), Outcome::Done);
    assert_eq!(names(&mirror.target), ["file"]);
    drop(temporary);
}

#[test]
fn a_users_own_file_with_a_temporary_name_is_mirrored() {
    let mirror = CopierFixture::new();
    let name = left_over(&mirror.target);
    fs::remove_file(mirror.target(&name)).unwrap();
    for name in [&*name, ".file.lsyncd-abcdefghijkl"] {
        fs::write(mirror.source(name), b"content").unwrap();
        assert_eq!(mirror.batch(name), Outcome::Done);
        mirror.assert_same();
        mirror.assert_mirrored();
    }
}

#[test]
fn stale_temp_files_are_removed_by_partial_jobs_where_they_can_exist() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("d")).unwrap();
    mirror.assert_mirrored();
    // As on a file system without `O_TMPFILE`.
    let capabilities =
        TargetCapabilities { names_temp_files: true, ..mirror.executor.state.capabilities() };
    let state = DirectState::default();
    state.assume(capabilities);
    let settings = mirror.executor.settings.clone();
    let source = Arc::clone(&mirror.executor.source);
    let executor = DirectExecutor::new(source, settings, Arc::new(state), Log::default());
    let left = left_over(&mirror.target("d"));
    fs::write(mirror.source("d/new"), b"").unwrap();
    let work = super::work(&[super::dirty_path("d/new")], &[]);
    let mut job = Job::new(JobId(1), MirrorId(0), work);
    assert_eq!(executor.run(&mut job, &CancelToken::default()), Outcome::Done);
    assert!(!fs::exists(mirror.target("d").join(left)).unwrap());
    mirror.assert_same();
}

/// A process was killed between linking a complete file and renaming it over the old one.
#[test]
fn a_complete_temp_file_is_removed_if_there_was_no_full_transfer() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("d")).unwrap();
    mirror.assert_mirrored();
    let left = format!("d/{}", left_over(&mirror.target("d")));
    fs::remove_file(mirror.target(&left)).unwrap();
    fs::write(mirror.target(&left), "complete").unwrap();
    mirror.executor.state.resume();
    fs::write(mirror.source("d/new"), b"").unwrap();
    assert_eq!(mirror.batch("d/new"), Outcome::Done);
    assert!(!fs::exists(mirror.target(&left)).unwrap());
    mirror.assert_same();
}

#[test]
fn the_root_of_the_target_is_created_if_its_parent_exists() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"").unwrap();
    age(&mirror.source, 3);
    fs::remove_dir(&mirror.target).unwrap();
    mirror.assert_mirrored();
    let executor = super::executor(&mirror.source, &mirror.target("no/parent"), ALWAYS);
    let mut job = Job::new(JobId(1), MirrorId(0), Work::full());
    let Outcome::Retry(failure) = executor.run(&mut job, &CancelToken::default()) else { panic!() };
    assert!(
        failure.message.contains("no/parent: No such file or directory: create"),
        "{}",
        failure.message
    );
    assert_eq!(failure.code, None);
}

#[test]
fn a_target_in_its_source_is_not_copied_into_itself() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"").unwrap();
    fs::create_dir(mirror.source("inside")).unwrap();
    let executor = super::executor(&mirror.source, &mirror.source("inside"), ALWAYS);
    let mut job = Job::new(JobId(1), MirrorId(0), Work::full());
    assert_eq!(executor.run(&mut job, &CancelToken::default()), Outcome::Done);
    assert_eq!(names(&mirror.source("inside")), ["file"]);
}

#[test]
fn a_cancelled_job_copies_nothing() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"").unwrap();
    let (mut job, stop) = (Job::new(JobId(1), MirrorId(0), Work::full()), CancelToken::default());
    stop.cancel();
    assert!(matches!(mirror.executor.run(&mut job, &stop), Outcome::Retry(_)));
    assert!(names(&mirror.target).is_empty());
}

#[test]
fn a_cancelled_copy_of_a_large_file_leaves_nothing() {
    let mirror = CopierFixture::new();
    // 200 MB without holes, so that the copy takes some time.
    let mirror = Arc::new(mirror);
    let chunk = vec![7; 4 << 20];
    let mut file = fs::File::create(mirror.source("large")).unwrap();
    for _ in 0..50 {
        std::io::Write::write_all(&mut file, &chunk).unwrap();
    }
    drop(file);
    let stop = CancelToken::default();
    let asker = {
        let (stop, target) = (stop.clone(), mirror.target.clone());
        std::thread::spawn(move || {
            // As soon as anything happens at the target, or the copy is already complete.
            while fs::metadata(&target).unwrap().modified().unwrap().elapsed().unwrap_or_default()
                < Duration::from_millis(1)
            {
                std::thread::yield_now();
            }
            stop.cancel();
        })
    };
    let mut job = Job::new(JobId(1), MirrorId(0), Work::full());
    let outcome = mirror.executor.run(&mut job, &stop);
    asker.join().unwrap();
    match outcome {
        Outcome::Done => assert_eq!(names(&mirror.target), ["large"]),
        Outcome::Retry(_) => assert!(names(&mirror.target).is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_failures_are_reported_as_fewer_directories() {
    let mirror = CopierFixture::with(DeletePolicy::Never);
    for n in 0..3000 {
        fs::create_dir_all(mirror.target(&format!("d/{n}/precious"))).unwrap();
    }
    fs::create_dir(mirror.source("d")).unwrap();
    for n in 0..3000 {
        fs::write(mirror.source(&format!("d/{n}")), b"").unwrap();
    }
    let failures = failures(mirror.full());
    assert_eq!(failures.len(), 1001);
    assert_eq!(failures[0].0, "/d");
}

#[test]
fn the_default_number_of_workers_is_limited() {
    assert!((2..=8).contains(&default_workers().get()));
    assert_ne!(default_workers(), NonZeroUsize::MIN);
}

#[test]
fn a_replaced_target_is_fully_synced() {
    let mirror = CopierFixture::new();
    for name in ["file", "other"] {
        fs::write(mirror.source(name), b"content").unwrap();
    }
    mirror.assert_mirrored();
    fs::rename(&mirror.target, mirror.target.with_extension("old")).unwrap();
    fs::create_dir(&mirror.target).unwrap();
    assert_eq!(mirror.batch("file"), Outcome::Done);
    mirror.assert_same();
}
