//! The table of the results: `docs/reliability.md`.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    matrix::{DamageCell, DamageFault, DamageKind, DamageLoad},
    options::DamageOptions,
    results::{CellOutcome, DamageResults},
};
use crate::machine;

/// The lines between which the results are.
const MARKS: [&str; 2] = ["<!-- results -->", "<!-- end -->"];

/// Replaces the results in the document.
///
/// # Errors
///
/// Returns a message if the document cannot be read or written, or lacks the marks.
pub(crate) fn write(results: &DamageResults, options: &DamageOptions) -> Result<(), String> {
    let body = format!("{}\n{}\n{}", machine(options), table(results), skipped(results));
    machine::write_between(MARKS, &body)
}

/// Returns a sentence about the date and the machine.
fn machine(options: &DamageOptions) -> String {
    let rsync = machine::version("rsync");
    let old = options.old_rsync.as_ref().map_or_else(String::new, |program| {
        format!(" (the old one: {})", machine::version(&program.display().to_string()))
    });
    format!(
        "{},\nrsync {rsync}{old}, debug build, {} cells at once, seed {}:\n",
        machine::description(),
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
