//! Targets that are reached through a tunnel.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use mirror_platform::process_handle::ProcessHandle;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    LiveChurn, NetworkCondition, Requirement, Sandbox, TestDaemon, TestNetwork, TestServer,
    TransferMode, exit_code, free_port, needs,
};

/// An rsync daemon for `dst`, and an ssh server as tunnel endpoint.
struct TunnelFixture {
    source: PathBuf,
    target: PathBuf,
    rsyncd: TestServer,
    sshd: TestServer,
}

impl TunnelFixture {
    fn new(sandbox: &Sandbox) -> Self {
        let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
        let rsyncd = TestServer::rsync(sandbox, &target);
        Self { source, target, rsyncd, sshd: TestServer::ssh(sandbox) }
    }

    /// Returns a shell command that writes its PID to `name` in the sandbox, and forwards `port` to
    /// the daemon.
    fn command(&self, port: &str, name: &str) -> String {
        let (ssh, to) = (self.sshd.remote_shell(), self.rsyncd.port());
        let forward = format!("-o ExitOnForwardFailure=yes -L {port}:127.0.0.1:{to}");
        format!("[[echo $$ >> @/{name}; exec {ssh} -N {forward} root\\x40127.0.0.1]]")
            .replace("\\x40", "]] .. '\\x40' .. [[")
    }
}

fn pids(path: &Path) -> Vec<i32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn is_alive(pid: i32) -> bool {
    let process = Pid::from_raw(pid).and_then(|pid| ProcessHandle::open(pid).ok());
    process.is_some_and(|process| !process.has_exited())
}

#[track_caller]
fn end(mut daemon: TestDaemon, programs: &[PathBuf]) {
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_exit()), 143);
    for program in programs.iter().flat_map(|path| pids(path)) {
        assert!(!is_alive(program), "{program} is left: {}", daemon.log());
    }
}

#[test]
fn a_sync_waits_for_its_tunnel_and_resumes() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let fixture = TunnelFixture::new(&sandbox);
    let port = free_port();
    let command = fixture.command(&port.to_string(), "pids");
    // Changes before the tunnel is up are not lost.
    let text = format!(
        "sync{{ default.rsync, source = '@/src', target = 'rsync://localhost:{port}/mirror'
              , tunnel = tunnel{{ readyDelay = 0.5, command = {{ 'sh', '-c', {command} }} }} }}"
    );
    let mut churn = LiveChurn::new(&fixture.source, 31);
    churn.change(50);
    let daemon = sandbox.daemon().config(&text, 1).start();
    churn.change(50);
    daemon.wait_for_log("tunnel Tunnel1 is up");
    daemon.wait_mirrored(TransferMode::Rsync, &fixture.source, &fixture.target);
    for round in 0..2 {
        if round == 0 {
            fixture.sshd.cut_connections();
        } else {
            let last = *pids(&sandbox.path("pids")).last().unwrap();
            kill_process(Pid::from_raw(last).unwrap(), Signal::KILL).unwrap();
        }
        churn.change(50);
        daemon.wait_mirrored(TransferMode::Rsync, &fixture.source, &fixture.target);
    }
    assert!(pids(&sandbox.path("pids")).len() >= 3, "it was made anew");
    end(daemon, &[sandbox.path("pids")]);
}

#[test]
fn transfers_use_the_tunnels_of_a_pool_in_turn() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let fixture = TunnelFixture::new(&sandbox);
    let command = fixture.command("^localport", "pids");
    let text = format!(
        "sync{{ default.rsync, source = '@/src', target = 'rsync://^localhost:^localport/mirror'
              , tunnel = tunnel{{ mode = 'pool', parallel = 3, readyDelay = 600
                                , command = {{ 'sh', '-c', {command} }} }} }}"
    );
    for number in 0..60 {
        fs::write(fixture.source.join(format!("first{number}")), "").unwrap();
    }
    let daemon = sandbox.daemon().args(["-log", "Exec", "-log", "Tunnel"]).config(&text, 1).start();
    daemon.wait_for_log("Tunnel1: 3 of 3 ready");
    daemon.wait_mirrored(TransferMode::Rsync, &fixture.source, &fixture.target);
    // The size of the target is known across tunnels, so that these deletions stay within the
    // budget.
    for name in ["a", "b"] {
        fs::create_dir(fixture.target.join(name)).unwrap();
        for number in 0..12 {
            fs::write(fixture.target.join(name).join(format!("strange{number}")), "").unwrap();
        }
        fs::create_dir(fixture.source.join(name)).unwrap();
        daemon.wait_mirrored(TransferMode::Rsync, &fixture.source, &fixture.target);
    }
    for number in 0..6 {
        fs::write(fixture.source.join(format!("file{number}")), "").unwrap();
        daemon.wait_mirrored(TransferMode::Rsync, &fixture.source, &fixture.target);
    }
    let log = daemon.log();
    let ports: BTreeSet<&str> =
        log.split("rsync://localhost:").skip(1).filter_map(|text| text.split('/').next()).collect();
    assert_eq!(ports.len(), 3, "{log}");
    end(daemon, &[sandbox.path("pids")]);
}

#[test]
fn a_tunnel_that_never_connects_does_not_stop_the_daemon() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    for name in ["src", "other"] {
        fs::write(sandbox.create_dir(name).join("file"), "").unwrap();
    }
    let text = "settings{ statusFile = '@/status', statusInterval = 0 }
        never = tunnel{ name = 'never', retryDelay = 0, readyDelay = 5, command = 'false' }
        sync{ default.rsync, source = '@/src', target = '@/dst', tunnel = never }
        sync{ default.rsync, source = '@/other', target = '@/dst2' }";
    let daemon = sandbox.daemon().config(text, 2).start();
    daemon.wait_for_log("tunnel never: it exited with code 1; retrying in 2.0 s");
    let other = sandbox.path("dst2/file");
    daemon.wait_until("the other one goes on", || other.exists());
    let status = sandbox.path("status");
    daemon.wait_until("the status says what it waits for", || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        text.contains("waiting for its tunnel") && text.contains("Tunnel never: 0 of 1 ready")
    });
    assert!(!sandbox.path("dst/file").exists());
    end(daemon, &[]);
}

#[test]
fn a_reload_keeps_unchanged_tunnels_and_replaces_others() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let fixture = TunnelFixture::new(&sandbox);
    let text = |second: &str| {
        let sync = |number: u32, port: u16, command: &str| {
            format!(
                "sync{{ default.rsync, source = '@/src', target = 'rsync://localhost:{port}/mirror/{number}'
                      , tunnel = tunnel{{ readyDelay = 0.3, command = {{ 'sh', '-c', {command} }} }} }} "
            )
        };
        let port = fixture.rsyncd.port();
        [sync(1, port, "[[echo $$ >> @/first; exec sleep 1000]]"), sync(2, port, second)].concat()
    };
    fs::create_dir(fixture.target.join("1")).unwrap();
    fs::write(fixture.source.join("file"), "").unwrap();
    let file = text("[[echo $$ >> @/second; exec sleep 1000]]");
    let daemon = sandbox.daemon().config(&file, 2).start();
    daemon.wait_live();
    let (first, second) = (pids(&sandbox.path("first")), pids(&sandbox.path("second")));
    sandbox.write_config(&text("[[echo $$ >> @/third; exec sleep 1000]]"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("1 sync is kept as it is");
    let third = sandbox.path("third");
    daemon.wait_until("the new one runs", || !pids(&third).is_empty());
    daemon.wait_until("the old one is gone", || !is_alive(second[0]));
    assert_eq!(pids(&sandbox.path("first")), first);
    assert!(is_alive(first[0]));
    fs::write(fixture.source.join("later"), "").unwrap();
    let all = ["1/later", "2/later"].map(|name| fixture.target.join(name));
    daemon.wait_until("both go on", || all.iter().all(|file| file.exists()));
    end(daemon, &["first", "second", "third"].map(|name| sandbox.path(name)));
}

/// Syncs through the same tunnel share one connection and the result of an attempt.
#[test]
fn syncs_through_a_pool_share_one_attempt_per_tunnel() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("file"), "").unwrap();
    let server = TestServer::ssh(&sandbox);
    let network = TestNetwork::to(server.port());
    network.set(NetworkCondition::Refusing);
    let shell = server.remote_shell();
    let through = shell.replace(&format!("-p {}", server.port()), "-p ^localport");
    let forward = format!("-N -L ^localport:127.0.0.1:{}", network.port());
    let text = format!(
        "local to = 'root\\x40127.0.0.1'
         local pool = tunnel{{ mode = 'pool', parallel = 2, readyDelay = 600
                             , command = [[{shell} {forward} ]] .. to }}
         for i = 1, 30 do sync{{
            default.rsync, source = '@/src', target = to .. ':' .. '@/dst' .. i,
            rsync = {{ rsh = [[{through}]] }}, tunnel = pool
         }} end"
    );
    let daemon = sandbox.daemon().config(&text, 30).start();
    let retries = || daemon.log().matches("Retrying startup").count();
    daemon.wait_until("all of them failed", || retries() >= 30);
    assert!(network.connections() < 12, "{} tries: {}", network.connections(), daemon.log());
    network.set(NetworkCondition::Normal);
    daemon.signal(Signal::HUP);
    for number in 1..=30 {
        let target = sandbox.path(&format!("dst{number}"));
        daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    }
}
