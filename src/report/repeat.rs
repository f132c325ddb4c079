//! Suppression of repeated messages: each is written once and then counted.

use std::time::{Duration, Instant};

use super::{Category, text::LogMessage};

/// Time during which a message is only counted after it was written.
const REPEAT_WINDOW: Duration = Duration::from_mins(1);

/// The last message, and the number of its repetitions.
#[derive(Debug, Default)]
pub(super) struct RepeatFilter {
    last: Option<LastMessage>,
}

#[derive(Debug)]
struct LastMessage {
    category: Category,
    text: String,
    written_at: Instant,
    count: u64,
}

/// Decision about a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RepeatVerdict {
    /// The message was counted and is not written.
    Suppressed,
    /// The message is written, after the repeat count of the previous one if there is one.
    Write(Option<RepeatCount>),
}

/// Number of suppressed repetitions of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RepeatCount {
    pub(super) category: Category,
    pub(super) count: u64,
}

impl RepeatCount {
    pub(super) fn text(&self) -> String {
        format!("last message repeated {} times", self.count)
    }

    /// Returns the message with its text.
    pub(super) const fn message<'a>(&self, text: &'a str) -> LogMessage<'a> {
        LogMessage { category: self.category, text, sync: None }
    }
}

impl RepeatFilter {
    /// Decides whether a message at `now` is written.
    ///
    /// Only warnings and errors are suppressed. Scripts and people count normal messages, such as
    /// the startup of each sync, and debug categories are enabled to see each message.
    pub(super) fn check_message(
        &mut self,
        category: Category,
        text: &str,
        now: Instant,
    ) -> RepeatVerdict {
        if let Some(last) = &mut self.last
            && last.category == category
            && last.text == text
            && now.saturating_duration_since(last.written_at) < REPEAT_WINDOW
            && matches!(category, Category::Warn | Category::Error)
        {
            last.count += 1;
            return RepeatVerdict::Suppressed;
        }
        let counted = self.take();
        self.last =
            Some(LastMessage { category, text: text.to_owned(), written_at: now, count: 0 });
        RepeatVerdict::Write(counted)
    }

    /// Returns the count that was not written yet.
    pub(super) fn take(&mut self) -> Option<RepeatCount> {
        let last = self.last.take()?;
        (last.count > 0).then_some(RepeatCount { category: last.category, count: last.count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the lines written for messages given as `(second, text)`.
    fn check(category: Category, messages: &[(u64, &str)], written: &[&str]) {
        let start = Instant::now();
        let mut repeat = RepeatFilter::default();
        let mut lines = Vec::new();
        for (second, text) in messages {
            let now = start + Duration::from_secs(*second);
            if let RepeatVerdict::Write(counted) = repeat.check_message(category, text, now) {
                lines.extend(counted.map(|counted| counted.text()));
                lines.push((*text).to_owned());
            }
        }
        lines.extend(repeat.take().map(|counted| counted.text()));
        assert_eq!(lines, written);
    }

    #[test]
    fn a_repeated_message_is_written_once_a_minute() {
        let seconds: Vec<(u64, &str)> = (0..90).map(|second| (second, "a")).collect();
        check(
            Category::Warn,
            &seconds,
            &["a", "last message repeated 59 times", "a", "last message repeated 29 times"],
        );
    }

    #[test]
    fn a_different_message_writes_the_repeat_count() {
        check(
            Category::Error,
            &[(0, "a"), (1, "a"), (2, "a"), (3, "b"), (4, "a")],
            &["a", "last message repeated 2 times", "b", "a"],
        );
    }

    #[test]
    fn debug_messages_are_never_suppressed() {
        check(Category::Debug("Exec"), &[(0, "a"), (0, "a")], &["a", "a"]);
    }
}
