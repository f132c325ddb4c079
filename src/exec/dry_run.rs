//! Differences of a target, found without any change.

use std::fmt::Write as _;

use mirror_core::path::TreePath;

/// Result of a comparison of a target with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// Error: the reason for which source and target cannot be compared, as a sentence without a
    /// full stop. The other fields are empty then.
    pub reached: Result<(), String>,
    /// Entries that a full transfer would send, or whose attributes it would set.
    pub would_send: DriftNames,
    /// Entries that it would delete. Budgets are not applied.
    pub would_delete: DriftNames,
    /// Entries of the source that cannot be read.
    pub unreadable: DriftNames,
    /// Sum of the sizes of the files to send.
    pub bytes: u64,
}

/// A number of names, and the first ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DriftNames {
    pub count: u64,
    pub first: Vec<TreePath>,
}

impl DriftNames {
    /// Maximum number of names that are kept.
    const MAX: usize = 20;

    /// Counts a name.
    pub(super) fn add(&mut self, path: &TreePath) {
        self.count += 1;
        if self.first.len() < Self::MAX {
            self.first.push(path.clone());
        }
    }

    fn write(&self, what: &str, text: &mut String) {
        if self.count == 0 {
            return;
        }
        let noun = if self.count == 1 { "entry" } else { "entries" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {what} {} {noun}:", self.count);
        for path in &self.first {
            let _ = writeln!(text, "    {path}");
        }
        let more = self.count.saturating_sub(self.first.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "    ... and {more} more");
        }
    }
}

impl Drift {
    /// Creates a result without differences.
    pub(super) fn none() -> Self {
        Self {
            reached: Ok(()),
            would_send: DriftNames::default(),
            would_delete: DriftNames::default(),
            unreadable: DriftNames::default(),
            bytes: 0,
        }
    }

    /// Creates the result of a comparison that was not possible.
    pub(super) fn failed(why: String) -> Self {
        Self { reached: Err(why), ..Self::none() }
    }

    /// Returns true if the target equals its source, as far as that can be seen.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let all = [&self.would_send, &self.would_delete, &self.unreadable];
        all.iter().all(|names| names.count == 0)
    }

    /// Describes the differences, indented, one line each.
    #[must_use]
    pub(crate) fn describe(&self, size: &str) -> String {
        let mut text = String::new();
        if self.is_empty() {
            text += "  nothing to transfer\n";
        }
        self.would_send.write("would send", &mut text);
        if self.bytes > 0 {
            let _ = writeln!(text, "  {size} of files");
        }
        self.would_delete.write("would delete", &mut text);
        self.unreadable.write("cannot read", &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_with_their_first_names() {
        let mut drift = Drift::none();
        assert!(drift.is_empty());
        assert_eq!(drift.describe(""), "  nothing to transfer\n");
        for number in 0..22 {
            let path = TreePath::new(format!("f{number}").as_bytes()).unwrap();
            drift.would_send.add(&path);
        }
        drift.would_delete.add(&TreePath::new(b"x").unwrap());
        drift.bytes = 7;
        let text = drift.describe("7 B");
        assert!(text.starts_with("  would send 22 entries:\n    /f0\n"), "{text}");
        let end = "    /f19\n    ... and 2 more\n  7 B of files\n  would delete 1 entry:\n    /x\n";
        assert!(text.ends_with(end), "{text}");
    }
}
