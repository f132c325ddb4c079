//! The daemon under test.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{plan::WatchLimit, random::TortureRng};
use crate::bench::{process::MeteredProcess, scratch::ScratchDir, usage};

/// Number of log lines that a report contains.
const SHOWN: usize = 80;
/// Time limit for its exit after a signal.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);
/// The limit of watched directories for [`WatchLimit::Few`].
const FEW_WATCHES: u32 = 25;
/// Limits of descriptors, of megabytes and of zombies, beyond what its work here needs.
const MAX_DESCRIPTORS: usize = 400;
const MAX_MEMORY: f64 = 500.0;
const MAX_ZOMBIES: usize = 3;

/// The circumstances in which a daemon is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct DaemonLaunch {
    /// The words before the program.
    pub(crate) prefix: Vec<String>,
    /// Additional variables of its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// A daemon and its predecessors.
#[derive(Debug)]
pub(crate) struct TortureDaemon<'a> {
    program: &'a Path,
    scratch: &'a ScratchDir,
    launch: DaemonLaunch,
    /// The last one runs. The others are kept until the end, so that their PIDs are not reused.
    runs: Vec<MeteredProcess>,
}

impl From<WatchLimit> for DaemonLaunch {
    fn from(limit: WatchLimit) -> Self {
        let prefix = match limit {
            WatchLimit::Unlimited => Vec::new(),
            WatchLimit::Few => in_few_watches(),
        };
        Self { prefix, environment: Vec::new() }
    }
}

impl<'a> TortureDaemon<'a> {
    /// Starts it with the configuration file in `scratch`.
    pub(crate) fn start(
        program: &'a Path,
        scratch: &'a ScratchDir,
        launch: DaemonLaunch,
    ) -> io::Result<Self> {
        let mut daemon = Self { program, scratch, launch, runs: Vec::new() };
        daemon.start_process()?;
        Ok(daemon)
    }

    /// Starts it again, after its end.
    pub(crate) fn start_process(&mut self) -> io::Result<()> {
        let mut command = command_of(&self.launch.prefix, self.program);
        command.args(["-nodaemon", "-log", "all"]).arg(self.scratch.path("run/config.lua")?.path());
        // The user's ssh configuration must not affect it.
        command.env("HOME", self.scratch.path("run")?.path());
        command.envs(self.launch.environment.iter().map(|(name, value)| (name, value)));
        let log = self.scratch.path(&format!("run/log{}", self.runs.len()))?;
        self.runs.push(MeteredProcess::start(&command, &log)?);
        Ok(())
    }

    fn running(&self) -> io::Result<&MeteredProcess> {
        self.runs.last().ok_or_else(|| io::Error::other("there is no daemon"))
    }

    /// Returns a message if it has exited or panicked.
    pub(crate) fn failure(&self) -> Option<String> {
        let running = self.running().ok()?;
        if let Some(how) = running.exit_reason() {
            return Some(format!("the daemon has ended by itself: {how}"));
        }
        running.output().contains("panicked").then(|| "a thread of the daemon has panicked".into())
    }

    /// Returns a message if it exceeds a resource limit.
    pub(crate) fn excessive_usage(&self) -> Option<String> {
        let pid = self.running().ok()?.pid();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let memory = usage::peak_memory(pid).unwrap_or(0.0);
        let zombies = descendants(pid).into_iter().filter(|it| is_zombie(*it)).count();
        let too_much =
            descriptors > MAX_DESCRIPTORS || memory > MAX_MEMORY || zombies > MAX_ZOMBIES;
        too_much.then(|| {
            format!("it has {descriptors} descriptors, {memory} MB and {zombies} dead children")
        })
    }

    /// Sends it a signal. SIGHUP is sent only once it is the daemon: before, it is the program that
    /// starts it.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Ok(running) = self.running()
            && (signal != Signal::HUP || !running.output().is_empty())
        {
            running.signal(signal);
        }
    }

    /// Terminates it by a signal, and starts it again.
    pub(crate) fn restart(&mut self, signal: Signal) -> io::Result<()> {
        self.terminate(signal)?;
        self.start_process()
    }

    /// Terminates it by a signal.
    pub(crate) fn terminate(&self, signal: Signal) -> io::Result<()> {
        self.running()?.terminate(signal, EXIT_TIMEOUT)
    }

    /// Returns its process, which may have exited.
    pub(crate) fn pid(&self) -> io::Result<Pid> {
        Ok(self.running()?.pid())
    }

    /// Stops one of the programs that it runs for a while, or kills it.
    pub(crate) fn disturb_child(&self, random: &mut TortureRng, pause: Duration) {
        let Ok(running) = self.running() else { return };
        let children = descendants(running.pid());
        if children.is_empty() {
            return;
        }
        let child = random.pick(&children);
        if random.once_in(3) {
            let _ = kill_process(child, Signal::KILL);
            return;
        }
        let _ = kill_process(child, Signal::STOP);
        thread::sleep(pause);
        let _ = kill_process(child, Signal::CONT);
    }

    /// Returns the content of the status file.
    pub(crate) fn status(&self) -> String {
        let path = self.scratch.path("run/status");
        path.ok().and_then(|it| fs::read_to_string(it.path()).ok()).unwrap_or_default()
    }

    /// Returns true if it reports that all of this number of syncs are in sync.
    pub(crate) fn is_in_sync(&self, syncs: usize) -> bool {
        self.status().lines().filter(|line| line.ends_with(": in sync")).count() == syncs
    }

    /// Returns the last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let mut text = String::new();
        for running in self.runs.iter().rev().take(2).rev() {
            let lines = running.last_lines(SHOWN);
            let _ = write!(text, "-- daemon {} --\n{lines}\n", running.pid());
        }
        text
    }

    /// Returns true if it, or a predecessor, has logged this text.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.runs.iter().any(|running| running.output().contains(text))
    }

    /// Returns its threads, and the kernel function in which each of them waits.
    pub(crate) fn threads(&self) -> String {
        let Ok(running) = self.running() else { return String::new() };
        let tasks = format!("/proc/{}/task", running.pid());
        let read = |task: &Path, file: &str| {
            fs::read_to_string(task.join(file)).unwrap_or_default().trim_end().to_owned()
        };
        let mut text = String::new();
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let task = task.path();
            let _ = writeln!(text, "{}: {}", read(&task, "comm"), read(&task, "wchan"));
        }
        text
    }

    pub(crate) fn log_directory(&self) -> PathBuf {
        self.scratch.path("run").map_or_else(|_| PathBuf::new(), |it| it.path().to_owned())
    }
}

/// Returns true if [`WatchLimit::Few`] is possible on this machine.
pub(crate) fn can_limit_watches() -> bool {
    let mut command = command_of(&in_few_watches(), Path::new("true"));
    command.status().is_ok_and(|status| status.success())
}

/// The words that run a program in a user namespace of its own.
pub(crate) const IN_NAMESPACE: [&str; 3] = ["unshare", "--user", "--map-root-user"];

/// Returns the words that run a program in a user namespace with a limit of watches.
fn in_few_watches() -> Vec<String> {
    let script =
        format!("echo {FEW_WATCHES} >/proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"");
    IN_NAMESPACE.into_iter().chain(["sh", "-c", &*script]).map(str::to_owned).collect()
}

fn command_of(prefix: &[String], program: &Path) -> Command {
    let Some((first, rest)) = prefix.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

/// Returns the descendants of a process.
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut pending = vec![pid];
    while let Some(next) = pending.pop() {
        let children = usage::children(next);
        pending.extend(&children);
        found.extend(children);
    }
    found
}

fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
