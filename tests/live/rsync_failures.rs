//! An rsync that fails, hangs, is killed, or is missing.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use rustix::process::{Signal, kill_process};

use crate::support::{FakeRsync, Sandbox, TestDaemon, TransferMode, exit_code, needs};

/// A live daemon with an rsync that can be made to fail or hang.
struct FailingRsyncFixture {
    source: PathBuf,
    target: PathBuf,
    daemon: TestDaemon,
    rsync: FakeRsync,
    _sandbox: Sandbox,
}

impl FailingRsyncFixture {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        let rsync = FakeRsync::new(&sandbox);
        fs::write(source.join("first"), "").unwrap();
        let daemon = sandbox
            .daemon()
            .mirror(TransferMode::Rsync, &source, &target)
            .env("PATH", rsync.search_path())
            .start();
        daemon.wait_live();
        Self { source, target, daemon, rsync, _sandbox: sandbox }
    }

    fn write(&self, name: &str) {
        fs::write(self.source.join(name), name).unwrap();
    }

    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.wait_mirrored(TransferMode::Rsync, &self.source, &self.target);
    }
}

#[test]
fn a_failed_batch_is_retried_until_it_succeeds() {
    needs!(TransferMode::Rsync.requirement());
    let setup = FailingRsyncFixture::start();
    setup.rsync.set_failing(true);
    setup.write("second");
    setup.daemon.wait_for_log("Retrying a list after exitcode = 12");
    setup.write("third");
    setup.rsync.set_failing(false);
    setup.expect_mirrored();
}

#[test]
fn a_killed_rsync_is_retried() {
    needs!(TransferMode::Rsync.requirement());
    let setup = FailingRsyncFixture::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    kill_process(setup.rsync.hanging_process().unwrap(), Signal::KILL).unwrap();
    setup.daemon.wait_for_log("Retrying a list");
    setup.rsync.set_hanging(false);
    setup.expect_mirrored();
}

#[test]
fn changes_during_a_transfer_go_into_the_next_batch() {
    needs!(TransferMode::Rsync.requirement());
    let setup = FailingRsyncFixture::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    setup.write("third");
    fs::remove_file(setup.source.join("first")).unwrap();
    setup.rsync.set_hanging(false);
    setup.expect_mirrored();
}

#[test]
fn without_insist_a_failed_startup_stops_the_daemon() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target);
    let mut daemon = start.env("PATH", rsync.search_path()).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    daemon.wait_for_log("Temporary or permanent failure on startup of");
}

#[test]
fn fatal_exit_codes_abort_the_startup_even_with_insist() {
    needs!(TransferMode::Rsync.requirement());
    for (code, messages) in [
        (2, &["Failure on startup of "][..]),
        (13, &["Unknown exitcode \"13\" on startup of ", "Error: Critical exitcode."]),
    ] {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        let rsync = FakeRsync::new(&sandbox);
        rsync.fail_with(code);
        let start =
            sandbox.daemon().mirror(TransferMode::Rsync, &source, &target).args(["-insist"]);
        let mut daemon = start.env("PATH", rsync.search_path()).start();
        assert_eq!(exit_code(daemon.wait_exit()), 255);
        for message in messages {
            daemon.wait_for_log(message);
        }
    }
}

#[test]
fn fatal_exit_codes_are_retried_while_running() {
    needs!(TransferMode::Rsync.requirement());
    let setup = FailingRsyncFixture::start();
    for code in [13, 1] {
        setup.rsync.fail_with(code);
        setup.write(&format!("file{code}"));
        setup.daemon.wait_for_log(&format!("Retrying a list after exitcode = {code}"));
        // SIGHUP triggers an immediate retry.
        setup.rsync.set_failing(false);
        setup.daemon.signal(Signal::HUP);
        setup.expect_mirrored();
    }
}

#[test]
fn with_insist_a_failed_startup_is_retried() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(source.join("file"), "").unwrap();
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target).args(["-insist"]);
    let daemon = start.env("PATH", rsync.search_path()).start();
    daemon.wait_for_log("Retrying startup of");
    rsync.set_failing(false);
    daemon.wait_live();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn a_missing_rsync_fails_the_startup() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let nothing = sandbox.create_dir("nothing");
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target);
    let mut daemon = start.env("PATH", nothing).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    assert!(daemon.log().contains("rsync"), "{}", daemon.log());
}

#[test]
fn with_insist_an_rsync_that_is_installed_later_is_found() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(source.join("file"), "").unwrap();
    let programs = sandbox.create_dir("later");
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target).args(["-insist"]);
    let daemon = start.env("PATH", &programs).start();
    daemon.wait_for_log("Retrying startup of");
    let real = crate::support::find_program("rsync").unwrap();
    symlink(real, programs.join("rsync")).unwrap();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn the_first_signal_waits_for_rsync_and_the_second_does_not() {
    needs!(TransferMode::Rsync.requirement());
    let mut setup = FailingRsyncFixture::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    setup.daemon.signal(Signal::TERM);
    setup.daemon.wait_for_log("--- TERM signal, fading ---");
    setup.daemon.wait_for_log("waiting for 1 more child processes.");
    assert!(setup.daemon.is_running());
    setup.daemon.signal(Signal::TERM);
    assert_eq!(exit_code(setup.daemon.wait_exit()), 143);
}

#[test]
fn a_signal_lets_a_running_rsync_finish() {
    needs!(TransferMode::Rsync.requirement());
    let mut setup = FailingRsyncFixture::start();
    setup.rsync.set_hanging(true);
    setup.write("second");
    setup.daemon.wait_until("rsync hangs", || setup.rsync.hanging_process().is_some());
    setup.daemon.signal(Signal::INT);
    setup.daemon.wait_for_log("--- INT signal, fading ---");
    setup.rsync.set_hanging(false);
    assert_eq!(exit_code(setup.daemon.wait_exit()), 130);
    assert!(setup.target.join("second").exists(), "the running batch was finished");
}
