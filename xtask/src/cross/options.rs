//! Options of the task.

use super::target::{CrossTarget, TARGETS};

/// Command line options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CrossOptions {
    /// The targets to build for.
    pub(super) targets: Vec<CrossTarget>,
    /// A package to build instead of the programs.
    pub(super) package: Option<String>,
    /// True if it is a failure that nothing can be built here.
    pub(super) is_required: bool,
}

impl CrossOptions {
    /// Parses the command line.
    ///
    /// # Errors
    ///
    /// Returns a message about the word that is wrong.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        let mut options = Self { targets: Vec::new(), package: None, is_required: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match &**word {
                "--target" => options.targets.push(CrossTarget::named(value()?)?),
                "--package" => options.package = Some(value()?.clone()),
                "--require" => options.is_required = true,
                other => return Err(format!("{other} is no option of cross")),
            }
        }
        if options.targets.is_empty() {
            options.targets = TARGETS.to_vec();
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CrossOptions, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        CrossOptions::parse(&words)
    }

    #[test]
    fn without_a_filter_all_targets_are_built() {
        let options = parse("").unwrap();
        assert_eq!(options.targets, TARGETS);
        assert!(!options.is_required);
    }

    #[test]
    fn options_are_parsed() {
        let text = "--target x86_64-apple-darwin --require --package mirror-core";
        let options = parse(text).unwrap();
        assert_eq!(options.targets, [CrossTarget::named("x86_64-apple-darwin").unwrap()]);
        assert!(options.is_required);
        assert_eq!(options.package.as_deref(), Some("mirror-core"));
        for wrong in ["--target", "--target arm", "--package", "--all"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
