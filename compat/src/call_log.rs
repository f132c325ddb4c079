//! The calls of external programs, as the recorder logs them.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    pattern,
    step::{ExpectedStdin, RecorderCommand},
    tokenize,
};

/// Environment variable with the directory of the log.
pub const CALL_LOG_VAR: &str = "COMPAT_CALLS";

/// The programs that the recorder replaces.
pub const PROGRAMS: [&str; 6] = ["rsync", "ssh", "cp", "mv", "rm", "mkdir"];

/// Interval between two evaluations of a condition.
pub const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Placeholder for any number of arguments.
const REST: &str = "<rest>";

/// The calls that are logged in one directory: a subdirectory for each, named by its number.
#[derive(Clone, Debug)]
pub struct CallLog {
    directory: PathBuf,
}

/// A logged call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCall {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Everything that it read from standard input.
    pub stdin: Vec<u8>,
}

impl CallLog {
    /// Opens the log in `directory`.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Logs the arguments and the standard input of this process.
    ///
    /// Then obeys the commands for this call, and returns the exit code that they set, else 0.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written.
    pub fn record(&self) -> io::Result<u8> {
        let number = self.next_number()?;
        let directory = self.call_directory(number);
        let mut args = Vec::new();
        for (index, arg) in env::args_os().enumerate() {
            let arg = if index == 0 { Path::new(&arg).file_name().unwrap_or(&arg) } else { &arg };
            args.extend_from_slice(OsStr::as_bytes(arg));
            args.push(0);
        }
        fs::write(directory.join("args"), &args)?;
        let mut stdin = Vec::new();
        // A remote shell reads as long as the other side keeps its input open.
        if !args.starts_with(b"ssh\0") {
            io::stdin().read_to_end(&mut stdin)?;
        }
        fs::write(directory.join("stdin"), stdin)?;
        fs::write(directory.join("complete"), "")?;
        self.obey(number)
    }

    fn obey(&self, number: u32) -> io::Result<u8> {
        if let Ok(text) = fs::read(self.command_file(number, "stderr")) {
            io::stderr().write_all(&text)?;
        }
        while self.command_file(number, "hold").exists()
            && !self.command_file(number, "release").exists()
        {
            thread::sleep(POLL_INTERVAL);
        }
        let code = fs::read_to_string(self.command_file(number, "exit-code")).ok();
        Ok(code.and_then(|code| code.parse().ok()).unwrap_or(0))
    }

    /// Reserves the lowest number that no other call has, from 1 on.
    fn next_number(&self) -> io::Result<u32> {
        let mut number = 1;
        loop {
            match fs::create_dir(self.call_directory(number)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                result => return result.map(|()| number),
            }
        }
    }

    /// Sets a command for a future call.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn set(&self, number: u32, command: &RecorderCommand) -> io::Result<()> {
        let (name, text) = match command {
            RecorderCommand::ExitCode(code) => ("exit-code", code.to_string()),
            RecorderCommand::Hold => ("hold", String::new()),
            RecorderCommand::Release => ("release", String::new()),
            RecorderCommand::Stderr(text) => ("stderr", format!("{text}\n")),
        };
        fs::write(self.command_file(number, name), text)
    }

    fn call_directory(&self, number: u32) -> PathBuf {
        self.directory.join(number.to_string())
    }

    fn command_file(&self, number: u32, name: &str) -> PathBuf {
        self.directory.join(format!("{number}.{name}"))
    }

    /// Returns the call of this number once it is complete.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<RecordedCall> {
        let directory = self.call_directory(number);
        if !directory.join("complete").exists() {
            return None;
        }
        let args = fs::read(directory.join("args")).ok()?;
        let mut args: Vec<String> =
            args.split(|&byte| byte == 0).map(|arg| String::from_utf8_lossy(arg).into()).collect();
        args.pop();
        Some(RecordedCall { args, stdin: fs::read(directory.join("stdin")).ok()? })
    }

    /// Returns all calls in order.
    #[must_use]
    pub fn all(&self) -> Vec<RecordedCall> {
        (1..).map_while(|number| self.get(number)).collect()
    }
}

impl RecordedCall {
    /// Returns true if the arguments match these patterns.
    ///
    /// The letters of one argument of short options of rsync are compared as a set, because the
    /// original writes them in random order.
    #[must_use]
    pub fn has_args(&self, expected: &[String]) -> bool {
        args_match(expected, &self.args)
    }

    /// Returns true if standard input was as expected.
    #[must_use]
    pub fn has_read(&self, expected: &ExpectedStdin) -> bool {
        if expected.entries.is_empty() {
            return self.stdin.is_empty();
        }
        let stripped = self.stdin.strip_suffix(&[expected.separator]);
        if expected.terminated.is_some_and(|terminated| terminated != stripped.is_some()) {
            return false;
        }
        let rest = stripped.unwrap_or(&self.stdin);
        let mut entries: Vec<_> = rest
            .split(|&byte| byte == expected.separator)
            .map(|entry| String::from_utf8_lossy(entry).into_owned())
            .collect();
        let mut expected_entries = expected.entries.clone();
        if !expected.ordered {
            entries.sort();
            expected_entries.sort();
        }
        entries == expected_entries
    }

    /// Formats the call as one line, in the syntax of a case.
    #[must_use]
    pub fn to_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdin).replace('\0', "\\0").replace('\n', "\\n");
        format!("{} < {text:?}", tokenize::join(&self.args))
    }
}

fn args_match(expected: &[String], args: &[String]) -> bool {
    match (expected, args) {
        ([rest, expected @ ..], args) if rest == REST => (0..=args.len())
            .filter_map(|skipped| args.get(skipped..))
            .any(|args| args_match(expected, args)),
        ([pattern, expected @ ..], [arg, args @ ..]) => {
            arg_matches(pattern, arg) && args_match(expected, args)
        }
        ([], []) => true,
        _ => false,
    }
}

fn arg_matches(expected: &str, arg: &str) -> bool {
    match (sorted_letters(expected), sorted_letters(arg)) {
        (Some(expected), Some(found)) => expected == found,
        _ => pattern::matches(expected, arg),
    }
}

/// Returns the letters of an argument of short options in alphabetical order.
fn sorted_letters(arg: &str) -> Option<Vec<char>> {
    let letters = arg.strip_prefix('-')?;
    let mut letters: Vec<char> = letters.chars().collect();
    letters.sort_unstable();
    letters.iter().all(char::is_ascii_alphanumeric).then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: &str, stdin: &[u8]) -> RecordedCall {
        RecordedCall { args: tokenize::split(args).unwrap(), stdin: stdin.to_vec() }
    }

    #[test]
    fn arguments_match_patterns_and_short_options_are_a_set() {
        for (expected, args, matches) in [
            ("rsync -lts -r a b", "rsync -tsl -r a b", true),
            ("rsync -lts -r a b", "rsync -ts -r a b", false),
            ("rsync -lts -r a b", "rsync -lts -r b a", false),
            ("rsync --delete", "rsync --delete", true),
            ("rsync --delete", "rsync --eeltde", false),
            ("rsync <rest> b", "rsync -r a b", true),
            ("rsync <rest> b", "rsync b", true),
            ("rsync <rest> b", "rsync b c", false),
            ("rsync <any>/src/ b", "rsync x/src/ b", true),
            ("rsync", "rsync a", false),
        ] {
            let expected = tokenize::split(expected).unwrap();
            assert_eq!(call(args, b"").has_args(&expected), matches, "{expected:?} {args}");
        }
    }

    #[test]
    fn entries_are_compared_as_a_set_unless_their_order_is_significant() {
        let stdin = |separator, terminated, ordered, entries: &[&str]| {
            let entries = entries.iter().map(|&entry| entry.to_owned()).collect();
            ExpectedStdin { separator, terminated, ordered, entries }
        };
        let check = |read: &[u8], expected, matches| {
            assert_eq!(call("a", read).has_read(&expected), matches, "{read:?} {expected:?}");
        };
        let (joined, ended) = (Some(false), Some(true));
        check(b"", stdin(0, None, false, &[]), true);
        check(b"a", stdin(0, None, false, &[]), false);
        check(b"b\0a", stdin(0, joined, false, &["a", "b"]), true);
        check(b"b\0a", stdin(0, ended, false, &["a", "b"]), false);
        check(b"b\0a\0", stdin(0, joined, false, &["a", "b"]), false);
        check(b"b\0a\0", stdin(0, ended, false, &["a", "b"]), true);
        check(b"b\0a\0", stdin(0, None, false, &["a", "b"]), true);
        check(b"b\na", stdin(b'\n', joined, true, &["a", "b"]), false);
        check(b"a\na", stdin(b'\n', joined, false, &["a"]), false);
    }
}
