//! Errors in rules.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

use crate::path::Escaped;

/// An invalid rule and its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The rule as written.
    pub text: Box<[u8]>,
    /// The kind of error.
    pub kind: RuleErrorKind,
    /// The location, innermost file first. Empty for a rule that is not in a file.
    pub locations: Vec<RuleLocation>,
}

/// A line of a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLocation {
    /// Name by which a rule merged the file. `None` if the caller supplied the text.
    pub file: Option<Box<[u8]>>,
    /// Line number, starting at 1.
    pub line: usize,
}

/// The kinds of errors in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleErrorKind {
    /// The line does not start with a known rule name.
    UnknownRule,
    /// This byte is in modifier position but is not a modifier of the rule.
    Modifier(u8),
    /// The pattern or file name is missing.
    NoPattern,
    /// Text follows a rule that takes no argument: `!` and `-C`.
    Trailing,
    /// Both the rule and the merge rule that reads its file name a side.
    SidesTwice,
    /// The text contains a NUL, which neither a name nor an argument can contain.
    Nul,
    /// The pattern is so long that rsync drops it.
    TooLong,
    /// Merged files are nested too deeply, probably in a cycle.
    TooDeep,
    /// The merged file could not be read, for this reason.
    Unreadable(String),
}

impl RuleError {
    pub(super) fn new(text: &[u8], fault: RuleErrorKind) -> Self {
        Self { text: text.into(), kind: fault, locations: Vec::new() }
    }

    pub(super) fn within(mut self, file: Option<&[u8]>, line: usize) -> Self {
        self.locations.push(RuleLocation { file: file.map(Into::into), line });
        self
    }
}

impl fmt::Display for RuleLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", Escaped(file), self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

impl fmt::Display for RuleErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRule => f.write_str(
                "expected one of the rules - + . : H S P R ! or its long name, then a blank",
            ),
            Self::Modifier(byte) => {
                write!(f, "the rule takes no modifier \"{}\"", Escaped(&[*byte]))
            }
            Self::NoPattern => f.write_str("expected a pattern or a file name after the rule"),
            Self::Trailing => f.write_str("expected nothing after this rule"),
            Self::SidesTwice => {
                f.write_str("the rule that merges this file already sets the side of its rules")
            }
            Self::Nul => f.write_str("a rule cannot contain a NUL byte"),
            Self::TooLong => f.write_str("expected a pattern of less than 4096 bytes"),
            Self::TooDeep => f.write_str("merged files are nested too deeply"),
            Self::Unreadable(why) => write!(f, "cannot read the file: {why}"),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for location in self.locations.iter().rev() {
            write!(f, "{location}: ")?;
        }
        write!(f, "filter rule \"{}\": {}", Escaped(&self.text), self.kind)
    }
}

impl core::error::Error for RuleError {}
