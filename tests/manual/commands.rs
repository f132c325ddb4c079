//! Commands that are not run: their syntax, and the options of our programs.

use std::{
    ffi::OsString,
    io::Write as _,
    process::{Command, Stdio},
};

use clap::{Parser as _, error::ErrorKind};
use lsyncd::{
    ctl::args::CtlArgs,
    frontend::cli::{EarlyExit, Invocation},
};

use super::blocks::{FencedBlock, transcript};

/// Words that stand for a value, each with one.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("COMMAND", "status"),
    ("SHELL", "bash"),
    ("SECONDS", "1"),
    ("LEVEL", "Exec"),
    ("N", "1"),
    ("ADDRESS:PORT", "127.0.0.1:1"),
];

/// Returns what is wrong with the commands of a block.
pub(crate) fn problems(block: &FencedBlock) -> Vec<String> {
    let script = match &*block.language {
        "console" => {
            transcript(&block.text).into_iter().map(|shown| shown.command + "\n").collect()
        }
        "sh" => block.text.clone(),
        language => return vec![format!("{language} is always checked")],
    };
    let mut problems = Vec::new();
    problems.extend(syntax_problem(&script));
    problems.extend(script.replace("\\\n", " ").lines().flat_map(line_problems));
    problems
}

/// Returns what a shell says against a script.
fn syntax_problem(script: &str) -> Option<String> {
    let mut shell = Command::new("bash");
    shell.arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Returns the calls of our programs in a line of a script that these do not understand.
fn line_problems(line: &str) -> Vec<String> {
    let words = words(line);
    let parts = words.split(|word| ["|", "||", "&&", ";", "&", "(", ")"].contains(&&**word));
    parts.filter_map(call_problem).collect()
}

fn call_problem(words: &[String]) -> Option<String> {
    let wrappers = ["sudo", "if", "!", "then", "while", "until", "do", "exec", "else"];
    let start =
        words.iter().position(|word| !wrappers.contains(&&**word) && !word.contains('='))?;
    let words = &words[start..];
    let end = words.iter().position(|word| word.starts_with(['>', '<', '#']) || word == "2>&1");
    let words = &words[..end.unwrap_or(words.len())];
    let problem = match words.first()?.rsplit('/').next()? {
        "lsyncctl" => ctl_problem(words),
        "lsyncd" => daemon_problem(&words[1..]),
        _ => None,
    };
    problem.map(|problem| format!("{}: {problem}", words.join(" ")))
}

fn ctl_problem(words: &[String]) -> Option<String> {
    let error = CtlArgs::try_parse_from(words).err()?;
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!is_help).then(|| error.to_string())
}

fn daemon_problem(words: &[String]) -> Option<String> {
    let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    match Invocation::parse(&arguments) {
        Ok(_) | Err(EarlyExit::Help | EarlyExit::Version) => None,
        Err(other) => Some(format!("{other:?}")),
    }
}

/// Splits a line of a script; operators are words of their own.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        let word = words.last_mut().expect("there is one");
        match quote {
            Some(end) if c == end => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() => words.push(String::new()),
            None if "|&;()".contains(c) => {
                if word.is_empty() || !word.chars().all(|it| it == c) {
                    words.push(String::new());
                }
                words.last_mut().expect("there is one").push(c);
                if ";()".contains(c) {
                    words.push(String::new());
                }
            }
            Some(_) | None => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the code spans of a page that call one of our programs as it does not permit.
pub(crate) fn inline_problems(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        in_block ^= line.starts_with("```");
        if in_block || line.starts_with("    ") {
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2);
        // A table has alternatives in brackets.
        for span in spans.filter(|span| !span.contains(['[', '.'])) {
            let mut words = words(span);
            if words.len() < 2 || !["lsyncctl", "lsyncd"].contains(&&*words[0]) {
                continue;
            }
            for word in &mut words {
                if let Some((_, value)) = PLACEHOLDERS.iter().find(|(it, _)| it == word) {
                    (*value).clone_into(word);
                }
            }
            // A mention need not be complete.
            let found = call_problem(&words)
                .filter(|it| !it.contains("NoSync") && !it.contains("required arguments"));
            problems.extend(found.map(|it| format!("{name}:{}: {it}", index + 1)));
        }
    }
    problems
}

#[test]
fn wrong_options_are_found() {
    for line in [
        "lsyncctl statu",
        "sudo lsyncctl flush --wait",
        "make && lsyncctl flush --timeout soon",
        "if ! lsyncctl status --nagios --json; then",
        "lsyncd -frobnicate /etc/lsyncd.conf",
        "LSYNCD_SOCKET=/run/a lsyncctl log",
    ] {
        assert_eq!(line_problems(line).len(), 1, "{line}");
    }
    for line in [
        "sudo lsyncctl flush www --timeout 60 && echo done",
        "lsyncctl status --json | jq .syncs > out",
        "lsyncd -nodaemon -direct a b",
        "echo lsyncctl nothing",
    ] {
        assert_eq!(line_problems(line), Vec::<String>::new(), "{line}");
    }
    assert!(syntax_problem("if true; then\n").is_some());
    let text = "`lsyncctl expalin PATH`, `lsyncctl log LEVEL`, `lsyncd -check FILE`\n";
    assert_eq!(inline_problems("a.md", text).len(), 1);
}
