//! The steps of a case: what is done, and what must be seen.

use crate::words;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A change of the source tree, or of what lies around it.
    Change(Change),
    /// Something that the recorder is told about a call that is to come.
    Order {
        /// The number of the call, from 1 on.
        call: u32,
        /// What it is told.
        order: Order,
    },
    /// The daemon is started with these words.
    Start(Vec<String>),
    /// The daemon is sent this signal.
    Signal(Signal),
    /// Something must be seen, now or soon.
    See(Sight),
}

/// A change of the tree. Paths are below the source, or begin with `@/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file gets this text, whatever it had before.
    Write(String, String),
    /// A file gets this text at its end.
    Append(String, String),
    /// A new directory, and those above it.
    Mkdir(String),
    /// A new name.
    Rename(String, String),
    /// Whatever is there goes, directories with all that is in them.
    Remove(String),
    /// New permissions.
    Chmod(u32, String),
    /// A symbolic link to the first, at the second.
    Symlink(String, String),
    /// A pipe with a name.
    Pipe(String),
}

/// What the recorder is told about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Its exit code.
    Answer(u8),
    /// That it goes on until it is released.
    Hold,
    /// That it may end now.
    Release,
    /// What it writes to its standard error.
    Speak(String),
}

/// A signal for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End.
    Term,
    /// End, from the terminal.
    Int,
    /// Read everything again.
    Hup,
}

/// What must be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The call of this number, of this program with these words.
    Call(u32, Vec<String>),
    /// Any call of this program with these words.
    Called(Vec<String>),
    /// No call of this program with these words so far.
    NotCalled(Vec<String>),
    /// What the call of this number read.
    Stdin(u32, Stdin),
    /// So many calls, and no more.
    Calls(u32),
    /// The program that was started ends with this code.
    Exit(i32),
    /// The daemon that went on in the background ends with this code.
    DaemonExit(i32),
    /// A line that is like this pattern.
    Line(Stream, String),
    /// A line in the file at this path that is like this pattern.
    LineOf(String, String),
    /// No line that is like this pattern.
    NoLine(Stream, String),
    /// A file with these lines, each a pattern, and no others.
    Whole(String, Vec<String>),
    /// Something is at this path.
    There(String),
    /// Nothing is at this path.
    Gone(String),
}

/// What a call has to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stdin {
    /// What stands between two entries.
    pub separator: u8,
    /// Whether it stands behind the last one, too. `None`: it may.
    pub ends: Option<bool>,
    /// Whether the order counts.
    pub ordered: bool,
    /// The entries. None of them: it reads nothing.
    pub entries: Vec<String>,
}

/// Where a line is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Either of these.
    Says,
    /// The logfile, `@/log`.
    Log,
    /// What goes to the log of the system: each datagram is a line, with the number of its
    /// facility and priority.
    Syslog,
}

impl Step {
    /// Reads a step from its line and the indented block below it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(line: &str, block: &[String]) -> Result<Self, String> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(step) = with_block(keyword, rest, block)? {
            return Ok(step);
        }
        if !block.is_empty() {
            return Err(format!("{keyword} has no block"));
        }
        if let Some(sight) = line_of_stream(keyword, rest)? {
            return Ok(Self::See(sight));
        }
        let words = words::split(rest)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        doing(keyword, &words)
            .or_else(|| seeing(keyword, &words).map(Step::See))
            .ok_or_else(|| format!("no step: {line}"))
    }
}

/// Steps that have a block below them.
fn with_block(keyword: &str, rest: &str, block: &[String]) -> Result<Option<Step>, String> {
    let text = || block.iter().flat_map(|line| [line, "\n"]).collect();
    let file = |path: &str| Some(Step::Change(Change::Write(path.to_owned(), text())));
    let whole = |path: &str| Some(Step::See(Sight::Whole(path.to_owned(), block.to_vec())));
    Ok(match keyword {
        "config" if rest.is_empty() => file("@/config.lua"),
        "file" => file(rest),
        "status" if rest.is_empty() => whole("@/status"),
        "told" if rest.is_empty() => whole("@/told"),
        "whole" => whole(rest),
        "stdin" => {
            let (number, form) = rest.split_once(' ').ok_or("stdin NUMBER FORM")?;
            let number = number.parse().map_err(|_| format!("no number of a call: {number}"))?;
            Some(Step::See(Sight::Stdin(number, stdin(form, block)?)))
        }
        _ => None,
    })
}

fn stdin(form: &str, block: &[String]) -> Result<Stdin, String> {
    let (separator, ends, ordered) = match form {
        "names" => (0, None, false),
        "names-joined" => (0, Some(false), false),
        "names-ended" => (0, Some(true), false),
        "lines" => (b'\n', Some(false), false),
        "ordered-lines" => (b'\n', Some(false), true),
        "nothing" if block.is_empty() => (b'\n', None, false),
        _ => return Err(format!("no form of stdin: {form}")),
    };
    Ok(Stdin { separator, ends, ordered, entries: block.to_vec() })
}

fn line_of_stream(keyword: &str, rest: &str) -> Result<Option<Sight>, String> {
    if keyword == "no" {
        let (name, pattern) = rest.split_once(' ').ok_or("no STREAM PATTERN")?;
        let stream = Stream::named(name).ok_or_else(|| format!("no stream: {name}"))?;
        return Ok(Some(Sight::NoLine(stream, pattern.to_owned())));
    }
    if keyword == "line" {
        let (path, pattern) = rest.split_once(' ').ok_or("line PATH PATTERN")?;
        return Ok(Some(Sight::LineOf(path.to_owned(), pattern.to_owned())));
    }
    Ok(Stream::named(keyword).map(|stream| Sight::Line(stream, rest.to_owned())))
}

impl Stream {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "says" => Self::Says,
            "log" => Self::Log,
            "syslog" => Self::Syslog,
            _ => return None,
        })
    }
}

fn doing(keyword: &str, words: &[&str]) -> Option<Step> {
    let own = |word: &&str| (*word).to_owned();
    Some(match (keyword, words) {
        ("start", words) => Step::Start(words.iter().map(own).collect()),
        ("signal", [name]) => Step::Signal(Signal::named(name)?),
        ("answer", [call, code]) => order(call, Order::Answer(code.parse().ok()?))?,
        ("hold", [call]) => order(call, Order::Hold)?,
        ("release", [call]) => order(call, Order::Release)?,
        ("speak", [call, text]) => order(call, Order::Speak(own(text)))?,
        _ => Step::Change(change(keyword, words)?),
    })
}

fn order(call: &str, order: Order) -> Option<Step> {
    Some(Step::Order { call: call.parse().ok()?, order })
}

fn change(keyword: &str, words: &[&str]) -> Option<Change> {
    let own = |word: &str| word.to_owned();
    Some(match (keyword, words) {
        ("write", [path]) => Change::Write(own(path), own(path)),
        ("write", [path, text]) => Change::Write(own(path), own(text)),
        ("append", [path, text]) => Change::Append(own(path), own(text)),
        ("mkdir", [path]) => Change::Mkdir(own(path)),
        ("mv", [from, to]) => Change::Rename(own(from), own(to)),
        ("rm", [path]) => Change::Remove(own(path)),
        ("chmod", [mode, path]) => Change::Chmod(u32::from_str_radix(mode, 8).ok()?, own(path)),
        ("symlink", [to, path]) => Change::Symlink(own(to), own(path)),
        ("pipe", [path]) => Change::Pipe(own(path)),
        _ => return None,
    })
}

fn seeing(keyword: &str, words: &[&str]) -> Option<Sight> {
    let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Some(match (keyword, words) {
        ("call", [number, words @ ..]) => Sight::Call(number.parse().ok()?, own(words)),
        ("called", words) => Sight::Called(own(words)),
        ("not-called", words) => Sight::NotCalled(own(words)),
        ("calls", [count]) => Sight::Calls(count.parse().ok()?),
        ("exit", [code]) => Sight::Exit(code.parse().ok()?),
        ("daemon-exit", [code]) => Sight::DaemonExit(code.parse().ok()?),
        ("there", [path]) => Sight::There((*path).to_owned()),
        ("gone", [path]) => Sight::Gone((*path).to_owned()),
        _ => return None,
    })
}

impl Signal {
    fn named(name: &str) -> Option<Self> {
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

    fn step(line: &str) -> Step {
        Step::parse(line, &[]).unwrap()
    }

    #[test]
    fn steps_are_read() {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        for (line, expected) in [
            ("start -nodaemon \"\"", Step::Start(own(&["-nodaemon", ""]))),
            ("mv a b", Step::Change(Change::Rename("a".into(), "b".into()))),
            ("chmod 640 a", Step::Change(Change::Chmod(0o640, "a".into()))),
            ("answer 2 12", Step::Order { call: 2, order: Order::Answer(12) }),
            ("signal HUP", Step::Signal(Signal::Hup)),
            ("call 1 rsync -r", Step::See(Sight::Call(1, own(&["rsync", "-r"])))),
            ("exit 255", Step::See(Sight::Exit(255))),
            ("stderr a  \"b", Step::See(Sight::Line(Stream::Stderr, "a  \"b".into()))),
            ("line @/s a b", Step::See(Sight::LineOf("@/s".into(), "a b".into()))),
            ("no log a b", Step::See(Sight::NoLine(Stream::Log, "a b".into()))),
        ] {
            assert_eq!(step(line), expected, "{line}");
        }
    }

    #[test]
    fn a_block_belongs_to_the_step_above_it() {
        let block = ["a".to_owned(), "b".to_owned()];
        let text = Change::Write("x".into(), "a\nb\n".into());
        assert_eq!(Step::parse("file x", &block), Ok(Step::Change(text)));
        let entries = block.to_vec();
        let stdin = Stdin { separator: 0, ends: Some(true), ordered: false, entries };
        let parsed = Step::parse("stdin 3 names-ended", &block);
        assert_eq!(parsed, Ok(Step::See(Sight::Stdin(3, stdin))));
        assert!(Step::parse("mkdir x", &block).is_err());
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for line in ["", "dance", "exit", "exit x", "mv a", "signal KILL", "no more a", "stdin 1"] {
            assert!(Step::parse(line, &[]).is_err(), "{line}");
        }
    }
}
