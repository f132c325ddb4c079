//! What may not be read is not gone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use crate::support::{Daemon, Mode, Need, Sandbox, in_both_modes, needs};

in_both_modes!(
    what_cannot_be_read_at_the_start_is_kept_told_and_tried_again,
    what_can_no_longer_be_read_is_kept_told_and_tried_again,
);

/// A user without any rights.
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Two equal trees of the user, the source with a newer content in what will be locked.
fn trees(sandbox: &Sandbox) -> [std::path::PathBuf; 2] {
    ["source", "target"].map(|name| {
        let root = sandbox.directory(name);
        fs::create_dir(root.join("locked")).unwrap();
        for file in ["locked/file", "secret"] {
            fs::write(root.join(file), format!("of the {name}")).unwrap();
            chown(root.join(file), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        for directory in ["locked", ""] {
            chown(root.join(directory), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        root
    })
}

#[track_caller]
fn expect_told(daemon: &Daemon) {
    for name in ["locked", "secret"] {
        daemon.wait_for_log(name);
    }
}

#[track_caller]
fn expect_content(path: &Path, content: &str) {
    assert_eq!(fs::read_to_string(path).unwrap(), content, "{}", path.display());
}

fn what_cannot_be_read_at_the_start_is_kept_told_and_tried_again(mode: Mode) {
    needs!(Need::Root);
    let sandbox = Sandbox::new();
    let [source, target] = trees(&sandbox);
    set_mode(&source.join("locked"), 0);
    set_mode(&source.join("secret"), 0);
    fs::write(source.join("open"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).run_by(NOBODY).start();
    let open = target.join("open");
    daemon.wait_until("what can be read is mirrored", || open.exists());
    expect_told(&daemon);
    expect_content(&target.join("locked/file"), "of the target");
    expect_content(&target.join("secret"), "of the target");

    set_mode(&source.join("locked"), 0o755);
    set_mode(&source.join("secret"), 0o644);
    daemon.wait_mirrored(mode, &source, &target);
}

fn what_can_no_longer_be_read_is_kept_told_and_tried_again(mode: Mode) {
    needs!(Need::Root);
    let sandbox = Sandbox::new();
    let [source, target] = trees(&sandbox);
    let daemon = sandbox.daemon().mirror(mode, &source, &target).run_by(NOBODY).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);

    set_mode(&source.join("secret"), 0);
    fs::write(source.join("secret"), "changed, but not to be read").unwrap();
    set_mode(&source.join("locked"), 0);
    fs::write(source.join("open"), "").unwrap();
    let open = target.join("open");
    daemon.wait_until("what can be read is mirrored", || open.exists());
    expect_told(&daemon);
    expect_content(&target.join("secret"), "of the source");
    set_mode(&target.join("locked"), 0o755);
    expect_content(&target.join("locked/file"), "of the source");

    set_mode(&source.join("locked"), 0o755);
    set_mode(&source.join("secret"), 0o644);
    daemon.wait_mirrored(mode, &source, &target);
}
