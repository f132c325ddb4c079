//! The status file.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

use rustix::process::Signal;

use crate::support::{FakeRsync, Requirement, Sandbox, TransferMode, in_both_modes, needs};

in_both_modes!(a_status_file_in_the_source_does_not_cause_a_loop);

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn a_status_file_in_the_source_does_not_cause_a_loop(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    // The path in the settings may differ from that of the kernel.
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
    daemon.wait_until_unchanged("the status is no longer written", || {
        let path = source.join("status");
        let is_in_sync = read(&path).contains(": in sync\n");
        let status = fs::metadata(&path).ok().filter(|_| is_in_sync)?;
        Some((status.ino(), status.mtime(), status.mtime_nsec()))
    });
    assert!(!source.join(".status.new").exists());
}

#[test]
fn the_status_of_an_unavailable_target_has_the_reason() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let text = "settings{ statusFile = '@/status', statusInterval = 0, insist = true }
        sync{ default.rsync, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).env("PATH", rsync.search_path()).start();
    let status = sandbox.path("status");
    daemon.wait_until("the status tells it", || {
        let text = read(&status);
        // A failed first transfer is still reported as such.
        text.contains("There are 1 delays\nwait   Init \n")
            && text.contains(": transfer failed, next try at ")
            && text.contains("exit code 12")
    });
    rsync.set_failing(false);
    daemon.wait_until("all is well", || read(&status).contains(": in sync\n"));
}

#[test]
fn the_status_is_updated_during_a_transfer_and_at_the_end() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_hanging(true);
    let text = "settings{ statusFile = '@/status', statusInterval = 0 }
        sync{ default.rsync, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).env("PATH", rsync.search_path()).start();
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
fn sigusr1_writes_the_state_into_the_log() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_hanging(true);
    let text = "sync{ default.rsync, name = 'one', source = '@/src', target = '@/dst', delay = 0 }";
    let daemon = sandbox.daemon().config(text, 1).args(["-log", "scarce"]);
    let daemon = daemon.env("PATH", rsync.search_path()).start();
    daemon.wait_until("it runs", || rsync.hanging_process().is_some());
    daemon.signal(Signal::USR1);
    daemon.wait_for_log("Normal: Running processes: 1, with pid ");
    let (log, target) = (daemon.log(), sandbox.path("dst"));
    let state =
        format!("Normal: one -> {}/: starting, first full transfer is running", target.display());
    for line in
        ["--- USR1 signal, state of the syncs ---", &state, "Inotify watching 1 directories"]
    {
        assert!(log.contains(line), "{line}: {log}");
    }
    // Once it is idle, the next signal wakes it.
    rsync.set_hanging(false);
    let done = format!("Normal: one -> {}/: in sync\n", target.display());
    daemon.wait_until("it says so", || {
        daemon.signal(Signal::USR1);
        daemon.log().contains(&done)
    });
}

#[test]
fn sighup_changes_the_status_file() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
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
    // The old file refers to the new one.
    let left = read(&one);
    let moved = format!("the status is now in {}", other.display());
    assert!(left.contains(&moved), "{left}");
    assert!(!left.contains("in sync"), "{left}");
    assert!(!daemon.log().contains("statusFile has changed"), "{}", daemon.log());
}

#[test]
fn an_unwritable_status_file_is_reported_once() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
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
    sandbox.create_dir("none");
    fs::write(source.join("three"), "").unwrap();
    let status = sandbox.path("none/status");
    daemon.wait_until("it is written", || read(&status).contains(": in sync\n"));
}

#[test]
fn the_status_lists_fanotify_marks() {
    needs!(Requirement::Fanotify);
    let sandbox = Sandbox::for_fanotify();
    sandbox.create_dir("src");
    let text = "settings{ statusFile = '@/status', statusInterval = 0, watch = 'fanotify' }
        sync{ default.direct, source = '@/src', target = '@/dst' }";
    let daemon = sandbox.daemon().config(text, 1).start();
    let status = sandbox.path("status");
    let expected = "Inotify watching 0 directories\nFanotify watching the file system of Sync1\n";
    daemon.wait_until("the status tells it", || read(&status).contains(expected));
}
