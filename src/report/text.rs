//! Line formats of the sinks.

use std::sync::LazyLock;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::{Category, journal, style};

/// Date format of `ctime(3)`.
pub(super) const DATE: &str = "%a %b %e %H:%M:%S %Y";

/// A message before it is formatted for a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogMessage<'a> {
    pub(super) category: Category,
    pub(super) text: &'a str,
    /// Name of the sync that it is about.
    pub(super) sync: Option<&'a str>,
}

impl<'a> LogMessage<'a> {
    /// Returns the messages of one line each that a problem is written as, such as the traceback of
    /// a script. Other messages, such as a list, are written as one, as the original does.
    pub(super) fn parts(self) -> impl Iterator<Item = Self> {
        let is_split = match self.category {
            Category::Warn | Category::Error => true,
            Category::Normal | Category::Debug(_) => false,
        };
        let parts = self.text.split(move |char| is_split && char == '\n');
        parts.map(move |text: &'a str| Self { text, ..self })
    }

    /// Formats the message for the journal: each line with its priority, and without a date, since
    /// the journal adds that itself.
    pub(super) fn for_journal(&self) -> String {
        let (priority, name) = (journal::priority(self.category), self.category.name());
        let lines = self.text.split('\n').enumerate().map(|(at, line)| match at {
            0 => format!("<{priority}>{name}: {line}\n"),
            _ => format!("<{priority}>{line}\n"),
        });
        lines.collect()
    }

    /// Formats the message for stderr before the daemon runs.
    pub(super) fn plain(&self) -> String {
        format!("{}: {}\n", self.category.name(), self.text)
    }

    /// Formats the message for a terminal.
    pub(super) fn with_clock(&self, now: &Zoned) -> String {
        format!("{} {}", now.strftime("%H:%M:%S"), self.plain())
    }

    /// Formats the message for a terminal that has colours, with that of its category. The time is
    /// omitted before the daemon runs.
    pub(super) fn coloured(&self, clock: Option<&Zoned>) -> String {
        let name = self.category.name();
        let name = match style::colour(self.category) {
            Some(colour) => format!("{colour}{name}{}", style::NORMAL),
            None => name.to_owned(),
        };
        let clock = clock.map_or(String::new(), |now| format!("{} ", now.strftime("%H:%M:%S")));
        format!("{clock}{name}: {}\n", self.text)
    }

    /// Formats the message for the logfile.
    pub(super) fn with_date(&self, now: &Zoned) -> String {
        format!("{} {}", now.strftime(DATE), self.plain())
    }

    /// Formats the message for syslog, which adds the time itself. syslog truncates at a NUL, which
    /// escaped text never contains.
    pub(super) fn for_syslog(&self) -> String {
        format!("{}, {}", self.category.name(), self.text).replace('\0', "\\0")
    }
}

/// Returns the local time, or UTC if the time zone is unknown.
pub(crate) fn now() -> Zoned {
    static ZONE: LazyLock<TimeZone> =
        LazyLock::new(|| TimeZone::try_system().unwrap_or(TimeZone::UTC));
    Timestamp::now().to_zoned(ZONE.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_uses_the_line_format_of_the_original() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let moment: Timestamp = "2026-11-02T20:04:05.9Z".parse().unwrap();
        let now = moment.to_zoned(zone);
        let message = LogMessage { category: Category::Debug("Exec"), text: "a b", sync: None };
        assert_eq!(message.plain(), "Exec: a b\n");
        assert_eq!(message.with_clock(&now), "22:04:05 Exec: a b\n");
        assert_eq!(message.coloured(Some(&now)), "22:04:05 \x1b[2mExec\x1b[0m: a b\n");
        assert_eq!(message.with_date(&now), "Mon Nov  2 22:04:05 2026 Exec: a b\n");
        assert_eq!(message.for_syslog(), "Exec, a b");
        assert_eq!(message.for_journal(), "<7>Exec: a b\n");
    }

    #[test]
    fn each_line_of_the_journal_has_a_priority() {
        let format = |category, text| LogMessage { category, text, sync: None }.for_journal();
        assert_eq!(format(Category::Error, "no\n\nwhy"), "<3>Error: no\n<3>\n<3>why\n");
        assert_eq!(format(Category::Warn, "w"), "<4>Warn: w\n");
        assert_eq!(format(Category::Normal, "list\n/a"), "<6>Normal: list\n<6>/a\n");
    }

    #[test]
    fn only_problems_are_split_into_lines() {
        let parts = |category| LogMessage { category, text: "a\nb", sync: None }.parts().count();
        assert_eq!([Category::Error, Category::Normal].map(parts), [2, 1]);
    }
}
