//! Child processes: one thread writes stdin, reads the output and waits for the exit.
//!
//! The child stays in the daemon's process group and session, as with the original: ssh can prompt
//! on the terminal, and Ctrl-C also reaches the child. The standard library gives it an empty
//! signal mask and the default action of SIGPIPE.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, process::ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mirror_core::{path::Escaped, plan::command::CommandLine};
use mirror_platform::child::{inherit_descriptor, signal_on_thread_exit};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};

pub(crate) use crate::report::StdStream;
use crate::{
    exec::process::{
        cancel::CancelToken,
        end::{ChildLimit, ProcessExit},
        pipe::{LineReader, set_nonblocking},
        stall::{StallDetector, kill_tree},
    },
    report::{self, Category, Log},
};

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
    pub(crate) fn run_with_limit(
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
    pub(crate) fn run_with_output(
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
        let router = OutputRouter {
            log: self.output.log(),
            on_line: &mut on_line,
            filters_stdout: false,
            kill_at: &kill_at,
        };
        self.run_routed(limit, call, cancel, router)
    }

    /// Like [`run_with_output`](Self::run_with_output), with a filter before the log.
    pub(in crate::exec) fn run_filtered(
        &self,
        limit: ChildLimit,
        call: &CommandLine,
        cancel: &CancelToken,
        filter: OutputFilter<'_>,
    ) -> ProcessExit {
        let OutputFilter { on_line, filters_stdout, kill_at } = filter;
        let log = self.output.log();
        self.run_routed(limit, call, cancel, OutputRouter { log, on_line, filters_stdout, kill_at })
    }

    fn run_routed(
        &self,
        limit: ChildLimit,
        call: &CommandLine,
        cancel: &CancelToken,
        mut router: OutputRouter<'_>,
    ) -> ProcessExit {
        let mut child = match self.spawn(call, limit, cancel) {
            Ok(child) => child,
            Err(error) => return ProcessExit::NotStarted(error),
        };
        let input = call.stdin.as_deref().unwrap_or_default();
        match supervise(&mut child, input, limit, cancel, &mut router) {
            Ok(end) => end,
            Err(error) => {
                // Fails only if the child has exited by itself.
                let _ = child.kill();
                let _ = child.wait();
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
    ) -> io::Result<Child> {
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

    fn try_spawn(&self, call: &CommandLine) -> io::Result<Child> {
        let stdout = match &self.output {
            ChildOutput::Null | ChildOutput::Log(_) => Stdio::piped(),
            ChildOutput::Inherit(log) => match log.child_output() {
                report::ChildStdio::Forward => Stdio::piped(),
                output @ (report::ChildStdio::Inherit
                | report::ChildStdio::Append(_)
                | report::ChildStdio::Null) => output.stream(),
            },
        };
        let stdin = if call.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.working_dir);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(call.args.iter().map(|arg| OsStr::from_bytes(arg)));
        signal_on_thread_exit(&mut command, self.parent_death_signal);
        if let Some(descriptor) = &self.inherited {
            inherit_descriptor(&mut command, Arc::clone(descriptor));
        }
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn()
    }
}

/// Returns true if this is a temporary shortage of processes, descriptors or memory.
fn is_resource_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Retries with backoff while a system resource is short: other processes hold it and release it
/// when they exit.
#[derive(Debug)]
pub(in crate::exec) struct SpawnBackoff<'a> {
    cancel: &'a CancelToken,
    until: Option<Instant>,
    tries: u32,
}

impl<'a> SpawnBackoff<'a> {
    /// The first delay. Each further delay is twice as long.
    const FIRST_DELAY: Duration = Duration::from_millis(20);

    /// Limit on doublings: the delay grows to somewhat more than a second.
    const MAX_DOUBLINGS: u32 = 6;

    pub(in crate::exec) const fn new(cancel: &'a CancelToken, limit: ChildLimit) -> Self {
        let until = if let ChildLimit::Deadline(until) = limit { Some(until) } else { None };
        Self { cancel, until, tries: 0 }
    }

    /// Sleeps after this error. Returns false if a retry is pointless.
    pub(in crate::exec) fn wait_after(&mut self, error: &io::Error) -> bool {
        let is_over = self.until.is_some_and(|until| until <= Instant::now());
        if !is_resource_shortage(error) || is_over || self.cancel.is_cancelled() {
            return false;
        }
        thread::sleep(Self::FIRST_DELAY * 2_u32.pow(self.tries.min(Self::MAX_DOUBLINGS)));
        self.tries += 1;
        !self.cancel.is_cancelled()
    }

    /// Returns true after the first wait, the one that is worth a warning.
    pub(in crate::exec) const fn is_first_wait(&self) -> bool {
        self.tries == 1
    }

    /// Runs `act` until it succeeds or fails for another reason than a shortage.
    fn retry<T>(&mut self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(error) if self.wait_after(&error) => {}
                done => return done,
            }
        }
    }
}

/// Filter for the lines of a child's output.
pub(in crate::exec) struct OutputFilter<'a> {
    /// Receives each line, without the line feed.
    pub(in crate::exec) on_line: &'a mut dyn FnMut(StdStream, &[u8]) -> bool,
    /// True if only those lines of stdout for which `on_line` returns true reach the log.
    pub(in crate::exec) filters_stdout: bool,
    /// Time at which the child is killed together with all its descendants. `on_line` can set it.
    pub(in crate::exec) kill_at: &'a Cell<Option<Instant>>,
}

/// Destinations of a child's output.
struct OutputRouter<'a> {
    /// Receives a copy of everything.
    log: Option<&'a Log>,
    /// Receives each line, without the line feed.
    on_line: &'a mut dyn FnMut(StdStream, &[u8]) -> bool,
    /// True if `on_line` decides for each line of stdout whether the log receives it. Otherwise
    /// stdout is copied to the log unchanged.
    filters_stdout: bool,
    /// Time at which the child is killed unconditionally.
    kill_at: &'a Cell<Option<Instant>>,
}

impl OutputRouter<'_> {
    /// Reads and routes the available output.
    fn route_available(
        &mut self,
        stdout: &mut LineReader<ChildStdout>,
        stderr: &mut LineReader<ChildStderr>,
    ) {
        let Self { log, on_line, filters_stdout, .. } = self;
        let forward = |stream, text: &[u8]| {
            if let Some(log) = log.filter(|_| !text.is_empty()) {
                log.forward(stream, text);
            }
        };
        let mut selected = Vec::new();
        let mut stdout_line = |line: &[u8]| {
            if on_line(StdStream::Out, line) && *filters_stdout {
                selected.extend_from_slice(line);
                selected.push(b'\n');
            }
        };
        let raw = |bytes: &[u8]| {
            if !*filters_stdout {
                forward(StdStream::Out, bytes);
            }
        };
        stdout.read(&mut { raw }, &mut stdout_line);
        forward(StdStream::Out, &selected);
        let mut copy = Vec::new();
        let mut stderr_line = |line: &[u8]| {
            // Complete lines only, so that lines of several children do not interleave.
            copy.extend_from_slice(line);
            copy.push(b'\n');
            on_line(StdStream::Err, line);
        };
        stderr.read(&mut |_| (), &mut stderr_line);
        forward(StdStream::Err, &copy);
    }

    /// Routes the incomplete last lines.
    fn finish(
        &mut self,
        stdout: &mut LineReader<ChildStdout>,
        stderr: &mut LineReader<ChildStderr>,
    ) {
        let Self { log, on_line, filters_stdout, .. } = self;
        stdout.finish(&mut |line| {
            if on_line(StdStream::Out, line)
                && *filters_stdout
                && let Some(log) = log
            {
                log.forward(StdStream::Out, &[line, b"\n"].concat());
            }
        });
        stderr.finish(&mut |line| {
            if let Some(log) = log {
                log.forward(StdStream::Err, &[line, b"\n"].concat());
            }
            on_line(StdStream::Err, line);
        });
    }
}

/// Writes the child's stdin and reads its output until it exits or must be killed.
///
/// The exit of the process counts, not the end of its stderr: an ssh that it leaves in the
/// background keeps stderr open.
fn supervise(
    child: &mut Child,
    input: &[u8],
    limit: ChildLimit,
    cancel: &CancelToken,
    router: &mut OutputRouter<'_>,
) -> io::Result<ProcessExit> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(Errno::SRCH))?;
    let mut backoff = SpawnBackoff::new(cancel, limit);
    let watched = backoff.retry(|| cancel.register_child(pid))?;
    let ended = backoff.retry(|| Ok(pidfd_open(pid, PidfdFlags::empty())?))?;
    let mut stdin = StdinWriter::new(child.stdin.take(), input)?;
    let mut stdout = LineReader::new(child.stdout.take())?;
    let mut stderr = LineReader::new(child.stderr.take())?;
    let (mut until, mut detector) = match limit {
        ChildLimit::Unlimited => (None, None),
        ChildLimit::Deadline(until) => (Some(until), None),
        ChildLimit::Stall { interval, max_quiet } => {
            (None, Some(StallDetector::new(pid, interval, max_quiet)))
        }
    };
    let (mut stalled, mut is_deadlocked) = (None, false);
    loop {
        let kill_at = router.kill_at.get().filter(|_| !is_deadlocked);
        let limit_at = until.or(detector.as_ref().map(StallDetector::next_poll));
        let next = limit_at.into_iter().chain(kill_at).min();
        if poll_child(&ended, &stdin, &stdout, &stderr, next)? {
            break;
        }
        stdin.write();
        router.route_available(&mut stdout, &mut stderr);
        if until.take_if(|until| *until <= Instant::now()).is_some() {
            child.kill()?;
        }
        if let Some(detector) = detector.take_if(StallDetector::is_stalled) {
            kill_tree(pid);
            stalled = Some(detector.timeout());
        }
        let is_blocked = detector.as_mut().is_some_and(StallDetector::is_blocked_on_fifo);
        // Output read since the check above may have moved this time.
        let is_time = router.kill_at.get().is_some_and(|kill_at| kill_at <= Instant::now());
        if !is_deadlocked && (is_blocked || is_time) {
            kill_tree(pid);
            is_deadlocked = true;
        }
    }
    router.route_available(&mut stdout, &mut stderr);
    router.finish(&mut stdout, &mut stderr);
    drop(watched);
    let status = child.wait()?;
    Ok(match (status.code(), stalled) {
        (Some(code), _) => ProcessExit::Exited(code),
        (None, _) if is_deadlocked => ProcessExit::Deadlocked,
        (None, Some(time)) => ProcessExit::Stalled(time),
        (None, None) => ProcessExit::Killed(status.signal().unwrap_or_default()),
    })
}

/// Waits until a pipe is ready or the time is reached. Returns true once the child has exited.
fn poll_child(
    ended: &OwnedFd,
    stdin: &StdinWriter<'_>,
    stdout: &LineReader<ChildStdout>,
    stderr: &LineReader<ChildStderr>,
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
    pipe: Option<ChildStdin>,
    rest: &'a [u8],
}

impl<'a> StdinWriter<'a> {
    fn new(pipe: Option<ChildStdin>, rest: &'a [u8]) -> io::Result<Self> {
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
mod tests {
    use super::*;

    fn shell(output: ChildOutput) -> ChildProgram {
        ChildProgram {
            binary: "sh".into(),
            working_dir: "/".into(),
            environment: Vec::new(),
            output,
            parent_death_signal: Signal::TERM,
            inherited: None,
        }
    }

    /// Runs `script` with a shell. Returns its exit and the lines of stderr.
    fn run(
        script: &str,
        stdin: Option<Vec<u8>>,
        output: ChildOutput,
    ) -> (ProcessExit, Vec<String>) {
        let program = shell(output);
        let call = CommandLine { args: vec![b"-c".to_vec(), script.into()], stdin };
        let mut lines = Vec::new();
        let mut read = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let end = program.run(&call, &CancelToken::default(), &mut read);
        (end, lines)
    }

    #[test]
    fn stderr_is_read_by_line_and_the_exit_code_is_returned() {
        let (end, lines) = run("printf 'a\\nb\\n\\nc' >&2; exit 23", None, ChildOutput::Null);
        assert!(matches!(end, ProcessExit::Exited(23)), "{end:?}");
        assert_eq!(lines, ["a", "b", "", "c"]);
    }

    #[test]
    fn a_deadlocked_child_is_killed_with_its_descendants() {
        let program = shell(ChildOutput::Null);
        let script = b"echo alas >&2; sleep 600 & echo $!; wait; true";
        let call = CommandLine { args: vec![b"-c".to_vec(), script.to_vec()], stdin: None };
        let (kill_at, mut child) = (Cell::new(None), None);
        let mut on_line = |stream, line: &[u8]| {
            if stream == StdStream::Out {
                child = std::str::from_utf8(line).ok().and_then(|it| it.parse::<i32>().ok());
                kill_at.set(Some(Instant::now()));
            }
            true
        };
        let cancel = CancelToken::default();
        let filter =
            OutputFilter { on_line: &mut on_line, filters_stdout: false, kill_at: &kill_at };
        let end = program.run_filtered(ChildLimit::Unlimited, &call, &cancel, filter);
        assert!(matches!(end, ProcessExit::Deadlocked), "{end:?}");
        // The reaper of orphans may not have waited for the process yet.
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.unwrap()));
        while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
            thread::yield_now();
        }
    }

    #[test]
    fn only_selected_lines_of_stdout_reach_the_log() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let log = Log::default();
        log.begin(report::RunMode::Daemon, Some(path.clone()), "--- Startup ---").unwrap();
        log.leave_terminal();
        let program = ChildProgram {
            binary: "sh".into(),
            working_dir: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Log(log),
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let script = b"echo one; echo two >&2; printf three";
        let call = CommandLine { args: vec![b"-c".to_vec(), script.to_vec()], stdin: None };
        let mut lines = Vec::new();
        let mut on_line = |stream, line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            lines.push(format!("{stream:?} {text}"));
            line != b"one"
        };
        let (kill_at, cancel) = (Cell::new(None), CancelToken::default());
        let filter =
            OutputFilter { on_line: &mut on_line, filters_stdout: true, kill_at: &kill_at };
        let end = program.run_filtered(ChildLimit::Unlimited, &call, &cancel, filter);
        assert!(matches!(end, ProcessExit::Exited(0)), "{end:?}");
        lines.sort();
        assert_eq!(lines, ["Err two", "Out one", "Out three"]);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("two\n") && text.contains("three\n"), "{text}");
        assert!(!text.contains("one\n"), "{text}");
    }

    #[test]
    fn a_child_that_does_not_read_stdin_does_not_block() {
        let text = vec![b'x'; 1 << 20];
        let noise = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                     i=$((i+1)); done >&2";
        let (end, lines) = run(noise, Some(text.clone()), ChildOutput::Null);
        assert!(matches!(end, ProcessExit::Exited(0)), "{end:?}");
        assert_eq!(lines.len(), 3000);
        let (end, _) = run("exec 0<&-; exit 5", Some(text), ChildOutput::Null);
        assert!(matches!(end, ProcessExit::Exited(5)), "{end:?}");
    }

    #[test]
    fn a_child_receives_all_of_its_stdin() {
        let (_, lines) = run("wc -c >&2", Some(vec![b'x'; 300_000]), ChildOutput::Null);
        assert_eq!(lines.concat().trim(), "300000");
    }

    #[test]
    fn a_background_process_with_open_stderr_does_not_delay_the_exit() {
        // The background child exits when the write end of its stdin, held here, is closed.
        let (reader, writer) = io::pipe().unwrap();
        let program = shell(ChildOutput::Null);
        let script = format!("cat </proc/{}/fd/{} & exit 7", std::process::id(), {
            use std::os::fd::AsRawFd as _;
            reader.as_raw_fd()
        });
        let call = CommandLine { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None };
        let end = program.run(&call, &CancelToken::default(), &mut |_| ());
        assert!(matches!(end, ProcessExit::Exited(7)), "{end:?}");
        drop(writer);
    }

    #[test]
    fn a_killed_child_reports_its_signal() {
        let (end, _) = run("kill -KILL $$", None, ChildOutput::Null);
        assert!(matches!(end, ProcessExit::Killed(9)), "{end:?}");
    }

    #[test]
    fn a_child_is_killed_at_its_deadline() {
        let program = shell(ChildOutput::Null);
        let args = [&b"-c"[..], b"trap '' TERM; exec sleep 600"];
        let call = CommandLine { args: args.map(<[u8]>::to_vec).into(), stdin: None };
        let end = program.run_with_limit(
            ChildLimit::Deadline(Instant::now()),
            &call,
            &CancelToken::default(),
            &mut |_| (),
        );
        assert!(matches!(end, ProcessExit::Killed(9)), "{end:?}");
    }

    /// Runs `script` with a shell named `rsync`, sampled at this interval.
    fn run_as_rsync(script: &str, interval: Duration) -> ProcessExit {
        let place = tempfile::tempdir().unwrap();
        let rsync = place.path().join("rsync");
        // Another process writes the file: a descriptor open for writing here could be inherited
        // for a moment by a child of another test, and exec would fail with ETXTBSY.
        let copied = Command::new("cp").arg("/bin/sh").arg(&rsync).status();
        assert!(copied.unwrap().success());
        let program = ChildProgram {
            binary: "sh".into(),
            working_dir: "/".into(),
            environment: vec![("RSYNC".into(), rsync.into())],
            output: ChildOutput::Null,
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let script = format!("\"$RSYNC\" -c '{script}'; exit $?");
        let call = CommandLine { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None };
        let limit = ChildLimit::Stall { interval, max_quiet: 4 };
        program.run_with_limit(limit, &call, &CancelToken::default(), &mut |_| ())
    }

    #[test]
    fn a_stalled_rsync_is_killed_with_its_wrapper() {
        let interval = Duration::from_millis(10);
        let end = run_as_rsync("sleep 600; :", interval);
        assert!(matches!(end, ProcessExit::Stalled(it) if it == 4 * interval), "{end:?}");
    }

    #[test]
    fn a_busy_rsync_without_io_is_not_stalled() {
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exit 7";
        let end = run_as_rsync(busy, Duration::from_millis(1));
        assert!(matches!(end, ProcessExit::Exited(7)), "{end:?}");
    }

    #[test]
    fn the_child_has_default_signal_dispositions() {
        let (_, lines) =
            run("grep -E 'SigBlk|SigIgn' /proc/self/status >&2", None, ChildOutput::Null);
        let masks: Vec<u64> = lines
            .iter()
            .map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
            .collect();
        let sigpipe = 1 << (13 - 1);
        assert_eq!((masks[0], masks[1] & sigpipe), (0, 0), "{lines:?}");
    }

    #[test]
    fn output_is_appended_to_the_log_file() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        let to_file = Log::default();
        to_file.begin(report::RunMode::Daemon, Some(log.clone()), "--- Startup ---").unwrap();
        to_file.leave_terminal();
        run("echo out; echo err >&2", None, ChildOutput::Log(to_file.clone()));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
        run("echo direct; echo err2 >&2", None, ChildOutput::Inherit(to_file));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("direct\n") && text.contains("err2\n"));
        assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
    }

    #[test]
    fn a_missing_program_is_reported_as_not_started() {
        let program = ChildProgram {
            binary: "/nonexistent/rsync".into(),
            working_dir: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Null,
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let call = CommandLine { args: vec![], stdin: None };
        let end = program.run(&call, &CancelToken::default(), &mut |_| ());
        assert!(
            matches!(end, ProcessExit::NotStarted(error) if error.kind() == io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn both_streams_are_read() {
        let program = shell(ChildOutput::Null);
        let call = CommandLine {
            args: vec![b"-c".to_vec(), b"echo a; echo b >&2; printf c".into()],
            stdin: None,
        };
        let mut lines_read = Vec::new();
        let mut on_line = |stream, line: &[u8]| {
            lines_read.push((stream, String::from_utf8_lossy(line).into_owned()));
        };
        let end = program.run_with_output(
            ChildLimit::Unlimited,
            &call,
            &CancelToken::default(),
            &mut on_line,
        );
        assert!(matches!(end, ProcessExit::Exited(0)), "{end:?}");
        let of = |wanted| {
            lines_read.iter().filter(move |(it, _)| *it == wanted).map(|(_, line)| &**line)
        };
        assert_eq!(of(StdStream::Out).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(of(StdStream::Err).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_child_with_endless_output_can_be_cancelled() {
        for script in ["exec yes noise", "exec yes noise >&2", "yes noise >&2 & exec yes noise"] {
            let cancel = CancelToken::default();
            let asked = cancel.clone();
            let mut lines_read = 0;
            let mut on_line = |_, _: &[u8]| {
                lines_read += 1;
                if lines_read == 100_000 {
                    asked.cancel();
                }
            };
            let call = CommandLine { args: vec![b"-c".to_vec(), script.into()], stdin: None };
            let end = shell(ChildOutput::Null).run_with_output(
                ChildLimit::Unlimited,
                &call,
                &cancel,
                &mut on_line,
            );
            assert!(matches!(end, ProcessExit::Killed(15)), "{script}: {end:?}");
        }
    }

    #[test]
    fn a_resource_shortage_is_retried_until_the_job_is_cancelled() {
        let cancel = CancelToken::default();
        let mut backoff = SpawnBackoff::new(&cancel, ChildLimit::Unlimited);
        let mut left = 3;
        let done = backoff.retry(|| {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(Errno::MFILE.into()) }
        });
        assert_eq!(done.unwrap(), 7);
        let mut tries = 0;
        let stopped = backoff.retry(|| -> io::Result<()> {
            tries += 1;
            if tries == 2 {
                cancel.cancel();
            }
            Err(Errno::AGAIN.into())
        });
        assert_eq!(stopped.unwrap_err().raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
        let mut backoff = SpawnBackoff::new(&cancel, ChildLimit::Unlimited);
        assert!(backoff.retry(|| Err::<(), _>(io::Error::from(Errno::NOENT))).is_err());
        let over = CancelToken::default();
        let mut backoff = SpawnBackoff::new(&over, ChildLimit::Deadline(Instant::now()));
        assert!(backoff.retry(|| Err::<(), _>(io::Error::from(Errno::NOMEM))).is_err());
    }
}
