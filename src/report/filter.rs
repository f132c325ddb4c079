//! Which messages are wanted: `-log`.

use super::Category;

/// Which categories of messages are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    threshold: Threshold,
    named: Vec<Vec<u8>>,
}

/// How important a message has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Threshold {
    /// `scarce`: trouble only.
    Trouble,
    /// What is told to everybody, and the categories that were named.
    #[default]
    Notice,
    /// `all`.
    Everything,
}

impl Filter {
    /// Takes in one word that followed `-log`: `all`, `scarce` or the name of a category.
    ///
    /// # Errors
    ///
    /// If the word is none of these; the filter stays as it is.
    pub fn add(&mut self, word: &[u8]) -> Result<(), NoCategory> {
        match word {
            b"all" => self.threshold = Threshold::Everything,
            b"scarce" => self.threshold = Threshold::Trouble,
            [b'A'..=b'Z', ..] => self.named.push(word.to_vec()),
            _ => return Err(NoCategory),
        }
        Ok(())
    }

    /// Whether messages of this category are wanted.
    #[must_use]
    pub fn wants(&self, category: Category) -> bool {
        match (category, self.threshold) {
            (Category::Warn | Category::Error, _) | (_, Threshold::Everything) => true,
            (Category::Normal, threshold) => threshold == Threshold::Notice,
            // Also in the original `scarce` hides what was asked for by name.
            (Category::Debug(name), Threshold::Notice) => {
                self.named.iter().any(|named| named == name.as_bytes())
            }
            (Category::Debug(_), Threshold::Trouble) => false,
        }
    }
}

/// The word can't be the name of a category: those begin with a capital letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCategory;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_shown_by_its_weight_or_its_name() {
        let all = ["Normal", "Warn", "Error", "Exec", "Delay"];
        let check = |words: &[&str], shown: &[&str]| {
            let mut filter = Filter::default();
            for word in words {
                filter.add(word.as_bytes()).unwrap();
            }
            for name in all {
                let category = match name {
                    "Normal" => Category::Normal,
                    "Warn" => Category::Warn,
                    "Error" => Category::Error,
                    name => Category::Debug(name),
                };
                assert_eq!(filter.wants(category), shown.contains(&name), "{words:?}: {name}");
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
    fn a_name_begins_with_a_capital_letter() {
        for word in ["", "foo", "All ", "1", "-log", "ALL", "Ä", "exec", "all "] {
            let is_name = word.starts_with(|c: char| c.is_ascii_uppercase());
            assert_eq!(Filter::default().add(word.as_bytes()).is_ok(), is_name, "{word:?}");
        }
    }
}
