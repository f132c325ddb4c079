//! The table of the results: `docs/reliability.md`.

use std::{collections::BTreeSet, fmt::Write as _, fs, process::Command};

use super::{
    matrix::{DamageCell, DamageFault, DamageKind, DamageLoad},
    options::DamageOptions,
    results::{CellOutcome, DamageResults},
};
use crate::build;

/// The file, relative to the workspace.
const FILE: &str = "docs/reliability.md";
/// The lines between which the results are.
const MARKS: [&str; 2] = ["<!-- results -->", "<!-- end -->"];

/// Replaces the results in the document.
///
/// # Errors
///
/// Returns a message if the document cannot be read or written, or lacks the marks.
pub(crate) fn write(results: &DamageResults, options: &DamageOptions) -> Result<(), String> {
    let path = build::workspace().join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| format!("{FILE}: {error}"))?;
    let [begin, end] = MARKS;
    let parts =
        text.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = parts.ok_or_else(|| format!("{FILE} lacks {begin} or {end}"))?;
    let body = format!("{}\n{}\n{}", machine(options), table(results), skipped(results));
    let text = format!("{head}{begin}\n{body}{end}{tail}");
    fs::write(&path, text).map_err(|error| format!("{FILE}: {error}"))
}

/// Returns a sentence about the date and the machine.
fn machine(options: &DamageOptions) -> String {
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        let output = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
    };
    let kernel = output("uname", &["-r"]);
    let kernel = kernel.split('-').next().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let version = |program: &str| {
        let line = output(program, &["--version"]);
        line.split_whitespace().nth(2).unwrap_or("unknown").to_owned()
    };
    let rsync = version("rsync");
    let old = options.old_rsync.as_ref().map_or_else(String::new, |program| {
        format!(" (the old one: {})", version(&program.display().to_string()))
    });
    format!(
        "{}, Linux {kernel}, {cores} cores, file systems in memory (tmpfs),\nrsync {rsync}{old}, \
         debug build, {} cells at once, seed {}:\n",
        output("date", &["-u", "+%Y-%m-%d"]),
        options.jobs,
        options.seed
    )
}

fn table(results: &DamageResults) -> String {
    let kinds = DamageKind::ALL.map(DamageKind::name);
    let mut text = format!("| fault | {} |\n|---|{}\n", kinds.join(" | "), "---|".repeat(6));
    for fault in DamageFault::ALL {
        let marks = DamageKind::ALL.map(|kind| {
            DamageLoad::ALL.map(|load| mark(DamageCell { kind, fault, load }, results)).join(" ")
        });
        let _ = writeln!(text, "| {} | {} |", fault.description(), marks.join(" | "));
    }
    let [green, red, skipped] = results.counts();
    let _ = writeln!(text, "\n{green} cells are green, {red} red and {skipped} skipped.");
    text
}

fn mark(cell: DamageCell, results: &DamageResults) -> &'static str {
    if !cell.is_meaningful() {
        return "-";
    }
    match results.outcome(cell) {
        Some(CellOutcome::Green) => "ok",
        Some(CellOutcome::Red(_)) => "**RED**",
        Some(CellOutcome::Skipped(_)) | None => "skip",
    }
}

fn skipped(results: &DamageResults) -> String {
    let mut text = String::new();
    for (reason, cells) in results.skipped() {
        let faults: BTreeSet<&str> = cells.iter().map(|cell| cell.fault.description()).collect();
        let faults: Vec<&str> = faults.into_iter().collect();
        let kinds: BTreeSet<DamageKind> = cells.iter().map(|cell| cell.kind).collect();
        let kinds: Vec<&str> = kinds.into_iter().map(DamageKind::name).collect();
        let of = if kinds.len() == DamageKind::ALL.len() {
            String::new()
        } else {
            format!(" ({})", kinds.join(", "))
        };
        let _ = writeln!(text, "- Skipped: {}{of}: {}.", faults.join(", "), reason.text());
    }
    text
}
