//! The daemon that is put to the test.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{plan::Watches, random::Random};
use crate::bench::{place::Arena, running::Running, usage};

/// So many lines of its log are shown.
const SHOWN: usize = 80;
/// How long it may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many directories are watched where they are to be few.
const FEW: u32 = 25;
/// More descriptors, more megabytes, or more dead children than it needs for what it does here.
const MOST_DESCRIPTORS: usize = 400;
const MOST_MEMORY: f64 = 500.0;
const MOST_DEAD: usize = 3;

/// A daemon, and those that ran before it.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    program: &'a Path,
    arena: &'a Arena,
    watches: Watches,
    /// The last one runs. The others stay until the end, so that their numbers stay theirs.
    runs: Vec<Running>,
}

impl<'a> Subject<'a> {
    /// Starts it with the configuration file of the arena.
    pub(crate) fn start(program: &'a Path, arena: &'a Arena, watches: Watches) -> io::Result<Self> {
        let mut subject = Self { program, arena, watches, runs: Vec::new() };
        subject.start_again()?;
        Ok(subject)
    }

    fn start_again(&mut self) -> io::Result<()> {
        let mut command = match self.watches {
            Watches::All => Command::new(self.program),
            Watches::Few => with_few_watches(self.program),
        };
        command.args(["-nodaemon", "-log", "all"]).arg(self.arena.place("run/config.lua")?.path());
        // The configuration of whoever runs this is no part of it.
        command.env("HOME", self.arena.place("run")?.path());
        let log = self.arena.place(&format!("run/log{}", self.runs.len()))?;
        self.runs.push(Running::start(&command, &log)?);
        Ok(())
    }

    fn running(&self) -> io::Result<&Running> {
        self.runs.last().ok_or_else(|| io::Error::other("there is no daemon"))
    }

    /// Why it does not run as it should, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let running = self.running().ok()?;
        if let Some(how) = running.ending() {
            return Some(format!("the daemon has ended by itself: {how}"));
        }
        running.output().contains("panicked").then(|| "a thread of the daemon has panicked".into())
    }

    /// Why it uses more than it should, if so.
    pub(crate) fn waste(&self) -> Option<String> {
        let pid = self.running().ok()?.pid().as_raw_nonzero().get();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let memory = usage::peak_memory(pid.cast_unsigned()).unwrap_or(0.0);
        let dead = descendants(pid.cast_unsigned()).into_iter().filter(|it| is_dead(*it)).count();
        let too_much = descriptors > MOST_DESCRIPTORS || memory > MOST_MEMORY || dead > MOST_DEAD;
        too_much.then(|| {
            format!("it has {descriptors} descriptors, {memory} MB and {dead} dead children")
        })
    }

    /// Sends it a signal, once it is the daemon: before that, it is the program that starts it.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Ok(running) = self.running()
            && (signal != Signal::HUP || !running.output().is_empty())
        {
            running.signal(signal);
        }
    }

    /// Ends it by a signal, and starts it again.
    pub(crate) fn restart(&mut self, signal: Signal) -> io::Result<()> {
        let running = self.running()?;
        running.signal(signal);
        let asked = Instant::now();
        while !running.has_ended() {
            if asked.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{signal:?} has not ended the daemon")));
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.start_again()
    }

    /// Has something happen to one of the programs that it runs: it stands still for a while, or
    /// is killed.
    pub(crate) fn hurt_a_child(&self, random: &mut Random, pause: Duration) {
        let Ok(running) = self.running() else { return };
        let children: Vec<Pid> = descendants(running.pid().as_raw_nonzero().get().cast_unsigned())
            .into_iter()
            .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
            .collect();
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

    /// The status file.
    pub(crate) fn status(&self) -> String {
        let path = self.arena.place("run/status");
        path.ok().and_then(|it| fs::read_to_string(it.path()).ok()).unwrap_or_default()
    }

    /// Whether it says that all of so many syncs are in sync.
    pub(crate) fn is_in_sync(&self, syncs: usize) -> bool {
        self.status().lines().filter(|line| line.ends_with(": in sync")).count() == syncs
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        for running in self.runs.iter().rev().take(2).rev() {
            let output = running.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
            let _ = write!(text, "-- daemon {} --\n{}\n", running.pid(), tail.join("\n"));
        }
        text
    }

    /// Where the logs are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.arena.place("run").map_or_else(|_| PathBuf::new(), |it| it.path().to_owned())
    }
}

/// Whether there can be such a daemon.
pub(crate) fn can_have_few_watches() -> bool {
    with_few_watches(Path::new("true")).status().is_ok_and(|status| status.success())
}

/// Runs a program in a user namespace in which few directories may be watched.
fn with_few_watches(program: &Path) -> Command {
    let script = format!("echo {FEW} >/proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]).arg(program);
    command
}

/// The processes that a process has started, and those that they have.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut left = vec![pid];
    while let Some(next) = left.pop() {
        let children = usage::children(next);
        left.extend(&children);
        found.extend(children);
    }
    found
}

fn is_dead(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
