//! Parses the output of `cargo test -- --show-output`.

/// Prefix of the line by which a test reports that it was skipped.
const SKIPPED: &str = "skipped: ";

/// State of the parser.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    section: TranscriptSection,
    test: String,
    skipped: Vec<String>,
    passed: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum TranscriptSection {
    #[default]
    Progress,
    OutputOfPassed,
}

impl Transcript {
    /// Processes the next line, and returns true if it is worth printing.
    pub(crate) fn push(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.section = TranscriptSection::OutputOfPassed;
            return false;
        }
        if line == "failures:" || line.starts_with("test result: ") {
            self.section = TranscriptSection::Progress;
            self.passed += passed_in(line).unwrap_or(0);
        }
        if let Some(test) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            test.clone_into(&mut self.test);
        }
        if line.starts_with(SKIPPED) {
            self.skipped.push(format!("{line} ({})", self.test));
            return true;
        }
        self.section == TranscriptSection::Progress
    }

    /// Returns the `skipped:` lines, each with the name of its test.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Returns the number of tests that passed and were not skipped.
    pub(crate) fn passed(&self) -> usize {
        self.passed.saturating_sub(self.skipped.len())
    }
}

/// Returns the number in `test result: ok. 12 passed; ..`.
fn passed_in(line: &str) -> Option<usize> {
    let before = line.strip_prefix("test result: ")?.split(" passed;").next()?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
chatter
---- b stdout ----
skipped: no sshd

successes:
    a
    b

failures:

---- c stdout ----
panicked

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";

    #[test]
    fn output_of_passed_tests_is_hidden_except_skips() {
        let mut transcript = Transcript::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| transcript.push(line)).collect();
        assert!(shown.contains(&"skipped: no sshd"));
        assert!(shown.contains(&"panicked"));
        assert!(!shown.contains(&"chatter"));
    }

    #[test]
    fn a_skipped_test_is_named_and_not_counted_as_passed() {
        let mut transcript = Transcript::default();
        for line in OUTPUT.lines() {
            transcript.push(line);
        }
        assert_eq!(transcript.skipped(), ["skipped: no sshd (b)"]);
        assert_eq!(transcript.passed(), 1);
    }
}
