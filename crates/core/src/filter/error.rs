//! What is wrong with a rule.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

use crate::path::Escaped;

/// A rule that can't be taken, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The rule as it was written.
    pub text: Box<[u8]>,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where it stands, the innermost file first. Empty for a rule that stands in no file.
    pub places: Vec<Position>,
}

/// A line of a file of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The name by which a rule merged the file. `None`: the contents that the caller gave.
    pub file: Option<Box<[u8]>>,
    /// The line, from 1 on.
    pub line: usize,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It starts with no known rule name.
    UnknownRule,
    /// This byte stands where modifiers stand, and is none that the rule takes.
    Modifier(u8),
    /// The pattern, or the name of the file, is missing.
    NoPattern,
    /// Something follows a rule that takes nothing: `!` and `-C`.
    Trailing,
    /// The rule and the merge rule that reads its file both say for which side it is.
    SidesTwice,
    /// There is a NUL in it, which no name and no argument can have.
    Nul,
    /// The pattern is so long that rsync drops it.
    TooLong,
    /// Merged files are nested too deeply, probably in a circle.
    TooDeep,
    /// The file to be merged could not be read, and why.
    Unreadable(String),
}

impl RuleError {
    pub(super) fn new(text: &[u8], fault: Fault) -> Self {
        Self { text: text.into(), fault, places: Vec::new() }
    }

    pub(super) fn within(mut self, file: Option<&[u8]>, line: usize) -> Self {
        self.places.push(Position { file: file.map(Into::into), line });
        self
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", Escaped(file), self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

impl fmt::Display for Fault {
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
            Self::SidesTwice => f.write_str(
                "the rule that merges this file says already for which side its rules are",
            ),
            Self::Nul => f.write_str("a rule can't hold a NUL byte"),
            Self::TooLong => f.write_str("expected a pattern of less than 4096 bytes"),
            Self::TooDeep => f.write_str("merged files are nested too deeply"),
            Self::Unreadable(why) => write!(f, "cannot read the file: {why}"),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.places.iter().rev() {
            write!(f, "{place}: ")?;
        }
        write!(f, "filter rule \"{}\": {}", Escaped(&self.text), self.fault)
    }
}

impl core::error::Error for RuleError {}
