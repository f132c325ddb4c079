//! What may not be read is not gone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use crate::support::{Daemon, Mode, Need, Sandbox, in_both_modes, needs};

in_both_modes!(
    what_cannot_be_read_at_the_start_is_kept_told_and_tried_again,
    what_can_no_longer_be_read_is_kept_told_and_tried_again,
);

/// A user without any rights.
const NOBODY: u32 = 65_534;
// Of different lengths: rsync takes files of the same length and second for equal.
const OLD: &str = "old";
const NEW: &str = "newer";
const NEWEST: &str = "the newest";

/// Writes a file of the user.
fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Two trees of the user, the source with a newer content in what will be locked.
fn trees(sandbox: &Sandbox) -> [PathBuf; 2] {
    [("source", NEW), ("target", OLD)].map(|(name, content)| {
        let root = sandbox.directory(name);
        fs::create_dir(root.join("locked")).unwrap();
        for directory in ["locked", ""] {
            chown(root.join(directory), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        write(&root.join("locked/file"), content);
        write(&root.join("secret"), content);
        root
    })
}

/// Locks a directory and a file of the source, or opens them again.
fn set_locked(source: &Path, locked: bool) {
    set_mode(&source.join("locked"), if locked { 0 } else { 0o755 });
    set_mode(&source.join("secret"), if locked { 0 } else { 0o644 });
}

/// Waits until the daemon has mirrored what it can, and has told what it cannot.
#[track_caller]
fn expect_told(daemon: &Daemon, target: &Path) {
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

fn what_cannot_be_read_at_the_start_is_kept_told_and_tried_again(mode: Mode) {
    needs!(Need::Root);
    let sandbox = Sandbox::new();
    let [source, target] = trees(&sandbox);
    set_locked(&source, true);
    write(&source.join("open"), "");
    let daemon = sandbox.daemon().run_by(NOBODY).mirror(mode, &source, &target).start();
    expect_told(&daemon, &target);
    expect_kept(&target, OLD);
    set_locked(&source, false);
    daemon.wait_mirrored(mode, &source, &target);
}

fn what_can_no_longer_be_read_is_kept_told_and_tried_again(mode: Mode) {
    needs!(Need::Root);
    let sandbox = Sandbox::new();
    let [source, target] = trees(&sandbox);
    let daemon = sandbox.daemon().run_by(NOBODY).mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);

    set_locked(&source, true);
    for file in ["locked/file", "secret"] {
        fs::write(source.join(file), NEWEST).unwrap();
    }
    write(&source.join("open"), "");
    expect_told(&daemon, &target);
    expect_kept(&target, NEW);
    set_locked(&source, false);
    daemon.wait_mirrored(mode, &source, &target);
}
