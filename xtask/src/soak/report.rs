//! The report of a soak run, also in `docs/reliability.md`.

use std::{fmt::Write as _, path::Path};

use super::{options::SoakOptions, run::SoakResults};
use crate::{damage::matrix::DamageKind, machine};

/// The lines between which the report is.
const MARKS: [&str; 2] = ["<!-- soak -->", "<!-- end of soak -->"];

/// Replaces the report in the document.
///
/// # Errors
///
/// As [`machine::write_between`].
pub(crate) fn write(report: &str) -> Result<(), String> {
    machine::write_between(MARKS, report)
}

/// Returns the report.
pub(crate) fn text(results: &SoakResults, options: &SoakOptions, program: &Path) -> String {
    let version = machine::first_line(&program.display().to_string(), &["-version"]);
    format!(
        "{},\n{}, rsync {}, {} minutes, seed {}:\n\n{}",
        machine::description(),
        version.trim(),
        machine::version("rsync"),
        options.time.as_secs() / 60,
        options.seed,
        figures(results)
    )
}

fn figures(results: &SoakResults) -> String {
    let SoakResults { batches, changes, peak, .. } = results;
    let mut text = String::from(
        "| minute | equal after | resident | anonymous | descriptors | threads | CPU |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for checkpoint in &results.checkpoints {
        let gauges = checkpoint.gauges;
        let _ = writeln!(
            text,
            "| {} | {:.1} s | {} KiB | {} KiB | {} | {} | {:.1} s |",
            checkpoint.minute(),
            checkpoint.flushed.as_secs_f64(),
            gauges.resident,
            gauges.anonymous,
            gauges.descriptors,
            gauges.threads,
            gauges.cpu
        );
    }
    let _ = writeln!(
        text,
        "\nThe largest figures in between: {} KiB resident, {} descriptors, {} threads.",
        peak.resident, peak.descriptors, peak.threads
    );
    let faults: Vec<String> =
        results.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let faults = faults.join(", ");
    let numbers = format!(
        "{changes} changes, {} batches, of which {} failed and were repeated, and {} were \
         forgotten by a reload before their lag was recorded.",
        batches.batches, batches.failed, batches.missed
    );
    let _ = writeln!(text, "{}", wrapped(&format!("Faults: {faults}. {numbers}")));
    text.push_str(&lags(results));
    text
}

/// Breaks a paragraph into lines of at most 100 columns.
fn wrapped(paragraph: &str) -> String {
    const COLUMNS: usize = 100;
    let mut lines = vec![String::new()];
    for word in paragraph.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.into()),
        }
    }
    lines.join("\n") + "\n"
}

fn lags(results: &SoakResults) -> String {
    let mut text = String::from(
        "| lag | batches | p50 | p99 | maximum | without fault | p50 | p99 | maximum |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for kind in DamageKind::ALL {
        let [all, calm] = [false, true].map(|it| results.batches.summary(kind, it));
        if all.count == 0 {
            // The daemon does not know the lag of a script.
            continue;
        }
        let _ = write!(text, "| {} |", kind.name());
        for lags in [all, calm] {
            let _ = write!(
                text,
                " {} | {:.2} s | {:.2} s | {:.2} s |",
                lags.count, lags.median, lags.p99, lags.maximum
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_broken_into_lines() {
        assert_eq!(wrapped("one two"), "one two\n");
        let text = wrapped(&"word ".repeat(50));
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert_eq!(text.split_whitespace().count(), 50);
        assert_eq!(text.lines().count(), 3);
    }
}
