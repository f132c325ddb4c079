//! With which of the two programs a case has to pass.

/// The two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The original.
    Theirs,
    /// Our program.
    Ours,
}

impl Side {
    /// Its name in cases and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Theirs => "theirs",
            Self::Ours => "ours",
        }
    }

    /// The side of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Theirs, Self::Ours].into_iter().find(|side| side.name() == name)
    }
}

/// With which program a case has to pass, and with which it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// With both.
    Both,
    /// With ours, and it must fail with the original.
    Ours(Reason),
    /// With the original; it must fail with ours, or it has to be unmarked.
    NotYet(Reason),
}

/// Why the two are not alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is this row of the list of known differences: the text of its first cell.
    Row(String),
    /// It is a bug or an oddity of the original that this section of its behaviour describes.
    Section(String),
    /// It is this issue.
    Issue(u32),
    /// Originals whose version begins so lack it; with others the case is not played.
    Lacking(String),
}

impl Mark {
    /// Reads `both`, `ours REASON` or `not-yet REASON`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, reason) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "both" if reason.is_empty() => Ok(Self::Both),
            "ours" => Reason::parse(reason).map(Self::Ours),
            "not-yet" => Reason::parse(reason).map(Self::NotYet),
            _ => Err(format!("no mark: {text}")),
        }
    }

    /// Why it is not `both`.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Both => None,
            Self::Ours(reason) | Self::NotYet(reason) => Some(reason),
        }
    }
}

impl Reason {
    /// Reads `row TEXT`, `section NUMBER`, `issue NUMBER` or `lacking VERSION`.
    ///
    /// # Errors
    ///
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let reason = text.split_once(' ').and_then(|(kind, what)| match kind {
            "row" => Some(Self::Row(what.to_owned())),
            "section" if is_number(what) => Some(Self::Section(what.to_owned())),
            "issue" => what.parse().ok().map(Self::Issue),
            "lacking" if is_number(what) => Some(Self::Lacking(what.to_owned())),
            _ => None,
        });
        reason.ok_or_else(|| {
            format!("no reason (row TEXT, section N, issue N, lacking VERSION): {text:?}")
        })
    }
}

/// `12`, `3.4` and the like.
fn is_number(text: &str) -> bool {
    text.split('.').all(|part| part.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_other_than_both_has_a_reason() {
        assert_eq!(Mark::parse("both"), Ok(Mark::Both));
        assert_eq!(Mark::parse("not-yet issue 3"), Ok(Mark::NotYet(Reason::Issue(3))));
        let row = Reason::Row("empty target".to_owned());
        assert_eq!(Mark::parse("ours row empty target"), Ok(Mark::Ours(row)));
        let lacking = Reason::Lacking("2.2".to_owned());
        assert_eq!(Mark::parse("ours lacking 2.2"), Ok(Mark::Ours(lacking)));
        for bad in ["ours", "ours because", "not-yet", "not-yet issue x", "both row a", "skip", ""]
        {
            assert!(Mark::parse(bad).is_err(), "{bad}");
        }
    }
}
