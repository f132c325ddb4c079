//! An rsync that fails, hangs, is killed, or is not there.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use rustix::process::{Signal, kill_process};

use crate::support::{Daemon, FakeRsync, Mode, Sandbox, exit_code, needs};

/// A daemon that is live, with an rsync that can be made to misbehave.
struct Setup {
    source: PathBuf,
    target: PathBuf,
    daemon: Daemon,
    rsync: FakeRsync,
    _sandbox: Sandbox,
}

impl Setup {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
        let rsync = FakeRsync::new(&sandbox);
        fs::write(source.join("first"), "").unwrap();
        let daemon = sandbox
            .daemon()
            .mirror(Mode::Rsync, &source, &target)
            .environment("PATH", rsync.path())
            .start();
        daemon.wait_live();
        Self { source, target, daemon, rsync, _sandbox: sandbox }
    }

    fn write(&self, name: &str) {
        fs::write(self.source.join(name), name).unwrap();
    }

    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.wait_mirrored(Mode::Rsync, &self.source, &self.target);
    }
}

#[test]
fn a_batch_that_fails_is_tried_until_it_succeeds() {
    needs!(Mode::Rsync.need());
    let setup = Setup::start();
    setup.rsync.set_failing(true);
    setup.write("second");
    setup.daemon.wait_for_log("Retrying a list after exitcode = 12");
    setup.write("third");
    setup.rsync.set_failing(false);
    setup.expect_mirrored();
}

#[test]
fn a_killed_rsync_is_run_again() {
    needs!(Mode::Rsync.need());
    let setup = Setup::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    kill_process(setup.rsync.hanging_process().unwrap(), Signal::KILL).unwrap();
    setup.daemon.wait_for_log("Retrying a list");
    setup.rsync.set_hanging(false);
    setup.expect_mirrored();
}

#[test]
fn changes_during_a_long_rsync_go_with_the_next() {
    needs!(Mode::Rsync.need());
    let setup = Setup::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    setup.write("third");
    fs::remove_file(setup.source.join("first")).unwrap();
    setup.rsync.set_hanging(false);
    setup.expect_mirrored();
}

#[test]
fn without_insist_a_startup_that_fails_ends_the_daemon() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let start = sandbox.daemon().mirror(Mode::Rsync, &source, &target);
    let mut daemon = start.environment("PATH", rsync.path()).start();
    assert_eq!(exit_code(daemon.wait_end()), 255);
    daemon.wait_for_log("Temporary or permanent failure on startup of");
}

#[test]
fn exit_codes_without_hope_end_a_startup_even_with_insist() {
    needs!(Mode::Rsync.need());
    for (code, words) in [
        (2, &["Failure on startup of "][..]),
        (13, &["Unknown exitcode \"13\" on startup of ", "Error: Critical exitcode."]),
    ] {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
        let rsync = FakeRsync::new(&sandbox);
        rsync.fail_with(code);
        let start = sandbox.daemon().mirror(Mode::Rsync, &source, &target).with(["-insist"]);
        let mut daemon = start.environment("PATH", rsync.path()).start();
        assert_eq!(exit_code(daemon.wait_end()), 255);
        for words in words {
            daemon.wait_for_log(words);
        }
    }
}

#[test]
fn exit_codes_without_hope_end_nothing_while_it_runs() {
    needs!(Mode::Rsync.need());
    let setup = Setup::start();
    for code in [13, 1] {
        setup.rsync.fail_with(code);
        setup.write(&format!("file{code}"));
        setup.daemon.wait_for_log(&format!("Retrying a list after exitcode = {code}"));
        // Somebody who mended it need not wait.
        setup.rsync.set_failing(false);
        setup.daemon.signal(Signal::HUP);
        setup.expect_mirrored();
    }
}

#[test]
fn with_insist_a_startup_that_fails_is_tried_again() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    fs::write(source.join("file"), "").unwrap();
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let start = sandbox.daemon().mirror(Mode::Rsync, &source, &target).with(["-insist"]);
    let daemon = start.environment("PATH", rsync.path()).start();
    daemon.wait_for_log("Retrying startup of");
    rsync.set_failing(false);
    daemon.wait_live();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn without_rsync_a_startup_fails() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let nothing = sandbox.directory("nothing");
    let start = sandbox.daemon().mirror(Mode::Rsync, &source, &target);
    let mut daemon = start.environment("PATH", nothing).start();
    assert_eq!(exit_code(daemon.wait_end()), 255);
    assert!(daemon.log().contains("rsync"), "{}", daemon.log());
}

#[test]
fn with_insist_an_rsync_that_is_installed_later_is_found() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    fs::write(source.join("file"), "").unwrap();
    let programs = sandbox.directory("later");
    let start = sandbox.daemon().mirror(Mode::Rsync, &source, &target).with(["-insist"]);
    let daemon = start.environment("PATH", &programs).start();
    daemon.wait_for_log("Retrying startup of");
    let real = crate::support::find_program("rsync").unwrap();
    symlink(real, programs.join("rsync")).unwrap();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn a_daemon_that_is_asked_to_end_waits_for_rsync_and_a_second_time_does_not() {
    needs!(Mode::Rsync.need());
    let mut setup = Setup::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    setup.daemon.signal(Signal::TERM);
    setup.daemon.wait_for_log("--- TERM signal, fading ---");
    setup.daemon.wait_for_log("waiting for 1 more child processes.");
    assert!(setup.daemon.runs());
    setup.daemon.signal(Signal::TERM);
    assert_eq!(exit_code(setup.daemon.wait_end()), 143);
}

#[test]
fn a_daemon_that_is_asked_to_end_lets_rsync_finish() {
    needs!(Mode::Rsync.need());
    let mut setup = Setup::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    setup.daemon.signal(Signal::INT);
    setup.daemon.wait_for_log("--- INT signal, fading ---");
    setup.rsync.set_hanging(false);
    assert_eq!(exit_code(setup.daemon.wait_end()), 130);
    assert!(setup.target.join("second").exists(), "the running batch was finished");
}
