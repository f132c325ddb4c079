//! A program as a child process: fed, listened to, and waited for by one thread.
//!
//! The child stays in our process group and session, as with the original: ssh may ask on the
//! terminal, and Ctrl-C ends it as well. The standard library gives it an empty signal mask and the
//! default action of SIGPIPE.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, process::ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use mirror_core::{path::Escaped, plan::rsync::Call};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    exec::{
        pipe::{Lines, do_not_block},
        pulse::Pulse,
        stop::Stop,
    },
    report::{self, Log},
};

/// Where that goes which a child writes to stdout and stderr. What it means is read all the same.
#[derive(Clone, Debug)]
pub enum ChildOutput {
    /// To where this log says at that time.
    Log(Log),
    /// Nowhere.
    Null,
}

/// How a child ended.
#[derive(Debug)]
pub enum End {
    /// It returned this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It had done nothing for so long, and was killed.
    Hung(Duration),
    /// It was never started.
    NotStarted(io::Error),
    /// It could not be followed, and was killed.
    Lost(io::Error),
}

impl End {
    /// For people: what happened to this program.
    #[must_use]
    pub fn of(&self, program: &str) -> String {
        match self {
            Self::Exited(code) => format!("{program} ended with code {code}"),
            Self::Killed(signal) => format!("{program} was ended by signal {signal}"),
            Self::Hung(time) => format!(
                "{program} was ended: it had neither read nor sent anything for {} seconds",
                time.as_secs()
            ),
            Self::NotStarted(error) => format!("cannot start {program}: {error}"),
            Self::Lost(error) => format!("cannot follow {program}: {error}"),
        }
    }
}

/// How long a child may run.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// As long as it takes.
    Endless,
    /// Until then.
    Until(Instant),
    /// As long as the rsyncs in it get on. A child in which none is found may take its time.
    Quiet {
        /// How often they are looked at: whenever they should have sent a sign of life, and no more
        /// often.
        every: Duration,
        /// So many looks, one after the other, that show nothing else are too many.
        looks: u32,
    },
}

/// The program, where it works, and where its output goes.
#[derive(Clone, Debug)]
pub struct Program {
    /// Looked up in `PATH` if it has no slash.
    pub binary: OsString,
    /// From here relative paths count. Our own working directory may be another for a moment, while
    /// a configuration is read again.
    pub directory: PathBuf,
    /// Variables that it gets beside ours.
    pub environment: Vec<(OsString, OsString)>,
    /// Where its output goes.
    pub output: ChildOutput,
}

impl Program {
    /// The call for people, each word in brackets.
    #[must_use]
    pub fn line(&self, call: &Call) -> String {
        let mut line = Escaped(self.binary.as_bytes()).to_string();
        for word in &call.args {
            // Writing to a text can't fail.
            let _ = write!(line, " [{}]", Escaped(word));
        }
        line
    }

    /// Runs the program and gives each line of its stderr, without the line feed, to `read`.
    pub fn run(&self, call: &Call, stop: &Stop, read: &mut dyn FnMut(&[u8])) -> End {
        self.run_within(Limit::Endless, call, stop, read)
    }

    /// The same, and kills it if it takes longer.
    pub fn run_within(
        &self,
        limit: Limit,
        call: &Call,
        stop: &Stop,
        read: &mut dyn FnMut(&[u8]),
    ) -> End {
        let (stdout, mut copy) = self.output();
        let stdin = if call.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(call.args.iter().map(|word| OsStr::from_bytes(word)));
        let spawned = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return End::NotStarted(error),
        };
        let feed = call.stdin.as_deref().unwrap_or_default();
        let mut hear = |line: &[u8]| {
            // A full disk under the log is no reason to stop mirroring.
            let _ = copy.write_all(line).and_then(|()| copy.write_all(b"\n"));
            read(line);
        };
        match follow(&mut child, (feed, limit), stop, &mut hear) {
            Ok(end) => end,
            Err(error) => {
                // It fails only when the child has ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                End::Lost(error)
            }
        }
    }

    /// stdout of the child, and where a copy of its stderr goes.
    fn output(&self) -> (Stdio, Box<dyn io::Write>) {
        let nowhere = || (Stdio::null(), Box::new(io::sink()) as Box<dyn io::Write>);
        let ChildOutput::Log(log) = &self.output else { return nowhere() };
        let output = log.child_output();
        let stdout = output.stream();
        match output {
            report::ChildOutput::Inherit => (stdout, Box::new(io::stderr())),
            report::ChildOutput::Append(file) => (stdout, Box::new(file)),
            report::ChildOutput::Null => nowhere(),
        }
    }
}

/// Feeds the child and listens to it until it ends, or has to.
///
/// The end is that of the process, not that of its stderr: an ssh that it leaves in the background
/// keeps that open.
fn follow(
    child: &mut Child,
    (feed, limit): (&[u8], Limit),
    stop: &Stop,
    hear: &mut dyn FnMut(&[u8]),
) -> io::Result<End> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(Errno::SRCH))?;
    let watched = stop.watch(pid)?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let mut stdin = Feed::new(child.stdin.take(), feed)?;
    let mut stderr = Lines::new(child.stderr.take())?;
    let mut until = if let Limit::Until(until) = limit { Some(until) } else { None };
    let mut pulse = match limit {
        Limit::Quiet { every, looks } => Some(Pulse::new(pid, every, looks)),
        Limit::Endless | Limit::Until(_) => None,
    };
    let mut hung = None;
    while !wait_for_news(&ended, &stdin, &stderr, until.or(pulse.as_ref().map(Pulse::next)))? {
        stdin.write();
        stderr.read(hear);
        if until.take_if(|until| *until <= Instant::now()).is_some() {
            child.kill()?;
        }
        if let Some(pulse) = pulse.take_if(Pulse::hangs) {
            pulse.end();
            hung = Some(pulse.most());
        }
    }
    stderr.read(hear);
    stderr.finish(hear);
    drop(watched);
    let status = child.wait()?;
    Ok(match (status.code(), hung) {
        (Some(code), _) => End::Exited(code),
        (None, Some(time)) => End::Hung(time),
        (None, None) => End::Killed(status.signal().unwrap_or_default()),
    })
}

/// Waits until something can be written or read, or it is that time; `true` when the child has
/// ended.
fn wait_for_news(
    ended: &OwnedFd,
    stdin: &Feed<'_>,
    stderr: &Lines<ChildStderr>,
    until: Option<Instant>,
) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(ended, PollFlags::IN)];
    fds.extend(stdin.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    fds.extend(stderr.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
    let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
    match poll(&mut fds, wait.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_some_and(|ended| !ended.revents().is_empty()))
}

/// What the child has yet to be fed. The pipe is closed at the end, or when the child closed it.
struct Feed<'a> {
    pipe: Option<ChildStdin>,
    rest: &'a [u8],
}

impl<'a> Feed<'a> {
    fn new(pipe: Option<ChildStdin>, rest: &'a [u8]) -> io::Result<Self> {
        pipe.iter().try_for_each(do_not_block)?;
        let pipe = pipe.filter(|_| !rest.is_empty());
        Ok(Self { pipe, rest })
    }

    fn write(&mut self) {
        while let Some(pipe) = &mut self.pipe {
            match pipe.write(self.rest) {
                Ok(written) => self.rest = self.rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It does not want the rest: its exit code will tell.
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

    /// Runs `script` with a shell, and gives the end and the lines.
    fn run(script: &str, stdin: Option<Vec<u8>>, output: ChildOutput) -> (End, Vec<String>) {
        let program =
            Program { binary: "sh".into(), directory: "/".into(), environment: Vec::new(), output };
        let call = Call { args: vec![b"-c".to_vec(), script.into()], stdin };
        let mut lines = Vec::new();
        let mut read = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let end = program.run(&call, &Stop::default(), &mut read);
        (end, lines)
    }

    #[test]
    fn stderr_comes_line_by_line_and_the_code_at_the_end() {
        let (end, lines) = run("printf 'a\\nb\\n\\nc' >&2; exit 23", None, ChildOutput::Null);
        assert!(matches!(end, End::Exited(23)), "{end:?}");
        assert_eq!(lines, ["a", "b", "", "c"]);
    }

    #[test]
    fn a_child_that_reads_nothing_blocks_nobody() {
        let text = vec![b'x'; 1 << 20];
        let noise = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                     i=$((i+1)); done >&2";
        let (end, lines) = run(noise, Some(text.clone()), ChildOutput::Null);
        assert!(matches!(end, End::Exited(0)), "{end:?}");
        assert_eq!(lines.len(), 3000);
        let (end, _) = run("exec 0<&-; exit 5", Some(text), ChildOutput::Null);
        assert!(matches!(end, End::Exited(5)), "{end:?}");
    }

    #[test]
    fn a_child_gets_all_of_its_stdin() {
        let (_, lines) = run("wc -c >&2", Some(vec![b'x'; 300_000]), ChildOutput::Null);
        assert_eq!(lines.concat().trim(), "300000");
    }

    #[test]
    fn who_keeps_stderr_open_is_not_waited_for() {
        // The child in the background ends when the write end of its stdin, held here, is closed.
        let (reader, writer) = io::pipe().unwrap();
        let program = Program {
            binary: "sh".into(),
            directory: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Null,
        };
        let script = format!("cat </proc/{}/fd/{} & exit 7", std::process::id(), {
            use std::os::fd::AsRawFd as _;
            reader.as_raw_fd()
        });
        let call = Call { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None };
        let end = program.run(&call, &Stop::default(), &mut |_| ());
        assert!(matches!(end, End::Exited(7)), "{end:?}");
        drop(writer);
    }

    #[test]
    fn a_killed_child_is_no_success() {
        let (end, _) = run("kill -KILL $$", None, ChildOutput::Null);
        assert!(matches!(end, End::Killed(9)), "{end:?}");
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        let program = Program {
            binary: "sh".into(),
            directory: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Null,
        };
        let words = [&b"-c"[..], b"trap '' TERM; exec sleep 600"];
        let call = Call { args: words.map(<[u8]>::to_vec).into(), stdin: None };
        let end =
            program.run_within(Limit::Until(Instant::now()), &call, &Stop::default(), &mut |_| ());
        assert!(matches!(end, End::Killed(9)), "{end:?}");
    }

    /// Runs `script` with a shell that goes by the name of rsync, and is looked at so often.
    fn run_as_rsync(script: &str, every: Duration) -> End {
        let place = tempfile::tempdir().unwrap();
        let rsync = place.path().join("rsync");
        // By another process: what this one has open for writing, a child that some other test starts
        // meanwhile keeps open for a moment, and nobody can run it.
        let copied = Command::new("cp").arg("/bin/sh").arg(&rsync).status();
        assert!(copied.unwrap().success());
        let program = Program {
            binary: "sh".into(),
            directory: "/".into(),
            environment: vec![("RSYNC".into(), rsync.into())],
            output: ChildOutput::Null,
        };
        let script = format!("\"$RSYNC\" -c '{script}'; exit $?");
        let call = Call { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None };
        let limit = Limit::Quiet { every, looks: 4 };
        program.run_within(limit, &call, &Stop::default(), &mut |_| ())
    }

    #[test]
    fn an_rsync_that_hangs_is_killed_with_all_around_it() {
        let every = Duration::from_millis(10);
        let end = run_as_rsync("sleep 600; :", every);
        assert!(matches!(end, End::Hung(it) if it == 4 * every), "{end:?}");
    }

    #[test]
    fn an_rsync_that_gets_on_may_be_silent() {
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exit 7";
        let end = run_as_rsync(busy, Duration::from_millis(1));
        assert!(matches!(end, End::Exited(7)), "{end:?}");
    }

    #[test]
    fn signals_are_as_usual_in_the_child() {
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
    fn output_goes_to_the_end_of_the_file() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        let to_file = Log::default();
        to_file.begin(report::Mode::Daemon, Some(log.clone()), "--- Startup ---").unwrap();
        to_file.leave_terminal();
        run("echo out; echo err >&2", None, ChildOutput::Log(to_file));
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
    }

    #[test]
    fn a_missing_program_is_told() {
        let program = Program {
            binary: "/nonexistent/rsync".into(),
            directory: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Null,
        };
        let call = Call { args: vec![], stdin: None };
        let end = program.run(&call, &Stop::default(), &mut |_| ());
        assert!(matches!(end, End::NotStarted(error) if error.kind() == io::ErrorKind::NotFound));
    }
}
