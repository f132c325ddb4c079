//! Targets that are reached through a tunnel.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Churn, Daemon, Mode, Need, Network, Sandbox, Server, Weather, exit_code, free_port, needs,
};

macro_rules! needs_ssh {
    () => {
        needs!(
            Mode::Rsync.need(),
            Need::Root,
            Need::Program("sshd"),
            Need::Program("ssh"),
            Need::Program("ssh-keygen"),
        )
    };
}

/// An rsync daemon for `dst`, and an ssh server on the way to it.
struct Far {
    source: PathBuf,
    target: PathBuf,
    rsyncd: Server,
    sshd: Server,
}

impl Far {
    fn new(sandbox: &Sandbox) -> Self {
        let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
        let rsyncd = Server::rsync(sandbox, &target);
        Self { source, target, rsyncd, sshd: Server::ssh(sandbox) }
    }

    /// A shell command that writes its number to `name` in the sandbox and leads from `port` to the
    /// daemon.
    fn command(&self, port: &str, name: &str) -> String {
        let (ssh, to) = (self.sshd.remote_shell(), self.rsyncd.port());
        let forward = format!("-o ExitOnForwardFailure=yes -L {port}:127.0.0.1:{to}");
        format!("[[echo $$ >> @/{name}; exec {ssh} -N {forward} root\\x40127.0.0.1]]")
            .replace("\\x40", "]] .. '\\x40' .. [[")
    }
}

fn numbers(path: &Path) -> Vec<i32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn is_alive(number: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z")
}

#[track_caller]
fn end(mut daemon: Daemon, programs: &[PathBuf]) {
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_end()), 143);
    for program in programs.iter().flat_map(|path| numbers(path)) {
        assert!(!is_alive(program), "{program} is left: {}", daemon.log());
    }
}

#[test]
fn a_sync_waits_for_its_tunnel_and_goes_on_when_it_is_back() {
    needs_ssh!();
    let sandbox = Sandbox::new();
    let far = Far::new(&sandbox);
    let port = free_port();
    let command = far.command(&port.to_string(), "pids");
    // What comes before there is a tunnel is not lost.
    let text = format!(
        "sync{{ default.rsync, source = '@/src', target = 'rsync://localhost:{port}/mirror'
              , tunnel = tunnel{{ readyDelay = 0.5, command = {{ 'sh', '-c', {command} }} }} }}"
    );
    let mut churn = Churn::new(&far.source, 31);
    churn.change(50);
    let daemon = sandbox.daemon().config(&text, 1).start();
    churn.change(50);
    daemon.wait_for_log("tunnel Tunnel1 is up");
    daemon.wait_mirrored(Mode::Rsync, &far.source, &far.target);
    for round in 0..2 {
        if round == 0 {
            far.sshd.cut_connections();
        } else {
            let last = *numbers(&sandbox.path("pids")).last().unwrap();
            kill_process(Pid::from_raw(last).unwrap(), Signal::KILL).unwrap();
        }
        churn.change(50);
        daemon.wait_mirrored(Mode::Rsync, &far.source, &far.target);
    }
    assert!(numbers(&sandbox.path("pids")).len() >= 3, "it was made anew");
    end(daemon, &[sandbox.path("pids")]);
}

#[test]
fn transfers_take_the_programs_of_a_pool_in_turn() {
    needs_ssh!();
    let sandbox = Sandbox::new();
    let far = Far::new(&sandbox);
    let command = far.command("^localport", "pids");
    let text = format!(
        "sync{{ default.rsync, source = '@/src', target = 'rsync://^localhost:^localport/mirror'
              , tunnel = tunnel{{ mode = 'pool', parallel = 3, readyDelay = 600
                                , command = {{ 'sh', '-c', {command} }} }} }}"
    );
    for number in 0..60 {
        fs::write(far.source.join(format!("first{number}")), "").unwrap();
    }
    let daemon = sandbox.daemon().with(["-log", "Exec", "-log", "Tunnel"]).config(&text, 1).start();
    daemon.wait_for_log("Tunnel1: 3 of 3 ready");
    daemon.wait_mirrored(Mode::Rsync, &far.source, &far.target);
    // Whichever way is next, it is known how much the target holds: these are few of it.
    for name in ["a", "b"] {
        fs::create_dir(far.target.join(name)).unwrap();
        for number in 0..12 {
            fs::write(far.target.join(name).join(format!("strange{number}")), "").unwrap();
        }
        fs::create_dir(far.source.join(name)).unwrap();
        daemon.wait_mirrored(Mode::Rsync, &far.source, &far.target);
    }
    for number in 0..6 {
        fs::write(far.source.join(format!("file{number}")), "").unwrap();
        daemon.wait_mirrored(Mode::Rsync, &far.source, &far.target);
    }
    let log = daemon.log();
    let ports: BTreeSet<&str> =
        log.split("rsync://localhost:").skip(1).filter_map(|text| text.split('/').next()).collect();
    assert_eq!(ports.len(), 3, "{log}");
    end(daemon, &[sandbox.path("pids")]);
}

#[test]
fn a_tunnel_that_is_never_up_ends_nothing() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    for name in ["src", "other"] {
        fs::write(sandbox.directory(name).join("file"), "").unwrap();
    }
    let text = "settings{ statusFile = '@/status', statusInterval = 0 }
        never = tunnel{ name = 'never', retryDelay = 0, readyDelay = 5, command = 'false' }
        sync{ default.rsync, source = '@/src', target = '@/dst', tunnel = never }
        sync{ default.rsync, source = '@/other', target = '@/dst2' }";
    let daemon = sandbox.daemon().config(text, 2).start();
    daemon.wait_for_log("tunnel never: it ended with code 1; next try in 2.0 seconds");
    let other = sandbox.path("dst2/file");
    daemon.wait_until("the other one goes on", || other.exists());
    let status = sandbox.path("status");
    daemon.wait_until("the status says what it waits for", || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        text.contains("waits for its tunnel") && text.contains("Tunnel never: 0 of 1 ready")
    });
    assert!(!sandbox.path("dst/file").exists());
    end(daemon, &[]);
}

#[test]
fn a_reload_keeps_equal_tunnels_and_exchanges_others() {
    needs_ssh!();
    let sandbox = Sandbox::new();
    let far = Far::new(&sandbox);
    let text = |second: &str| {
        let sync = |number: u32, port: u16, command: &str| {
            format!(
                "sync{{ default.rsync, source = '@/src', target = 'rsync://localhost:{port}/mirror/{number}'
                      , tunnel = tunnel{{ readyDelay = 0.3, command = {{ 'sh', '-c', {command} }} }} }} "
            )
        };
        let port = far.rsyncd.port();
        [sync(1, port, "[[echo $$ >> @/first; exec sleep 1000]]"), sync(2, port, second)].concat()
    };
    fs::create_dir(far.target.join("1")).unwrap();
    fs::write(far.source.join("file"), "").unwrap();
    let file = text("[[echo $$ >> @/second; exec sleep 1000]]");
    let daemon = sandbox.daemon().config(&file, 2).start();
    daemon.wait_live();
    let (first, second) = (numbers(&sandbox.path("first")), numbers(&sandbox.path("second")));
    sandbox.write_config(&text("[[echo $$ >> @/third; exec sleep 1000]]"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("1 sync is kept as it is");
    let third = sandbox.path("third");
    daemon.wait_until("the new one runs", || !numbers(&third).is_empty());
    daemon.wait_until("the old one is gone", || !is_alive(second[0]));
    assert_eq!(numbers(&sandbox.path("first")), first);
    assert!(is_alive(first[0]));
    fs::write(far.source.join("later"), "").unwrap();
    let all = ["1/later", "2/later"].map(|name| far.target.join(name));
    daemon.wait_until("both go on", || all.iter().all(|file| file.exists()));
    end(daemon, &["first", "second", "third"].map(|name| sandbox.path(name)));
}

/// Those that take the same way share one connection there, and what comes of a try.
#[test]
fn many_syncs_behind_a_pool_to_a_host_that_is_away_try_it_once_for_each_way() {
    needs_ssh!();
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::write(source.join("file"), "").unwrap();
    let server = Server::ssh(&sandbox);
    let network = Network::to(server.port());
    network.set(Weather::Refusing);
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
    let told = || daemon.log().matches("Retrying startup").count();
    daemon.wait_until("all of them failed", || told() >= 30);
    assert!(network.callers() < 12, "{} tries: {}", network.callers(), daemon.log());
    network.set(Weather::Fine);
    daemon.signal(Signal::HUP);
    for number in 1..=30 {
        let target = sandbox.path(&format!("dst{number}"));
        daemon.wait_mirrored(Mode::Rsync, &source, &target);
    }
}
