//! Random changes under scripted mirrors.

use std::{fs, os::unix::fs::symlink};

use rustix::process::Signal;

use super::RunningExample;
use crate::support::{
    LiveChurn, ProgramRecorder, Requirement, Sandbox, TestServer, TransferMode, differences,
    exit_code, find_program, needs,
};

/// Number of rounds, and of changes in each half round.
const ROUNDS: (usize, usize) = (4, 60);

/// Starts a sync from `src` to `dst` with this configuration.
#[track_caller]
fn start(sandbox: &Sandbox, text: &str) -> RunningExample {
    let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
    let daemon = sandbox.daemon().config(text, 1).start();
    RunningExample { source, target, daemon }
}

impl RunningExample {
    /// Changes the source at random; in the second half of each round the daemon is still active.
    #[track_caller]
    fn converge(&self, mode: TransferMode, seed: u64) {
        let mut churn = LiveChurn::new(&self.source, seed);
        for _ in 0..ROUNDS.0 {
            churn.change(ROUNDS.1);
            self.daemon.wait_mirrored(mode, &self.source, &self.target);
            churn.change(ROUNDS.1);
        }
        self.daemon.wait_mirrored(mode, &self.source, &self.target);
    }

    #[track_caller]
    fn end(mut self) {
        self.daemon.signal(Signal::TERM);
        assert_eq!(exit_code(self.daemon.wait_exit()), 143, "{}", self.daemon.log());
    }
}

#[test]
fn a_mirror_by_shell_commands_converges() {
    let sandbox = Sandbox::new();
    LiveChurn::new(&sandbox.create_dir("src"), 40).change(100);
    let mirror = RunningExample::start(&sandbox, "shell-mirror.lua", &[("DELAY", "0")]);
    mirror.daemon.wait_mirrored(TransferMode::Rsync, &mirror.source, &mirror.target);
    mirror.converge(TransferMode::Rsync, 41);
    mirror.end();
}

#[test]
fn a_mirror_by_shell_commands_converges_after_a_restart() {
    let sandbox = Sandbox::new();
    let mut churn = LiveChurn::new(&sandbox.create_dir("src"), 42);
    for round in 0..3 {
        churn.change(100);
        // At startup this script keeps surplus entries of the target.
        let surplus = sandbox.path("dst");
        let mirror = RunningExample::start(&sandbox, "shell-mirror.lua", &[("DELAY", "0")]);
        let is_there = || {
            let differences = differences(TransferMode::Rsync, &mirror.source, &surplus);
            differences.iter().all(|line| line.ends_with("should not be there"))
        };
        mirror.daemon.wait_until(&format!("all is there in round {round}"), is_there);
        mirror.end();
    }
}

#[test]
fn copies_by_a_custom_action_converge() {
    needs!(TransferMode::Direct.requirement());
    let sandbox = Sandbox::new();
    let text = "sync{ default.direct, source = '@/src', target = '@/dst', delay = 0
                    , action = function(inlet) default.direct.action(inlet) end }";
    let mirror = start(&sandbox, text);
    mirror.converge(TransferMode::Direct, 44);
    mirror.end();
}

#[test]
fn transfers_over_ssh_by_a_custom_action_converge() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let server = TestServer::ssh(&sandbox);
    let action = "delay = 0, action = function(inlet) default.rsyncssh.action(inlet) end";
    let mirror = start(&sandbox, &server.rsyncssh_config(action));
    mirror.converge(TransferMode::Rsync, 45);
    mirror.end();
}

#[test]
fn rsync_with_a_command_converges() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    // A copy after the last transfer is complete.
    let command = "cd \"$2\" && rm -rf ../seen && cp -a . ../seen";
    let variables = [("DELAY", "0.2"), ("COMMAND", command)];
    let mirror = RunningExample::start(&sandbox, "post-command.lua", &variables);
    mirror.converge(TransferMode::Rsync, 43);
    let seen = sandbox.path("seen");
    mirror.daemon.wait_mirrored(TransferMode::Rsync, &mirror.source, &seen);
    fs::write(mirror.source.join("last"), "").unwrap();
    mirror.daemon.wait_mirrored(TransferMode::Rsync, &mirror.source, &seen);
    mirror.end();
}

/// The daemon does not yet know that the path of a running copy was renamed.
#[test]
fn a_copy_of_a_replaced_file_is_corrected() {
    let sandbox = Sandbox::new();
    let real = find_program("cp").unwrap();
    let body = format!(
        "while test -e hold; do sleep 0.02; done
        {} \"$@\"; code=$?; echo >> done; exit $code",
        real.display()
    );
    let (tool, bin) = (ProgramRecorder::new(&sandbox, &body), sandbox.create_dir("bin"));
    symlink(tool.program(), bin.join("cp")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let source = sandbox.create_dir("src");
    fs::create_dir(source.join("old")).unwrap();
    fs::write(source.join("old/file"), "first").unwrap();
    let mirror =
        RunningExample::start(&sandbox, "shell-mirror.lua", &[("DELAY", "0"), ("PATH", &path)]);
    mirror.daemon.wait_live();
    let done = || fs::read_to_string(sandbox.path("done")).unwrap().lines().count();
    let (calls, copies) = (tool.calls().len(), done());
    fs::write(sandbox.path("hold"), "").unwrap();
    fs::write(source.join("old/file"), "second").unwrap();
    mirror.daemon.wait_until("it is about to be copied", || tool.calls().len() > calls);
    mirror.daemon.signal(Signal::STOP);
    fs::rename(source.join("old"), source.join("new")).unwrap();
    fs::create_dir(source.join("old")).unwrap();
    fs::write(source.join("old/file"), "another file").unwrap();
    fs::remove_file(sandbox.path("hold")).unwrap();
    mirror.daemon.wait_until("another one is copied", || done() > copies);
    mirror.daemon.signal(Signal::CONT);
    mirror.daemon.wait_mirrored(TransferMode::Rsync, &source, &mirror.target);
    mirror.end();
}
