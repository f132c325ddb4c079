//! The status file of a real daemon.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

use rustix::process::Signal;

use crate::support::{FakeRsync, Mode, Need, Sandbox, in_both_modes, needs};

in_both_modes!(a_status_file_in_the_watched_tree_does_not_feed_itself);

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn a_status_file_in_the_watched_tree_does_not_feed_itself(mode: Mode) {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    // The settings may name the directory otherwise than the kernel does.
    symlink(&source, sandbox.path("link")).unwrap();
    let kind = mode.option().trim_start_matches('-');
    let text = format!(
        "settings{{ statusFile = '@/link/status', statusInterval = 0, watch = 'inotify' }}
         sync{{ default.{kind}, source = '@/src', target = '@/dst' }}"
    );
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    fs::write(source.join("file"), "").unwrap();
    let file = sandbox.path("dst/file");
    daemon.wait_until("a change is mirrored", || file.exists());
    // It has to fall silent when all is done: the same file over many looks.
    let mut last = (None, 0);
    daemon.wait_until("the status is no longer written", || {
        let status = fs::metadata(source.join("status")).ok();
        let seen = status.map(|it| (it.ino(), it.mtime(), it.mtime_nsec()));
        last = if seen == last.0 { (seen, last.1 + 1) } else { (seen, 0) };
        last.1 >= 100 && read(&source.join("status")).contains(": in sync\n")
    });
    assert!(!source.join(".status.new").exists());
}

#[test]
fn the_status_of_a_target_that_is_away_says_why() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    sandbox.directory("src");
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let text = "settings{ statusFile = '@/status', statusInterval = 0, insist = true }
        sync{ default.rsync, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).environment("PATH", rsync.path()).start();
    let status = sandbox.path("status");
    daemon.wait_until("the status tells it", || {
        let text = read(&status);
        // The first transfer has not become another one by failing.
        text.contains("There are 1 delays\nwait   Init \n")
            && text.contains(": the target is away, next try at ")
            && text.contains("exit code 12")
    });
    rsync.set_failing(false);
    daemon.wait_until("all is well", || read(&status).contains(": in sync\n"));
}

#[test]
fn a_long_transfer_shows_signs_of_life_and_the_end_is_told() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    sandbox.directory("src");
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_hanging(true);
    let text = "settings{ statusFile = '@/status', statusInterval = 0 }
        sync{ default.rsync, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).environment("PATH", rsync.path()).start();
    let status = sandbox.path("status");
    daemon.wait_until("it runs", || rsync.hanging_process().is_some());
    let mut last = read(&status);
    for _ in 0..3 {
        daemon.wait_until("it is written again", || {
            let now = read(&status);
            now.contains("Running processes: 1\n") && now != last
        });
        last = read(&status);
    }
    rsync.set_hanging(false);
    daemon.wait_until("all is well", || read(&status).contains(": in sync\n"));
    daemon.signal(Signal::TERM);
    daemon.wait_until("it says so", || {
        let last = read(&status);
        last.contains("The daemon has stopped.\n") && !last.contains("in sync")
    });
}

#[test]
fn a_hangup_gives_the_status_another_file() {
    let sandbox = Sandbox::new();
    sandbox.directory("src");
    let text = |name: &str| {
        format!(
            "settings{{ statusFile = '@/{name}', statusInterval = 0 }}
             sync{{ default.direct, source = '@/src', target = '@/dst' }}"
        )
    };
    let daemon = sandbox.daemon().config(&text("one"), 1).start();
    let [one, other] = ["one", "other"].map(|name| sandbox.path(name));
    daemon.wait_until("the first file says so", || read(&one).contains(": in sync\n"));
    sandbox.write_config(&text("other"));
    daemon.signal(Signal::HUP);
    daemon.wait_until("the other file says so", || read(&other).contains(": in sync\n"));
    // Who reads the first one learns where to look.
    let left = read(&one);
    assert!(left.contains(&format!("From now on the status is written to {}.", other.display())));
    assert!(!left.contains("in sync"), "{left}");
    assert!(!daemon.log().contains("statusFile has changed"), "{}", daemon.log());
}

#[test]
fn a_status_file_that_cannot_be_written_is_told_once() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let text = "settings{ statusFile = '@/none/status', statusInterval = 0 }
        sync{ default.direct, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_live();
    for name in ["one", "two"] {
        fs::write(source.join(name), "").unwrap();
        let mirrored = sandbox.path("dst").join(name);
        daemon.wait_until("a change is mirrored", || mirrored.exists());
    }
    let why = "Error: Cannot open status file \"";
    assert_eq!(daemon.log().matches(why).count(), 1, "{}", daemon.log());
    sandbox.directory("none");
    fs::write(source.join("three"), "").unwrap();
    let status = sandbox.path("none/status");
    daemon.wait_until("it is written", || read(&status).contains(": in sync\n"));
}

#[test]
fn a_mark_on_a_file_system_is_told() {
    needs!(Need::Fanotify);
    let sandbox = Sandbox::for_fanotify();
    sandbox.directory("src");
    let text = "settings{ statusFile = '@/status', statusInterval = 0, watch = 'fanotify' }
        sync{ default.direct, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).start();
    let status = sandbox.path("status");
    let expected = "Inotify watching 0 directories\nFanotify watching the file system of Sync1\n";
    daemon.wait_until("the status tells it", || read(&status).contains(expected));
}
