//! Custom functions beside those of a default.

use std::fs;

use rustix::process::Signal;

use crate::support::{FakeRsync, Requirement, Sandbox, TransferMode, exit_code, free_port, needs};

#[test]
fn an_unavailable_target_behind_a_tunnel_does_not_stop_the_daemon() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let text = format!(
        "sync{{ default.rsync, source = '@/src', target = 'rsync://localhost:{}/mirror'
              , tunnel = tunnel{{ readyDelay = 0.1, command = 'sleep 1000' }}
              , collect = function(agent, code) return default.rsync.collect(agent, code) end }}",
        free_port()
    );
    let mut daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_for_log("Retrying startup of");
    assert!(daemon.is_running(), "{}", daemon.log());
    // Its tunnel exits with it.
    daemon.signal(Signal::TERM);
    daemon.wait_exit();
}

#[test]
fn an_unknown_exit_code_does_not_stop_the_daemon() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
    let fake = FakeRsync::new(&sandbox);
    let text = "sync{ default.rsync, source = '@/src', target = '@/dst', delay = 0
                    , action = function(inlet) default.rsync.action(inlet) end }";
    let daemon = sandbox.daemon().env("PATH", fake.search_path()).config(text, 1).start();
    daemon.wait_live();
    fake.fail_with(99);
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("Retrying a list after exitcode = 99");
    fake.set_failing(true);
    fs::write(source.join("other"), "").unwrap();
    daemon.wait_for_log("Retrying a list after exitcode = 12");
    fs::remove_file(sandbox.path("programs/fails")).unwrap();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn the_reason_of_a_failed_startup_is_logged_once() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let text = "sync{ default.rsync, source = '@/src', target = '@/not/there'
        , collect = function(agent, code) local end_it = default.rsync.collect(agent, code) return end_it end }";
    let mut daemon = sandbox.daemon().config(text, 1).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    let log = daemon.log();
    assert!(log.contains("Terminating since") && !log.contains("Critical exitcode"), "{log}");
}

#[test]
fn terminate_stops_the_daemon() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let text = "sync{ source = '@/src', onStartup = 'echo ready'
                    , onCreate = function(event) terminate(3) end }";
    let pidfile = sandbox.path("pid");
    let mut daemon = sandbox.daemon().args(["-pidfile"]).args([&pidfile]).config(text, 1).start();
    daemon.wait_for_log("ready\n");
    assert!(pidfile.exists());
    fs::write(source.join("file"), "").unwrap();
    assert_eq!(exit_code(daemon.wait_exit()), 3, "{}", daemon.log());
    assert!(
        daemon.log().contains("Normal: --- A script has called terminate(3)"),
        "{}",
        daemon.log()
    );
    assert!(!pidfile.exists(), "the pidfile stays");
}
