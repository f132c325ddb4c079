//! The daemon as the first process of a container, as the `Containerfile` starts it.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Requirement, Sandbox, TestDaemon, TestServiceManager, TransferMode, exit_code, needs,
};

/// Makes the daemon the first process of a PID namespace with its own `/proc`.
const CONTAINER: &str = "exec unshare --pid --fork --kill-child --mount-proc";

/// Returns the child of a process, once there is one.
fn child_of(daemon: &TestDaemon, parent: Pid) -> Pid {
    let parent = parent.as_raw_nonzero();
    let mut child = None;
    daemon.wait_until(&format!("{parent} has a child"), || {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let first = children.unwrap_or_default().split_whitespace().next().map(str::to_owned);
        child = first.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        child.is_some()
    });
    child.unwrap()
}

/// A live daemon in a container, with its first process.
struct ContainerDaemon {
    daemon: TestDaemon,
    first: Pid,
}

impl ContainerDaemon {
    fn start(sandbox: &Sandbox) -> Self {
        sandbox.create_dir("src");
        let text = "sync{ default.direct, source = '@/src', target = '@/dst' }";
        let daemon = sandbox.daemon().shell_prefix(CONTAINER).config(text, 1).start();
        daemon.wait_live();
        let first = child_of(&daemon, daemon.pid());
        Self { daemon, first }
    }

    /// Sends a signal to the first process, as the runtime of the container does.
    fn signal(&self, signal: Signal) {
        kill_process(self.first, signal).unwrap();
    }
}

#[test]
fn signals_to_the_first_process_end_the_container_with_the_code_of_the_daemon() {
    needs!(Requirement::Root, Requirement::Mounts, Requirement::Program("unshare"));
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let sandbox = Sandbox::new();
        let mut container = ContainerDaemon::start(&sandbox);
        container.signal(signal);
        assert_eq!(exit_code(container.daemon.wait_exit()), code, "{}", container.daemon.log());
        container.daemon.wait_for_log("signal, fading ---");
    }
}

#[test]
fn a_hangup_of_the_first_process_reloads() {
    needs!(Requirement::Root, Requirement::Mounts, Requirement::Program("unshare"));
    let sandbox = Sandbox::new();
    let mut container = ContainerDaemon::start(&sandbox);
    container.signal(Signal::HUP);
    container.daemon.wait_for_log("1 sync is kept as it is");
    // Signals without a meaning do not end it.
    container.signal(Signal::USR1);
    fs::write(sandbox.path("src/file"), "").unwrap();
    let file = sandbox.path("dst/file");
    container.daemon.wait_until("it still mirrors", || file.exists());
    assert!(container.daemon.is_running());
}

#[test]
fn a_killed_daemon_ends_its_container() {
    needs!(Requirement::Root, Requirement::Mounts, Requirement::Program("unshare"));
    let sandbox = Sandbox::new();
    let mut container = ContainerDaemon::start(&sandbox);
    let worker = child_of(&container.daemon, container.first);
    kill_process(worker, Signal::KILL).unwrap();
    assert_eq!(exit_code(container.daemon.wait_exit()), 137);
}

#[test]
fn the_first_process_reaps_what_others_leave_behind() {
    needs!(Requirement::Root, Requirement::Mounts, Requirement::Program("unshare"));
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    // The background process outlives its parent.
    let script = "sh -c 'sleep 0.2; echo gone >>@/gone' & true";
    let text = format!(
        "sync{{ default.direct, source = '@/src', target = '@/dst',
                onSynced = {{ 'sh', '-c', [[{script}]] }} }}"
    );
    let daemon = sandbox.daemon().shell_prefix(CONTAINER).config(&text, 1).start();
    daemon.wait_live();
    let first = child_of(&daemon, daemon.pid());
    for number in 0..3 {
        fs::write(source.join(format!("file{number}")), "").unwrap();
        let gone = || fs::read_to_string(sandbox.path("gone")).unwrap_or_default().lines().count();
        daemon.wait_until("an orphan has ended", || gone() > number);
    }
    let worker = child_of(&daemon, first);
    daemon.wait_until("only the worker is left", || {
        let first = first.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        let children: Vec<&str> = children.split_whitespace().collect();
        children == [worker.as_raw_nonzero().to_string()]
    });
}

#[test]
fn a_container_passes_exit_codes_and_notifications_on() {
    needs!(Requirement::Root, Requirement::Mounts, Requirement::Program("unshare"));
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("src"), sandbox.path("dst"));
    let start = || sandbox.daemon().shell_prefix(CONTAINER);
    let mut one_pass = start().mirror(TransferMode::Direct, &source, &target);
    one_pass = one_pass.args(["-onepass"]);
    assert_eq!(exit_code(one_pass.start().wait_exit()), 0);
    let invalid = start().config("sync{ default.direct }", 1).args(["-configExitCode", "78"]);
    assert_eq!(exit_code(invalid.start().wait_exit()), 78);
    let manager = TestServiceManager::new(&sandbox);
    let notifying = start().mirror(TransferMode::Direct, &source, &target);
    let daemon = notifying.env("NOTIFY_SOCKET", manager.address()).start();
    manager.wait_for(&daemon, "READY=1", 1);
}

/// Returns the values of an instruction of the `Containerfile` in the form of a list.
fn instruction(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Containerfile");
    let text = fs::read_to_string(path).unwrap();
    let list = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" ["));
    let list = list.unwrap().strip_suffix(']').unwrap();
    list.split(", ").map(|value| value.trim_matches('"').to_owned()).collect()
}

#[test]
fn the_image_starts_the_daemon_in_the_foreground() {
    assert_eq!(instruction("ENTRYPOINT"), ["lsyncd", "-nodaemon"]);
    assert_eq!(instruction("CMD"), ["/etc/lsyncd/lsyncd.conf.lua"]);
}
