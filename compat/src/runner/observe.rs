//! Evaluates observations.

use std::cmp::Ordering;

use super::{daemon::CaseDaemon, directory::CaseDirectory};
use crate::{
    call_log::RecordedCall,
    pattern,
    step::{ExpectedStdin, Observation, OutputStream},
    tokenize,
};

/// The result of one evaluation.
pub(super) enum ObservationResult {
    /// The observation holds.
    Holds,
    /// It can still become true. Contains what is missing.
    Pending(String),
    /// It can no longer become true. Contains what was observed instead.
    Failed(String),
}

/// Evaluates `observation` once.
pub(super) fn check(
    observation: &Observation,
    directory: &CaseDirectory,
    daemon: Option<&CaseDaemon>,
) -> ObservationResult {
    match observation {
        Observation::Call(number, expected) => {
            with_call(directory, *number, |call| check_args(directory, call, expected))
        }
        Observation::AnyCall(expected) => {
            let args = tokenize::join(&expand_all(directory, expected));
            holds_or(is_called(directory, expected), || {
                ObservationResult::Pending(format!("no call: {args}"))
            })
        }
        Observation::NoCall(expected) => {
            let args = tokenize::join(&expand_all(directory, expected));
            holds_or(!is_called(directory, expected), || {
                ObservationResult::Failed(format!("a call: {args}"))
            })
        }
        Observation::Stdin(number, expected) => {
            with_call(directory, *number, |call| check_stdin(directory, *number, call, expected))
        }
        Observation::CallCount(count) => check_call_count(directory, *count),
        Observation::Exit(code) => check_exit_code(daemon.and_then(CaseDaemon::exit_code), *code),
        Observation::DaemonExit(code) => {
            check_exit_code(daemon.and_then(CaseDaemon::background_exit_code), *code)
        }
        Observation::Line(stream, pattern) => {
            holds_or(has_line(directory, *stream, pattern), || {
                ObservationResult::Pending(format!("no line in {stream:?}: {pattern}"))
            })
        }
        Observation::LineInFile(path, pattern) => check_line_in_file(directory, path, pattern),
        Observation::NoLine(stream, pattern) => {
            holds_or(!has_line(directory, *stream, pattern), || {
                ObservationResult::Failed(format!("a line in {stream:?}: {pattern}"))
            })
        }
        Observation::File(path, expected) => check_file(directory, path, expected),
        Observation::Exists(path) => check_existence(directory, path, true),
        Observation::Missing(path) => check_existence(directory, path, false),
    }
}

fn holds_or(holds: bool, otherwise: impl FnOnce() -> ObservationResult) -> ObservationResult {
    if holds { ObservationResult::Holds } else { otherwise() }
}

fn expand_all(directory: &CaseDirectory, args: &[String]) -> Vec<String> {
    args.iter().map(|arg| directory.expand(arg)).collect()
}

fn is_called(directory: &CaseDirectory, expected: &[String]) -> bool {
    let expected = expand_all(directory, expected);
    directory.calls().all().iter().any(|call| call.has_args(&expected))
}

fn with_call(
    directory: &CaseDirectory,
    number: u32,
    check: impl FnOnce(&RecordedCall) -> ObservationResult,
) -> ObservationResult {
    match directory.calls().get(number) {
        Some(call) => check(&call),
        None => ObservationResult::Pending(format!("no call {number}")),
    }
}

fn check_args(
    directory: &CaseDirectory,
    call: &RecordedCall,
    expected: &[String],
) -> ObservationResult {
    let expected = expand_all(directory, expected);
    holds_or(call.has_args(&expected), || {
        ObservationResult::Failed(format!(
            "expected: {}\nbut was: {}",
            tokenize::join(&expected),
            tokenize::join(&call.args)
        ))
    })
}

fn check_stdin(
    directory: &CaseDirectory,
    number: u32,
    call: &RecordedCall,
    expected: &ExpectedStdin,
) -> ObservationResult {
    let entries = expand_all(directory, &expected.entries);
    let expected = ExpectedStdin { entries, ..expected.clone() };
    holds_or(call.has_read(&expected), || {
        ObservationResult::Failed(format!("call {number} has read something else"))
    })
}

fn check_call_count(directory: &CaseDirectory, expected: u32) -> ObservationResult {
    let count = directory.calls().all().len();
    match usize::try_from(expected).map(|expected| count.cmp(&expected)) {
        Ok(Ordering::Equal) => ObservationResult::Holds,
        Ok(Ordering::Less) => ObservationResult::Pending(format!("{count} calls only")),
        _ => ObservationResult::Failed(format!("{count} calls")),
    }
}

fn check_exit_code(code: Option<i32>, expected: i32) -> ObservationResult {
    match code {
        Some(code) if code == expected => ObservationResult::Holds,
        Some(code) => ObservationResult::Failed(format!("exit code {code}")),
        None => ObservationResult::Pending("no exit code".to_owned()),
    }
}

fn has_line(directory: &CaseDirectory, stream: OutputStream, pattern: &str) -> bool {
    let pattern = directory.expand(pattern);
    let matches = |line: &str| pattern::matches(&pattern, line);
    let in_file = |name: &str| directory.read_file(name).lines().any(matches);
    match stream {
        OutputStream::Stdout => in_file("stdout"),
        OutputStream::Stderr => in_file("stderr"),
        OutputStream::Either => in_file("stdout") || in_file("stderr"),
        OutputStream::Log => in_file("log"),
        OutputStream::Syslog => directory.syslog().iter().any(|line| matches(line)),
    }
}

fn check_line_in_file(directory: &CaseDirectory, path: &str, pattern: &str) -> ObservationResult {
    let path = match directory.resolve(path) {
        Ok(path) => path,
        Err(error) => return ObservationResult::Failed(error.to_string()),
    };
    let pattern = directory.expand(pattern);
    let text = directory.read_file(&path.to_string_lossy());
    let found = text.lines().any(|line| pattern::matches(&pattern, line));
    holds_or(found, || {
        ObservationResult::Pending(format!("no line in {}: {pattern}", path.display()))
    })
}

fn check_file(directory: &CaseDirectory, path: &str, expected: &[String]) -> ObservationResult {
    let path = match directory.resolve(path) {
        Ok(path) => path,
        Err(error) => return ObservationResult::Failed(error.to_string()),
    };
    let text = directory.read_file(&path.to_string_lossy());
    let lines: Vec<&str> = text.lines().collect();
    let matches =
        |(line, pattern): (&&str, &String)| pattern::matches(&directory.expand(pattern), line);
    let same = lines.len() == expected.len() && lines.iter().zip(expected).all(matches);
    holds_or(same, || ObservationResult::Pending(format!("{} has other lines", path.display())))
}

fn check_existence(directory: &CaseDirectory, path: &str, expected: bool) -> ObservationResult {
    let path = match directory.resolve(path) {
        Ok(path) => path,
        Err(error) => return ObservationResult::Failed(error.to_string()),
    };
    let exists = path.symlink_metadata().is_ok();
    let state = if expected { "does not exist" } else { "exists" };
    holds_or(exists == expected, || {
        ObservationResult::Pending(format!("{} {state}", path.display()))
    })
}
