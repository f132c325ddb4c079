//! Failures and recoveries of networks and hosts, for each transport.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{
    LiveChurn, MountedTmpfs, NetworkCondition, Requirement, Sandbox, TestDaemon, TestNetwork,
    TestServer, TransferMode, exit_code, needs, with_private_mounts,
};

/// The transports to another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RemoteTransport {
    /// `default.rsyncssh`.
    Rsyncssh,
    /// `default.rsync` to a directory over ssh.
    Ssh,
    /// `default.rsync` to a module of an rsync daemon.
    Module,
}

/// Creates a test of each function for each [`RemoteTransport`].
macro_rules! on_each_line {
    ($($name:ident),+ $(,)?) => {
        mod rsyncssh { $(#[test] fn $name() { super::$name(super::RemoteTransport::Rsyncssh); })+ }
        mod ssh { $(#[test] fn $name() { super::$name(super::RemoteTransport::Ssh); })+ }
        mod module { $(#[test] fn $name() { super::$name(super::RemoteTransport::Module); })+ }
    };
}

on_each_line!(
    random_changes_converge_over_an_unreliable_network,
    an_interrupted_transfer_is_retried,
    a_stalled_connection_times_out_and_recovers,
    a_stopped_host_times_out_and_recovers,
    a_transfer_to_a_full_disk_succeeds_once_there_is_space,
    a_deleted_target_is_fully_resynced,
);

/// A daemon that mirrors `src` to `dst` through a simulated network.
struct RemoteMirror {
    source: PathBuf,
    target: PathBuf,
    // Dropped in this order: the daemon before its server.
    daemon: TestDaemon,
    network: TestNetwork,
    server: TestServer,
    /// Length of the log at the end of the startup.
    startup_length: usize,
}

impl RemoteMirror {
    /// Starts with a source that `fill` populates, and with further settings of rsync.
    #[track_caller]
    fn start(
        sandbox: &Sandbox,
        line: RemoteTransport,
        rsync: &str,
        fill: impl FnOnce(&Path),
    ) -> Self {
        let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
        fill(&source);
        let server = match line {
            RemoteTransport::Rsyncssh | RemoteTransport::Ssh => TestServer::ssh(sandbox),
            RemoteTransport::Module => TestServer::rsync(sandbox, &target),
        };
        let network = TestNetwork::to(server.port());
        let server = server.behind(&network);
        let sync = match line {
            RemoteTransport::Rsyncssh => server.rsyncssh_config(&format!("rsync = {{ {rsync} }}")),
            RemoteTransport::Ssh => format!(
                "sync{{ default.rsync, source = '@/src', target = 'root\\x40127.0.0.1:' .. '@/dst'
                      , rsync = {{ rsh = [[{}]], {rsync} }} }}",
                server.remote_shell()
            ),
            RemoteTransport::Module => format!(
                "sync{{ default.rsync, source = '@/src', target = 'rsync://127.0.0.1:{}/mirror'
                      , rsync = {{ {rsync} }} }}",
                server.port()
            ),
        };
        // A busy machine may exceed the time limit of a startup.
        let text = format!("settings{{ insist = true }} {sync}");
        let daemon = sandbox.daemon().config(&text, 1).start();
        daemon.wait_live();
        let startup_length = daemon.log().len();
        Self { source, target, daemon, network, server, startup_length }
    }

    fn write(&self, name: &str, length: usize) {
        fs::write(self.source.join(name), vec![b'x'; length]).unwrap();
    }

    #[track_caller]
    fn wait_for_retry(&self) {
        self.daemon.wait_until("a retry is logged", || self.log().contains("retrying in"));
    }

    /// Returns the log since the startup.
    fn log(&self) -> String {
        self.daemon.log().split_off(self.startup_length)
    }

    /// Triggers a retry, and waits until the target equals the source.
    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.signal(Signal::HUP);
        self.daemon.wait_mirrored(TransferMode::Rsync, &self.source, &self.target);
    }
}

/// Number of rounds, and of changes in each half round.
const ROUNDS: (usize, usize) = (8, 40);

fn random_changes_converge_over_an_unreliable_network(line: RemoteTransport) {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mut churn = None;
    let mirror = RemoteMirror::start(&sandbox, line, "timeout = 2", |source| {
        churn.insert(LiveChurn::new(source, 31 + line as u64)).change(50);
    });
    let mut churn = churn.unwrap();
    for _ in 0..ROUNDS.0 {
        mirror.network.set(match churn.below(4) {
            0 => NetworkCondition::Delayed(std::time::Duration::from_millis(20)),
            1 => NetworkCondition::Stalled,
            2 => NetworkCondition::StallsAfter(churn.below(20_000)),
            _ => NetworkCondition::Refusing,
        });
        let length = mirror.daemon.log().len();
        churn.change(ROUNDS.1);
        mirror.daemon.wait_until("the changes are logged", || mirror.daemon.log().len() > length);
        if churn.below(2) == 0 {
            mirror.network.cut();
        }
        mirror.network.set(NetworkCondition::Normal);
        // After eight consecutive failures the next retry would be minutes away.
        mirror.daemon.signal(Signal::HUP);
        churn.change(ROUNDS.1);
    }
    mirror.expect_mirrored();
}

fn an_interrupted_transfer_is_retried(line: RemoteTransport) {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = RemoteMirror::start(&sandbox, line, "", |_| ());
    mirror.network.set(NetworkCondition::StallsAfter(1 << 20));
    mirror.write("large", 8 << 20);
    let begun = || fs::read_dir(&mirror.target).unwrap().count() > 0;
    mirror.daemon.wait_until("a part is there", begun);
    mirror.network.cut();
    mirror.wait_for_retry();
    mirror.network.set(NetworkCondition::Normal);
    mirror.expect_mirrored();
}

fn a_stalled_connection_times_out_and_recovers(line: RemoteTransport) {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = RemoteMirror::start(&sandbox, line, "timeout = 2", |_| ());
    mirror.network.set(NetworkCondition::Stalled);
    mirror.write("file", 10);
    mirror.wait_for_retry();
    mirror.network.set(NetworkCondition::Normal);
    mirror.expect_mirrored();
}

fn a_stopped_host_times_out_and_recovers(line: RemoteTransport) {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = RemoteMirror::start(&sandbox, line, "timeout = 2", |_| ());
    mirror.server.pause();
    mirror.write("file", 10);
    mirror.wait_for_retry();
    mirror.server.resume();
    mirror.expect_mirrored();
}

fn a_transfer_to_a_full_disk_succeeds_once_there_is_space(line: RemoteTransport) {
    needs!(Requirement::Ssh, Requirement::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let target = sandbox.create_dir("dst");
        let _disk = MountedTmpfs::mount(&sandbox, &target, 12 << 20);
        let mirror = RemoteMirror::start(&sandbox, line, "", |source| {
            fs::write(source.join("ballast"), vec![b'x'; 8 << 20]).unwrap();
        });
        mirror.write("large", 6 << 20);
        mirror.write("small", 10);
        mirror.daemon.wait_for_log("No space left");
        fs::remove_file(mirror.source.join("ballast")).unwrap();
        mirror.expect_mirrored();
    });
}

/// rsync recreates a directory over ssh, but not the path of a module.
fn a_deleted_target_is_fully_resynced(line: RemoteTransport) {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = RemoteMirror::start(&sandbox, line, "", |source| {
        fs::create_dir(source.join("d")).unwrap();
        fs::write(source.join("d/old"), "").unwrap();
    });
    fs::remove_dir_all(&mirror.target).unwrap();
    mirror.write("d/new", 10);
    mirror.daemon.wait_for_log("disappeared: full resync scheduled");
    if line == RemoteTransport::Module {
        mirror.wait_for_retry();
        fs::create_dir(&mirror.target).unwrap();
    }
    mirror.expect_mirrored();
}

/// rsync recreates a directory below a module, as it does over ssh.
#[test]
fn a_deleted_directory_of_a_module_is_fully_resynced() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let sandbox = Sandbox::new();
    let (source, module) = (sandbox.create_dir("src"), sandbox.create_dir("module"));
    fs::write(source.join("old"), "").unwrap();
    fs::write(source.join("gone"), "").unwrap();
    let server = TestServer::rsync(&sandbox, &module);
    let to = format!("rsync://127.0.0.1:{}/mirror/dst", server.port());
    let daemon = sandbox.daemon().mirror_to_server(&source, &to).start();
    daemon.wait_live();
    let target = module.join("dst");
    for round in 1..=2 {
        fs::remove_dir_all(&target).unwrap();
        // For a deleted file rsync has nothing to send.
        fs::remove_file(source.join("gone")).unwrap();
        let resyncs = || daemon.log().matches("disappeared: full resync scheduled").count();
        daemon.wait_until("a full resync is logged", || resyncs() == round);
        daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
        fs::write(source.join("gone"), "").unwrap();
        daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    }
}

/// A forced command that checks the last argument accepts every command.
#[test]
fn a_key_restricted_to_one_directory_is_sufficient() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("src"), sandbox.path("dst"));
    fs::write(source.join("old"), "").unwrap();
    let server = TestServer::ssh(&sandbox);
    let asked = sandbox.path("asked");
    server.force_command(&format!(
        "echo \"$SSH_ORIGINAL_COMMAND\" >>'{}'; case $SSH_ORIGINAL_COMMAND in \
         'rsync --server'*' . {}/') exec $SSH_ORIGINAL_COMMAND ;; *) exit 1 ;; esac",
        asked.display(),
        target.display()
    ));
    let text = server.rsyncssh_config("onMove = false, rsync = { protect_args = false }");
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    for name in ["one", "two", "three"] {
        fs::write(source.join(name), "").unwrap();
        daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    }
    let asked = fs::read_to_string(asked).unwrap();
    assert_eq!(asked.lines().filter(|line| line.ends_with("/.")).count(), 1, "{asked}");
    assert!(!daemon.log().contains("retrying in"), "{}", daemon.log());
}

/// Returns the command line of each process.
#[cfg(target_os = "linux")]
fn command_lines() -> Vec<(Pid, String)> {
    let line = |entry: fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let args = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        Some((pid, String::from_utf8_lossy(&args).into_owned()))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(line).collect()
}

/// Returns the command line of each process.
#[cfg(target_os = "macos")]
fn command_lines() -> Vec<(Pid, String)> {
    let list =
        std::process::Command::new("ps").args(["-axww", "-o", "pid=,command="]).output().unwrap();
    let line = |line: &str| {
        let (pid, args) = line.trim_start().split_once(' ')?;
        Some((Pid::from_raw(pid.parse().ok()?)?, args.to_owned()))
    };
    String::from_utf8_lossy(&list.stdout).lines().filter_map(line).collect()
}

/// Returns the ssh process of a daemon's control master.
fn control_master(daemon: &TestDaemon) -> Option<Pid> {
    let sockets = format!("lsyncd-{}-0", daemon.pid());
    let is_master = |args: &str| args.contains(&sockets) && args.contains("ControlMaster=yes");
    command_lines().into_iter().find(|(_, args)| is_master(args)).map(|(pid, _)| pid)
}

#[test]
fn a_hanging_control_master_is_replaced() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = RemoteMirror::start(&sandbox, RemoteTransport::Rsyncssh, "", |_| ());
    let hanging = control_master(&mirror.daemon).unwrap();
    kill_process(hanging, Signal::STOP).unwrap();
    mirror.write("file", 10);
    mirror.daemon.wait_mirrored(TransferMode::Rsync, &mirror.source, &mirror.target);
    mirror.daemon.wait_for_log("unresponsive: reconnecting");
    assert_eq!(mirror.server.logins(), 2);
    mirror.daemon.wait_until("the old one is gone", || test_kill_process(hanging).is_err());
    assert!(control_master(&mirror.daemon).is_some());
}

/// Without a timeout of rsync, ssh detects the stall.
#[test]
fn ssh_options_set_the_timeout_of_a_stalled_connection() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let server = TestServer::ssh(&sandbox);
    let network = TestNetwork::to(server.port());
    let server = server.behind(&network);
    let extra = "_extra = { [[-o]], [[ServerAliveInterval=1]],";
    let text = server.rsyncssh_config("").replace("_extra = {", extra);
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    let old = control_master(&daemon).unwrap();
    network.set(NetworkCondition::Stalled);
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("retrying in");
    daemon.wait_until("the connection has ended", || test_kill_process(old).is_err());
    network.set(NetworkCondition::Normal);
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(TransferMode::Rsync, &source, &sandbox.path("dst"));
    assert_eq!(server.logins(), 2);
}

/// By default sshd accepts ten sessions per connection, and starts to refuse logins while ten are
/// in progress.
#[test]
fn many_syncs_to_a_host_log_in_once() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("file"), "").unwrap();
    let server = TestServer::ssh(&sandbox);
    let sync = server.rsyncssh_config("").replace("'@/dst'", "'@/dst' .. i");
    let mut daemon = sandbox.daemon().config(&format!("for i = 1, 30 do {sync} end"), 30).start();
    daemon.wait_live();
    fs::write(source.join("more"), "").unwrap();
    for number in 1..=30 {
        daemon.wait_mirrored(TransferMode::Rsync, &source, &sandbox.path(&format!("dst{number}")));
    }
    assert_eq!(server.logins(), 1);
    let master = control_master(&daemon).unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_exit()), 143);
    daemon.wait_until("the connection ends, too", || test_kill_process(master).is_err());
}

#[test]
fn syncs_to_an_unavailable_host_share_one_attempt() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let server = TestServer::ssh(&sandbox);
    let network = TestNetwork::to(server.port());
    let server = server.behind(&network);
    network.set(NetworkCondition::Refusing);
    let sync = server.rsyncssh_config("").replace("'@/dst'", "'@/dst' .. i");
    let text = format!("settings{{ insist = true }} for i = 1, 30 do {sync} end");
    let daemon = sandbox.daemon().config(&text, 30).start();
    let retries = || daemon.log().matches("Retrying startup").count();
    daemon.wait_until("all of them failed", || retries() >= 30);
    assert!(network.connections() < 10, "{} tries: {}", network.connections(), daemon.log());
    network.set(NetworkCondition::Normal);
    daemon.signal(Signal::HUP);
    daemon.wait_live();
    for number in 1..=30 {
        daemon.wait_mirrored(TransferMode::Rsync, &source, &sandbox.path(&format!("dst{number}")));
    }
}

#[test]
fn without_insist_an_unavailable_host_stops_the_daemon() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let server = TestServer::ssh(&sandbox);
    let network = TestNetwork::to(server.port());
    let server = server.behind(&network);
    network.set(NetworkCondition::Refusing);
    let mut daemon = sandbox.daemon().config(&server.rsyncssh_config(""), 1).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    daemon.wait_for_log("Terminating since \"insist\" is not set.");
    assert_eq!(network.connections(), 1);
}

#[test]
fn a_fatal_ssh_exit_code_of_a_rename_stops_the_daemon() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("old"), "").unwrap();
    let server = TestServer::ssh(&sandbox);
    let network = TestNetwork::to(server.port());
    let server = server.behind(&network);
    let text = server.rsyncssh_config("sshExitCodes = { [0] = 'ok', [255] = 'die' }");
    let mut daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    network.set(NetworkCondition::Refusing);
    network.cut();
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("Retrying (list): 255");
    fs::rename(source.join("old"), source.join("new")).unwrap();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    daemon.wait_for_log("Critical exitcode.");
}

/// An older rsync on the remote side fails at deletions in a list.
#[test]
fn a_receiver_without_delete_missing_args_is_remembered() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let wrapper = sandbox.path("rsync-3.4.3");
    let calls = sandbox.path("calls");
    // Every list requests it; the receiver fails only if something is to be deleted.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--delete-missing-args*) echo >>'{}'; if [ -e '{}' ]; then \
         echo 'invalid file mode 00 for x [Receiver]' >&2; exit 2; fi;; esac\nexec rsync \"$@\"\n",
        calls.display(),
        sandbox.path("breaks").display(),
    );
    fs::write(&wrapper, script).unwrap();
    // Protected arguments are not part of the remote command line.
    let path = format!("protect_args = false, rsync_path = [[sh {}]]", wrapper.display());
    let mirror = RemoteMirror::start(&sandbox, RemoteTransport::Rsyncssh, &path, |source| {
        for name in ["a", "b", "c", "keep"] {
            fs::write(source.join(name), "").unwrap();
        }
    });
    fs::write(sandbox.path("breaks"), "").unwrap();
    for name in ["a", "b", "c"] {
        fs::remove_file(mirror.source.join(name)).unwrap();
        mirror.daemon.wait_mirrored(TransferMode::Rsync, &mirror.source, &mirror.target);
    }
    let asked = fs::read_to_string(&calls).unwrap().lines().count();
    assert_eq!(asked, 1, "it is remembered: {}", mirror.daemon.log());
    assert_eq!(mirror.daemon.log().matches("cannot delete listed paths").count(), 1);
}

/// The waits between retries grow, and a success resets them.
#[test]
fn retries_of_an_unavailable_target_back_off() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = RemoteMirror::start(&sandbox, RemoteTransport::Module, "", |_| ());
    let callers = mirror.network.connections();
    mirror.network.set(NetworkCondition::Refusing);
    mirror.write("file", 10);
    let waits = || -> Vec<f64> {
        let log = mirror.log();
        let waits = log.split("retrying in ").skip(1);
        waits.filter_map(|wait| wait.split_once(" s")?.0.parse().ok()).collect()
    };
    mirror.daemon.wait_until("it was tried three times", || waits().len() >= 3);
    let grown = waits();
    assert!(grown.windows(2).all(|pair| pair[1] > pair[0] * 1.4), "{grown:?}");
    assert!(mirror.network.connections() <= callers + grown.len() + 1, "no try in between");
    mirror.network.set(NetworkCondition::Normal);
    mirror.expect_mirrored();
    mirror.network.set(NetworkCondition::Refusing);
    mirror.write("other", 10);
    let before = grown.len();
    mirror.daemon.wait_until("it failed again", || {
        waits()[before..].iter().any(|wait| (wait - grown[0]).abs() < f64::EPSILON)
    });
}
