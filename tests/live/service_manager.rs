//! Notifications to a service manager, whose part the test plays.

use std::{fs, time::Duration};

use rustix::process::Signal;

use crate::support::{
    Requirement, Sandbox, TestDaemon, TestServiceManager, exit_code, free_port, needs,
};

/// Starts a daemon with these syncs, in a configuration file.
#[track_caller]
fn start(sandbox: &Sandbox, manager: &TestServiceManager, text: &str, syncs: usize) -> TestDaemon {
    sandbox.daemon().config(text, syncs).env("NOTIFY_SOCKET", manager.address()).start()
}

const ONE_SYNC: &str = "sync{ default.direct, source = '@/src', target = '@/dst' }";

#[test]
fn a_daemon_is_ready_although_a_target_and_a_source_are_away() {
    needs!(Requirement::Program("rsync"), Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    sandbox.create_dir("src");
    let text = format!(
        "settings{{ insist = true }}
         sync{{ default.rsync, source = '@/src', target = 'rsync://127.0.0.1:{}/none' }}
         sync{{ default.direct, source = '@/missing', target = '@/other' }}
         {ONE_SYNC}",
        free_port()
    );
    let daemon = start(&sandbox, &manager, &text, 3);
    manager.wait_for(&daemon, "READY=1", 1);
    let status = "STATUS=3 syncs: 1 in sync, 1 without source, 1 without target; oldest change ";
    manager.wait_for(&daemon, status, 1);
    let messages = manager.messages();
    let ready = messages.iter().position(|it| it.text == "READY=1");
    assert!(ready.is_some_and(|at| at <= 2), "nothing is awaited: {messages:?}");
}

#[test]
fn each_hangup_is_answered_by_a_pair_of_messages() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    sandbox.create_dir("src");
    let daemon = start(&sandbox, &manager, ONE_SYNC, 1);
    manager.wait_for_status(&daemon, "1 sync: 1 in sync");
    let good = fs::read_to_string(sandbox.path("conf.lua")).unwrap();
    for (number, text) in ["sync{ no such text", &*good, "sync{}"].iter().enumerate() {
        fs::write(sandbox.path("conf.lua"), text).unwrap();
        daemon.signal(Signal::HUP);
        manager.wait_for(&daemon, "RELOADING=1\nMONOTONIC_USEC=", number + 1);
        manager.wait_for(&daemon, "READY=1", number + 2);
    }
    let texts: Vec<String> = manager.messages().into_iter().map(|it| it.text).collect();
    let pairs: Vec<&str> = texts
        .iter()
        .filter(|text| !text.starts_with("STATUS="))
        .map(|text| text.split('=').next().unwrap())
        .collect();
    let pair = ["RELOADING", "READY"];
    assert_eq!(pairs, [&["READY"][..], &pair, &pair, &pair].concat(), "{texts:?}");
    assert_eq!(daemon.log().matches("reload failed: keeping").count(), 2);
}

#[test]
fn without_a_file_a_hangup_is_answered_too() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    let (source, target) = (sandbox.create_dir("src"), sandbox.path("dst"));
    let daemon = sandbox.daemon().mirror(crate::support::TransferMode::Direct, &source, &target);
    let daemon = daemon.env("NOTIFY_SOCKET", manager.address()).start();
    manager.wait_for(&daemon, "READY=1", 1);
    daemon.signal(Signal::HUP);
    manager.wait_for(&daemon, "RELOADING=1", 1);
    manager.wait_for(&daemon, "READY=1", 2);
    daemon.wait_for_log("HUP signal, trying again at once");
}

#[test]
fn the_status_follows_changes_and_the_exit_is_announced() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    let source = sandbox.create_dir("src");
    let text = "sync{ default.direct, source = '@/src', target = '@/dst', delay = 3600 }";
    let mut daemon = start(&sandbox, &manager, text, 1);
    manager.wait_for_status(&daemon, "1 sync: 1 in sync");
    fs::write(source.join("file"), "").unwrap();
    let pending = "STATUS=1 sync: 1 with pending changes; oldest change ";
    manager.wait_for(&daemon, pending, 1);
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_exit()), 143);
    assert_eq!(manager.count("STOPPING=1\nSTATUS="), 1);
}

#[test]
fn an_idle_daemon_notifies_its_watchdog_in_time() {
    const LIMIT: Duration = Duration::from_secs(4);
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    sandbox.create_dir("src");
    let micros = LIMIT.as_micros().to_string();
    // The shell becomes the daemon, so it knows the id.
    let daemon = sandbox.daemon().shell_prefix("export WATCHDOG_PID=$$; exec").config(ONE_SYNC, 1);
    let daemon = daemon.env("NOTIFY_SOCKET", manager.address()).env("WATCHDOG_USEC", micros);
    let daemon = daemon.start();
    manager.wait_for(&daemon, "WATCHDOG=1", 4);
    let messages = manager.messages();
    let pings: Vec<_> = messages.iter().filter(|it| it.text == "WATCHDOG=1").collect();
    for pair in pings.windows(2) {
        assert!(pair[1].at - pair[0].at < LIMIT, "{messages:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_daemon_does_not_wake_up_for_its_status() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    sandbox.create_dir("src");
    let daemon = start(&sandbox, &manager, ONE_SYNC, 1);
    manager.wait_for_status(&daemon, "1 sync: 1 in sync");
    let pid = daemon.pid().as_raw_nonzero();
    // The first thread is that of the engine.
    let status = format!("/proc/{pid}/task/{pid}/status");
    daemon.wait_until_unchanged("the engine sleeps", || {
        let status = fs::read_to_string(&status).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"));
        Some(line?.to_owned())
    });
}

#[test]
fn programs_do_not_inherit_the_socket() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let manager = TestServiceManager::new(&sandbox);
    sandbox.create_dir("src");
    let text = format!("os.execute('env >@/env')\n{ONE_SYNC}");
    let daemon = sandbox.daemon().config(&text, 1).env("NOTIFY_SOCKET", manager.address());
    let daemon = daemon.env("WATCHDOG_USEC", "9000000").env("KEPT", "1").start();
    manager.wait_for(&daemon, "READY=1", 1);
    let environment = fs::read_to_string(sandbox.path("env")).unwrap();
    assert!(environment.contains("KEPT=1\n"), "{environment}");
    assert!(!environment.contains("NOTIFY_SOCKET="), "{environment}");
    assert!(!environment.contains("WATCHDOG_"), "{environment}");
}

#[test]
fn a_socket_that_nobody_reads_is_reported_and_does_no_harm() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let daemon = sandbox.daemon().config(ONE_SYNC, 1);
    let daemon = daemon.env("NOTIFY_SOCKET", sandbox.path("nobody")).start();
    daemon.wait_live();
    daemon.wait_for_log("cannot notify the service manager at $NOTIFY_SOCKET: ");
}
