//! The first full transfer.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use crate::support::{Sandbox, TransferMode, in_both_modes};

in_both_modes!(
    an_empty_target_is_filled,
    surplus_entries_are_deleted,
    entries_of_another_type_are_replaced,
);

fn an_empty_target_is_filled(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::create_dir_all(source.join("a/b/c")).unwrap();
    fs::write(source.join("a/b/c/file"), "content").unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("large"), vec![7; 3 << 20]).unwrap();
    symlink("a/b", source.join("link")).unwrap();
    symlink("nowhere", source.join("dangling")).unwrap();
    fs::set_permissions(source.join("empty"), fs::Permissions::from_mode(0o4751)).unwrap();

    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
}

fn surplus_entries_are_deleted(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(source.join("kept"), "new").unwrap();
    fs::create_dir_all(target.join("old/deep/er")).unwrap();
    fs::write(target.join("old/deep/er/file"), "").unwrap();
    fs::write(target.join("kept"), "older").unwrap();

    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
    assert!(!target.join("old").exists());
}

fn entries_of_another_type_are_replaced(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::create_dir_all(source.join("directory/inner")).unwrap();
    fs::write(source.join("file"), "").unwrap();
    symlink("file", source.join("link")).unwrap();
    fs::write(target.join("directory"), "").unwrap();
    fs::create_dir_all(target.join("file")).unwrap();
    fs::create_dir_all(target.join("link")).unwrap();

    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
}
