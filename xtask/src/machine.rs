//! The description of this machine in `docs/reliability.md`.

use std::{fs, process::Command, thread};

use crate::build;

/// The file, relative to the workspace.
const FILE: &str = "docs/reliability.md";

/// Returns the date and the machine.
pub(crate) fn description() -> String {
    let kernel = first_line("uname", &["-r"]);
    let kernel = kernel.split('-').next().unwrap_or_default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let date = first_line("date", &["-u", "+%Y-%m-%d"]);
    format!("{date}, Linux {kernel}, {cores} cores, file systems in memory (tmpfs)")
}

/// Returns the version of rsync, or of another program that names it as the third word.
pub(crate) fn version(program: &str) -> String {
    let line = first_line(program, &["--version"]);
    line.split_whitespace().nth(2).unwrap_or("unknown").to_owned()
}

/// Returns the first line of the output of a program, which is empty if it fails.
pub(crate) fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
}

/// Replaces the lines between two marks of the document.
///
/// # Errors
///
/// Returns a message if the document cannot be read or written, or lacks the marks.
pub(crate) fn write_between([begin, end]: [&str; 2], body: &str) -> Result<(), String> {
    let path = build::workspace().join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| format!("{FILE}: {error}"))?;
    let parts =
        text.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = parts.ok_or_else(|| format!("{FILE} lacks {begin} or {end}"))?;
    let text = format!("{head}{begin}\n{body}{end}{tail}");
    fs::write(&path, text).map_err(|error| format!("{FILE}: {error}"))
}
