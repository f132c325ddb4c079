//! Without the rights of root.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::Command,
};

use mirror_core::job::Outcome;
use rustix::{
    fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr},
    process::geteuid,
};

use super::{Mirror, age, failures};

/// Says to the test that it is the child that runs as somebody.
const CHILD: &str = "LSYNCD_TEST_AS_SOMEBODY";
/// Somebody: `nobody` on most systems.
const SOMEBODY: u32 = 65_534;

/// Runs the test of this name as somebody who is not root: in this process if it is nobody
/// special, else in a child. Whether this is the one that has to do the work.
fn is_somebody(test: &str) -> bool {
    if !geteuid().is_root() {
        return true;
    }
    assert!(env::var_os(CHILD).is_none(), "the child is still root");
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("test");
    // By another process: a child that some other test starts meanwhile would keep the file that we
    // write open, and a file that is open for writing can't be run.
    let copied = Command::new("cp").arg(env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success(), "the program can't be copied");
    let output = Command::new(program)
        .args(["--exact", &format!("exec::direct::tests::user::{test}")])
        .env(CHILD, "1")
        .env("TMPDIR", place.path())
        .current_dir(place.path())
        .uid(SOMEBODY)
        .gid(SOMEBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{output:?}");
    false
}

fn chmod(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_cannot_be_read_is_told_and_never_deleted() {
    if !is_somebody("what_cannot_be_read_is_told_and_never_deleted") {
        return;
    }
    let mirror = Mirror::new();
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
        let said: Vec<_> = failures.iter().map(|(place, why)| (&**place, &**why)).collect();
        assert!(said.iter().any(|(place, _)| *place == "/secret"), "{said:?}");
        assert!(said.iter().any(|(place, _)| place.starts_with("/shut")), "{said:?}");
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
fn a_directory_that_may_only_be_read_is_filled_and_changed() {
    if !is_somebody("a_directory_that_may_only_be_read_is_filled_and_changed") {
        return;
    }
    let mirror = Mirror::new();
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
    // Only the attribute of a file that may not be written.
    chmod(&file, 0o644);
    setxattr(&file, "user.a", b"4", XattrFlags::empty()).unwrap();
    chmod(&file, 0o444);
    assert_eq!(mirror.batch("a/b/file"), Outcome::Done);
    mirror.assert_same();
    // And it can be removed.
    lock(0o755);
    fs::remove_dir_all(mirror.source("a")).unwrap();
    fs::write(mirror.source("kept"), b"").unwrap();
    mirror.assert_mirrored();
}

#[test]
fn a_target_that_may_not_be_written_is_told_for_each_place() {
    if !is_somebody("a_target_that_may_not_be_written_is_told_for_each_place") {
        return;
    }
    // What this user does not own can't be opened up.
    let mirror = Mirror::new();
    for name in ["one", "two"] {
        fs::write(mirror.source(name), b"content").unwrap();
    }
    if fs::metadata("/etc").unwrap().uid() != geteuid().as_raw() {
        let executor = super::executor(
            &mirror.source,
            "/etc".as_ref(),
            super::Delete { startup: false, running: false },
        );
        let mut job = mirror_core::job::Job {
            id: mirror_core::job::JobId(1),
            mirror: mirror_core::notice::MirrorId(0),
            work: super::work(&[super::place("one"), super::place("two")], &[]),
        };
        let outcome = crate::exec::Executor::run(
            &executor,
            &mut job,
            &crate::exec::process::cancel::Stop::default(),
        );
        // In a sandbox `/etc` may even be read-only.
        if !matches!(outcome, Outcome::Again(_)) {
            let failures = failures(outcome);
            assert!(
                failures.iter().any(|(place, why)| place == "/one"
                    && why == "cannot write /etc/one: Permission denied"),
                "{failures:?}"
            );
        }
    }
}

#[test]
fn devices_are_left_out_and_owners_are_ones_own() {
    if !is_somebody("devices_are_left_out_and_owners_are_ones_own") {
        return;
    }
    let mirror = Mirror::new();
    fs::write(mirror.source("file"), b"").unwrap();
    mknodat(CWD, mirror.source("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    mirror.assert_mirrored();
    // Devices of others can be seen anywhere; only some of them are where anybody can link to.
    let executor = super::executor("/dev".as_ref(), &mirror.target, super::ALWAYS);
    let mut job = mirror_core::job::Job {
        id: mirror_core::job::JobId(1),
        mirror: mirror_core::notice::MirrorId(0),
        work: super::work(&[super::place("null")], &[]),
    };
    let outcome = crate::exec::Executor::run(
        &executor,
        &mut job,
        &crate::exec::process::cancel::Stop::default(),
    );
    assert!(!fs::exists(mirror.target("null")).unwrap());
    // Only the time and owner of the root of `/dev` may not be set.
    assert!(matches!(outcome, Outcome::Done | Outcome::Partly(_)), "{outcome:?}");
}
