//! A running program whose resource usage is measured.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group,
    set_parent_process_death_signal, waitid,
};

use super::{
    scratch::ScratchPath,
    usage::{self, ProcessUsage},
};

/// This program, even if its file has been replaced.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";
/// The internal task that runs a program which exits with this one.
const TETHER_TASK: &str = "run-tethered";

/// Time limit for each condition that a program must reach.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(3);
/// Interval between two reads of `/proc` and logs.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Time between SIGTERM and SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// A program with its children, all of which are killed on drop.
#[derive(Debug)]
pub(crate) struct MeteredProcess {
    leader: Child,
    output: PathBuf,
}

impl MeteredProcess {
    /// Starts `command` and redirects its output to `output`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(command: &Command, output: &ScratchPath) -> io::Result<Self> {
        let file = File::create(output.path())?;
        // A separate process group, so that its children can be killed with it.
        let leader = tethered(command)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self { leader, output: output.path().to_owned() })
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    ///
    /// If the program exits before, or it takes too long.
    pub(crate) fn wait_until(
        &mut self,
        description: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> io::Result<()> {
        let started = Instant::now();
        loop {
            // Checked first, so that the final output of a program counts.
            let exited = self.has_exited();
            if condition(self) {
                return Ok(());
            }
            if exited || started.elapsed() > TIMEOUT {
                let output = self.output();
                return Err(io::Error::other(format!(
                    "waited in vain until {description}:\n{output}"
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the program has no active child. A persistent ssh connection does not count as
    /// one; a transfer over ssh has a child of its own.
    ///
    /// # Errors
    ///
    /// If it takes too long.
    pub(crate) fn wait_without_children(&mut self) -> io::Result<()> {
        self.wait_until("its children have ended", |this| {
            let is_connection = |pid: &Pid| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ssh\n")
            };
            usage::children(this.pid()).iter().all(is_connection)
        })
    }

    /// Returns the output so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Returns so many of the last lines of the output.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
    }

    /// Returns the usage so far.
    ///
    /// # Errors
    ///
    /// If the program has exited.
    pub(crate) fn usage(&self) -> io::Result<ProcessUsage> {
        ProcessUsage::of_tree(self.pid())
    }

    /// Returns the peak memory of the program without its children, in megabytes.
    ///
    /// # Errors
    ///
    /// If the program has exited.
    pub(crate) fn peak_memory(&self) -> io::Result<f64> {
        usage::peak_memory(self.pid())
    }

    /// Returns its resident size in megabytes.
    ///
    /// # Errors
    ///
    /// If the program has exited.
    pub(crate) fn memory(&self) -> io::Result<f64> {
        usage::memory(self.pid())
    }

    /// Returns the number of wake-ups of its threads so far.
    ///
    /// # Errors
    ///
    /// If the program has exited.
    pub(crate) fn wake_ups(&self) -> io::Result<f64> {
        usage::wake_ups(self.pid())
    }

    /// Stops it, but not its children.
    ///
    /// # Errors
    ///
    /// If the program has exited.
    pub(crate) fn pause(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::STOP)?)
    }

    /// Continues it.
    ///
    /// # Errors
    ///
    /// If the program has exited.
    pub(crate) fn resume(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::CONT)?)
    }

    /// Returns its PID, which is not reused before this is dropped.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.leader)
    }

    /// Sends it a signal, but not its children. Does nothing if it has exited.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Terminates it by a signal, but not its children.
    ///
    /// # Errors
    ///
    /// If it has not exited after `timeout`.
    pub(crate) fn terminate(&self, signal: Signal, timeout: Duration) -> io::Result<()> {
        self.signal(signal);
        let signalled = Instant::now();
        while !self.has_exited() {
            if signalled.elapsed() > timeout {
                return Err(io::Error::other(format!("{signal:?} has not ended the program")));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.exit_reason().is_some()
    }

    /// Returns its exit code or signal, if it has exited.
    pub(crate) fn exit_reason(&self) -> Option<String> {
        // It is not reaped, so that its PID and that of its group are not reused.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid()), options) {
            Ok(None) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            }),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Wraps a command so that it exits with this process, even if this process is killed.
fn tethered(command: &Command) -> Command {
    let mut tethered = Command::new(OWN_PROGRAM);
    tethered.arg(TETHER_TASK).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tethered.env(name, value),
            None => tethered.env_remove(name),
        };
    }
    tethered
}

/// Executes the program of a tethered command. Returns `None` if `task` is another one, and does
/// not return otherwise unless it fails.
pub(crate) fn exec_tethered(task: &str, args: &[OsString]) -> Option<io::Error> {
    let (program, arguments) = args.split_first().filter(|_| task == TETHER_TASK)?;
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return Some(error.into());
    }
    Some(Command::new(program).args(arguments).exec())
}

impl Drop for MeteredProcess {
    fn drop(&mut self) {
        let leader = self.pid();
        if !self.has_exited() {
            let _ = kill_process_group(leader, Signal::TERM);
            // A stopped process receives the signal only when it continues.
            let _ = kill_process_group(leader, Signal::CONT);
            let signalled = Instant::now();
            while signalled.elapsed() < KILL_AFTER && !self.has_exited() {
                thread::sleep(POLL_INTERVAL);
            }
        }
        // Includes children that have outlived the leader.
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = self.leader.wait();
    }
}
