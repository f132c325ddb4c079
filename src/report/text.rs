//! Line formats of the sinks.

use std::sync::LazyLock;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::Category;

/// Date format of `ctime(3)`.
pub(super) const DATE: &str = "%a %b %e %H:%M:%S %Y";

/// A message before it is formatted for a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogMessage<'a> {
    pub(super) category: Category,
    pub(super) text: &'a str,
}

impl LogMessage<'_> {
    /// Formats the message for stderr before the daemon runs.
    pub(super) fn plain(&self) -> String {
        format!("{}: {}\n", self.category.name(), self.text)
    }

    /// Formats the message for a terminal.
    pub(super) fn with_clock(&self, now: &Zoned) -> String {
        format!("{} {}", now.strftime("%H:%M:%S"), self.plain())
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
        let message = LogMessage { category: Category::Debug("Exec"), text: "a b" };
        assert_eq!(message.plain(), "Exec: a b\n");
        assert_eq!(message.with_clock(&now), "22:04:05 Exec: a b\n");
        assert_eq!(message.with_date(&now), "Mon Nov  2 22:04:05 2026 Exec: a b\n");
        assert_eq!(message.for_syslog(), "Exec, a b");
    }
}
