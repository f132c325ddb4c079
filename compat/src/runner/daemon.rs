//! The program under test, and the daemon that it leaves in the background.

use std::{
    fs::{self, File},
    io,
    process::{Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use super::directory::CaseDirectory;
use crate::{
    call_log::{CALL_LOG_VAR, POLL_INTERVAL},
    step::DaemonSignal,
};

/// The program's file name, which is also its process name.
const NAME: &str = "lsyncd";

/// Number of consecutive polls at which it must sleep before it is sent a signal.
const IDLE_POLLS: u32 = 5;
/// Maximum number of polls. A process that never sleeps gets its signal nevertheless.
const MAX_POLLS: u32 = 400;

/// A program that was started.
///
/// A daemon in the background is found as another child of this process, which is the first one of
/// its PID namespace and so adopts orphans.
pub(super) struct CaseDaemon {
    started: Pid,
    exit_code: Option<i32>,
    /// Exit code of the daemon in the background.
    background_exit_code: Option<i32>,
}

impl CaseDaemon {
    /// Starts it in the directory of the case, with a `PATH` that has only the recorder.
    pub(super) fn start(directory: &CaseDirectory, args: &[String]) -> io::Result<Self> {
        let path = directory.path();
        let output = |name: &str| File::options().create(true).append(true).open(path.join(name));
        let child = Command::new(path.join("program").join(NAME))
            .args(args.iter().map(|arg| directory.expand(arg)))
            .current_dir(path)
            .env_clear()
            .env("PATH", path.join("bin"))
            .env("HOME", path)
            .env("LC_ALL", "C")
            .env(CALL_LOG_VAR, path.join("calls"))
            .stdin(Stdio::null())
            .stdout(output("stdout")?)
            .stderr(output("stderr")?)
            .spawn()?;
        Ok(Self { started: Pid::from_child(&child), exit_code: None, background_exit_code: None })
    }

    pub(super) const fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    pub(super) const fn background_exit_code(&self) -> Option<i32> {
        self.background_exit_code
    }

    /// Returns true if neither the program nor a daemon runs any more.
    pub(super) fn has_exited(&mut self) -> bool {
        loop {
            // The name of a process is readable only until it is waited for.
            let daemons = children();
            let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) else {
                return daemons.is_empty();
            };
            if process == self.started {
                self.exit_code = Some(shell_exit_code(status));
            } else if daemons.contains(&process) {
                self.background_exit_code = Some(shell_exit_code(status));
            }
        }
    }

    /// Sends a signal to all of its processes.
    ///
    /// Lsyncd 2.2.3 may miss a signal that arrives while it works, so it is sent while it sleeps.
    pub(super) fn signal(&mut self, signal: DaemonSignal) -> io::Result<()> {
        let mut idle_polls = 0;
        for _ in 0..MAX_POLLS {
            idle_polls = if children().into_iter().all(is_asleep) { idle_polls + 1 } else { 0 };
            if idle_polls == IDLE_POLLS {
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
        if self.has_exited() {
            return Err(io::Error::other("it has exited"));
        }
        let signal = match signal {
            DaemonSignal::Term => Signal::TERM,
            DaemonSignal::Int => Signal::INT,
            DaemonSignal::Hup => Signal::HUP,
        };
        children().into_iter().try_for_each(|process| Ok(kill_process(process, signal)?))
    }

    /// Runs `act` while all of its processes are stopped, so that they read the two kernel events
    /// of a rename at once: the original misinterprets half a rename.
    pub(super) fn while_stopped<T>(act: impl FnOnce() -> T) -> T {
        let all = children();
        let send = |signal| {
            for &process in &all {
                // One that has exited reads nothing.
                let _ = kill_process(process, signal);
            }
        };
        send(Signal::STOP);
        for _ in 0..MAX_POLLS {
            if all.iter().all(|&process| !matches!(state_letter(process), Some('R' | 'S' | 'D'))) {
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
        let result = act();
        send(Signal::CONT);
        result
    }

    /// Formats its state for a report.
    pub(super) fn state(&mut self) -> String {
        let runs = !self.has_exited();
        let shown = |code: Option<i32>| code.map_or_else(|| "none".to_owned(), |it| it.to_string());
        format!(
            "exit code: {}, of a daemon: {}{}",
            shown(self.exit_code),
            shown(self.background_exit_code),
            if runs { "; it runs" } else { "" }
        )
    }
}

fn is_asleep(process: Pid) -> bool {
    state_letter(process) == Some('S')
}

/// Returns the state of a process as in `proc_pid_stat(5)`.
fn state_letter(process: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Returns the exit code as a shell would report it.
fn shell_exit_code(status: WaitStatus) -> i32 {
    let killed = || status.terminating_signal().map_or(0, |signal| 128 + signal);
    status.exit_status().unwrap_or_else(killed)
}

/// Returns the children of this process that run the tested program, including zombies.
fn children() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let process: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            is_child(&stat).then(|| Pid::from_raw(process))?
        })
        .collect()
}

/// Returns true if a line `PID (NAME) STATE PARENT ..` is of such a child.
fn is_child(stat: &str) -> bool {
    let after_name = stat.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") "));
    after_name.is_some_and(|(name, rest)| name == NAME && rest.split(' ').nth(1) == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_identified_by_name_and_parent() {
        assert!(is_child("12 (lsyncd) S 1 12 12"));
        assert!(is_child("12 (lsyncd) Z 1 12 12"));
        assert!(!is_child("12 (lsyncd) S 11 12 12"));
        assert!(!is_child("12 (rsync) S 1 12 12"));
        assert!(!is_child("12 (a) (lsyncd) S 1 12"));
    }
}
