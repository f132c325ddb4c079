//! The outcomes of the cells.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::matrix::DamageCell;

/// The reason for which a cell did not run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SkipReason {
    /// Something that can be installed or permitted, which CI has.
    Missing(String),
    /// Something that this machine, or the daemon, cannot have.
    Impossible(String),
}

/// The outcome of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CellOutcome {
    Green,
    /// With the report.
    Red(String),
    Skipped(SkipReason),
}

/// The outcomes so far.
#[derive(Debug, Default)]
pub(crate) struct DamageResults {
    outcomes: Mutex<BTreeMap<DamageCell, CellOutcome>>,
}

impl SkipReason {
    /// Returns the reason as text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Missing(text) | Self::Impossible(text) => text,
        }
    }
}

impl CellOutcome {
    /// Returns a word for the outcome.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Red(_) => "RED",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl DamageResults {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DamageCell, CellOutcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the outcome of a cell, and prints the report of a red one.
    pub(crate) fn add(&self, cell: DamageCell, outcome: CellOutcome) {
        if let CellOutcome::Red(report) = &outcome {
            println!("\n{report}\n");
        }
        self.lock().insert(cell, outcome);
    }

    /// Returns the outcome of a cell that was selected.
    pub(crate) fn outcome(&self, cell: DamageCell) -> Option<CellOutcome> {
        self.lock().get(&cell).cloned()
    }

    /// Returns the numbers of green, red and skipped cells.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let outcomes = self.lock();
        ["green", "RED", "skipped"]
            .map(|word| outcomes.values().filter(|outcome| outcome.word() == word).count())
    }

    /// Returns the reasons of skipped cells, each with the number of cells.
    pub(crate) fn skipped(&self) -> BTreeMap<SkipReason, Vec<DamageCell>> {
        let mut reasons: BTreeMap<SkipReason, Vec<DamageCell>> = BTreeMap::new();
        for (cell, outcome) in self.lock().iter() {
            if let CellOutcome::Skipped(reason) = outcome {
                reasons.entry(reason.clone()).or_default().push(*cell);
            }
        }
        reasons
    }

    /// Prints a summary.
    ///
    /// # Errors
    ///
    /// Returns the first line of each red report. If `strict`, also what is missing.
    pub(crate) fn report(&self, strict: bool) -> Result<(), Vec<String>> {
        let [green, red, skipped] = self.counts();
        println!("{green} green, {red} red, {skipped} skipped");
        let reasons = self.skipped();
        for (reason, cells) in &reasons {
            let faults: BTreeSet<&str> = cells.iter().map(|cell| cell.fault.name()).collect();
            let faults: Vec<&str> = faults.into_iter().collect();
            println!("not run: {} cells of {}: {}", cells.len(), faults.join(", "), reason.text());
        }
        let mut problems = Vec::new();
        for outcome in self.lock().values() {
            if let CellOutcome::Red(report) = outcome {
                problems.extend(report.lines().next().map(str::to_owned));
            }
        }
        if green + red == 0 {
            problems.push("no cell was run".to_owned());
        }
        if strict && reasons.keys().any(|reason| matches!(reason, SkipReason::Missing(_))) {
            problems.push("what is missing counts as a failure, since CI=true".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_red_cell_a_strict_skip_or_no_cell_at_all_is_a_failure() {
        let cells = DamageCell::all();
        let (first, second) = (cells[0], cells[1]);
        let results = DamageResults::default();
        assert!(results.report(false).is_err());
        results.add(first, CellOutcome::Green);
        let impossible = SkipReason::Impossible("old".into());
        results.add(second, CellOutcome::Skipped(impossible));
        assert!(results.report(true).is_ok());
        results.add(second, CellOutcome::Skipped(SkipReason::Missing("ssh".into())));
        assert!(results.report(false).is_ok() && results.report(true).is_err());
        results.add(second, CellOutcome::Red("a x b\nmore".into()));
        assert_eq!(results.report(false), Err(vec!["a x b".to_owned()]));
        assert_eq!(results.counts(), [1, 1, 0]);
    }
}
