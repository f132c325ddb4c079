//! A program as a child process: fed, listened to, and waited for by one thread.
//!
//! The child stays in our process group and session, as with the original: ssh may ask on the
//! terminal, and Ctrl-C ends it as well. The standard library gives it an empty signal mask and the
//! default action of SIGPIPE.

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
    thread,
    time::{Duration, Instant},
};

use mirror_core::{path::Escaped, plan::rsync::Call};
use mirror_platform::child::end_with_thread;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};

pub use crate::report::Stream;
use crate::{
    exec::process::{
        cancel::Stop,
        pipe::{Lines, do_not_block},
        stall::{Pulse, end_all},
    },
    report::{self, Category, Log},
};

/// Where that goes which a child writes to stdout and stderr. What it means is read all the same.
#[derive(Clone, Debug)]
pub enum ChildOutput {
    /// To where this log says at that time, by way of us: whoever reads it does not hold up the child.
    Log(Log),
    /// To the same place, with stdout as it is, so that what the child leaves in the background can go
    /// on writing there.
    Inherit(Log),
    /// Nowhere.
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

/// How a child ended.
#[derive(Debug)]
pub enum End {
    /// It returned this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It had done nothing for so long, and was killed.
    Hung(Duration),
    /// It said that which means that it never ends, and was killed.
    Doomed,
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
            Self::Doomed => format!("{program} was ended: it would have waited for ever"),
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
    /// What it gets when this process is gone, however that came about.
    pub at_our_end: Signal,
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
        let of_stderr = &mut |stream, line: &[u8]| {
            if stream == Stream::Err {
                read(line);
            }
        };
        self.listen(limit, call, stop, of_stderr)
    }

    /// The same, and gives the lines of both streams to `hear`.
    ///
    /// The calling thread must not end before the child does, which would be the end of the child,
    /// too; so the child ends also if this process is killed.
    pub fn listen(
        &self,
        limit: Limit,
        call: &Call,
        stop: &Stop,
        hear: &mut dyn FnMut(Stream, &[u8]),
    ) -> End {
        let mut hear = |stream, line: &[u8]| {
            hear(stream, line);
            true
        };
        let doom = Cell::new(None);
        let ears = Ears { log: self.output.log(), hear: &mut hear, picks: false, doom: &doom };
        self.run_with(limit, call, stop, ears)
    }

    /// The same. Of stdout, where we want to know what is said there, only those lines go to the log
    /// for which `hear` says so. It may set the time of its `doom`, at which the child is ended with
    /// all that it has started.
    pub fn listen_and_judge(
        &self,
        (limit, doom): (Limit, &Cell<Option<Instant>>),
        call: &Call,
        stop: &Stop,
        hear: &mut dyn FnMut(Stream, &[u8]) -> bool,
    ) -> End {
        self.run_with(
            limit,
            call,
            stop,
            Ears { log: self.output.log(), hear, picks: call.counts(), doom },
        )
    }

    fn run_with(&self, limit: Limit, call: &Call, stop: &Stop, mut ears: Ears<'_>) -> End {
        let mut child = match self.spawn(call, limit, stop) {
            Ok(child) => child,
            Err(error) => return End::NotStarted(error),
        };
        let feed = call.stdin.as_deref().unwrap_or_default();
        match follow(&mut child, (feed, limit), stop, &mut ears) {
            Ok(end) => end,
            Err(error) => {
                // It fails only when the child has ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                End::Lost(error)
            }
        }
    }

    /// Starts it, as soon as there are a process and descriptors for it.
    fn spawn(&self, call: &Call, limit: Limit, stop: &Stop) -> io::Result<Child> {
        let mut turn = Turn::new(stop, limit);
        loop {
            let error = match self.try_spawn(call) {
                Ok(child) => return Ok(child),
                Err(error) => error,
            };
            if !turn.wait_after(&error) {
                return Err(error);
            }
            if let Some(log) = self.output.log().filter(|_| turn.is_first()) {
                let name = Escaped(self.binary.as_bytes());
                let text = format_args!("cannot start {name} yet: {error}; it waits for its turn");
                log.say(Category::Warn, text);
            }
        }
    }

    fn try_spawn(&self, call: &Call) -> io::Result<Child> {
        let stdout = match &self.output {
            ChildOutput::Null | ChildOutput::Log(_) => Stdio::piped(),
            ChildOutput::Inherit(log) => match log.child_output() {
                report::ChildOutput::Pass => Stdio::piped(),
                output => output.stream(),
            },
        };
        let stdin = if call.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(call.args.iter().map(|word| OsStr::from_bytes(word)));
        end_with_thread(&mut command, self.at_our_end);
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn()
    }
}

/// Whether this says that there is too little of something at the moment: processes, descriptors,
/// memory.
fn is_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Waits for what there is too little of: others have it, and give it back when they are done.
#[derive(Debug)]
pub(in crate::exec) struct Turn<'a> {
    stop: &'a Stop,
    until: Option<Instant>,
    tries: u32,
}

impl<'a> Turn<'a> {
    /// The first of these times; each further one is twice as long.
    const FIRST: Duration = Duration::from_millis(20);

    /// So often it is doubled: up to a good second.
    const MOST_DOUBLED: u32 = 6;

    pub(in crate::exec) const fn new(stop: &'a Stop, limit: Limit) -> Self {
        let until = if let Limit::Until(until) = limit { Some(until) } else { None };
        Self { stop, until, tries: 0 }
    }

    /// Waits a while after this failure. `false` if it makes no sense to try again.
    pub(in crate::exec) fn wait_after(&mut self, error: &io::Error) -> bool {
        let is_over = self.until.is_some_and(|until| until <= Instant::now());
        if !is_shortage(error) || is_over || self.stop.is_asked() {
            return false;
        }
        thread::sleep(Self::FIRST * 2_u32.pow(self.tries.min(Self::MOST_DOUBLED)));
        self.tries += 1;
        !self.stop.is_asked()
    }

    /// Whether it has waited once, so that somebody should be told.
    pub(in crate::exec) const fn is_first(&self) -> bool {
        self.tries == 1
    }

    /// Does it as soon as there is enough for it.
    fn take<T>(&mut self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(error) if self.wait_after(&error) => {}
                done => return done,
            }
        }
    }
}

/// Who listens to a child.
struct Ears<'a> {
    /// Where a copy of all goes.
    log: Option<&'a Log>,
    /// Gets each line, without the line feed.
    hear: &'a mut dyn FnMut(Stream, &[u8]) -> bool,
    /// Whether it says of each line of stdout whether the log gets it. Otherwise all of stdout goes
    /// there, as it comes.
    picks: bool,
    /// When the child is to be ended, whatever it does.
    doom: &'a Cell<Option<Instant>>,
}

impl Ears<'_> {
    /// Takes in what there is.
    fn listen(&mut self, stdout: &mut Lines<ChildStdout>, stderr: &mut Lines<ChildStderr>) {
        let Self { log, hear, picks, .. } = self;
        let pass = |stream, text: &[u8]| {
            if let Some(log) = log.filter(|_| !text.is_empty()) {
                log.pass(stream, text);
            }
        };
        let mut picked = Vec::new();
        let mut of_stdout = |line: &[u8]| {
            if hear(Stream::Out, line) && *picks {
                picked.extend_from_slice(line);
                picked.push(b'\n');
            }
        };
        let raw = |bytes: &[u8]| {
            if !*picks {
                pass(Stream::Out, bytes);
            }
        };
        stdout.read(&mut { raw }, &mut of_stdout);
        pass(Stream::Out, &picked);
        let mut copy = Vec::new();
        let mut of_stderr = |line: &[u8]| {
            // Whole lines, so that those of several children do not mix.
            copy.extend_from_slice(line);
            copy.push(b'\n');
            hear(Stream::Err, line);
        };
        stderr.read(&mut |_| (), &mut of_stderr);
        pass(Stream::Err, &copy);
    }

    /// Takes in what is behind the last line feeds.
    fn finish(&mut self, stdout: &mut Lines<ChildStdout>, stderr: &mut Lines<ChildStderr>) {
        let Self { log, hear, picks, .. } = self;
        stdout.finish(&mut |line| {
            if hear(Stream::Out, line)
                && *picks
                && let Some(log) = log
            {
                log.pass(Stream::Out, &[line, b"\n"].concat());
            }
        });
        stderr.finish(&mut |line| {
            if let Some(log) = log {
                log.pass(Stream::Err, &[line, b"\n"].concat());
            }
            hear(Stream::Err, line);
        });
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
    ears: &mut Ears<'_>,
) -> io::Result<End> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(Errno::SRCH))?;
    let mut turn = Turn::new(stop, limit);
    let watched = turn.take(|| stop.watch(pid))?;
    let ended = turn.take(|| Ok(pidfd_open(pid, PidfdFlags::empty())?))?;
    let mut stdin = Feed::new(child.stdin.take(), feed)?;
    let mut stdout = Lines::new(child.stdout.take())?;
    let mut stderr = Lines::new(child.stderr.take())?;
    let mut until = if let Limit::Until(until) = limit { Some(until) } else { None };
    let mut pulse = match limit {
        Limit::Quiet { every, looks } => Some(Pulse::new(pid, every, looks)),
        Limit::Endless | Limit::Until(_) => None,
    };
    let (mut hung, mut is_doomed) = (None, false);
    loop {
        let doom = ears.doom.get().filter(|_| !is_doomed);
        let next = until.or(pulse.as_ref().map(Pulse::next)).into_iter().chain(doom).min();
        if wait_for_news(&ended, &stdin, (&stdout, &stderr), next)? {
            break;
        }
        stdin.write();
        ears.listen(&mut stdout, &mut stderr);
        if until.take_if(|until| *until <= Instant::now()).is_some() {
            child.kill()?;
        }
        if let Some(pulse) = pulse.take_if(Pulse::hangs) {
            end_all(pid);
            hung = Some(pulse.most());
        }
        let waits = pulse.as_mut().is_some_and(Pulse::waits_for_writer);
        // What it has said since may be another one.
        let is_time = ears.doom.get().is_some_and(|doom| doom <= Instant::now());
        if !is_doomed && (waits || is_time) {
            end_all(pid);
            is_doomed = true;
        }
    }
    ears.listen(&mut stdout, &mut stderr);
    ears.finish(&mut stdout, &mut stderr);
    drop(watched);
    let status = child.wait()?;
    Ok(match (status.code(), hung) {
        (Some(code), _) => End::Exited(code),
        (None, _) if is_doomed => End::Doomed,
        (None, Some(time)) => End::Hung(time),
        (None, None) => End::Killed(status.signal().unwrap_or_default()),
    })
}

/// Waits until something can be written or read, or it is that time; `true` when the child has
/// ended.
fn wait_for_news(
    ended: &OwnedFd,
    stdin: &Feed<'_>,
    (stdout, stderr): (&Lines<ChildStdout>, &Lines<ChildStderr>),
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

    fn shell(output: ChildOutput) -> Program {
        Program {
            binary: "sh".into(),
            directory: "/".into(),
            environment: Vec::new(),
            output,
            at_our_end: Signal::TERM,
        }
    }

    /// Runs `script` with a shell, and gives the end and the lines.
    fn run(script: &str, stdin: Option<Vec<u8>>, output: ChildOutput) -> (End, Vec<String>) {
        let program = shell(output);
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
    fn one_that_is_doomed_is_ended_with_all_that_it_has_started() {
        let program = shell(ChildOutput::Null);
        let script = b"echo alas >&2; sleep 600 & echo $!; wait; true";
        let call = Call { args: vec![b"-c".to_vec(), script.to_vec()], stdin: None };
        let (doom, mut child) = (Cell::new(None), None);
        let mut hear = |stream, line: &[u8]| {
            if stream == Stream::Out {
                child = std::str::from_utf8(line).ok().and_then(|it| it.parse::<i32>().ok());
                doom.set(Some(Instant::now()));
            }
            true
        };
        let stop = Stop::default();
        let limit = (Limit::Endless, &doom);
        let end = program.listen_and_judge(limit, &call, &stop, &mut hear);
        assert!(matches!(end, End::Doomed), "{end:?}");
        // Whoever gets its orphans may not have waited for it yet.
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.unwrap()));
        while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
            thread::yield_now();
        }
    }

    #[test]
    fn of_stdout_goes_on_what_is_wanted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let log = Log::default();
        log.begin(report::Mode::Daemon, Some(path.clone()), "--- Startup ---").unwrap();
        log.leave_terminal();
        let program = Program {
            binary: "sh".into(),
            directory: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Log(log),
            at_our_end: Signal::TERM,
        };
        let script = b"echo one; echo two >&2; printf three";
        let call =
            Call { args: vec![b"-c".to_vec(), script.to_vec(), b"-n".to_vec()], stdin: None };
        let mut lines = Vec::new();
        let mut hear = |stream, line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            lines.push(format!("{stream:?} {text}"));
            line != b"one"
        };
        let (doom, stop) = (Cell::new(None), Stop::default());
        let limit = (Limit::Endless, &doom);
        let end = program.listen_and_judge(limit, &call, &stop, &mut hear);
        assert!(matches!(end, End::Exited(0)), "{end:?}");
        lines.sort();
        assert_eq!(lines, ["Err two", "Out one", "Out three"]);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("two\n") && text.contains("three\n"), "{text}");
        assert!(!text.contains("one\n"), "{text}");
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
        let program = shell(ChildOutput::Null);
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
        let program = shell(ChildOutput::Null);
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
            at_our_end: Signal::TERM,
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
        run("echo out; echo err >&2", None, ChildOutput::Log(to_file.clone()));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
        run("echo direct; echo err2 >&2", None, ChildOutput::Inherit(to_file));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("direct\n") && text.contains("err2\n"));
        assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
    }

    #[test]
    fn a_missing_program_is_told() {
        let program = Program {
            binary: "/nonexistent/rsync".into(),
            directory: "/".into(),
            environment: Vec::new(),
            output: ChildOutput::Null,
            at_our_end: Signal::TERM,
        };
        let call = Call { args: vec![], stdin: None };
        let end = program.run(&call, &Stop::default(), &mut |_| ());
        assert!(matches!(end, End::NotStarted(error) if error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn both_streams_are_heard() {
        let program = shell(ChildOutput::Null);
        let call = Call {
            args: vec![b"-c".to_vec(), b"echo a; echo b >&2; printf c".into()],
            stdin: None,
        };
        let mut heard = Vec::new();
        let mut hear =
            |stream, line: &[u8]| heard.push((stream, String::from_utf8_lossy(line).into_owned()));
        let end = program.listen(Limit::Endless, &call, &Stop::default(), &mut hear);
        assert!(matches!(end, End::Exited(0)), "{end:?}");
        let of =
            |wanted| heard.iter().filter(move |(it, _)| *it == wanted).map(|(_, line)| &**line);
        assert_eq!(of(Stream::Out).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(of(Stream::Err).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_child_that_writes_without_end_can_be_ended() {
        for script in ["exec yes noise", "exec yes noise >&2", "yes noise >&2 & exec yes noise"] {
            let stop = Stop::default();
            let asked = stop.clone();
            let mut heard = 0;
            let mut hear = |_, _: &[u8]| {
                heard += 1;
                if heard == 100_000 {
                    asked.ask();
                }
            };
            let call = Call { args: vec![b"-c".to_vec(), script.into()], stdin: None };
            let end = shell(ChildOutput::Null).listen(Limit::Endless, &call, &stop, &mut hear);
            assert!(matches!(end, End::Killed(15)), "{script}: {end:?}");
        }
    }

    #[test]
    fn who_waits_for_a_process_or_a_descriptor_gets_it_or_is_stopped() {
        let stop = Stop::default();
        let mut turn = Turn::new(&stop, Limit::Endless);
        let mut left = 3;
        let done = turn.take(|| {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(Errno::MFILE.into()) }
        });
        assert_eq!(done.unwrap(), 7);
        let mut tries = 0;
        let stopped = turn.take(|| -> io::Result<()> {
            tries += 1;
            if tries == 2 {
                stop.ask();
            }
            Err(Errno::AGAIN.into())
        });
        assert_eq!(stopped.unwrap_err().raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
        let mut turn = Turn::new(&stop, Limit::Endless);
        assert!(turn.take(|| Err::<(), _>(io::Error::from(Errno::NOENT))).is_err());
        let over = Stop::default();
        let mut turn = Turn::new(&over, Limit::Until(Instant::now()));
        assert!(turn.take(|| Err::<(), _>(io::Error::from(Errno::NOMEM))).is_err());
    }
}
