//! What it means that a case passed or failed with either program.

use crate::{
    case::Case,
    jail::Verdict,
    mark::{Mark, Reason, Side},
};

/// What must come of a case with one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It passes.
    Pass,
    /// It fails. If it passes, its mark is not true any more.
    Fail,
}

/// What must come of a case with the program of `side`. `None`: it is not played.
///
/// `version` is that of the original.
#[must_use]
pub fn expected(mark: &Mark, side: Side, version: &str) -> Option<Expected> {
    let is_lacking = match mark.reason() {
        Some(Reason::Lacking(lacking)) => is_version(version, lacking),
        _ => false,
    };
    match (mark, side) {
        // An original that has it would pass a case of ours; one that lacks it proves nothing.
        (Mark::Ours(Reason::Lacking(_)), Side::Theirs) if !is_lacking => None,
        (Mark::NotYet(_), Side::Theirs) if is_lacking => None,
        (Mark::Both, _) | (Mark::Ours(_), Side::Ours) | (Mark::NotYet(_), Side::Theirs) => {
            Some(Expected::Pass)
        }
        (Mark::Ours(_), Side::Theirs) | (Mark::NotYet(_), Side::Ours) => Some(Expected::Fail),
    }
}

/// Whether `version` is `prefix`, or one of its releases.
fn is_version(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is wrong with the verdict, if something is.
#[must_use]
pub fn objection(case: &Case, side: Side, expected: Expected, verdict: &Verdict) -> Option<String> {
    let program = side.name();
    match (expected, verdict) {
        (Expected::Pass, Verdict::Passed(_)) | (Expected::Fail, Verdict::Failed(_)) => None,
        (Expected::Pass, Verdict::Failed(report)) => Some(format!("{program}: {report}")),
        (_, Verdict::Impossible(why)) => Some(format!("{program}: no jail: {why}")),
        (Expected::Fail, Verdict::Passed(_)) => Some(match case.mark {
            Mark::NotYet(_) => format!("{program}: it passes: unmark it"),
            _ => format!("{program}: it passes there, too: mark it `both`"),
        }),
    }
}

/// The reasons of a case that cannot be found in the text of the list of known differences.
#[must_use]
pub fn unknown_rows<'a>(case: &'a Case, known_differences: &str) -> Vec<&'a str> {
    let first_cells: Vec<&str> = known_differences
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect();
    let rows = case.reasons().filter_map(|reason| match reason {
        Reason::Row(row) => Some(&**row),
        _ => None,
    });
    rows.filter(|row| !first_cells.contains(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(mark: &str) -> Case {
        Case::parse(&format!("title a\nmark {mark}\nstart\nexit 0")).unwrap()
    }

    /// `+`: must pass, `-`: must fail, `.`: is not played. First theirs, then ours.
    fn check(mark: &str, version: &str, wanted: &str) {
        let mark = Mark::parse(mark).unwrap();
        let shown = [Side::Theirs, Side::Ours].map(|side| match expected(&mark, side, version) {
            Some(Expected::Pass) => '+',
            Some(Expected::Fail) => '-',
            None => '.',
        });
        assert_eq!(String::from_iter(shown), wanted, "{mark:?}");
    }

    #[test]
    fn each_mark_says_what_must_come_of_it() {
        check("both", "2.2.3", "++");
        check("ours row a", "2.2.3", "-+");
        check("not-yet issue 3", "2.2.3", "+-");
        check("ours lacking 2.2", "2.2.3", "-+");
        check("ours lacking 2.2", "2.3.1", ".+");
        check("ours lacking 2.2", "2.20", ".+");
        check("not-yet lacking 2.2", "2.2.3", ".-");
        check("not-yet lacking 2.2", "2.3.1", "+-");
    }

    #[test]
    fn what_passes_though_it_must_not_is_unmarked() {
        let not_yet = case("not-yet issue 3");
        let objection = |verdict| objection(&not_yet, Side::Ours, Expected::Fail, &verdict);
        assert!(objection(Verdict::Passed(String::new())).unwrap().contains("unmark it"));
        assert_eq!(objection(Verdict::Failed(String::new())), None);
        // A jail that cannot be made proves nothing.
        assert!(objection(Verdict::Impossible(String::new())).is_some());
    }

    #[test]
    fn a_row_that_a_mark_names_is_in_the_list() {
        let list = "| | original |\n|---|---|\n| empty target | taken |\n";
        assert!(unknown_rows(&case("ours row empty target"), list).is_empty());
        assert_eq!(unknown_rows(&case("ours row taken"), list), ["taken"]);
        assert!(unknown_rows(&case("ours section 4.3"), list).is_empty());
    }
}
