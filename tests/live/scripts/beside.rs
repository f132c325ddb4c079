//! Functions of a user beside those of a default.

use std::fs;

use rustix::process::Signal;

use crate::support::{FakeRsync, Mode, Need, Sandbox, exit_code, free_port, needs};

#[test]
fn a_target_that_is_not_there_behind_a_tunnel_is_no_reason_to_end() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    sandbox.directory("src");
    let text = format!(
        "sync{{ default.rsync, source = '@/src', target = 'rsync://localhost:{}/mirror'
              , tunnel = tunnel{{ readyDelay = 0.1, command = 'sleep 1000' }}
              , collect = function(agent, code) return default.rsync.collect(agent, code) end }}",
        free_port()
    );
    let mut daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_for_log("Retrying startup of");
    assert!(daemon.runs(), "{}", daemon.log());
    // With it ends its tunnel.
    daemon.signal(Signal::TERM);
    daemon.wait_end();
}

#[test]
fn an_exit_code_that_nobody_knows_is_no_reason_to_end() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
    let fake = FakeRsync::new(&sandbox);
    let text = "sync{ default.rsync, source = '@/src', target = '@/dst', delay = 0
                    , action = function(inlet) default.rsync.action(inlet) end }";
    let daemon = sandbox.daemon().environment("PATH", fake.path()).config(text, 1).start();
    daemon.wait_live();
    fake.fail_with(99);
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("Retrying a list after exitcode = 99");
    fake.set_failing(true);
    fs::write(source.join("other"), "").unwrap();
    daemon.wait_for_log("Retrying a list after exitcode = 12");
    fs::remove_file(sandbox.path("programs/fails")).unwrap();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn why_a_startup_ends_the_daemon_is_said_once_whoever_passes_it_on() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    sandbox.directory("src");
    let text = "sync{ default.rsync, source = '@/src', target = '@/not/there'
        , collect = function(agent, code) local end_it = default.rsync.collect(agent, code) return end_it end }";
    let mut daemon = sandbox.daemon().config(text, 1).start();
    assert_eq!(exit_code(daemon.wait_end()), 255);
    let log = daemon.log();
    assert!(log.contains("Terminating since") && !log.contains("Critical exitcode"), "{log}");
}

#[test]
fn a_function_can_end_the_daemon() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let text = "sync{ source = '@/src', onStartup = 'echo ready'
                    , onCreate = function(event) terminate(3) end }";
    let pidfile = sandbox.path("pid");
    let mut daemon = sandbox.daemon().with(["-pidfile"]).with([&pidfile]).config(text, 1).start();
    daemon.wait_for_log("ready\n");
    assert!(pidfile.exists());
    fs::write(source.join("file"), "").unwrap();
    assert_eq!(exit_code(daemon.wait_end()), 3, "{}", daemon.log());
    assert!(
        daemon.log().contains("Normal: --- A script has called terminate(3)"),
        "{}",
        daemon.log()
    );
    assert!(!pidfile.exists(), "the pidfile stays");
}
