//! Unreadable files are never treated as deleted.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use crate::support::{Requirement, Sandbox, TestDaemon, TransferMode, in_both_modes, needs};

in_both_modes!(
    files_unreadable_at_startup_are_kept_reported_and_retried,
    files_that_become_unreadable_are_kept_reported_and_retried,
);

/// An unprivileged user.
const NOBODY: u32 = 65_534;
// Different lengths, because rsync considers files of equal length and second as equal.
const OLD: &str = "old";
const NEW: &str = "newer";
const NEWEST: &str = "the newest";

/// Writes a file that the user owns.
fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Creates source and target that the user owns, the source with newer content in the files to
/// lock.
fn trees(sandbox: &Sandbox) -> [PathBuf; 2] {
    [("source", NEW), ("target", OLD)].map(|(name, content)| {
        let root = sandbox.create_dir(name);
        fs::create_dir(root.join("locked")).unwrap();
        for directory in ["locked", ""] {
            chown(root.join(directory), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        write(&root.join("locked/file"), content);
        write(&root.join("secret"), content);
        root
    })
}

/// Makes a directory and a file of the source unreadable, or readable again.
fn set_locked(source: &Path, locked: bool) {
    set_mode(&source.join("locked"), if locked { 0 } else { 0o755 });
    set_mode(&source.join("secret"), if locked { 0 } else { 0o644 });
}

/// Waits until the daemon has mirrored the readable file, and has reported the others.
#[track_caller]
fn expect_reported(daemon: &TestDaemon, target: &Path) {
    daemon.wait_until("what can be read is mirrored", || target.join("open").exists());
    for name in ["locked", "secret"] {
        daemon.wait_for_log(name);
    }
}

#[track_caller]
fn expect_kept(target: &Path, content: &str) {
    for file in ["locked/file", "secret"] {
        assert_eq!(fs::read_to_string(target.join(file)).unwrap(), content, "{file}");
    }
}

fn files_unreadable_at_startup_are_kept_reported_and_retried(mode: TransferMode) {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let [source, target] = trees(&sandbox);
    set_locked(&source, true);
    write(&source.join("open"), "");
    let daemon = sandbox.daemon().run_as(NOBODY).mirror(mode, &source, &target).start();
    expect_reported(&daemon, &target);
    expect_kept(&target, OLD);
    set_locked(&source, false);
    daemon.wait_mirrored(mode, &source, &target);
}

fn files_that_become_unreadable_are_kept_reported_and_retried(mode: TransferMode) {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let [source, target] = trees(&sandbox);
    let daemon = sandbox.daemon().run_as(NOBODY).mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);

    set_locked(&source, true);
    for file in ["locked/file", "secret"] {
        fs::write(source.join(file), NEWEST).unwrap();
    }
    write(&source.join("open"), "");
    expect_reported(&daemon, &target);
    expect_kept(&target, NEW);
    set_locked(&source, false);
    daemon.wait_mirrored(mode, &source, &target);
}
