//! A daemon under test.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{Mode, Sandbox, detached::Detached, differences, needs::find_program, wait_until};

/// How much of a long log is shown when a test fails.
const SHOWN_LINES: usize = 80;

/// A daemon that is about to be started.
#[must_use = "nothing runs before `start`"]
#[derive(Debug)]
pub(crate) struct Start<'a> {
    sandbox: &'a Sandbox,
    command: Command,
    syncs: usize,
    detaches: bool,
}

impl<'a> Start<'a> {
    pub(super) fn new(sandbox: &'a Sandbox) -> Self {
        let command = own_group(Path::new(env!("CARGO_BIN_EXE_lsyncd")));
        Self { sandbox, command, syncs: 0, detaches: false }
    }

    /// Mirrors `source` to `target`, two places in the sandbox.
    #[track_caller]
    pub(crate) fn mirror(mut self, mode: Mode, source: &Path, target: &Path) -> Self {
        self.sandbox.check(source);
        self.sandbox.check(target);
        self.command.arg(mode.option()).args([source, target]);
        self.syncs += 1;
        self
    }

    /// Mirrors `source` with rsync to a directory that a server of this test gives out.
    #[track_caller]
    pub(crate) fn mirror_to_server(mut self, source: &Path, target: &str) -> Self {
        self.sandbox.check(source);
        self.command.arg("-rsync").arg(source).arg(target);
        self.syncs += 1;
        self
    }

    /// Lets a configuration file say what is mirrored. These are its syncs, two places in the
    /// sandbox each, which is where it is started.
    #[track_caller]
    pub(crate) fn configured(mut self, file: &Path, syncs: &[(PathBuf, PathBuf)]) -> Self {
        for (source, target) in syncs {
            self.sandbox.check(source);
            self.sandbox.check(target);
        }
        self.command.arg(file).current_dir(self.sandbox.top());
        self.syncs += syncs.len();
        self
    }

    /// Runs a configuration file with this text, which has so many syncs. See
    /// [`Sandbox::write_config`].
    #[track_caller]
    pub(crate) fn config(mut self, text: &str, syncs: usize) -> Self {
        self.command.arg(self.sandbox.write_config(text));
        self.syncs += syncs;
        self
    }

    /// Adds words to the command line. Syncs are not given this way.
    #[track_caller]
    pub(crate) fn with<I: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = I>) -> Self {
        for word in words {
            let word = word.as_ref();
            assert!(word != "-rsync" && word != "-direct", "syncs go through `mirror`");
            self.command.arg(word);
        }
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets it read from `input`.
    pub(crate) fn reading(mut self, input: impl Into<Stdio>) -> Self {
        self.command.stdin(input);
        self
    }

    /// Runs it as a user without rights: a copy of it, since that user may not get to where it was
    /// built. To be called first.
    #[track_caller]
    pub(crate) fn run_by(mut self, user: u32) -> Self {
        assert_eq!(self.syncs, 0, "the user comes first");
        let copy = self.sandbox.path("lsyncd");
        // By another process: what this one has open for writing, a child of another test keeps
        // open, and nobody can run it.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lsyncd")).arg(&copy).status();
        assert!(copied.unwrap().success(), "the program can't be copied");
        self.command = own_group(&copy);
        self.command.uid(user).gid(user);
        self
    }

    /// Runs it within what a shell makes of these words: `ulimit -n 9 && exec`, say. To be called
    /// first.
    #[track_caller]
    pub(crate) fn within(mut self, words: &str) -> Self {
        assert_eq!(self.syncs, 0, "this comes first");
        self.command = own_group(Path::new("sh"));
        let script = format!("{words} \"$0\" \"$@\"");
        self.command.args(["-c", &script, env!("CARGO_BIN_EXE_lsyncd")]);
        self
    }

    /// Lets it try to become a daemon with this pidfile and logfile, which fails: what it says.
    #[track_caller]
    pub(crate) fn fail_to_detach(mut self, pidfile: &Path, log: &Path) -> String {
        self.detaches = true;
        let words =
            [OsStr::new("-pidfile"), pidfile.as_os_str(), "-logfile".as_ref(), log.as_ref()];
        let mut parent = self.with(words).start();
        assert_eq!(exit_code(parent.wait_end()), 255, "the parent fails: {}", parent.log());
        parent.log()
    }

    /// Lets it become a daemon: it goes on in the background, with this pidfile and logfile.
    #[track_caller]
    pub(crate) fn start_detached(mut self, pidfile: &Path, log: &Path) -> Detached {
        self.detaches = true;
        self.sandbox.check(pidfile);
        self.sandbox.check(log);
        let words =
            [OsStr::new("-pidfile"), pidfile.as_os_str(), "-logfile".as_ref(), log.as_ref()];
        let mut parent = self.with(words).start();
        assert_eq!(exit_code(parent.wait_end()), 0, "the parent succeeds: {}", parent.log());
        Detached::find(pidfile, log)
    }

    /// Lets a configuration file make it a daemon without a logfile, with this pidfile.
    #[track_caller]
    pub(crate) fn start_detached_without_log(mut self, pidfile: &Path) -> Detached {
        self.detaches = true;
        let mut parent = self.start();
        assert_eq!(exit_code(parent.wait_end()), 0, "the parent succeeds: {}", parent.log());
        Detached::find(pidfile, Path::new("/dev/null"))
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(mut self) -> Daemon {
        assert!(self.syncs > 0, "a daemon without a sync has nothing to do");
        if !self.detaches {
            self.command.arg("-nodaemon");
        }
        let log = self.sandbox.fresh_path("log");
        let file = File::create(&log).unwrap();
        let child = self.command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Daemon { child, log, syncs: self.syncs }
    }
}

/// The program, in a group of its own, so that its children can be ended with it.
fn own_group(program: &Path) -> Command {
    let mut command = leashed(program);
    command.process_group(0).stdin(Stdio::null()).current_dir("/");
    command
}

/// The program, run so that it ends with the test even if the test is killed.
fn leashed(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A running daemon, whose end is also that of its children.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    syncs: usize,
}

impl Daemon {
    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        wait_until(what, || self.last_lines(), condition);
    }

    /// Waits until it has said `text`.
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

    /// Waits until the source of every sync is watched, which it says with `-log Inotify`.
    #[track_caller]
    pub(crate) fn wait_watched(&self) {
        self.wait_until("all sources are watched", || {
            self.log().lines().filter(|line| line.contains(" is watched: ")).count() >= self.syncs
        });
    }

    /// Waits until `target` equals `source`, as far as `mode` promises.
    #[track_caller]
    pub(crate) fn wait_mirrored(&self, mode: Mode, source: &Path, target: &Path) {
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

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let mut status = None;
        let log = self.log.clone();
        let child = &mut self.child;
        wait_until(
            "the daemon ends",
            || tail(&log),
            || {
                status = child.try_wait().unwrap();
                status.is_some()
            },
        );
        status.unwrap()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Does what it hears of at once, however long that takes: meanwhile it stands still.
    pub(crate) fn while_stopped(&self, act: impl FnOnce()) {
        self.signal(Signal::STOP);
        act();
        self.signal(Signal::CONT);
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn last_lines(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The group was made for this child, so no one else is in it.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The exit code as a shell would show it.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn tail(log: &Path) -> String {
    let log = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
