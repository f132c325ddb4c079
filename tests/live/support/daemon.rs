//! A daemon under test.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{
    Sandbox, TransferMode, detached::DetachedDaemon, differences, needs::find_program, wait_until,
};

/// Number of log lines that a failing test prints.
const SHOWN_LINES: usize = 80;

/// Number of polls over which a state must be the same to count as unchanged.
const QUIET_POLLS: usize = 120;

/// Builder of a daemon.
#[must_use = "nothing runs before `start`"]
#[derive(Debug)]
pub(crate) struct DaemonBuilder<'a> {
    sandbox: &'a Sandbox,
    command: Command,
    syncs: usize,
    detaches: bool,
}

impl<'a> DaemonBuilder<'a> {
    pub(super) fn new(sandbox: &'a Sandbox) -> Self {
        let mut command = own_group(Path::new(env!("CARGO_BIN_EXE_lsyncd")));
        // Without the default places of a control socket.
        command.env_remove("XDG_RUNTIME_DIR").env_remove("RUNTIME_DIRECTORY");
        Self { sandbox, command, syncs: 0, detaches: false }
    }

    /// Adds a sync from `source` to `target`, both in the sandbox.
    #[track_caller]
    pub(crate) fn mirror(mut self, mode: TransferMode, source: &Path, target: &Path) -> Self {
        self.sandbox.check(source);
        self.sandbox.check(target);
        self.command.arg(mode.option()).args([source, target]);
        self.syncs += 1;
        self
    }

    /// Adds a sync by rsync from `source` to a directory that a server of this test serves.
    #[track_caller]
    pub(crate) fn mirror_to_server(mut self, source: &Path, target: &str) -> Self {
        self.sandbox.check(source);
        self.command.arg("-rsync").arg(source).arg(target);
        self.syncs += 1;
        self
    }

    /// Uses an existing configuration file, and starts in the sandbox. `syncs` lists its sources
    /// and targets, all in the sandbox.
    #[track_caller]
    pub(crate) fn config_file(mut self, file: &Path, syncs: &[(PathBuf, PathBuf)]) -> Self {
        for (source, target) in syncs {
            self.sandbox.check(source);
            self.sandbox.check(target);
        }
        self.command.arg(file).current_dir(self.sandbox.top());
        self.syncs += syncs.len();
        self
    }

    /// Writes and uses a configuration file with this number of syncs. See
    /// [`Sandbox::write_config`].
    #[track_caller]
    pub(crate) fn config(mut self, text: &str, syncs: usize) -> Self {
        self.command.arg(self.sandbox.write_config(text));
        self.syncs += syncs;
        self
    }

    /// Adds arguments, except those of syncs.
    #[track_caller]
    pub(crate) fn args<I: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        for arg in args {
            let arg = arg.as_ref();
            assert!(arg != "-rsync" && arg != "-direct", "use `mirror` for syncs");
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets its standard input.
    pub(crate) fn stdin(mut self, input: impl Into<Stdio>) -> Self {
        self.command.stdin(input);
        self
    }

    /// Runs a copy of it as an unprivileged user, who may not have access to the build directory.
    /// Must be called first.
    #[track_caller]
    pub(crate) fn run_as(mut self, user: u32) -> Self {
        assert_eq!(self.syncs, 0, "the user comes first");
        let copy = self.sandbox.path("lsyncd");
        // Copied by another process: a child of another test could inherit a descriptor that is
        // open for writing, and a program that is open for writing cannot be run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lsyncd")).arg(&copy).status();
        assert!(copied.unwrap().success(), "the program can't be copied");
        self.command = own_group(&copy);
        self.command.uid(user).gid(user);
        self
    }

    /// Runs it by a shell with this prefix, such as `ulimit -n 9 && exec`. Must be called first.
    #[track_caller]
    pub(crate) fn shell_prefix(mut self, prefix: &str) -> Self {
        assert_eq!(self.syncs, 0, "this comes first");
        self.command = own_group(Path::new("sh"));
        let script = format!("{prefix} \"$0\" \"$@\"");
        self.command.args(["-c", &script, env!("CARGO_BIN_EXE_lsyncd")]);
        self
    }

    /// Starts it as a daemon with this pidfile and logfile, which must fail, and returns its
    /// output.
    #[track_caller]
    pub(crate) fn fail_to_detach(mut self, pidfile: &Path, log: &Path) -> String {
        self.detaches = true;
        let args = [OsStr::new("-pidfile"), pidfile.as_os_str(), "-logfile".as_ref(), log.as_ref()];
        let mut parent = self.args(args).start();
        assert_eq!(exit_code(parent.wait_exit()), 255, "the parent fails: {}", parent.log());
        parent.log()
    }

    /// Starts it as a daemon with this pidfile and logfile.
    #[track_caller]
    pub(crate) fn start_detached(mut self, pidfile: &Path, log: &Path) -> DetachedDaemon {
        self.detaches = true;
        self.sandbox.check(pidfile);
        self.sandbox.check(log);
        let args = [OsStr::new("-pidfile"), pidfile.as_os_str(), "-logfile".as_ref(), log.as_ref()];
        let mut parent = self.args(args).start();
        assert_eq!(exit_code(parent.wait_exit()), 0, "the parent succeeds: {}", parent.log());
        DetachedDaemon::find(pidfile, log)
    }

    /// Starts it as a daemon without a logfile; the configuration file must set this pidfile.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub(crate) fn start_detached_without_log(mut self, pidfile: &Path) -> DetachedDaemon {
        self.detaches = true;
        let mut parent = self.start();
        assert_eq!(exit_code(parent.wait_exit()), 0, "the parent succeeds: {}", parent.log());
        DetachedDaemon::find(pidfile, Path::new("/dev/null"))
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(mut self) -> TestDaemon {
        assert!(self.syncs > 0, "a daemon without a sync has nothing to do");
        if !self.detaches {
            self.command.arg("-nodaemon");
        }
        let log = self.sandbox.fresh_path("log");
        let file = File::create(&log).unwrap();
        let child = self.command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        TestDaemon { child, log, syncs: self.syncs }
    }
}

/// Returns a command in a separate process group, so that its children can be killed with it.
fn own_group(program: &Path) -> Command {
    let mut command = tethered(program);
    command.process_group(0).stdin(Stdio::null()).current_dir("/");
    command
}

/// Returns a command that is killed with the test, even if the test is killed.
fn tethered(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A running daemon, which is killed with its children on drop.
#[derive(Debug)]
pub(crate) struct TestDaemon {
    child: Child,
    log: PathBuf,
    syncs: usize,
}

impl TestDaemon {
    /// Returns its output so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn wait_until(&self, description: &str, condition: impl FnMut() -> bool) {
        wait_until(description, || self.last_lines(), condition);
    }

    /// Waits until `state` is the same over many polls, and returns it. `None` is no state to end
    /// with.
    #[track_caller]
    pub(crate) fn wait_until_unchanged<T: PartialEq>(
        &self,
        description: &str,
        mut state: impl FnMut() -> Option<T>,
    ) -> T {
        let (mut last, mut polls) = (None, 0);
        self.wait_until(description, || {
            let seen = state();
            polls = if seen.is_some() && seen == last { polls + 1 } else { 0 };
            last = seen;
            polls >= QUIET_POLLS
        });
        last.expect("only a state ends it")
    }

    /// Waits until its output contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_until(&format!("the log has {text:?}"), || self.log().contains(text));
    }

    /// Waits until the startup of every sync is finished.
    #[track_caller]
    pub(crate) fn wait_live(&self) {
        self.wait_until("all syncs are live", || {
            let log = self.log();
            log.lines()
                .filter(|line| line.contains("Startup of") && line.contains("finished"))
                .count()
                >= self.syncs
        });
    }

    /// Waits until the source of every sync is watched, which requires `-log Inotify`.
    #[track_caller]
    pub(crate) fn wait_watched(&self) {
        self.wait_until("all sources are watched", || {
            self.log().lines().filter(|line| line.contains(" is watched: ")).count() >= self.syncs
        });
    }

    /// Waits until `target` equals `source`, as far as `mode` preserves metadata.
    #[track_caller]
    pub(crate) fn wait_mirrored(&self, mode: TransferMode, source: &Path, target: &Path) {
        let mut last = Vec::new();
        let evidence =
            |last: &Vec<String>| format!("{}\n--- log ---\n{}", last.join("\n"), self.last_lines());
        let shown = std::cell::RefCell::new(&mut last);
        wait_until(
            "the target equals the source",
            || evidence(&shown.borrow()),
            || {
                **shown.borrow_mut() = differences(mode, source, target);
                shown.borrow().is_empty()
            },
        );
    }

    /// Waits until it exits.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        let log = self.log.clone();
        let child = &mut self.child;
        wait_until(
            "the daemon exits",
            || tail(&log),
            || {
                status = child.try_wait().unwrap();
                status.is_some()
            },
        );
        status.unwrap()
    }

    /// Returns true if it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops it while `act` runs, so that it gets all events at once.
    pub(crate) fn while_stopped(&self, act: impl FnOnce()) {
        self.signal(Signal::STOP);
        act();
        self.signal(Signal::CONT);
    }

    /// Returns its PID.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn last_lines(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The group was created for this child and has no other members.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Returns the exit code as a shell would report it.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn tail(log: &Path) -> String {
    let log = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
