//! A message that comes again and again is told once, and then counted.

use std::time::{Duration, Instant};

use super::Category;

/// For how long a message is only counted after it was told.
const QUIET: Duration = Duration::from_mins(1);

/// Which message was told last, and how often it came since.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    category: Category,
    text: String,
    told: Instant,
    count: u64,
}

/// What is to be written for a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it was counted.
    Counted,
    /// First the count of the message before, if there is one; then this one.
    Tell(Option<Counted>),
}

/// How often a message came without being told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) category: Category,
    pub(super) count: u64,
}

impl Counted {
    pub(super) fn text(&self) -> String {
        format!("last message repeated {} times", self.count)
    }
}

impl Repeat {
    /// What to do with a message that came at `now`.
    ///
    /// Only trouble is counted. Scripts and people count what goes well, such as the startup of
    /// each sync; and who asks for the messages of a category wants to see each.
    pub(super) fn judge(&mut self, category: Category, text: &str, now: Instant) -> Verdict {
        if let Some(last) = &mut self.last
            && last.category == category
            && last.text == text
            && now.saturating_duration_since(last.told) < QUIET
            && matches!(category, Category::Warn | Category::Error)
        {
            last.count += 1;
            return Verdict::Counted;
        }
        let counted = self.take();
        self.last = Some(Last { category, text: text.to_owned(), told: now, count: 0 });
        Verdict::Tell(counted)
    }

    /// The count that was not told yet.
    pub(super) fn take(&mut self) -> Option<Counted> {
        let last = self.last.take()?;
        (last.count > 0).then_some(Counted { category: last.category, count: last.count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(second, text)` in, what is written out.
    fn check(category: Category, messages: &[(u64, &str)], written: &[&str]) {
        let start = Instant::now();
        let mut repeat = Repeat::default();
        let mut lines = Vec::new();
        for (second, text) in messages {
            let now = start + Duration::from_secs(*second);
            if let Verdict::Tell(counted) = repeat.judge(category, text, now) {
                lines.extend(counted.map(|counted| counted.text()));
                lines.push((*text).to_owned());
            }
        }
        lines.extend(repeat.take().map(|counted| counted.text()));
        assert_eq!(lines, written);
    }

    #[test]
    fn the_same_message_is_told_once_a_minute() {
        let seconds: Vec<(u64, &str)> = (0..90).map(|second| (second, "a")).collect();
        check(
            Category::Warn,
            &seconds,
            &["a", "last message repeated 59 times", "a", "last message repeated 29 times"],
        );
    }

    #[test]
    fn another_message_tells_the_count_of_the_one_before() {
        check(
            Category::Error,
            &[(0, "a"), (1, "a"), (2, "a"), (3, "b"), (4, "a")],
            &["a", "last message repeated 2 times", "b", "a"],
        );
    }

    #[test]
    fn what_was_asked_for_is_always_told() {
        check(Category::Debug("Exec"), &[(0, "a"), (0, "a")], &["a", "a"]);
    }
}
