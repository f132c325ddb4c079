//! Child processes: one thread writes stdin, reads the output and waits for the exit.
//!
//! The child stays in the daemon's process group and session, as with the original: ssh can prompt
//! on the terminal, and Ctrl-C also reaches the child.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{self, PipeReader, PipeWriter, Write as _, pipe},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt, process::ExitStatusExt},
    },
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use mirror_core::{path::Escaped, plan::command::CommandLine};
use mirror_platform::{
    child::{ChildProcess, ChildSpec},
    descriptor::null_device,
    process_handle::ProcessHandle,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::Signal,
};

use super::{
    backoff::SpawnBackoff,
    cancel::CancelToken,
    end::{ChildLimit, ProcessExit},
    output::{OutputFilter, OutputRouter},
    pipe::{LineReader, set_nonblocking},
    stall::{StallDetector, kill_tree},
};
use crate::report::{Category, Log, StdStream};

/// Destination of a child's stdout and stderr. Diagnostics are parsed in any case.
#[derive(Clone, Debug)]
pub(crate) enum ChildOutput {
    /// The current destination of this log. The daemon reads a pipe and copies it, so that a slow
    /// reader of the log does not block the child.
    Log(Log),
    /// The destination of this log, with stdout inherited, so that processes which the child leaves
    /// in the background can go on writing there.
    Inherit(Log),
    /// Discards the output.
    Null,
}

impl ChildOutput {
    const fn log(&self) -> Option<&Log> {
        match self {
            Self::Log(log) | Self::Inherit(log) => Some(log),
            Self::Null => None,
        }
    }
}

/// A program with its working directory, environment and output destination.
#[derive(Clone, Debug)]
pub(crate) struct ChildProgram {
    /// Looked up in `PATH` if it contains no slash.
    pub binary: OsString,
    /// Base of relative paths. The working directory of the daemon can differ for a moment, during
    /// a reload of the configuration.
    pub working_dir: PathBuf,
    /// Variables in addition to the daemon's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Destination of its output.
    pub output: ChildOutput,
    /// Signal that the child receives when the daemon process ends, for whatever reason.
    pub parent_death_signal: Signal,
    /// Descriptor that the child and all its descendants keep open.
    pub inherited: Option<Arc<OwnedFd>>,
}

impl ChildProgram {
    /// Formats the command line for the log, each argument in brackets.
    #[must_use]
    pub(crate) fn format_command(&self, call: &CommandLine) -> String {
        let mut line = Escaped(self.binary.as_bytes()).to_string();
        for arg in &call.args {
            // Writing to a `String` never fails.
            let _ = write!(line, " [{}]", Escaped(arg));
        }
        line
    }

    /// Runs the program and passes each line of its stderr, without the line feed, to `read`.
    pub(crate) fn run(
        &self,
        call: &CommandLine,
        cancel: &CancelToken,
        read: &mut dyn FnMut(&[u8]),
    ) -> ProcessExit {
        self.run_with_limit(ChildLimit::Unlimited, call, cancel, read)
    }

    /// Like [`run`](Self::run), and kills the program when `limit` is exceeded.
    pub(in crate::exec) fn run_with_limit(
        &self,
        limit: ChildLimit,
        call: &CommandLine,
        cancel: &CancelToken,
        read: &mut dyn FnMut(&[u8]),
    ) -> ProcessExit {
        let stderr_line = &mut |stream, line: &[u8]| {
            if stream == StdStream::Err {
                read(line);
            }
        };
        self.run_with_output(limit, call, cancel, stderr_line)
    }

    /// Like [`run_with_limit`](Self::run_with_limit), and passes the lines of both streams to
    /// `on_line`.
    ///
    /// The calling thread must outlive the child: the parent-death signal is bound to the thread,
    /// and its exit would kill the child. The same signal ends the child if this process is killed.
    pub(in crate::exec) fn run_with_output(
        &self,
        limit: ChildLimit,
        call: &CommandLine,
        cancel: &CancelToken,
        on_line: &mut dyn FnMut(StdStream, &[u8]),
    ) -> ProcessExit {
        let mut on_line = |stream, line: &[u8]| {
            on_line(stream, line);
            true
        };
        let kill_at = Cell::new(None);
        let filter = OutputFilter {
            on_line: &mut on_line,
            filters_stdout: false,
            splits_returns: false,
            kill_at: &kill_at,
        };
        self.run_filtered(limit, call, cancel, filter)
    }

    /// Like [`run_with_output`](Self::run_with_output), with a filter before the log.
    pub(in crate::exec) fn run_filtered<'a>(
        &'a self,
        limit: ChildLimit,
        call: &CommandLine,
        cancel: &CancelToken,
        filter: OutputFilter<'a>,
    ) -> ProcessExit {
        let mut child = match self.spawn(call, limit, cancel) {
            Ok(child) => child,
            Err(error) => return ProcessExit::NotStarted(error),
        };
        let input = call.stdin.as_deref().unwrap_or_default();
        let mut router = OutputRouter { log: self.output.log(), filter };
        match child.supervise(input, limit, cancel, &mut router) {
            Ok(end) => end,
            Err(error) => {
                // Fails only if the child has exited by itself.
                let _ = child.process.kill();
                let _ = child.process.wait();
                ProcessExit::WaitFailed(error)
            }
        }
    }

    /// Starts the program, and retries while processes or descriptors are short.
    fn spawn(
        &self,
        call: &CommandLine,
        limit: ChildLimit,
        cancel: &CancelToken,
    ) -> io::Result<PipedChild> {
        let mut backoff = SpawnBackoff::new(cancel, limit);
        loop {
            let error = match self.try_spawn(call) {
                Ok(child) => return Ok(child),
                Err(error) => error,
            };
            if !backoff.wait_after(&error) {
                return Err(error);
            }
            if let Some(log) = self.output.log().filter(|_| backoff.is_first_wait()) {
                let name = Escaped(self.binary.as_bytes());
                let text = format_args!("cannot start {name} yet: {error}; retrying");
                log.say(Category::Warn, text);
            }
        }
    }

    fn try_spawn(&self, call: &CommandLine) -> io::Result<PipedChild> {
        let (stdin, stdin_end) = match &call.stdin {
            Some(_) => pipe().map(|(reader, writer)| (reader.into(), Some(writer)))?,
            None => (null_device()?, None),
        };
        let (stdout, stdout_end) = match &self.output {
            ChildOutput::Inherit(log) => log.child_output().descriptor()?,
            ChildOutput::Null | ChildOutput::Log(_) => None,
        }
        .map_or_else(
            || pipe().map(|(reader, writer)| (writer.into(), Some(reader))),
            |descriptor| Ok((descriptor, None)),
        )?;
        let (stderr_end, stderr) = pipe()?;
        let process = ChildProcess::spawn(&ChildSpec {
            program: &self.binary,
            args: call.args.iter().map(|arg| OsStr::from_bytes(arg)).collect(),
            environment: &self.environment,
            working_dir: &self.working_dir,
            streams: [stdin, stdout, stderr.into()],
            inherited: self.inherited.as_deref().map(OwnedFd::as_fd),
            parent_death_signal: self.parent_death_signal,
        })?;
        Ok(PipedChild { process, stdin: stdin_end, stdout: stdout_end, stderr: Some(stderr_end) })
    }
}

/// A child, and the ends of the pipes to it.
struct PipedChild {
    process: ChildProcess,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

impl PipedChild {
    /// Writes the child's stdin and reads its output until it exits or must be killed.
    ///
    /// The exit of the process counts, not the end of its stderr: an ssh that it leaves in the
    /// background keeps stderr open.
    fn supervise(
        &mut self,
        input: &[u8],
        limit: ChildLimit,
        cancel: &CancelToken,
        router: &mut OutputRouter<'_>,
    ) -> io::Result<ProcessExit> {
        let pid = self.process.id();
        let mut backoff = SpawnBackoff::new(cancel, limit);
        let watched = backoff.retry(|| cancel.register_child(pid))?;
        let ended = backoff.retry(|| ProcessHandle::open(pid))?;
        let mut stdin = StdinWriter::new(self.stdin.take(), input)?;
        let mut stdout = LineReader::new(self.stdout.take())?;
        stdout.splits_returns = router.filter.splits_returns;
        let mut stderr = LineReader::new(self.stderr.take())?;
        let (mut until, mut detector) = match limit {
            ChildLimit::Unlimited => (None, None),
            ChildLimit::Deadline(until) => (Some(until), None),
            ChildLimit::Stall { interval, max_quiet } => {
                (None, Some(StallDetector::new(pid, interval, max_quiet)))
            }
        };
        let (mut stalled, mut is_deadlocked) = (None, false);
        loop {
            let kill_at = router.filter.kill_at.get().filter(|_| !is_deadlocked);
            let limit_at = until.or(detector.as_ref().map(StallDetector::next_poll));
            let next = limit_at.into_iter().chain(kill_at).min();
            if poll_child(&ended, &stdin, &stdout, &stderr, next)? {
                break;
            }
            stdin.write();
            router.route_available(&mut stdout, &mut stderr);
            if until.take_if(|until| *until <= Instant::now()).is_some() {
                self.process.kill()?;
            }
            if let Some(detector) = detector.take_if(StallDetector::is_stalled) {
                kill_tree(pid);
                stalled = Some(detector.timeout());
            }
            let is_blocked = detector.as_mut().is_some_and(StallDetector::is_blocked_on_fifo);
            // Output read since the check above may have moved this time.
            let is_time =
                router.filter.kill_at.get().is_some_and(|kill_at| kill_at <= Instant::now());
            if !is_deadlocked && (is_blocked || is_time) {
                kill_tree(pid);
                is_deadlocked = true;
            }
        }
        router.route_available(&mut stdout, &mut stderr);
        router.finish(&mut stdout, &mut stderr);
        drop(watched);
        let status = self.process.wait()?;
        Ok(match (status.code(), stalled) {
            (Some(code), _) => ProcessExit::Exited(code),
            (None, _) if is_deadlocked => ProcessExit::Deadlocked,
            (None, Some(time)) => ProcessExit::Stalled(time),
            (None, None) => ProcessExit::Killed(status.signal().unwrap_or_default()),
        })
    }
}

/// Waits until a pipe is ready or the time is reached. Returns true once the child has exited.
fn poll_child(
    ended: &ProcessHandle,
    stdin: &StdinWriter<'_>,
    stdout: &LineReader<PipeReader>,
    stderr: &LineReader<PipeReader>,
    until: Option<Instant>,
) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(ended, PollFlags::IN)];
    fds.extend(stdin.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    fds.extend(stdout.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    fds.extend(stderr.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
    let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
    match poll(&mut fds, wait.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_some_and(|ended| !ended.revents().is_empty()))
}

/// Input that the child has not read yet. The pipe is closed at the end of the input, or when the
/// child closes it.
struct StdinWriter<'a> {
    pipe: Option<PipeWriter>,
    rest: &'a [u8],
}

impl<'a> StdinWriter<'a> {
    fn new(pipe: Option<PipeWriter>, rest: &'a [u8]) -> io::Result<Self> {
        pipe.iter().try_for_each(set_nonblocking)?;
        let pipe = pipe.filter(|_| !rest.is_empty());
        Ok(Self { pipe, rest })
    }

    fn write(&mut self) {
        while let Some(pipe) = &mut self.pipe {
            match pipe.write(self.rest) {
                Ok(written) => self.rest = self.rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The child refuses the rest: its exit code is the diagnostic.
                Err(_) => self.rest = b"",
            }
            if self.rest.is_empty() {
                self.pipe = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
