//! Reads what `cargo test -- --show-output` prints.

/// The prefix by which a test says that it could not look at what it is there for.
const SKIPPED: &str = "skipped: ";

/// What was seen of the output so far.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    section: Section,
    test: String,
    skipped: Vec<String>,
    passed: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Progress,
    OutputOfPassed,
}

impl Transcript {
    /// Takes the next line and tells whether people want to see it.
    pub(crate) fn shows(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.section = Section::OutputOfPassed;
            return false;
        }
        if line == "failures:" || line.starts_with("test result: ") {
            self.section = Section::Progress;
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
        self.section == Section::Progress
    }

    /// The lines of the skipped tests, each with the name of its test.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// How many tests passed and looked at something.
    pub(crate) fn passed(&self) -> usize {
        self.passed.saturating_sub(self.skipped.len())
    }
}

/// The number in `test result: ok. 12 passed; ..`.
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
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| transcript.shows(line)).collect();
        assert!(shown.contains(&"skipped: no sshd"));
        assert!(shown.contains(&"panicked"));
        assert!(!shown.contains(&"chatter"));
    }

    #[test]
    fn a_skipped_test_is_named_and_not_counted_as_passed() {
        let mut transcript = Transcript::default();
        for line in OUTPUT.lines() {
            transcript.shows(line);
        }
        assert_eq!(transcript.skipped(), ["skipped: no sshd (b)"]);
        assert_eq!(transcript.passed(), 1);
    }
}
