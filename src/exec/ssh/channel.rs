//! A persistent shell on another machine, over one ssh. Requests and replies are one line each.

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
    cancel::CancelToken,
    pipe::{LineReader, set_nonblocking},
};

/// Script that defines the requests, sent first.
const PROLOGUE: &str = include_str!("channel.sh");

/// Timeout of a reply. A rename is fast, but it is a copy where the target spans several file
/// systems.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

/// Timeout of a login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Grace period of ssh between the end of its input and SIGKILL.
const KILL_AFTER: Duration = Duration::from_millis(500);

/// Interval of the check for cancellation.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Limit on unanswered requests. Their replies fit into every pipe on the way, so that no side
/// blocks for ever on a write that the other does not read.
const MAX_UNANSWERED: usize = 64;

/// The ssh command and the host that it connects to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SshRoute {
    /// ssh and its arguments.
    pub(super) command: Vec<OsString>,
    /// The host in ssh's notation. It does not begin with `-`.
    pub(super) host: OsString,
}

impl SshRoute {
    /// Creates a route from `command` and a host in rsync's notation. `None` if ssh would not take
    /// it for a host.
    pub(super) fn new(command: Vec<Vec<u8>>, host: &[u8]) -> Option<Self> {
        // rsync takes an IPv6 address in brackets, ssh one without.
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

/// A rename at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::exec) struct RemoteRename {
    /// Expected file type.
    pub kind: RemoteRenameKind,
    /// The old name, a path below the target.
    pub from: Vec<u8>,
    /// The new name.
    pub to: Vec<u8>,
}

/// File type of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exec) enum RemoteRenameKind {
    /// A directory, renamed to a free name.
    Directory,
    /// Anything else, renamed to a name that is not a directory.
    Other,
    /// Two files that exchange their names.
    Swap,
}

/// Result of a rename at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exec) struct RenameResult {
    /// True if the rename was made. If false, it does not apply there.
    pub renamed: bool,
    /// Number of path components of the first directory that was created for the rename.
    pub created_depth: Option<usize>,
}

/// Fencing token of a channel: a file on the remote machine. A later channel deletes it, and the
/// earlier one does nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FenceToken(Vec<u8>);

/// Reason for which a channel could not be opened.
#[derive(Debug)]
pub(super) enum ChannelOpenError {
    /// ssh could not be started, or reports that the host is unreachable.
    Away {
        /// Reason for the log.
        why: String,
        /// Exit code of ssh, if it was not killed.
        code: Option<i32>,
    },
    /// The remote side offers no shell.
    NoShell {
        /// Reason for the log.
        why: String,
        /// Exit code of ssh.
        code: i32,
    },
}

/// Reason for which a channel is unusable.
#[derive(Debug)]
pub(super) enum ChannelBroken {
    /// It ended, or does not reply any more. Pending requests may still be carried out.
    Lost(String),
    /// Its token was deleted. Unanswered requests are not carried out.
    Fenced,
}

/// An open connection to a shell on another machine.
#[derive(Debug)]
pub(super) struct ShellChannel {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: LineReader<ChildStdout>,
    stderr: LineReader<ChildStderr>,
    /// Bytes not written yet.
    outgoing: VecDeque<u8>,
    /// Lines received and not processed yet.
    replies: VecDeque<Vec<u8>>,
    /// The last line of ssh's stderr.
    last_stderr: Vec<u8>,
    number: u64,
    token: FenceToken,
}

impl ShellChannel {
    /// Opens a channel. From then on, requests to the channel with the token `fence` are not
    /// carried out.
    pub(super) fn open(
        route: &SshRoute,
        fence: Option<&FenceToken>,
        cancel: &CancelToken,
    ) -> Result<Self, ChannelOpenError> {
        let mut channel = Self::start(route).map_err(|error| {
            let program = route.command.first().cloned().unwrap_or_default();
            let why = format!("{}: {error}", Escaped(program.as_encoded_bytes()));
            ChannelOpenError::Away { why, code: None }
        })?;
        let numbers = [process::id(), channel.child.id()].map(u64::from);
        let fence = fence.map(|token| quoted(&token.0)).unwrap_or_default();
        channel.queue(PROLOGUE.as_bytes());
        channel.queue(format!("hello {} {} ", numbers[0], numbers[1]).as_bytes());
        channel.queue(&fence);
        channel.queue(b"\n");
        let greeting = format!("lsyncd {} ", numbers[0] + numbers[1]);
        let deadline = Instant::now() + LOGIN_TIMEOUT;
        loop {
            if let Some(line) = channel.replies.pop_front() {
                // Login banners precede the greeting.
                if let Some(token) = line.strip_prefix(greeting.as_bytes()) {
                    channel.token = FenceToken(token.to_vec());
                    return Ok(channel);
                }
            } else if let Err(why) = channel.exchange(deadline, cancel) {
                return Err(channel.into_open_error(why));
            }
        }
    }

    fn start(route: &SshRoute) -> io::Result<Self> {
        let (program, args) = route.command.split_first().ok_or(Errno::NOENT)?;
        let mut child = Command::new(program)
            .args(args)
            .arg(&route.host)
            .arg("exec sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        stdin.iter().try_for_each(set_nonblocking)?;
        Ok(Self {
            stdin,
            stdout: LineReader::new(child.stdout.take())?,
            stderr: LineReader::new(child.stderr.take())?,
            child,
            outgoing: VecDeque::new(),
            replies: VecDeque::new(),
            last_stderr: Vec::new(),
            number: 0,
            token: FenceToken(Vec::new()),
        })
    }

    /// Returns the token with which the next channel fences this one off.
    pub(super) const fn token(&self) -> &FenceToken {
        &self.token
    }

    /// Returns true if the channel ended by itself. No request is unanswered then.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Makes these renames below `directory`, one after the other.
    pub(super) fn rename(
        &mut self,
        directory: &[u8],
        renames: &[RemoteRename],
        cancel: &CancelToken,
    ) -> Result<Vec<RenameResult>, ChannelBroken> {
        let first = self.number + 1;
        self.send_request(b"enter", &[&cd_operand(directory)]);
        let mut left = renames.iter();
        let mut done = Vec::with_capacity(renames.len());
        let mut answered = 0;
        let mut deadline = Instant::now() + REPLY_TIMEOUT;
        while answered <= renames.len() {
            while self.unanswered(first, answered) < MAX_UNANSWERED
                && let Some(rename) = left.next()
            {
                self.send_request(b"step", &[rename.kind.keyword(), &rename.from, &rename.to]);
            }
            let Some(line) = self.replies.pop_front() else {
                self.exchange(deadline, cancel).map_err(ChannelBroken::Lost)?;
                continue;
            };
            let (number, status, created_depth) =
                parse_reply(&line).ok_or_else(|| unexpected_reply(&line))?;
            if number != first + answered as u64 {
                return Err(unexpected_reply(&line));
            }
            if status == 9 {
                return Err(ChannelBroken::Fenced);
            }
            if answered > 0 {
                let created_depth =
                    usize::try_from(created_depth).ok().filter(|&created_depth| created_depth > 0);
                done.push(RenameResult { renamed: status == 0, created_depth });
            }
            answered += 1;
            deadline = Instant::now() + REPLY_TIMEOUT;
        }
        Ok(done)
    }

    fn unanswered(&self, first: u64, answered: usize) -> usize {
        let asked = usize::try_from(self.number + 1 - first).unwrap_or(usize::MAX);
        asked.saturating_sub(answered)
    }

    fn send_request(&mut self, command: &[u8], args: &[&[u8]]) {
        self.number += 1;
        self.queue(command);
        self.queue(format!(" {}", self.number).as_bytes());
        for arg in args {
            self.queue(b" ");
            self.queue(&quoted(arg));
        }
        self.queue(b"\n");
    }

    fn queue(&mut self, text: &[u8]) {
        self.outgoing.extend(text);
    }

    /// Writes and reads what is possible now, and waits for either.
    fn exchange(&mut self, deadline: Instant, cancel: &CancelToken) -> Result<(), String> {
        if cancel.is_cancelled() {
            return Err("the job was stopped".into());
        }
        if Instant::now() >= deadline {
            return Err("it does not respond".into());
        }
        self.wait().map_err(|error| format!("cannot wait: {error}"))?;
        self.write();
        self.read();
        match self.stdout.pipe() {
            None if self.replies.is_empty() => Err("it exited".into()),
            _ => Ok(()),
        }
    }

    fn read(&mut self) {
        let Self { stdout, stderr, replies, last_stderr, .. } = self;
        stdout.read(&mut |_| (), &mut |line| replies.push_back(line.to_vec()));
        stderr.read(&mut |_| (), &mut |line| line.clone_into(last_stderr));
    }

    fn wait(&self) -> io::Result<()> {
        let stdin = self.stdin.as_ref().filter(|_| !self.outgoing.is_empty());
        let stdin = stdin.map(|pipe| PollFd::new(pipe, PollFlags::OUT));
        let stdout = self.stdout.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let stderr = self.stderr.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let mut fds: Vec<_> = stdin.into_iter().chain(stdout).chain(stderr).collect();
        match poll(&mut fds, Some(&POLL_INTERVAL)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self) {
        while let Some(stdin) = &mut self.stdin
            && !self.outgoing.is_empty()
        {
            match stdin.write(self.outgoing.as_slices().0) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The end of its output reports the failure.
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Classifies the failure of a channel that sent no greeting.
    fn into_open_error(mut self, why: String) -> ChannelOpenError {
        let status = self.close(KILL_AFTER);
        self.read();
        let stderr = (!self.last_stderr.is_empty()).then(|| Escaped(&self.last_stderr).to_string());
        // `ssh(1)`: 255 is ssh's own code, any other is that of the remote command.
        match status.and_then(|status| status.code()) {
            code @ (None | Some(255)) => {
                ChannelOpenError::Away { why: stderr.unwrap_or(why), code }
            }
            Some(code) => {
                let why = stderr.unwrap_or_else(|| format!("it exited with code {code}"));
                ChannelOpenError::NoShell { why, code }
            }
        }
    }

    /// Ends ssh by closing its input, and kills it after this time. `None` if it was killed.
    pub(super) fn close(&mut self, timeout: Duration) -> Option<ExitStatus> {
        self.stdin = None;
        let until = Instant::now() + timeout;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Err(_) => break,
            }
        }
        // Fails only if the child has exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for ShellChannel {
    fn drop(&mut self) {
        let _ = self.close(KILL_AFTER);
    }
}

impl RemoteRenameKind {
    const fn keyword(self) -> &'static [u8] {
        match self {
            Self::Directory => b"directory",
            Self::Other => b"other",
            Self::Swap => b"swap",
        }
    }
}

/// Returns the directory in a form that `cd` takes neither for an option nor for the previous
/// directory.
fn cd_operand(directory: &[u8]) -> Vec<u8> {
    if directory.starts_with(b"/") { directory.to_vec() } else { [b"./", directory].concat() }
}

/// Parses the three numbers of a reply.
fn parse_reply(line: &[u8]) -> Option<(u64, u64, u64)> {
    let mut numbers = str::from_utf8(line).ok()?.split(' ').map(str::parse);
    let reply = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    numbers.next().is_none().then_some(reply)
}

fn unexpected_reply(line: &[u8]) -> ChannelBroken {
    ChannelBroken::Lost(format!("it answered \"{}\"", Escaped(line)))
}
