//! The program that is tested, and what it leaves in the background.

use std::{
    fs::{self, File},
    io,
    process::{Command, Stdio},
    thread,
};

use rustix::process::{Pid, WaitOptions, WaitStatus, kill_process, wait};

use super::stage::Stage;
use crate::{
    call::{self, INTERVAL},
    step::Signal,
};

/// The program's name, and that of its file.
const NAME: &str = "lsyncd";

/// How often in a row it must be seen at rest before it is sent a signal.
const LOOKS_AT_REST: u32 = 5;
/// How often it is looked at. One that never rests gets its signal nevertheless.
const MOST_LOOKS: u32 = 400;

/// A program that was started.
///
/// A daemon is found as another child of this process: it is the first one of its namespace, which
/// gets those whose parents have ended.
pub(super) struct Daemon {
    started: Pid,
    exit: Option<i32>,
    /// How the one that was left in the background ended.
    left_exit: Option<i32>,
}

impl Daemon {
    /// Starts it in the place of the case, with a path on which there is only the recorder.
    pub(super) fn start(stage: &Stage, words: &[String]) -> io::Result<Self> {
        let place = stage.place();
        let output = |name: &str| File::options().create(true).append(true).open(place.join(name));
        let child = Command::new(place.join("program").join(NAME))
            .args(words.iter().map(|word| stage.filled(word)))
            .current_dir(place)
            .env_clear()
            .env("PATH", place.join("bin"))
            .env("HOME", place)
            .env("LC_ALL", "C")
            .env(call::PLACE, place.join("calls"))
            .stdin(Stdio::null())
            .stdout(output("stdout")?)
            .stderr(output("stderr")?)
            .spawn()?;
        Ok(Self { started: Pid::from_child(&child), exit: None, left_exit: None })
    }

    /// The exit code of what was started.
    pub(super) const fn exit(&self) -> Option<i32> {
        self.exit
    }

    /// The exit code of what went on in the background.
    pub(super) const fn daemon_exit(&self) -> Option<i32> {
        self.left_exit
    }

    /// Whether neither it nor a daemon runs any more.
    pub(super) fn has_ended(&mut self) -> bool {
        loop {
            // A process can only be asked for its name until it was waited for.
            let daemons = children();
            let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) else {
                return daemons.is_empty();
            };
            if process == self.started {
                self.exit = Some(code(status));
            } else if daemons.contains(&process) {
                self.left_exit = Some(code(status));
            }
        }
    }

    /// Sends a signal to all that runs of it.
    ///
    /// Lsyncd 2.2.3 may miss a signal that comes while it works, so it is sent when it waits.
    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let mut looks_at_rest = 0;
        for _ in 0..MOST_LOOKS {
            looks_at_rest =
                if children().into_iter().all(is_asleep) { looks_at_rest + 1 } else { 0 };
            if looks_at_rest == LOOKS_AT_REST {
                break;
            }
            thread::sleep(INTERVAL);
        }
        if self.has_ended() {
            return Err(io::Error::other("it has ended"));
        }
        let signal = match signal {
            Signal::Term => rustix::process::Signal::TERM,
            Signal::Int => rustix::process::Signal::INT,
            Signal::Hup => rustix::process::Signal::HUP,
        };
        children().into_iter().try_for_each(|process| Ok(kill_process(process, signal)?))
    }

    /// Does something while all that runs of it stands still, so that what the kernel tells of it in
    /// two events is read at once: the original takes half a rename for something else.
    pub(super) fn while_it_stands_still<T>(act: impl FnOnce() -> T) -> T {
        let all = children();
        let send = |signal| {
            for &process in &all {
                // One that has ended reads nothing.
                let _ = kill_process(process, signal);
            }
        };
        send(rustix::process::Signal::STOP);
        for _ in 0..MOST_LOOKS {
            if all.iter().all(|&process| !matches!(state_of(process), Some('R' | 'S' | 'D'))) {
                break;
            }
            thread::sleep(INTERVAL);
        }
        let done = act();
        send(rustix::process::Signal::CONT);
        done
    }

    /// In words.
    pub(super) fn state(&mut self) -> String {
        let runs = !self.has_ended();
        let shown = |code: Option<i32>| code.map_or_else(|| "none".to_owned(), |it| it.to_string());
        format!(
            "exit code: {}, of a daemon: {}{}",
            shown(self.exit),
            shown(self.left_exit),
            if runs { "; it runs" } else { "" }
        )
    }
}

/// Whether a process waits for something.
fn is_asleep(process: Pid) -> bool {
    state_of(process) == Some('S')
}

/// The letter of its state: `proc_pid_stat(5)`.
fn state_of(process: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The exit code as a shell would show it.
fn code(status: WaitStatus) -> i32 {
    let killed = || status.terminating_signal().map_or(0, |signal| 128 + signal);
    status.exit_status().unwrap_or_else(killed)
}

/// The children of this process that are the tested program, also when they have ended.
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

/// Whether `PID (NAME) STATE PARENT ..` is about a child of the first process.
fn is_child(stat: &str) -> bool {
    let after_name = stat.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") "));
    after_name.is_some_and(|(name, rest)| name == NAME && rest.split(' ').nth(1) == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_told_by_their_name_and_parent() {
        assert!(is_child("12 (lsyncd) S 1 12 12"));
        assert!(is_child("12 (lsyncd) Z 1 12 12"));
        assert!(!is_child("12 (lsyncd) S 11 12 12"));
        assert!(!is_child("12 (rsync) S 1 12 12"));
        assert!(!is_child("12 (a) (lsyncd) S 1 12"));
    }
}
