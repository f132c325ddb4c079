//! One ssh that logs in and goes into the background.

use std::{
    io::{self, Write as _},
    os::fd::OwnedFd,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    exec::{pipe::Lines, stop::Stop},
    report::{ChildOutput, Log},
};

/// How long it may take: sshd gives somebody who types a password two minutes.
const LIMIT: Duration = Duration::from_mins(2);

/// How often the limit is looked at.
const GLANCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Runs `ssh` until it is in the background. What it says goes to where programs write.
///
/// # Errors
///
/// If it is not let in: why.
pub(super) fn log_in(ssh: &mut Command, stop: &Stop, log: &Log) -> Result<(), String> {
    let program = Escaped(ssh.get_program().as_encoded_bytes()).to_string();
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = ssh.spawn().map_err(|error| format!("{program}: {error}"))?;
    let mut output: Box<dyn io::Write> = match log.child_output() {
        ChildOutput::Inherit => Box::new(io::stderr()),
        ChildOutput::Append(file) => Box::new(file),
        ChildOutput::Null => Box::new(io::sink()),
    };
    let mut said = None;
    let mut hear = |line: &[u8]| {
        // A full disk under the log is no reason to stop mirroring.
        let _ = output.write_all(line).and_then(|()| output.write_all(b"\n"));
        said = Some(Escaped(line).to_string());
    };
    let status = follow(&mut child, stop, &mut hear);
    if !matches!(status, Ok(Some(_))) {
        // It fails only when the child has ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
    match status {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(_)) => Err(said.unwrap_or_else(|| format!("{program} failed"))),
        Ok(None) => Err(format!("{program} was not let in for {} s", LIMIT.as_secs())),
        Err(error) => Err(format!("cannot follow {program}: {error}")),
    }
}

/// How it ended. `None` if it takes too long.
///
/// The end is that of the process: the one in the background keeps stderr open.
fn follow(
    child: &mut Child,
    stop: &Stop,
    hear: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let watched = stop.watch(pid)?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let mut stderr = Lines::new(child.stderr.take())?;
    let until = Instant::now() + LIMIT;
    while !wait_for_news(&ended, &stderr)? {
        stderr.read(hear);
        if Instant::now() >= until {
            return Ok(None);
        }
    }
    stderr.read(hear);
    stderr.finish(hear);
    drop(watched);
    child.wait().map(Some)
}

/// Waits for a moment until something can be read; `true` when the child has ended.
fn wait_for_news(ended: &OwnedFd, stderr: &Lines<ChildStderr>) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(ended, PollFlags::IN)];
    fds.extend(stderr.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    match poll(&mut fds, Some(&GLANCE)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_some_and(|ended| !ended.revents().is_empty()))
}
