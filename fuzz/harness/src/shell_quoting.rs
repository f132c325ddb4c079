//! Target: quoting for remote shells, and command lines that people paste into a shell.
//!
//! An input is a list of words, each followed by a NUL.

use lsyncd::check::shell_line::command_line;
use mirror_core::plan::{command::CommandLine, shell::quoted};

use crate::splitter::split_commands;

/// Returns the tokens.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    const TOKENS: &str = "' '' '\\'' \" \\ $ $(x) `x` $' ${x} ~ ~/ * ? [ ] { } ( ) < > | & ; ! # = \
        - -- -e %s %n \\x41 \\0 a=b if FOO=bar /usr/bin/rsync \u{e9} \u{20ac} \u{85}";
    let lines: [&[u8]; 6] = [b"\0", b" ", b"\n", b"\t", b"\r", b"\xff"];
    TOKENS.split(' ').map(str::as_bytes).chain(lines).collect()
}

/// Checks that a shell reads exactly the words that were quoted.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|&byte| byte == 0).collect();
    check_remote(&words);
    check_shown(&words);
}

/// Checks the quoting for remote shells, which every POSIX shell understands.
fn check_remote(words: &[&[u8]]) {
    let texts: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    for (word, text) in words.iter().zip(&texts) {
        assert!(text.len() >= word.len() + 2, "a word without quotes");
    }
    let line = texts.join(&b' ');
    assert_eq!(split(&line), [words], "{}", line.escape_ascii());
}

/// Checks the command lines of `-check`: program, arguments and standard input. The first half of
/// the words are arguments, the others parts of the input.
fn check_shown(words: &[&[u8]]) {
    let Some((binary, rest)) = words.split_first() else { return };
    let (args, parts) = rest.split_at(rest.len().div_ceil(2));
    let parts: Vec<&[u8]> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
    let alone = CommandLine { args, stdin: None };
    let expected: Vec<&[u8]> =
        std::iter::once(*binary).chain(alone.args.iter().map(Vec::as_slice)).collect();
    check_command(binary, &alone, &[&expected]);
    // Names end in NUL, rules in a newline.
    let separators = [(b'\0', &b"%s\\0"[..]), (b'\n', b"%s\\n")];
    for (separator, format) in separators {
        let are_whole = parts.iter().all(|part| !part.contains(&separator));
        if parts.is_empty() || !are_whole {
            continue;
        }
        let stdin = parts.iter().flat_map(|part| [part, &[separator][..]].concat()).collect();
        let call = CommandLine { stdin: Some(stdin), ..alone.clone() };
        let printf: Vec<&[u8]> = [b"printf", format].into_iter().chain(parts.clone()).collect();
        check_command(binary, &call, &[&printf, &expected]);
    }
}

fn check_command(binary: &[u8], call: &CommandLine, expected: &[&[&[u8]]]) {
    let line = command_line(binary, call);
    assert!(!line.contains(char::is_control), "control characters: {line:?}");
    let commands = split(line.as_bytes());
    assert_eq!(commands, expected, "{line}");
    // A shell would read such a first word as an assignment.
    assert!(!is_assignment(line.as_bytes()), "an assignment: {line}");
}

fn split(line: &[u8]) -> Vec<Vec<Vec<u8>>> {
    split_commands(line).unwrap_or_else(|why| panic!("{why}: {}", line.escape_ascii()))
}

/// Returns true if a command begins with `NAME=`.
fn is_assignment(command: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = command.iter().take_while(|byte| is_name(byte)).count();
    let starts_name = command.first().is_some_and(|byte| !byte.is_ascii_digit());
    length > 0 && starts_name && command.get(length) == Some(&b'=')
}
