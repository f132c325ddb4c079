//! The copier without root privileges.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::Command,
};

use mirror_core::{job::Outcome, plan::options::DeletePolicy};
use nix::{sys::stat::Mode, unistd::mkfifo};
use rustix::{
    fs::{XattrFlags, setxattr},
    process::geteuid,
};

use super::{CopierFixture, age, chmod, failures};

/// Set in the child process that runs the test as another user.
const CHILD: &str = "LSYNCD_TEST_AS_SOMEBODY";
/// User ID, `nobody` on most systems.
const NOBODY: u32 = 65_534;

/// Runs the test of this name without root privileges: in this process if it has none, otherwise in
/// a child process. Returns true if the calling process has to run the test.
fn is_unprivileged(test: &str) -> bool {
    if !geteuid().is_root() {
        return true;
    }
    assert!(env::var_os(CHILD).is_none(), "the child is still root");
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o777)).unwrap();
    let program = temp.path().join("test");
    // Copied by another process: a child process of a concurrent test could inherit our open
    // descriptor, and a file that is open for writing cannot be executed.
    let copied = Command::new("cp").arg(env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success(), "the program can't be copied");
    let output = Command::new(program)
        .args(["--exact", &format!("exec::direct::tests::unprivileged::{test}")])
        .env(CHILD, "1")
        .env("TMPDIR", temp.path())
        .current_dir(temp.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{output:?}");
    false
}

#[test]
fn unreadable_entries_are_reported_and_never_deleted() {
    if !is_unprivileged("unreadable_entries_are_reported_and_never_deleted") {
        return;
    }
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("shut/in")).unwrap();
    fs::write(mirror.source("shut/in/file"), b"content").unwrap();
    fs::write(mirror.source("secret"), b"content").unwrap();
    fs::write(mirror.source("open"), b"content").unwrap();
    age(&mirror.source("secret"), 1);
    mirror.assert_mirrored();
    chmod(&mirror.source("shut"), 0);
    chmod(&mirror.source("secret"), 0);
    age(&mirror.source("secret"), 2);
    for outcome in [mirror.full(), mirror.batch("shut/ shut/in/file secret open")] {
        let failures = failures(outcome);
        let said: Vec<_> = failures.iter().map(|(path, why)| (&**path, &**why)).collect();
        assert!(said.iter().any(|(path, _)| *path == "/secret"), "{said:?}");
        assert!(said.iter().any(|(path, _)| path.starts_with("/shut")), "{said:?}");
        for (_, why) in said {
            assert!(
                why.starts_with("cannot open ") && why.ends_with(": Permission denied"),
                "{why}"
            );
        }
        assert_eq!(fs::read(mirror.target("shut/in/file")).unwrap(), b"content");
        assert_eq!(fs::read(mirror.target("secret")).unwrap(), b"content");
    }
    chmod(&mirror.source("shut"), 0o755);
    chmod(&mirror.source("secret"), 0o644);
    mirror.assert_mirrored();
}

#[test]
fn a_read_only_directory_is_filled_and_changed() {
    if !is_unprivileged("a_read_only_directory_is_filled_and_changed") {
        return;
    }
    let mirror = CopierFixture::new();
    fs::create_dir_all(mirror.source("a/b")).unwrap();
    fs::write(mirror.source("a/b/file"), b"content").unwrap();
    fs::write(mirror.source("a/b/gone"), b"content").unwrap();
    let file = mirror.source("a/b/file");
    setxattr(&file, "user.a", b"1", XattrFlags::empty()).unwrap();
    let lock = |mode| {
        chmod(&mirror.source("a/b"), mode);
        chmod(&mirror.source("a"), mode);
    };
    chmod(&file, 0o444);
    lock(0o555);
    mirror.assert_mirrored();
    for whole in [false, true] {
        lock(0o755);
        chmod(&file, 0o644);
        fs::write(&file, format!("changed {whole}")).unwrap();
        setxattr(&file, "user.a", if whole { b"2" } else { b"3" }, XattrFlags::empty()).unwrap();
        let _ = fs::remove_file(mirror.source("a/b/gone"));
        chmod(&file, 0o444);
        lock(0o555);
        let outcome = if whole { mirror.full() } else { mirror.batch("a/b/file a/b/gone") };
        assert_eq!(outcome, Outcome::Done);
        mirror.assert_same();
    }
    // Only an attribute of a read-only file.
    chmod(&file, 0o644);
    setxattr(&file, "user.a", b"4", XattrFlags::empty()).unwrap();
    chmod(&file, 0o444);
    assert_eq!(mirror.batch("a/b/file"), Outcome::Done);
    mirror.assert_same();
    // The tree can be removed as well.
    lock(0o755);
    fs::remove_dir_all(mirror.source("a")).unwrap();
    fs::write(mirror.source("kept"), b"").unwrap();
    mirror.assert_mirrored();
}

#[test]
fn a_read_only_target_is_reported_for_each_path() {
    if !is_unprivileged("a_read_only_target_is_reported_for_each_path") {
        return;
    }
    // The mode of a directory of another user cannot be changed.
    let mirror = CopierFixture::new();
    for name in ["one", "two"] {
        fs::write(mirror.source(name), b"content").unwrap();
    }
    if fs::metadata("/etc").unwrap().uid() != geteuid().as_raw() {
        let executor = super::executor(&mirror.source, "/etc".as_ref(), DeletePolicy::Never);
        let mut job = mirror_core::job::Job::new(
            mirror_core::job::JobId(1),
            mirror_core::fs_event::MirrorId(0),
            super::work(&[super::dirty_path("one"), super::dirty_path("two")], &[]),
        );
        let outcome = crate::exec::Executor::run(
            &executor,
            &mut job,
            &crate::exec::process::cancel::CancelToken::default(),
        );
        // In a sandbox `/etc` may even be read-only.
        if !matches!(outcome, Outcome::Retry(_)) {
            let failures = failures(outcome);
            assert!(
                failures.iter().any(|(path, why)| path == "/one"
                    && why == "cannot write /etc/one: Permission denied"),
                "{failures:?}"
            );
        }
    }
}

#[test]
fn without_root_devices_are_skipped_and_owners_are_not_copied() {
    if !is_unprivileged("without_root_devices_are_skipped_and_owners_are_not_copied") {
        return;
    }
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"").unwrap();
    mkfifo(&mirror.source("fifo"), Mode::S_IRUSR).unwrap();
    mirror.assert_mirrored();
    // The devices in `/dev` belong to root and are visible to everybody.
    let executor = super::executor("/dev".as_ref(), &mirror.target, super::ALWAYS);
    let mut job = mirror_core::job::Job::new(
        mirror_core::job::JobId(1),
        mirror_core::fs_event::MirrorId(0),
        super::work(&[super::dirty_path("null")], &[]),
    );
    let outcome = crate::exec::Executor::run(
        &executor,
        &mut job,
        &crate::exec::process::cancel::CancelToken::default(),
    );
    assert!(!fs::exists(mirror.target("null")).unwrap());
    // Only the time and owner of the root of `/dev` may not be set.
    assert!(matches!(outcome, Outcome::Done | Outcome::Partial(_)), "{outcome:?}");
}
