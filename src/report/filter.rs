//! Selection of log messages by category: `-log`.

use super::Category;

/// Set of enabled message categories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    threshold: Threshold,
    named: Vec<Vec<u8>>,
}

/// Minimum importance of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Threshold {
    /// `scarce`: warnings and errors only.
    Warnings,
    /// Normal messages, and the categories that were named.
    #[default]
    Notice,
    /// `all`.
    Everything,
}

impl LogFilter {
    /// Adds one argument of `-log`: `all`, `scarce` or the name of a category.
    ///
    /// # Errors
    ///
    /// If the argument is none of these; the filter is unchanged.
    pub fn add(&mut self, arg: &[u8]) -> Result<(), InvalidCategory> {
        match arg {
            b"all" => self.threshold = Threshold::Everything,
            b"scarce" => self.threshold = Threshold::Warnings,
            [b'A'..=b'Z', ..] => self.named.push(arg.to_vec()),
            _ => return Err(InvalidCategory),
        }
        Ok(())
    }

    /// Returns true if messages of this category are enabled.
    #[must_use]
    pub fn wants(&self, category: Category) -> bool {
        match (category, self.threshold) {
            (Category::Warn | Category::Error, _) | (_, Threshold::Everything) => true,
            (Category::Normal, threshold) => threshold == Threshold::Notice,
            // As in the original, `scarce` also hides categories that were named.
            (Category::Debug(name), Threshold::Notice) => {
                self.named.iter().any(|named| named == name.as_bytes())
            }
            (Category::Debug(_), Threshold::Warnings) => false,
        }
    }
}

/// The argument is not a category name: those begin with a capital letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCategory;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_shown_by_threshold_or_name() {
        let all = ["Normal", "Warn", "Error", "Exec", "Delay"];
        let check = |args: &[&str], shown: &[&str]| {
            let mut filter = LogFilter::default();
            for arg in args {
                filter.add(arg.as_bytes()).unwrap();
            }
            for name in all {
                let category = match name {
                    "Normal" => Category::Normal,
                    "Warn" => Category::Warn,
                    "Error" => Category::Error,
                    name => Category::Debug(name),
                };
                assert_eq!(filter.wants(category), shown.contains(&name), "{args:?}: {name}");
            }
        };
        check(&[], &["Normal", "Warn", "Error"]);
        check(&["all"], &all);
        check(&["scarce"], &["Warn", "Error"]);
        check(&["Exec"], &["Normal", "Warn", "Error", "Exec"]);
        check(&["Exec", "Delay"], &all);
        check(&["scarce", "Exec"], &["Warn", "Error"]);
        check(&["all", "scarce"], &["Warn", "Error"]);
        check(&["scarce", "all"], &all);
        check(&["Exe"], &["Normal", "Warn", "Error"]);
    }

    #[test]
    fn category_names_begin_with_a_capital_letter() {
        for arg in ["", "foo", "All ", "1", "-log", "ALL", "Ä", "exec", "all "] {
            let is_name = arg.starts_with(|c: char| c.is_ascii_uppercase());
            assert_eq!(LogFilter::default().add(arg.as_bytes()).is_ok(), is_name, "{arg:?}");
        }
    }
}
