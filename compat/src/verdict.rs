//! Compares the outcome of a case with its declared expectation.

use crate::{
    case::Case,
    expectation::{DifferenceReason, Expectation, Implementation},
    jail::CaseOutcome,
};

/// The outcome that a case must have with one implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// It passes.
    Pass,
    /// It fails. If it passes, its expectation is outdated.
    Fail,
}

/// Returns the outcome that a case must have with `tested`. `None`: it does not run.
///
/// `version` is that of the original.
#[must_use]
pub fn expected_outcome(
    expectation: &Expectation,
    tested: Implementation,
    version: &str,
) -> Option<ExpectedOutcome> {
    let is_lacking = match expectation.reason() {
        Some(DifferenceReason::OriginalLacks(lacking)) => is_version(version, lacking),
        _ => false,
    };
    match (expectation, tested) {
        // An original that has the feature would pass a case of ours; one that lacks it proves
        // nothing.
        (Expectation::Ours(DifferenceReason::OriginalLacks(_)), Implementation::Original)
            if !is_lacking =>
        {
            None
        }
        (Expectation::NotYet(_), Implementation::Original) if is_lacking => None,
        (Expectation::Both, _)
        | (Expectation::Ours(_), Implementation::Ours)
        | (Expectation::NotYet(_), Implementation::Original) => Some(ExpectedOutcome::Pass),
        (Expectation::Ours(_), Implementation::Original)
        | (Expectation::NotYet(_), Implementation::Ours) => Some(ExpectedOutcome::Fail),
    }
}

/// Returns true if `version` is `prefix` or one of its releases.
fn is_version(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns a description of the mismatch between `expected` and `outcome`, if there is one.
#[must_use]
pub fn mismatch(
    case: &Case,
    tested: Implementation,
    expected: ExpectedOutcome,
    outcome: &CaseOutcome,
) -> Option<String> {
    let program = tested.name();
    match (expected, outcome) {
        (ExpectedOutcome::Pass, CaseOutcome::Passed(_))
        | (ExpectedOutcome::Fail, CaseOutcome::Failed(_)) => None,
        (ExpectedOutcome::Pass, CaseOutcome::Failed(report)) => {
            Some(format!("{program}: {report}"))
        }
        (_, CaseOutcome::NotRun(reason)) => Some(format!("{program}: no jail: {reason}")),
        (ExpectedOutcome::Fail, CaseOutcome::Passed(_)) => Some(match case.expectation {
            Expectation::NotYet(_) => format!("{program}: it passes: remove `not-yet`"),
            Expectation::Both | Expectation::Ours(_) => {
                format!("{program}: it passes there, too: write `expect both`")
            }
        }),
    }
}

/// Returns the known differences that a case names and the list does not have.
#[must_use]
pub fn unknown_differences<'a>(case: &'a Case, known_differences: &str) -> Vec<&'a str> {
    let first_cells: Vec<&str> = known_differences
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect();
    let named = case.reasons().filter_map(|reason| match reason {
        DifferenceReason::KnownDifference(row) => Some(&**row),
        DifferenceReason::OriginalBug(_)
        | DifferenceReason::Issue(_)
        | DifferenceReason::OriginalLacks(_) => None,
    });
    named.filter(|row| !first_cells.contains(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(expectation: &str) -> Case {
        Case::parse(&format!("title a\nexpect {expectation}\nstart\nexit 0")).unwrap()
    }

    /// Checks the outcome with the original and with ours. `+`: must pass, `-`: must fail,
    /// `.`: does not run.
    #[track_caller]
    fn check(expectation: &str, version: &str, expected: &str) {
        let expectation = Expectation::parse(expectation).unwrap();
        let shown = [Implementation::Original, Implementation::Ours].map(|tested| {
            match expected_outcome(&expectation, tested, version) {
                Some(ExpectedOutcome::Pass) => '+',
                Some(ExpectedOutcome::Fail) => '-',
                None => '.',
            }
        });
        assert_eq!(String::from_iter(shown), expected, "{expectation:?}");
    }

    #[test]
    fn each_expectation_defines_the_outcome_with_both_implementations() {
        check("both", "2.2.3", "++");
        check("ours known-difference a", "2.2.3", "-+");
        check("not-yet issue 3", "2.2.3", "+-");
        check("ours original-lacks 2.2", "2.2.3", "-+");
        check("ours original-lacks 2.2", "2.3.1", ".+");
        check("ours original-lacks 2.2", "2.20", ".+");
        check("not-yet original-lacks 2.2", "2.2.3", ".-");
        check("not-yet original-lacks 2.2", "2.3.1", "+-");
    }

    #[test]
    fn a_case_that_unexpectedly_passes_is_a_mismatch() {
        let not_yet = case("not-yet issue 3");
        let mismatch =
            |outcome| mismatch(&not_yet, Implementation::Ours, ExpectedOutcome::Fail, &outcome);
        assert!(mismatch(CaseOutcome::Passed(String::new())).unwrap().contains("remove"));
        assert_eq!(mismatch(CaseOutcome::Failed(String::new())), None);
        // A jail that cannot be made proves nothing.
        assert!(mismatch(CaseOutcome::NotRun(String::new())).is_some());
    }

    #[test]
    fn a_known_difference_that_a_case_names_is_in_the_list() {
        let list = "| | original |\n|---|---|\n| empty target | taken |\n";
        let named = case("ours known-difference empty target");
        assert!(unknown_differences(&named, list).is_empty());
        let other = case("ours known-difference taken");
        assert_eq!(unknown_differences(&other, list), ["taken"]);
        assert!(unknown_differences(&case("ours original-bug it hangs"), list).is_empty());
    }
}
