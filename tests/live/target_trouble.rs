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
    what_is_held_goes_in_all_its_places_when_it_may,
);

/// Of several batches, and of several places in one of them, seen and unseen.
fn what_is_held_goes_in_all_its_places_when_it_may(mode: Mode) {
    needs!(mode.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let fill = |directory: &std::path::Path, names: &[&str]| {
        for name in names {
            fs::create_dir_all(directory.join(name)).unwrap();
            (0..10).for_each(|n| fs::write(directory.join(format!("{name}/{n}")), "").unwrap());
        }
    };
    fill(&source, &["a", "b", "c", "d"]);
    let text = |budgets: &str| {
        let kind = if mode == Mode::Direct { "direct" } else { "rsync" };
        format!(
            "settings{{ statusFile = '@/status', statusInterval = 0 }}
             sync{{ default.{kind}, source = '@/source', target = '@/target', {budgets} }}"
        )
    };
    let held = "maxDelete = 5, maxDeleteSeen = 5";
    let daemon = sandbox.daemon().config(&text(held), 1).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
    let is_held = |number: u64| {
        let status = fs::read_to_string(sandbox.path("status")).unwrap_or_default();
        status.contains(&format!("{number} deletions held"))
    };
    for name in ["a", "b"] {
        fs::remove_dir_all(source.join(name)).unwrap();
    }
    daemon.wait_until("two are held", || is_held(22));
    fs::remove_dir_all(source.join("c")).unwrap();
    daemon.wait_until("three are held", || is_held(33));
    // What nobody saw go is counted when its directory comes.
    fill(&target, &["x", "y"]);
    let aside = sandbox.directory("aside");
    for name in ["x", "y"] {
        fs::create_dir(aside.join(name)).unwrap();
        fs::rename(aside.join(name), source.join(name)).unwrap();
    }
    daemon.wait_until("all are held", || is_held(53));
    sandbox.write_config(&text("maxDelete = false, maxDeleteSeen = false"));
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(mode, &source, &target);
    daemon.wait_for_log("no deletions are held");
}

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
