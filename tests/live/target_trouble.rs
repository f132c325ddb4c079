//! Targets that are full, read-only or away.

use std::fs;

use rustix::process::Signal;

use crate::support::{
    Live, Mode, Need, Sandbox, Tmpfs, free_port, in_both_modes, needs, with_private_mounts,
};

in_both_modes!(
    a_full_target_is_filled_once_there_is_room,
    a_read_only_target_is_mirrored_to_once_it_is_writable,
    a_target_that_was_removed_gets_everything_again,
    an_older_copy_in_the_place_of_a_target_gets_everything_again,
    a_target_whose_disk_is_unmounted_waits_for_it,
);

fn a_target_that_was_removed_gets_everything_again(mode: Mode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    fs::write(source.join("old"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
    fs::remove_dir_all(&target).unwrap();
    fs::write(source.join("new"), "").unwrap();
    daemon.wait_mirrored(mode, &source, &target);
    daemon.wait_for_log("is gone: all of the source goes there again");
}

fn an_older_copy_in_the_place_of_a_target_gets_everything_again(mode: Mode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let older = sandbox.directory("older");
    fs::write(older.join("deleted since"), "").unwrap();
    fs::write(source.join("changed since"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
    fs::rename(&target, sandbox.path("aside")).unwrap();
    fs::rename(&older, &target).unwrap();
    fs::write(source.join("new"), "").unwrap();
    let is_there = |name: &str| target.join(name).exists();
    daemon.wait_until("all is there", || is_there("new") && is_there("changed since"));
    daemon.wait_for_log("is another directory than before: all of the source goes there again");
    // What it has of its own is not deleted before somebody agrees.
    daemon.wait_for_log("deletions held");
    assert!(is_there("deleted since"));
}

/// All of the source may be more than what lies under the mount can take.
fn a_target_whose_disk_is_unmounted_waits_for_it(mode: Mode) {
    needs!(Need::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let target = sandbox.directory("target");
        let disk = Tmpfs::mount(&sandbox, &target, 4 << 20);
        let live = Live::start_with(sandbox, mode, &[]);
        drop(disk);
        fs::write(live.at("file"), "").unwrap();
        live.daemon.wait_for_log("nothing is mounted on");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        let _disk = Tmpfs::mount(&live.sandbox, &target, 4 << 20);
        live.daemon.signal(Signal::HUP);
        live.expect_mirrored();
        live.daemon.wait_for_log("is another directory than before");
    });
}

fn a_full_target_is_filled_once_there_is_room(mode: Mode) {
    needs!(Need::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let disk = sandbox.directory("target");
        let _disk = Tmpfs::mount(&sandbox, &disk, 12 << 20);
        let inner = sandbox.directory("target/inner");
        fs::write(disk.join("ballast"), vec![b'x'; 8 << 20]).unwrap();
        let source = sandbox.directory("source");
        let daemon = sandbox.daemon().mirror(mode, &source, &inner).start();
        daemon.wait_live();
        fs::write(source.join("large"), vec![b'y'; 6 << 20]).unwrap();
        fs::write(source.join("other"), "").unwrap();
        daemon.wait_for_log("No space left");
        fs::remove_file(disk.join("ballast")).unwrap();
        daemon.wait_mirrored(mode, &source, &inner);
    });
}

fn a_read_only_target_is_mirrored_to_once_it_is_writable(mode: Mode) {
    needs!(Need::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let target = sandbox.directory("target");
        let disk = Tmpfs::mount(&sandbox, &target, 4 << 20);
        let live = Live::start_with(sandbox, mode, &[]);
        disk.set_read_only(true);
        fs::write(live.at("file"), "").unwrap();
        fs::remove_dir_all(live.at("old")).unwrap();
        live.daemon.wait_for_log("Read-only file system");
        disk.set_read_only(false);
        live.expect_mirrored();
    });
}

/// One dead target costs the others nothing.
#[test]
fn a_dead_target_does_not_disturb_another() {
    needs!(Mode::Rsync.need(), Mode::Direct.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let dead = format!("rsync://127.0.0.1:{}/nobody/listens", free_port());
    let daemon = sandbox
        .daemon()
        .mirror_to_server(&source, &dead)
        .mirror(Mode::Direct, &source, &target)
        .with(["-insist"])
        .start();
    daemon.wait_for_log("Retrying startup of");
    for content in ["one", "two", "three"] {
        fs::write(source.join("file"), content).unwrap();
        daemon.wait_mirrored(Mode::Direct, &source, &target);
    }
}
