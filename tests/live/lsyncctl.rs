//! `lsyncctl` with a running daemon.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;

use crate::support::{
    FakeRsync, Requirement, Sandbox, TestDaemon, TestServer, TransferMode, exit_code,
    in_both_modes, needs,
};

in_both_modes!(the_commands_control_a_running_sync);

/// The settings of a daemon with a socket.
const SOCKET: &str = "settings{ socket = '@/control.sock', insist = true }\n";

/// Asserts the exit code of a command, and returns its output.
#[track_caller]
pub(crate) fn ctl(sandbox: &Sandbox, code: i32, arguments: &[&str]) -> String {
    let (found, output) = call(sandbox, arguments);
    assert_eq!(found, code, "{arguments:?}: {output}");
    output
}

/// Returns the exit code of a command and its output. The socket of the daemon is
/// `@/control.sock`.
pub(crate) fn call(sandbox: &Sandbox, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lsyncctl"))
        .args(arguments)
        .arg("--socket")
        .arg(sandbox.path("control.sock"))
        .current_dir(sandbox.top())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (exit_code(output.status), String::from_utf8(text).unwrap())
}

/// The end of a command that a test waits for.
struct ExpectedEnd {
    code: i32,
    /// A part of its output.
    text: &'static str,
}

/// An end with success.
const fn good(text: &'static str) -> ExpectedEnd {
    ExpectedEnd { code: 0, text }
}

/// An end with this code.
const fn bad(code: i32, text: &'static str) -> ExpectedEnd {
    ExpectedEnd { code, text }
}

/// Waits until a command has this exit code, with a text in its output.
#[track_caller]
fn wait_for(sandbox: &Sandbox, daemon: &TestDaemon, expected: &ExpectedEnd, arguments: &[&str]) {
    let ExpectedEnd { code, text } = expected;
    daemon.wait_until(&format!("{arguments:?} tells {text}"), || {
        let (found, output) = call(sandbox, arguments);
        found == *code && output.contains(text)
    });
}

#[track_caller]
fn assert_has(output: &str, parts: &[&str]) {
    for part in parts {
        assert!(output.contains(part), "{part}: {output}");
    }
}

fn the_commands_control_a_running_sync(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let kind = mode.option().trim_start_matches('-');
    let sync = format!(
        "sync{{ default.{kind}, name = 'web', source = '@/src', target = '@/dst', \
         exclude = {{ '*.tmp' }}, excludeFrom = '@/excl' }}"
    );
    fs::write(sandbox.path("excl"), "# rules\n*.bak\n").unwrap();
    let daemon = sandbox.daemon().config(&format!("{SOCKET}{sync}"), 1).start();
    daemon.wait_live();
    let target = sandbox.path("dst/a");
    fs::write(source.join("a"), "1").unwrap();
    assert_eq!(ctl(&sandbox, 0, &["flush"]), "web: complete\n");
    assert_eq!(fs::read_to_string(&target).unwrap(), "1");
    assert_eq!(ctl(&sandbox, 0, &["flush", "./src/a", "web", "./src"]), "web: complete\n");
    assert_has(&ctl(&sandbox, 3, &["flush", "web", "other"]), &["no sync has the name"]);
    wait_for(&sandbox, &daemon, &good("in sync"), &["status", "web"]);
    wait_for(&sandbox, &daemon, &good("LSYNCD OK - 1 sync"), &["status", "--nagios"]);
    assert_has(&ctl(&sandbox, 0, &["status", "-v", "./src"]), &["src\n", "watched by: "]);
    assert_has(&ctl(&sandbox, 0, &["status", "--json"]), &["\"state\":\"in_sync\""]);
    assert_has(&ctl(&sandbox, 0, &["explain", "src/a"]), &["src/a (file)\n\nweb: in sync\n"]);
    assert_has(&ctl(&sandbox, 0, &["explain", "src/b.tmp"]), &["excluded by: ", "*.tmp"]);
    let line = format!("excluded by: - *.bak ({}:2)\n", sandbox.path("excl").display());
    assert_has(&ctl(&sandbox, 0, &["explain", "src/b.bak"]), &[&line]);
    assert_has(&ctl(&sandbox, 0, &["history"]), &["done", "/a\n"]);
    assert_has(&ctl(&sandbox, 0, &["metrics"]), &["\nlsyncd_up 1\n"]);

    assert_eq!(ctl(&sandbox, 0, &["pause", "web"]), "web: paused\n");
    fs::write(source.join("a"), "22").unwrap();
    assert_has(&ctl(&sandbox, 1, &["flush", "./src/a"]), &["the sync is paused"]);
    assert_has(&ctl(&sandbox, 1, &["status"]), &["paused by an operator"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "1");
    assert_eq!(ctl(&sandbox, 0, &["resume"]), "web: resumed\n");
    ctl(&sandbox, 0, &["flush", "web", "--timeout", "60"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "22");

    fs::remove_file(&target).unwrap();
    assert_eq!(ctl(&sandbox, 0, &["resync", "./src"]), "web: transfer requested\n");
    ctl(&sandbox, 0, &["flush"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "22");
    assert_eq!(ctl(&sandbox, 0, &["retry"]), "web: retried\n");
    assert_has(&ctl(&sandbox, 0, &["log", "Exec"]), &["Exec"]);
    assert_has(
        &ctl(&sandbox, 3, &["status", "nosuch"]),
        &["no sync has the name or target nosuch"],
    );
    reload_and_stop(&sandbox, daemon, &sync);
}

#[track_caller]
fn reload_and_stop(sandbox: &Sandbox, mut daemon: TestDaemon, sync: &str) {
    assert_has(&ctl(sandbox, 0, &["reload"]), &["1 sync"]);
    sandbox.write_config(&format!("{SOCKET}{sync} sync{{"));
    assert_has(&ctl(sandbox, 1, &["reload"]), &["conf.lua"]);
    assert_has(&ctl(sandbox, 1, &["status"]), &["the last reload was refused"]);
    ctl(sandbox, 0, &["stop"]);
    assert!(!daemon.is_running(), "it has waited for the end");
    assert_eq!(exit_code(daemon.wait_exit()), 143);
    assert!(!sandbox.path("control.sock").exists());
    assert_has(&ctl(sandbox, 2, &["status"]), &["does not exist; start lsyncd"]);
}

#[test]
fn a_target_that_is_away_is_retried_on_request() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let rsync = FakeRsync::new(&sandbox);
    let text = format!(
        "{SOCKET}sync{{ default.rsync, name = 'web', source = '@/src', target = '@/dst' }}"
    );
    let daemon = sandbox.daemon().config(&text, 1).env("PATH", rsync.search_path()).start();
    daemon.wait_live();
    rsync.set_failing(true);
    fs::write(source.join("a"), "1").unwrap();
    wait_for(&sandbox, &daemon, &bad(1, "retrying"), &["status"]);
    assert_has(&ctl(&sandbox, 1, &["status", "--nagios"]), &["LSYNCD WARNING - web: retrying"]);
    assert_has(&ctl(&sandbox, 1, &["flush"]), &["web: the last transfer failed"]);
    rsync.set_failing(false);
    ctl(&sandbox, 0, &["retry", "web"]);
    ctl(&sandbox, 0, &["flush", "--timeout", "60"]);
    assert!(sandbox.path("dst/a").exists());

    rsync.set_hanging(true);
    fs::write(source.join("b"), "1").unwrap();
    daemon.wait_until("a transfer runs", || rsync.hanging_process().is_some());
    wait_for(&sandbox, &daemon, &good("pending"), &["status", "--max-age", "3600"]);
    ctl(&sandbox, 1, &["flush", "--timeout", "0.1"]);
    // Nothing is that young.
    wait_for(&sandbox, &daemon, &bad(2, "above the limit"), &["status", "--max-age", "0.001"]);
    rsync.set_hanging(false);
    ctl(&sandbox, 0, &["flush"]);
    assert!(sandbox.path("dst/b").exists());
}

#[test]
fn held_deletions_are_made_after_their_release() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.create_dir("src").join("a"), "1").unwrap();
    let target = sandbox.create_dir("dst");
    let extra = (0..30).map(|number| target.join(format!("extra{number}")));
    let extra: Vec<_> = extra.collect();
    for path in &extra {
        fs::write(path, "").unwrap();
    }
    let text = format!(
        "{SOCKET}sync{{ default.direct, name = 'web', source = '@/src', target = '@/dst' }}"
    );
    let daemon = sandbox.daemon().config(&text, 1).start();
    wait_for(&sandbox, &daemon, &bad(2, "held: 30 deletions"), &["status"]);
    let plugin = ctl(&sandbox, 2, &["status", "--nagios"]);
    assert_has(&plugin, &["LSYNCD CRITICAL - web: held", "30 deletions held", " held=30;"]);
    assert_has(&ctl(&sandbox, 1, &["flush"]), &["30 deletions are held"]);
    assert!(extra.iter().all(|path| path.exists()));
    assert_eq!(ctl(&sandbox, 0, &["release"]), "web: released\n");
    ctl(&sandbox, 0, &["flush", "--timeout", "60"]);
    assert!(!extra.iter().any(|path| path.exists()));
    wait_for(&sandbox, &daemon, &good("in sync"), &["status"]);
    assert_has(&ctl(&sandbox, 2, &["release"]), &["no such sync is held"]);
}

#[test]
fn a_killed_daemon_is_told_from_a_running_one() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let text = format!("{SOCKET}sync{{ default.direct, source = '@/src', target = '@/dst' }}");
    let mut daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    ctl(&sandbox, 0, &["status"]);
    daemon.signal(Signal::KILL);
    daemon.wait_exit();
    for arguments in [&["status"][..], &["flush"], &["stop"]] {
        assert_has(&ctl(&sandbox, 2, arguments), &["it died and left its socket behind"]);
    }
    let plugin = ctl(&sandbox, 2, &["status", "--nagios"]);
    assert_has(&plugin, &["LSYNCD CRITICAL - no lsyncd is listening"]);
    assert!(Path::new(&sandbox.path("control.sock")).exists());
    // The next one replaces the socket.
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    ctl(&sandbox, 0, &["status"]);
}

#[test]
fn the_status_has_the_shared_ssh_connection() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let server = TestServer::ssh(&sandbox);
    let config = format!("{SOCKET}{}", server.rsyncssh_config("name = 'web'"));
    let daemon = sandbox.daemon().config(&config, 1).start();
    daemon.wait_live();
    let status = ["status", "-v", "web"];
    let open = good("connection: ssh root@127.0.0.1: connected since 2");
    wait_for(&sandbox, &daemon, &open, &status);
    server.cut_connections();
    let ended = "connection: ssh root@127.0.0.1: not connected: it has ended, the next transfer";
    wait_for(&sandbox, &daemon, &good(ended), &status);
    fs::write(source.join("file"), "").unwrap();
    wait_for(&sandbox, &daemon, &open, &status);
}

#[test]
fn the_status_has_the_bytes_of_the_running_transfer() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let sync = "sync{ default.direct, name = 'web', source = '@/src', target = '@/dst', \
                rsync = { bwlimit = 1 } }";
    let daemon = sandbox.daemon().config(&format!("{SOCKET}{sync}"), 1).start();
    daemon.wait_live();
    assert!(ctl(&sandbox, 0, &["status", "--json"]).contains("\"in_flight_bytes\":null"));
    fs::write(source.join("large"), vec![b'x'; 1 << 20]).unwrap();
    wait_for(&sandbox, &daemon, &good("running transfer: "), &["status", "-v", "web"]);
    wait_for(&sandbox, &daemon, &good(" kB sent so far"), &["status", "-v", "web"]);
}

#[test]
fn the_status_has_a_failed_hook_that_is_a_warning() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let sync = "sync{ default.direct, name = 'web', source = '@/src', target = '@/dst', \
                onSynced = 'test -e @/dst/ready' }";
    let daemon = sandbox.daemon().config(&format!("{SOCKET}{sync}"), 1).start();
    let failure = good("web: in sync\n  last failure of onSynced: sh exited with code 1\n");
    wait_for(&sandbox, &daemon, &failure, &["status", "-v", "web"]);
    fs::write(source.join("ready"), "").unwrap();
    ctl(&sandbox, 0, &["flush"]);
    assert_has(&ctl(&sandbox, 0, &["status", "--json"]), &["\"hook_failure\":null"]);
}
