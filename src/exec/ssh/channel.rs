//! One shell on another machine, by way of one ssh that stays: it is asked by lines, and answers
//! each with a line.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, Write as _},
    os::unix::ffi::OsStringExt,
    process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use mirror_core::{path::Escaped, plan::shell::quoted};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::exec::process::{
    cancel::Stop,
    pipe::{Lines, do_not_block},
};

/// What the shell is told first.
const PROLOGUE: &str = include_str!("channel.sh");

/// How long an answer may take. A rename is quick, but where the target consists of several file
/// systems it is a copy.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a login may take.
const LOGIN: Duration = Duration::from_secs(30);

/// How long ssh may take to end when it is told to.
const FAREWELL: Duration = Duration::from_millis(500);

/// How often it is looked whether the job is to end.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How many questions may be without an answer. Their answers fit into every pipe on the way, so
/// that neither side waits for ever for the other to read.
const WINDOW: usize = 64;

/// Which program reaches which machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    /// ssh and its words.
    pub(super) command: Vec<OsString>,
    /// As ssh takes it. It does not begin with `-`.
    pub(super) host: OsString,
}

impl Route {
    /// The way of `command` to a host as rsync takes it. `None` if no ssh takes that for a host.
    pub(super) fn new(command: Vec<Vec<u8>>, host: &[u8]) -> Option<Self> {
        // rsync takes an address in brackets, ssh one without.
        let (user, name) = match host.iter().rposition(|&byte| byte == b'@') {
            Some(at) => host.split_at_checked(at + 1)?,
            None => (&b""[..], host),
        };
        let name = name.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]")).unwrap_or(name);
        let host = [user, name].concat();
        if host.is_empty() || host.starts_with(b"-") {
            return None;
        }
        let command = command.into_iter().map(OsString::from_vec).collect();
        Some(Self { command, host: OsString::from_vec(host) })
    }
}

/// One rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is expected there.
    pub kind: StepKind,
    /// The name there, a path below the target.
    pub from: Vec<u8>,
    /// The name that it gets.
    pub to: Vec<u8>,
}

/// What is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A directory, to a name that is free.
    Directory,
    /// Anything else, to a name that is no directory's.
    Other,
    /// Two things that change places.
    Swap,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whether it was made. If not, it makes no sense there.
    pub renamed: bool,
    /// How many components the first directory has that was made for it.
    pub made: Option<usize>,
}

/// The name by which another shell of ours can take away from this one the right to act: a file
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token(Vec<u8>);

/// Why there is no channel.
#[derive(Debug)]
pub(super) enum NoChannel {
    /// ssh could not be started, or says that it did not get there.
    Away {
        /// For people.
        why: String,
        /// With what ssh ended, if it was not killed.
        code: Option<i32>,
    },
    /// There is no shell for us.
    NoShell {
        /// For people.
        why: String,
        /// With what ssh ended.
        code: i32,
    },
}

/// Why a channel is of no more use.
#[derive(Debug)]
pub(super) enum Broken {
    /// It ended, or says nothing any more; what was asked may still be done, or not.
    Lost(String),
    /// Its token was taken away: what was not answered before is not done.
    Fenced,
}

/// One shell on another machine.
#[derive(Debug)]
pub(super) struct Channel {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<ChildStdout>,
    stderr: Lines<ChildStderr>,
    /// What is still to be written.
    out: VecDeque<u8>,
    /// What was heard and is still to be looked at.
    heard: VecDeque<Vec<u8>>,
    /// The last line that ssh said.
    said: Vec<u8>,
    number: u64,
    token: Token,
}

impl Channel {
    /// Opens one. What was asked of the channel with the token `fence` is not done from now on.
    pub(super) fn open(
        route: &Route,
        fence: Option<&Token>,
        stop: &Stop,
    ) -> Result<Self, NoChannel> {
        let mut channel = Self::start(route).map_err(|error| {
            let program = route.command.first().cloned().unwrap_or_default();
            let why = format!("{}: {error}", Escaped(program.as_encoded_bytes()));
            NoChannel::Away { why, code: None }
        })?;
        let numbers = [process::id(), channel.child.id()].map(u64::from);
        let fence = fence.map(|token| quoted(&token.0)).unwrap_or_default();
        channel.say(PROLOGUE.as_bytes());
        channel.say(format!("hello {} {} ", numbers[0], numbers[1]).as_bytes());
        channel.say(&fence);
        channel.say(b"\n");
        let greeting = format!("lsyncd {} ", numbers[0] + numbers[1]);
        let patience = Instant::now() + LOGIN;
        loop {
            if let Some(line) = channel.heard.pop_front() {
                // What the machine tells whoever logs in comes before.
                if let Some(token) = line.strip_prefix(greeting.as_bytes()) {
                    channel.token = Token(token.to_vec());
                    return Ok(channel);
                }
            } else if let Err(why) = channel.listen(patience, stop) {
                return Err(channel.was_refused(why));
            }
        }
    }

    fn start(route: &Route) -> io::Result<Self> {
        let (program, words) = route.command.split_first().ok_or(Errno::NOENT)?;
        let mut child = Command::new(program)
            .args(words)
            .arg(&route.host)
            .arg("exec sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        stdin.iter().try_for_each(do_not_block)?;
        Ok(Self {
            stdin,
            stdout: Lines::new(child.stdout.take())?,
            stderr: Lines::new(child.stderr.take())?,
            child,
            out: VecDeque::new(),
            heard: VecDeque::new(),
            said: Vec::new(),
            number: 0,
            token: Token(Vec::new()),
        })
    }

    /// The name by which the next channel keeps this one from acting.
    pub(super) const fn token(&self) -> &Token {
        &self.token
    }

    /// Whether it ended by itself. Nothing that it was asked is unanswered then.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Makes these steps below `directory`, one after the other.
    pub(super) fn carry_out(
        &mut self,
        directory: &[u8],
        steps: &[Step],
        stop: &Stop,
    ) -> Result<Vec<Done>, Broken> {
        let first = self.number + 1;
        self.ask(b"enter", &[&rooted(directory)]);
        let mut left = steps.iter();
        let mut done = Vec::with_capacity(steps.len());
        let mut answered = 0;
        let mut patience = Instant::now() + PATIENCE;
        while answered <= steps.len() {
            while self.unanswered(first, answered) < WINDOW
                && let Some(step) = left.next()
            {
                self.ask(b"step", &[step.kind.word(), &step.from, &step.to]);
            }
            let Some(line) = self.heard.pop_front() else {
                self.listen(patience, stop).map_err(Broken::Lost)?;
                continue;
            };
            let (number, status, made) = answer(&line).ok_or_else(|| odd(&line))?;
            if number != first + answered as u64 {
                return Err(odd(&line));
            }
            if status == 9 {
                return Err(Broken::Fenced);
            }
            if answered > 0 {
                let made = usize::try_from(made).ok().filter(|&made| made > 0);
                done.push(Done { renamed: status == 0, made });
            }
            answered += 1;
            patience = Instant::now() + PATIENCE;
        }
        Ok(done)
    }

    fn unanswered(&self, first: u64, answered: usize) -> usize {
        let asked = usize::try_from(self.number + 1 - first).unwrap_or(usize::MAX);
        asked.saturating_sub(answered)
    }

    fn ask(&mut self, what: &[u8], words: &[&[u8]]) {
        self.number += 1;
        self.say(what);
        self.say(format!(" {}", self.number).as_bytes());
        for word in words {
            self.say(b" ");
            self.say(&quoted(word));
        }
        self.say(b"\n");
    }

    fn say(&mut self, text: &[u8]) {
        self.out.extend(text);
    }

    /// Writes what can be written and reads what is there, and waits for either.
    fn listen(&mut self, patience: Instant, stop: &Stop) -> Result<(), String> {
        if stop.is_asked() {
            return Err("the job was stopped".into());
        }
        if Instant::now() >= patience {
            return Err("it says nothing".into());
        }
        self.wait().map_err(|error| format!("cannot wait: {error}"))?;
        self.write();
        self.hear();
        match self.stdout.pipe() {
            None if self.heard.is_empty() => Err("it ended".into()),
            _ => Ok(()),
        }
    }

    fn hear(&mut self) {
        let Self { stdout, stderr, heard, said, .. } = self;
        stdout.read(&mut |_| (), &mut |line| heard.push_back(line.to_vec()));
        stderr.read(&mut |_| (), &mut |line| line.clone_into(said));
    }

    fn wait(&self) -> io::Result<()> {
        let stdin = self.stdin.as_ref().filter(|_| !self.out.is_empty());
        let stdin = stdin.map(|pipe| PollFd::new(pipe, PollFlags::OUT));
        let stdout = self.stdout.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let stderr = self.stderr.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let mut fds: Vec<_> = stdin.into_iter().chain(stdout).chain(stderr).collect();
        match poll(&mut fds, Some(&GLANCE)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self) {
        while let Some(stdin) = &mut self.stdin
            && !self.out.is_empty()
        {
            match stdin.write(self.out.as_slices().0) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The end of its output tells the rest.
                Err(_) => self.stdin = None,
            }
        }
    }

    /// What to make of it that it never greeted.
    fn was_refused(mut self, why: String) -> NoChannel {
        let status = self.end(FAREWELL);
        self.hear();
        let said = (!self.said.is_empty()).then(|| Escaped(&self.said).to_string());
        // `ssh(1)`: 255 is its own, all else comes from the other side.
        match status.and_then(|status| status.code()) {
            code @ (None | Some(255)) => NoChannel::Away { why: said.unwrap_or(why), code },
            Some(code) => {
                let why = said.unwrap_or_else(|| format!("it ended with code {code}"));
                NoChannel::NoShell { why, code }
            }
        }
    }

    /// Ends ssh, by the end of its input if it listens for so long. `None` if it had to be killed.
    pub(super) fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.stdin = None;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Err(_) => break,
            }
        }
        // It fails only when the child has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let _ = self.end(FAREWELL);
    }
}

impl StepKind {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Directory => b"directory",
            Self::Other => b"other",
            Self::Swap => b"swap",
        }
    }
}

/// A directory as `cd` takes it: not as an option, nor as the directory before.
fn rooted(directory: &[u8]) -> Vec<u8> {
    if directory.starts_with(b"/") { directory.to_vec() } else { [b"./", directory].concat() }
}

/// The numbers of an answer.
fn answer(line: &[u8]) -> Option<(u64, u64, u64)> {
    let mut numbers = str::from_utf8(line).ok()?.split(' ').map(str::parse);
    let answer = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    numbers.next().is_none().then_some(answer)
}

fn odd(line: &[u8]) -> Broken {
    Broken::Lost(format!("it answered \"{}\"", Escaped(line)))
}
