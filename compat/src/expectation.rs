//! The declared expectation of a case: the implementations with which it must pass.

/// One of the two programs that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// Debian's `lsyncd`.
    Original,
    /// Our program.
    Ours,
}

impl Implementation {
    /// Returns the name that cases and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Ours => "ours",
        }
    }

    /// Looks up an implementation by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Original, Self::Ours].into_iter().find(|it| it.name() == name)
    }
}

/// The implementations with which a case must pass, and with which it must fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Passes with both.
    Both,
    /// Passes with ours and fails with the original.
    Ours(DifferenceReason),
    /// Passes with the original and fails with ours. A case that passes with ours is an error.
    NotYet(DifferenceReason),
}

/// Justification of a difference between the two implementations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DifferenceReason {
    /// A row of `docs/known-differences.md`, identified by the text of its first cell.
    KnownDifference(String),
    /// A bug of the original, described in one sentence.
    OriginalBug(String),
    /// An open issue.
    Issue(u32),
    /// Originals whose version has this prefix lack the feature. Other versions of the original
    /// do not run the case.
    OriginalLacks(String),
}

impl Expectation {
    /// Parses `both`, `ours REASON` or `not-yet REASON`.
    ///
    /// # Errors
    ///
    /// Returns a description of the syntax error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, reason) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "both" if reason.is_empty() => Ok(Self::Both),
            "ours" => DifferenceReason::parse(reason).map(Self::Ours),
            "not-yet" => DifferenceReason::parse(reason).map(Self::NotYet),
            _ => Err(format!("no expectation: {text}")),
        }
    }

    /// Returns the reason for any expectation other than `both`.
    #[must_use]
    pub const fn reason(&self) -> Option<&DifferenceReason> {
        match self {
            Self::Both => None,
            Self::Ours(reason) | Self::NotYet(reason) => Some(reason),
        }
    }
}

impl DifferenceReason {
    /// Parses `known-difference TEXT`, `original-bug TEXT`, `issue NUMBER` or
    /// `original-lacks VERSION`.
    ///
    /// # Errors
    ///
    /// Returns a message if `text` has none of these forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let reason = text.split_once(' ').and_then(|(kind, value)| match kind {
            "known-difference" => Some(Self::KnownDifference(value.to_owned())),
            "original-bug" => Some(Self::OriginalBug(value.to_owned())),
            "issue" => value.parse().ok().map(Self::Issue),
            "original-lacks" if is_version_number(value) => {
                Some(Self::OriginalLacks(value.to_owned()))
            }
            _ => None,
        });
        reason.ok_or_else(|| {
            format!(
                "no reason (known-difference TEXT, original-bug TEXT, issue N, \
                 original-lacks VERSION): {text:?}"
            )
        })
    }
}

/// Returns true for numbers that are separated by dots, such as `2` and `2.2`.
fn is_version_number(text: &str) -> bool {
    text.split('.').all(|part| part.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_other_than_both_needs_a_reason() {
        assert_eq!(Expectation::parse("both"), Ok(Expectation::Both));
        let not_yet = Expectation::NotYet(DifferenceReason::Issue(3));
        assert_eq!(Expectation::parse("not-yet issue 3"), Ok(not_yet));
        for (text, reason) in [
            (
                "known-difference empty target",
                DifferenceReason::KnownDifference("empty target".to_owned()),
            ),
            ("original-bug it crashes", DifferenceReason::OriginalBug("it crashes".to_owned())),
            ("original-lacks 2.2", DifferenceReason::OriginalLacks("2.2".to_owned())),
        ] {
            assert_eq!(Expectation::parse(&format!("ours {text}")), Ok(Expectation::Ours(reason)));
        }
        for bad in [
            "ours",
            "ours because",
            "ours original-lacks two",
            "not-yet",
            "not-yet issue x",
            "both known-difference a",
            "skip",
            "",
        ] {
            assert!(Expectation::parse(bad).is_err(), "{bad}");
        }
    }
}
