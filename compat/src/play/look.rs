//! Looks whether something can be seen.

use super::{daemon::Daemon, stage::Stage};
use crate::{
    call::Call,
    pattern,
    step::{Sight, Stdin, Stream},
    words,
};

/// What came of a look.
pub(super) enum Look {
    /// It is there.
    Seen,
    /// It may come: what is missing.
    NotYet(String),
    /// It cannot come any more: what is there instead.
    Never(String),
}

/// Looks for `sight`.
pub(super) fn at(sight: &Sight, stage: &Stage, daemon: Option<&Daemon>) -> Look {
    match sight {
        Sight::Call(number, wanted) => {
            with_call(stage, *number, |call| is_call(stage, call, wanted))
        }
        Sight::Called(wanted) => {
            let what = words::join(&filled(stage, wanted));
            seen_or(is_called(stage, wanted), || Look::NotYet(format!("no call: {what}")))
        }
        Sight::NotCalled(wanted) => {
            let what = words::join(&filled(stage, wanted));
            seen_or(!is_called(stage, wanted), || Look::Never(format!("a call: {what}")))
        }
        Sight::Stdin(number, wanted) => {
            with_call(stage, *number, |call| has_read(stage, *number, call, wanted))
        }
        Sight::Calls(count) => calls(stage, *count),
        Sight::Exit(code) => exit(daemon.and_then(Daemon::exit), *code),
        Sight::DaemonExit(code) => exit(daemon.and_then(Daemon::daemon_exit), *code),
        Sight::Line(stream, pattern) => {
            let found = has_line(stage, *stream, pattern);
            seen_or(found, || Look::NotYet(format!("no line in {stream:?}: {pattern}")))
        }
        Sight::LineOf(path, pattern) => line_of(stage, path, pattern),
        Sight::NoLine(stream, pattern) => {
            let found = has_line(stage, *stream, pattern);
            seen_or(!found, || Look::Never(format!("a line in {stream:?}: {pattern}")))
        }
        Sight::Whole(path, wanted) => whole(stage, path, wanted),
        Sight::There(path) => is_there(stage, path, true),
        Sight::Gone(path) => is_there(stage, path, false),
    }
}

fn seen_or(seen: bool, otherwise: impl FnOnce() -> Look) -> Look {
    if seen { Look::Seen } else { otherwise() }
}

fn filled(stage: &Stage, words: &[String]) -> Vec<String> {
    words.iter().map(|word| stage.filled(word)).collect()
}

fn is_called(stage: &Stage, wanted: &[String]) -> bool {
    let wanted = filled(stage, wanted);
    stage.calls().all().iter().any(|call| call.has_words(&wanted))
}

fn with_call(stage: &Stage, number: u32, look: impl FnOnce(&Call) -> Look) -> Look {
    match stage.calls().get(number) {
        Some(call) => look(&call),
        None => Look::NotYet(format!("no call {number}")),
    }
}

fn is_call(stage: &Stage, call: &Call, wanted: &[String]) -> Look {
    let wanted = filled(stage, wanted);
    seen_or(call.has_words(&wanted), || {
        Look::Never(format!(
            "wanted: {}\nbut was: {}",
            words::join(&wanted),
            words::join(&call.words)
        ))
    })
}

fn has_read(stage: &Stage, number: u32, call: &Call, wanted: &Stdin) -> Look {
    let wanted = Stdin { entries: filled(stage, &wanted.entries), ..wanted.clone() };
    seen_or(call.has_read(&wanted), || {
        Look::Never(format!("call {number} has read something else"))
    })
}

fn calls(stage: &Stage, count: u32) -> Look {
    let there = stage.calls().all().len();
    match usize::try_from(count).map(|count| there.cmp(&count)) {
        Ok(std::cmp::Ordering::Equal) => Look::Seen,
        Ok(std::cmp::Ordering::Less) => Look::NotYet(format!("{there} calls only")),
        _ => Look::Never(format!("{there} calls")),
    }
}

fn exit(code: Option<i32>, wanted: i32) -> Look {
    match code {
        Some(code) if code == wanted => Look::Seen,
        Some(code) => Look::Never(format!("exit code {code}")),
        None => Look::NotYet("no exit code".to_owned()),
    }
}

fn has_line(stage: &Stage, stream: Stream, pattern: &str) -> bool {
    let pattern = stage.filled(pattern);
    let fits = |line: &str| pattern::matches(&pattern, line);
    let in_file = |name: &str| stage.text(name).lines().any(fits);
    match stream {
        Stream::Stdout => in_file("stdout"),
        Stream::Stderr => in_file("stderr"),
        Stream::Says => in_file("stdout") || in_file("stderr"),
        Stream::Log => in_file("log"),
        Stream::Syslog => stage.syslog().iter().any(|line| fits(line)),
    }
}

fn line_of(stage: &Stage, path: &str, pattern: &str) -> Look {
    let Ok(path) = stage.path(path) else { return Look::Never(format!("no path: {path}")) };
    let pattern = stage.filled(pattern);
    let text = stage.text(&path.to_string_lossy());
    let found = text.lines().any(|line| pattern::matches(&pattern, line));
    seen_or(found, || Look::NotYet(format!("no line in {}: {pattern}", path.display())))
}

fn whole(stage: &Stage, path: &str, wanted: &[String]) -> Look {
    let Ok(path) = stage.path(path) else { return Look::Never(format!("no path: {path}")) };
    let text = stage.text(&path.to_string_lossy());
    let lines: Vec<&str> = text.lines().collect();
    let fits = |(line, pattern): (&&str, &String)| pattern::matches(&stage.filled(pattern), line);
    let same = lines.len() == wanted.len() && lines.iter().zip(wanted).all(fits);
    seen_or(same, || Look::NotYet(format!("{} has other lines", path.display())))
}

fn is_there(stage: &Stage, path: &str, wanted: bool) -> Look {
    let Ok(path) = stage.path(path) else { return Look::Never(format!("no path: {path}")) };
    let there = path.symlink_metadata().is_ok();
    let is = if wanted { "is not there" } else { "is there" };
    seen_or(there == wanted, || Look::NotYet(format!("{} {is}", path.display())))
}
