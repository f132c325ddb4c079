//! Sources that go away, and come back.

use std::fs;

use crate::support::{Live, Mode, Need, Sandbox, Tmpfs, in_both_modes, needs, with_private_mounts};

in_both_modes!(
    a_removed_source_costs_the_target_nothing,
    a_renamed_source_is_followed_back,
    a_replaced_source_is_taken_when_it_has_content,
    an_unmounted_source_costs_the_target_nothing,
    an_empty_source_deletes_nothing_at_the_start,
    the_last_file_of_a_source_may_be_deleted,
);

/// Long enough that nothing goes out between the removal of what is in a root and that of the
/// root itself.
const DELAY: [&str; 2] = ["-delay", "1"];

/// Waits until the daemon has noticed that its source is lost.
#[track_caller]
fn expect_lost(live: &Live) {
    live.daemon.wait_for_log("is lost");
    assert_eq!(fs::read_to_string(live.target.join("old/deep/file")).unwrap(), "old");
}

fn a_removed_source_costs_the_target_nothing(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
    live.daemon.while_stopped(|| fs::remove_dir_all(&live.source).unwrap());
    expect_lost(&live);
    fs::create_dir(&live.source).unwrap();
    fs::write(live.at("new"), "").unwrap();
    live.daemon.wait_for_log("is back");
    live.expect_mirrored();
    fs::write(live.at("newer"), "").unwrap();
    live.expect_mirrored();
}

fn a_renamed_source_is_followed_back(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
    let elsewhere = live.sandbox.path("elsewhere");
    fs::rename(&live.source, &elsewhere).unwrap();
    expect_lost(&live);
    fs::write(elsewhere.join("meanwhile"), "").unwrap();
    fs::remove_dir_all(elsewhere.join("old")).unwrap();
    fs::rename(&elsewhere, &live.source).unwrap();
    live.expect_mirrored();
    fs::write(live.at("afterwards"), "").unwrap();
    live.expect_mirrored();
}

fn a_replaced_source_is_taken_when_it_has_content(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
    fs::rename(&live.source, live.sandbox.path("elsewhere")).unwrap();
    fs::create_dir(&live.source).unwrap();
    fs::write(live.at("new"), "").unwrap();
    live.expect_mirrored();
    fs::write(live.at("newer"), "").unwrap();
    live.expect_mirrored();
}

fn an_unmounted_source_costs_the_target_nothing(mode: Mode) {
    needs!(Need::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let source = sandbox.directory("source");
        let disk = Tmpfs::mount(&sandbox, &source, 1 << 20);
        let live = Live::start_with(sandbox, mode, &DELAY);
        drop(disk);
        // What lies under the mount must not be taken for the source.
        fs::write(live.at("under the mount"), "").unwrap();
        expect_lost(&live);
        let again = Tmpfs::mount(&live.sandbox, &live.source, 1 << 20);
        fs::write(live.at("on the new disk"), "").unwrap();
        live.expect_mirrored();
        assert!(!live.target.join("under the mount").exists());
        // The daemon holds the disk, but that does not keep it from being taken away.
        drop(again);
    });
}

fn an_empty_source_deletes_nothing_at_the_start(mode: Mode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    fs::write(target.join("kept"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_for_log("is empty");
    daemon.wait_live();
    assert!(target.join("kept").exists());
    fs::write(source.join("new"), "").unwrap();
    let new = target.join("new");
    daemon.wait_until("the first file is mirrored", || new.exists());
}

fn the_last_file_of_a_source_may_be_deleted(mode: Mode) {
    let live = Live::start(mode);
    fs::remove_dir_all(live.at("old")).unwrap();
    live.expect_mirrored();
    assert!(!live.target.join("old").exists());
}
