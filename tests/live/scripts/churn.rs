//! Random changes under mirrors that are scripts.

use std::{fs, os::unix::fs::symlink};

use rustix::process::Signal;

use super::Example;
use crate::support::{
    Churn, Mode, Need, Recorder, Sandbox, Server, differences, exit_code, find_program, needs,
};

/// How many rounds there are, and how many changes in each.
const ROUNDS: (usize, usize) = (4, 60);

/// Starts a sync from `src` to `dst` with this text.
#[track_caller]
fn start(sandbox: &Sandbox, text: &str) -> Example {
    let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
    let daemon = sandbox.daemon().config(text, 1).start();
    Example { source, target, daemon }
}

impl Example {
    /// Changes the source at random; every other round meets a daemon that is still at work.
    #[track_caller]
    fn converge(&self, mode: Mode, seed: u64) {
        let mut churn = Churn::new(&self.source, seed);
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
        assert_eq!(exit_code(self.daemon.wait_end()), 143, "{}", self.daemon.log());
    }
}

#[test]
fn a_mirror_by_shell_commands_converges() {
    let sandbox = Sandbox::new();
    Churn::new(&sandbox.directory("src"), 40).change(100);
    let mirror = Example::start(&sandbox, "shell-mirror.lua", &[("DELAY", "0")]);
    mirror.daemon.wait_mirrored(Mode::Rsync, &mirror.source, &mirror.target);
    mirror.converge(Mode::Rsync, 41);
    mirror.end();
}

#[test]
fn a_mirror_by_shell_commands_converges_after_it_was_away() {
    let sandbox = Sandbox::new();
    let mut churn = Churn::new(&sandbox.directory("src"), 42);
    for round in 0..3 {
        churn.change(100);
        // What only the target has is left alone by this script at the start.
        let surplus = sandbox.path("dst");
        let mirror = Example::start(&sandbox, "shell-mirror.lua", &[("DELAY", "0")]);
        let is_there = || {
            let differences = differences(Mode::Rsync, &mirror.source, &surplus);
            differences.iter().all(|line| line.ends_with("should not be there"))
        };
        mirror.daemon.wait_until(&format!("all is there in round {round}"), is_there);
        mirror.end();
    }
}

#[test]
fn copies_that_a_script_asks_for_converge() {
    needs!(Mode::Direct.need());
    let sandbox = Sandbox::new();
    let text = "sync{ default.direct, source = '@/src', target = '@/dst', delay = 0
                    , action = function(inlet) default.direct.action(inlet) end }";
    let mirror = start(&sandbox, text);
    mirror.converge(Mode::Direct, 44);
    mirror.end();
}

#[test]
fn transfers_behind_ssh_that_a_script_asks_for_converge() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let server = Server::ssh(&sandbox);
    let action = "delay = 0, action = function(inlet) default.rsyncssh.action(inlet) end";
    let mirror = start(&sandbox, &server.sync_to_it(action));
    mirror.converge(Mode::Rsync, 45);
    mirror.end();
}

#[test]
fn rsync_with_a_command_converges() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    // Whoever copies after the last transfer has all of it.
    let command = "cd \"$2\" && rm -rf ../seen && cp -a . ../seen";
    let variables = [("DELAY", "0.2"), ("COMMAND", command)];
    let mirror = Example::start(&sandbox, "post-command.lua", &variables);
    mirror.converge(Mode::Rsync, 43);
    let seen = sandbox.path("seen");
    mirror.daemon.wait_mirrored(Mode::Rsync, &mirror.source, &seen);
    fs::write(mirror.source.join("last"), "").unwrap();
    mirror.daemon.wait_mirrored(Mode::Rsync, &mirror.source, &seen);
    mirror.end();
}

/// Of what is under way nothing tells yet that the way has changed.
#[test]
fn a_copy_that_meets_another_file_than_was_meant_is_put_right() {
    let sandbox = Sandbox::new();
    let real = find_program("cp").unwrap();
    let body = format!(
        "while test -e hold; do sleep 0.02; done
        {} \"$@\"; code=$?; echo >> done; exit $code",
        real.display()
    );
    let (tool, bin) = (Recorder::new(&sandbox, &body), sandbox.directory("bin"));
    symlink(tool.program(), bin.join("cp")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let source = sandbox.directory("src");
    fs::create_dir(source.join("old")).unwrap();
    fs::write(source.join("old/file"), "first").unwrap();
    let mirror = Example::start(&sandbox, "shell-mirror.lua", &[("DELAY", "0"), ("PATH", &path)]);
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
    mirror.daemon.wait_mirrored(Mode::Rsync, &source, &mirror.target);
    mirror.end();
}
