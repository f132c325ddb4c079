//! The steps of a case: actions, and observations that must hold.

use crate::tokenize;

/// Something that a case does or observes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseAction {
    /// Changes the source tree or another file of the case.
    Edit(TreeEdit),
    /// Controls how the recorder handles a future call.
    Recorder {
        /// Number of the call, from 1 on.
        call: u32,
        /// The command for it.
        command: RecorderCommand,
    },
    /// Starts the daemon with these arguments.
    Start(Vec<String>),
    /// Sends a signal to the daemon.
    Signal(DaemonSignal),
    /// Waits until the observation holds.
    Observe(Observation),
}

/// A change of a file or directory. Paths are relative to the source, or begin with `@/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEdit {
    /// Writes a file: path, text.
    Write(String, String),
    /// Appends to a file: path, text.
    Append(String, String),
    /// Creates a directory with its parents.
    Mkdir(String),
    /// Renames the first path to the second.
    Rename(String, String),
    /// Deletes a file, or a directory with its content.
    Remove(String),
    /// Sets the permissions of a path.
    Chmod(u32, String),
    /// Creates a symbolic link: target, path.
    Symlink(String, String),
    /// Creates a fifo.
    Mkfifo(String),
}

/// Controls one call of the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecorderCommand {
    /// Exit with this code.
    ExitCode(u8),
    /// Do not exit before [`Self::Release`].
    Hold,
    /// Exit now.
    Release,
    /// Write this line to standard error.
    Stderr(String),
}

/// A signal for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonSignal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGHUP.
    Hup,
}

/// A condition that must hold, now or soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The call of this number was of this program with these arguments.
    Call(u32, Vec<String>),
    /// Some call was of this program with these arguments.
    AnyCall(Vec<String>),
    /// No call so far was of this program with these arguments.
    NoCall(Vec<String>),
    /// Standard input of the call of this number.
    Stdin(u32, ExpectedStdin),
    /// Number of calls so far.
    CallCount(u32),
    /// Exit code of the program that was started.
    Exit(i32),
    /// Exit code of the daemon that went into the background.
    DaemonExit(i32),
    /// A line of a stream matches the pattern.
    Line(OutputStream, String),
    /// A line of the file at this path matches the pattern.
    LineInFile(String, String),
    /// No line of a stream matches the pattern.
    NoLine(OutputStream, String),
    /// The lines of the file at this path match these patterns one by one.
    File(String, Vec<String>),
    /// The path exists.
    Exists(String),
    /// The path does not exist.
    Missing(String),
}

/// Expected standard input of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedStdin {
    /// The byte between two entries.
    pub separator: u8,
    /// True if the separator must also follow the last entry. `None`: either is accepted.
    pub terminated: Option<bool>,
    /// True if the order of the entries is significant.
    pub ordered: bool,
    /// The entries. If empty, the call must read nothing.
    pub entries: Vec<String>,
}

/// A source of output lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Standard output or standard error.
    Either,
    /// The log file, `@/log`.
    Log,
    /// Syslog: each datagram is a line, with the number of its facility and priority.
    Syslog,
}

impl CaseAction {
    /// Parses a step from its line and the indented block below it.
    ///
    /// # Errors
    ///
    /// Returns a description of the syntax error.
    pub fn parse(line: &str, block: &[String]) -> Result<Self, String> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(step) = step_with_block(keyword, rest, block)? {
            return Ok(step);
        }
        if !block.is_empty() {
            return Err(format!("{keyword} has no block"));
        }
        if let Some(observation) = line_observation(keyword, rest)? {
            return Ok(Self::Observe(observation));
        }
        let args = tokenize::split(rest)?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        plain_action(keyword, &args)
            .or_else(|| plain_observation(keyword, &args).map(Self::Observe))
            .ok_or_else(|| format!("no step: {line}"))
    }
}

/// Parses the steps that can have a block below them.
fn step_with_block(
    keyword: &str,
    rest: &str,
    block: &[String],
) -> Result<Option<CaseAction>, String> {
    let text = || block.iter().flat_map(|line| [line, "\n"]).collect();
    let write = |path: &str| Some(CaseAction::Edit(TreeEdit::Write(path.to_owned(), text())));
    let file =
        |path: &str| Some(CaseAction::Observe(Observation::File(path.to_owned(), block.to_vec())));
    Ok(match (keyword, rest) {
        ("config", "") => write("@/config.lua"),
        ("write", path) if !block.is_empty() => write(path),
        ("lines-of", "notes") => file("@/notes"),
        ("lines-of", "status") => file("@/status"),
        ("lines-of", name) => return Err(format!("lines-of notes or status, not {name}")),
        ("file", path) => file(path),
        ("stdin", args) => {
            let (number, form) = args.split_once(' ').ok_or("stdin NUMBER FORM")?;
            let number = number.parse().map_err(|_| format!("no number of a call: {number}"))?;
            let stdin = expected_stdin(form, block)?;
            Some(CaseAction::Observe(Observation::Stdin(number, stdin)))
        }
        _ => None,
    })
}

fn expected_stdin(form: &str, block: &[String]) -> Result<ExpectedStdin, String> {
    let (separator, terminated, ordered) = match form {
        "names" => (0, None, false),
        "names-joined" => (0, Some(false), false),
        "names-ended" => (0, Some(true), false),
        "lines" => (b'\n', Some(false), false),
        "ordered-lines" => (b'\n', Some(false), true),
        "nothing" if block.is_empty() => (b'\n', None, false),
        _ => return Err(format!("no form of stdin: {form}")),
    };
    Ok(ExpectedStdin { separator, terminated, ordered, entries: block.to_vec() })
}

/// Parses the observations whose pattern extends to the end of the line, quotes included.
fn line_observation(keyword: &str, rest: &str) -> Result<Option<Observation>, String> {
    if keyword == "no" {
        let (name, pattern) = rest.split_once(' ').ok_or("no STREAM PATTERN")?;
        let stream = OutputStream::from_name(name).ok_or_else(|| format!("no stream: {name}"))?;
        return Ok(Some(Observation::NoLine(stream, pattern.to_owned())));
    }
    if keyword == "line" {
        let (path, pattern) = rest.split_once(' ').ok_or("line PATH PATTERN")?;
        return Ok(Some(Observation::LineInFile(path.to_owned(), pattern.to_owned())));
    }
    let stream = OutputStream::from_name(keyword);
    Ok(stream.map(|stream| Observation::Line(stream, rest.to_owned())))
}

impl OutputStream {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "either" => Self::Either,
            "log" => Self::Log,
            "syslog" => Self::Syslog,
            _ => return None,
        })
    }
}

fn plain_action(keyword: &str, args: &[&str]) -> Option<CaseAction> {
    let own = |arg: &&str| (*arg).to_owned();
    Some(match (keyword, args) {
        ("start", args) => CaseAction::Start(args.iter().map(own).collect()),
        ("signal", [name]) => CaseAction::Signal(DaemonSignal::from_name(name)?),
        ("exit-code", [call, code]) => {
            recorder_action(call, RecorderCommand::ExitCode(code.parse().ok()?))?
        }
        ("hold", [call]) => recorder_action(call, RecorderCommand::Hold)?,
        ("release", [call]) => recorder_action(call, RecorderCommand::Release)?,
        ("stderr-of", [call, text]) => recorder_action(call, RecorderCommand::Stderr(own(text)))?,
        _ => CaseAction::Edit(tree_edit(keyword, args)?),
    })
}

fn recorder_action(call: &str, command: RecorderCommand) -> Option<CaseAction> {
    Some(CaseAction::Recorder { call: call.parse().ok()?, command })
}

fn tree_edit(keyword: &str, args: &[&str]) -> Option<TreeEdit> {
    let own = |arg: &str| arg.to_owned();
    Some(match (keyword, args) {
        ("write", [path]) => TreeEdit::Write(own(path), own(path)),
        ("write", [path, text]) => TreeEdit::Write(own(path), own(text)),
        ("append", [path, text]) => TreeEdit::Append(own(path), own(text)),
        ("mkdir", [path]) => TreeEdit::Mkdir(own(path)),
        ("mv", [from, to]) => TreeEdit::Rename(own(from), own(to)),
        ("rm", [path]) => TreeEdit::Remove(own(path)),
        ("chmod", [mode, path]) => TreeEdit::Chmod(u32::from_str_radix(mode, 8).ok()?, own(path)),
        ("symlink", [to, path]) => TreeEdit::Symlink(own(to), own(path)),
        ("mkfifo", [path]) => TreeEdit::Mkfifo(own(path)),
        _ => return None,
    })
}

fn plain_observation(keyword: &str, args: &[&str]) -> Option<Observation> {
    let own = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect();
    Some(match (keyword, args) {
        ("call", [number, args @ ..]) => Observation::Call(number.parse().ok()?, own(args)),
        ("any-call", args) => Observation::AnyCall(own(args)),
        ("no-call", args) => Observation::NoCall(own(args)),
        ("call-count", [count]) => Observation::CallCount(count.parse().ok()?),
        ("exit", [code]) => Observation::Exit(code.parse().ok()?),
        ("daemon-exit", [code]) => Observation::DaemonExit(code.parse().ok()?),
        ("exists", [path]) => Observation::Exists((*path).to_owned()),
        ("missing", [path]) => Observation::Missing((*path).to_owned()),
        _ => return None,
    })
}

impl DaemonSignal {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "TERM" => Self::Term,
            "INT" => Self::Int,
            "HUP" => Self::Hup,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed_as_a_step() {
        let own = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect();
        for (line, expected) in [
            ("start -nodaemon \"\"", CaseAction::Start(own(&["-nodaemon", ""]))),
            ("write a b", CaseAction::Edit(TreeEdit::Write("a".into(), "b".into()))),
            ("mv a b", CaseAction::Edit(TreeEdit::Rename("a".into(), "b".into()))),
            ("chmod 640 a", CaseAction::Edit(TreeEdit::Chmod(0o640, "a".into()))),
            (
                "exit-code 2 12",
                CaseAction::Recorder { call: 2, command: RecorderCommand::ExitCode(12) },
            ),
            ("signal HUP", CaseAction::Signal(DaemonSignal::Hup)),
            ("call 1 rsync -r", CaseAction::Observe(Observation::Call(1, own(&["rsync", "-r"])))),
            ("exit 255", CaseAction::Observe(Observation::Exit(255))),
            (
                "stderr a  \"b",
                CaseAction::Observe(Observation::Line(OutputStream::Stderr, "a  \"b".into())),
            ),
            (
                "line @/s a b",
                CaseAction::Observe(Observation::LineInFile("@/s".into(), "a b".into())),
            ),
            (
                "no log a b",
                CaseAction::Observe(Observation::NoLine(OutputStream::Log, "a b".into())),
            ),
        ] {
            assert_eq!(CaseAction::parse(line, &[]), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_block_belongs_to_the_step_above_it() {
        let block = ["a".to_owned(), "b".to_owned()];
        let write = TreeEdit::Write("x".into(), "a\nb\n".into());
        assert_eq!(CaseAction::parse("write x", &block), Ok(CaseAction::Edit(write)));
        let lines = Observation::File("@/notes".into(), block.to_vec());
        assert_eq!(CaseAction::parse("lines-of notes", &block), Ok(CaseAction::Observe(lines)));
        let entries = block.to_vec();
        let stdin = ExpectedStdin { separator: 0, terminated: Some(true), ordered: false, entries };
        let parsed = CaseAction::parse("stdin 3 names-ended", &block);
        assert_eq!(parsed, Ok(CaseAction::Observe(Observation::Stdin(3, stdin))));
        assert!(CaseAction::parse("mkdir x", &block).is_err());
    }

    #[test]
    fn an_unknown_or_malformed_step_is_rejected() {
        for line in [
            "",
            "dance",
            "exit",
            "exit x",
            "mv a",
            "signal KILL",
            "no more a",
            "stdin 1",
            "lines-of log",
        ] {
            assert!(CaseAction::parse(line, &[]).is_err(), "{line}");
        }
    }
}
