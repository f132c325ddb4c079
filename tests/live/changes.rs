//! One change of each kind, while the daemon runs.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use crate::support::{Live, Mode, Sandbox, in_both_modes};

in_both_modes!(
    a_file_comes_changes_and_goes,
    a_second_change_of_the_same_size_in_the_same_second_counts,
    a_directory_tree_comes_is_renamed_and_goes,
    a_tree_is_moved_in_and_out,
    a_file_is_replaced_by_a_rename,
    links_come_change_and_go,
    one_kind_takes_the_place_of_another,
    times_set_by_hand_are_mirrored,
    a_deleted_directory_made_anew_has_only_the_new_content,
);

fn a_file_comes_changes_and_goes(mode: Mode) {
    let live = Live::start(mode);
    fs::write(live.at("file"), "one").unwrap();
    live.expect_mirrored();
    fs::write(live.at("file"), "another").unwrap();
    live.expect_mirrored();
    fs::remove_file(live.at("file")).unwrap();
    live.expect_mirrored();
}

fn a_second_change_of_the_same_size_in_the_same_second_counts(mode: Mode) {
    let live = Live::start(mode);
    for content in ["1", "2", "3", "4", "5"] {
        fs::write(live.at("file"), content).unwrap();
        live.expect_mirrored();
    }
}

fn a_directory_tree_comes_is_renamed_and_goes(mode: Mode) {
    let live = Live::start(mode);
    fs::create_dir_all(live.at("a/b/c")).unwrap();
    fs::write(live.at("a/b/c/file"), "1").unwrap();
    live.expect_mirrored();
    fs::rename(live.at("a/b"), live.at("old/B")).unwrap();
    live.expect_mirrored();
    fs::write(live.at("old/B/c/file"), "changed under the new name").unwrap();
    live.expect_mirrored();
    fs::remove_dir_all(live.at("old")).unwrap();
    live.expect_mirrored();
}

fn a_tree_is_moved_in_and_out(mode: Mode) {
    let live = Live::start(mode);
    let outside = live.sandbox.directory("outside");
    fs::create_dir_all(outside.join("tree/deep")).unwrap();
    fs::write(outside.join("tree/deep/file"), "from outside").unwrap();
    fs::rename(outside.join("tree"), live.at("tree")).unwrap();
    live.expect_mirrored();
    fs::write(live.at("tree/deep/file"), "changed inside").unwrap();
    live.expect_mirrored();
    fs::rename(live.at("tree"), outside.join("tree")).unwrap();
    live.expect_mirrored();
    fs::write(outside.join("tree/deep/file"), "no longer ours").unwrap();
    fs::write(live.at("last"), "").unwrap();
    live.expect_mirrored();
}

fn a_file_is_replaced_by_a_rename(mode: Mode) {
    let live = Live::start(mode);
    fs::write(live.at("file"), "old").unwrap();
    live.expect_mirrored();
    fs::write(live.at(".file.new"), "new").unwrap();
    fs::rename(live.at(".file.new"), live.at("file")).unwrap();
    live.expect_mirrored();
}

fn links_come_change_and_go(mode: Mode) {
    let live = Live::start(mode);
    symlink("old/deep/file", live.at("link")).unwrap();
    symlink(".", live.at("loop")).unwrap();
    symlink("itself", live.at("itself")).unwrap();
    live.expect_mirrored();
    fs::remove_file(live.at("link")).unwrap();
    symlink("elsewhere", live.at("link")).unwrap();
    live.expect_mirrored();
    for name in ["link", "loop", "itself"] {
        fs::remove_file(live.at(name)).unwrap();
    }
    live.expect_mirrored();
}

fn one_kind_takes_the_place_of_another(mode: Mode) {
    let live = Live::start(mode);
    let place = live.at("place");
    let make: [fn(&Path); 3] = [
        |path| fs::write(path, "file").unwrap(),
        |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inner"), "").unwrap();
        },
        |path| symlink("old", path).unwrap(),
    ];
    // Each kind comes after each other one.
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

fn times_set_by_hand_are_mirrored(mode: Mode) {
    let live = Live::start(mode);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    File::options()
        .write(true)
        .open(live.at("old/deep/file"))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    live.expect_mirrored();
}

fn a_deleted_directory_made_anew_has_only_the_new_content(mode: Mode) {
    let live = Live::start(mode);
    fs::remove_dir_all(live.at("old")).unwrap();
    fs::create_dir(live.at("old")).unwrap();
    fs::write(live.at("old/new"), "").unwrap();
    live.expect_mirrored();
}

/// Without `-H` rsync makes files of their own of them.
#[test]
fn names_of_one_file_stay_that_directly() {
    crate::support::needs!(Mode::Direct.need());
    let sandbox = Sandbox::new();
    sandbox.directory("source/sub");
    let [one, two] = ["source/one", "source/sub/two"].map(|name| sandbox.path(name));
    fs::write(&one, "content").unwrap();
    fs::hard_link(&one, &two).unwrap();
    let live = Live::start_with(sandbox, Mode::Direct, &[]);
    live.expect_mirrored();
    fs::hard_link(live.at("old/deep/file"), live.at("a second name")).unwrap();
    live.expect_mirrored();
    fs::hard_link(&one, live.at("three")).unwrap();
    live.expect_mirrored();
    fs::write(live.at("three"), "changed under one name, but all have it").unwrap();
    live.expect_mirrored();
    fs::remove_file(&one).unwrap();
    live.expect_mirrored();
}

/// Changes of the metadata only: rsync with its default options does not carry them.
#[test]
fn modes_and_owners_alone_are_mirrored_directly() {
    crate::support::needs!(Mode::Direct.need());
    let live = Live::start(Mode::Direct);
    fs::set_permissions(live.at("old/deep/file"), Permissions::from_mode(0o6705)).unwrap();
    fs::set_permissions(live.at("old"), Permissions::from_mode(0o1731)).unwrap();
    live.expect_mirrored();
    std::os::unix::fs::chown(live.at("old/deep/file"), Some(1234), Some(4321)).unwrap();
    std::os::unix::fs::lchown(live.at("old"), Some(4321), None).unwrap();
    live.expect_mirrored();
}
