//! Changes of each kind while the daemon runs.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use crate::support::{LiveMirror, Sandbox, TransferMode, in_both_modes};

in_both_modes!(
    a_file_is_created_changed_and_deleted,
    changes_of_equal_size_within_a_second_are_mirrored,
    a_directory_tree_is_created_renamed_and_deleted,
    a_tree_is_moved_into_the_source_and_out,
    a_file_is_replaced_by_a_rename,
    symlinks_are_created_changed_and_deleted,
    an_entry_is_replaced_by_one_of_another_type,
    explicitly_set_times_are_mirrored,
    a_recreated_directory_has_only_the_new_content,
);

fn a_file_is_created_changed_and_deleted(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    fs::write(live.source_path("file"), "one").unwrap();
    live.expect_mirrored();
    fs::write(live.source_path("file"), "another").unwrap();
    live.expect_mirrored();
    fs::remove_file(live.source_path("file")).unwrap();
    live.expect_mirrored();
}

fn changes_of_equal_size_within_a_second_are_mirrored(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    for content in ["1", "2", "3", "4", "5"] {
        fs::write(live.source_path("file"), content).unwrap();
        live.expect_mirrored();
    }
}

fn a_directory_tree_is_created_renamed_and_deleted(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    fs::create_dir_all(live.source_path("a/b/c")).unwrap();
    fs::write(live.source_path("a/b/c/file"), "1").unwrap();
    live.expect_mirrored();
    fs::rename(live.source_path("a/b"), live.source_path("old/B")).unwrap();
    live.expect_mirrored();
    fs::write(live.source_path("old/B/c/file"), "changed under the new name").unwrap();
    live.expect_mirrored();
    fs::remove_dir_all(live.source_path("old")).unwrap();
    live.expect_mirrored();
}

fn a_tree_is_moved_into_the_source_and_out(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let outside = live.sandbox.create_dir("outside");
    fs::create_dir_all(outside.join("tree/deep")).unwrap();
    fs::write(outside.join("tree/deep/file"), "from outside").unwrap();
    fs::rename(outside.join("tree"), live.source_path("tree")).unwrap();
    live.expect_mirrored();
    fs::write(live.source_path("tree/deep/file"), "changed inside").unwrap();
    live.expect_mirrored();
    fs::rename(live.source_path("tree"), outside.join("tree")).unwrap();
    live.expect_mirrored();
    fs::write(outside.join("tree/deep/file"), "no longer ours").unwrap();
    fs::write(live.source_path("last"), "").unwrap();
    live.expect_mirrored();
}

fn a_file_is_replaced_by_a_rename(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    fs::write(live.source_path("file"), "old").unwrap();
    live.expect_mirrored();
    fs::write(live.source_path(".file.new"), "new").unwrap();
    fs::rename(live.source_path(".file.new"), live.source_path("file")).unwrap();
    live.expect_mirrored();
}

fn symlinks_are_created_changed_and_deleted(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    symlink("old/deep/file", live.source_path("link")).unwrap();
    symlink(".", live.source_path("loop")).unwrap();
    symlink("itself", live.source_path("itself")).unwrap();
    live.expect_mirrored();
    fs::remove_file(live.source_path("link")).unwrap();
    symlink("elsewhere", live.source_path("link")).unwrap();
    live.expect_mirrored();
    for name in ["link", "loop", "itself"] {
        fs::remove_file(live.source_path(name)).unwrap();
    }
    live.expect_mirrored();
}

fn an_entry_is_replaced_by_one_of_another_type(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let place = live.source_path("place");
    let make: [fn(&Path); 3] = [
        |path| fs::write(path, "file").unwrap(),
        |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inner"), "").unwrap();
        },
        |path| symlink("old", path).unwrap(),
    ];
    // Each type replaces each other one.
    for kind in [0, 1, 2, 0, 2, 1, 0] {
        make[kind](&place);
        live.expect_mirrored();
        if place.is_symlink() || place.is_file() {
            fs::remove_file(&place).unwrap();
        } else {
            fs::remove_dir_all(&place).unwrap();
        }
    }
    live.expect_mirrored();
}

fn explicitly_set_times_are_mirrored(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    File::options()
        .write(true)
        .open(live.source_path("old/deep/file"))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    live.expect_mirrored();
}

fn a_recreated_directory_has_only_the_new_content(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    fs::remove_dir_all(live.source_path("old")).unwrap();
    fs::create_dir(live.source_path("old")).unwrap();
    fs::write(live.source_path("old/new"), "").unwrap();
    live.expect_mirrored();
}

/// Without `-H` rsync copies them as separate files.
#[test]
fn hard_links_are_preserved_by_direct() {
    crate::support::needs!(TransferMode::Direct.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("source/sub");
    let [one, two] = ["source/one", "source/sub/two"].map(|name| sandbox.path(name));
    fs::write(&one, "content").unwrap();
    fs::hard_link(&one, &two).unwrap();
    let live = LiveMirror::start_with(sandbox, TransferMode::Direct, &[]);
    live.expect_mirrored();
    fs::hard_link(live.source_path("old/deep/file"), live.source_path("a second name")).unwrap();
    live.expect_mirrored();
    fs::hard_link(&one, live.source_path("three")).unwrap();
    live.expect_mirrored();
    fs::write(live.source_path("three"), "changed under one name, but all have it").unwrap();
    live.expect_mirrored();
    fs::remove_file(&one).unwrap();
    live.expect_mirrored();
}

/// Changes of metadata only, which rsync with its default options does not transfer.
#[test]
fn changes_of_mode_and_owner_are_mirrored_by_direct() {
    crate::support::needs!(TransferMode::Direct.requirement());
    let live = LiveMirror::start(TransferMode::Direct);
    fs::set_permissions(live.source_path("old/deep/file"), Permissions::from_mode(0o6705)).unwrap();
    fs::set_permissions(live.source_path("old"), Permissions::from_mode(0o1731)).unwrap();
    live.expect_mirrored();
    std::os::unix::fs::chown(live.source_path("old/deep/file"), Some(1234), Some(4321)).unwrap();
    std::os::unix::fs::lchown(live.source_path("old"), Some(4321), None).unwrap();
    live.expect_mirrored();
}
