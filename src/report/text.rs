//! The shapes of a line.

use std::sync::LazyLock;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::Category;

/// A date as `ctime(3)` has it.
pub(super) const DATE: &str = "%a %b %e %H:%M:%S %Y";

/// A message before it has the shape of a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) category: Category,
    pub(super) text: &'a str,
}

impl Message<'_> {
    /// Before the daemon runs.
    pub(super) fn plain(&self) -> String {
        format!("{}: {}\n", self.category.name(), self.text)
    }

    /// On a terminal.
    pub(super) fn with_clock(&self, now: &Zoned) -> String {
        format!("{} {}", now.strftime("%H:%M:%S"), self.plain())
    }

    /// In the logfile.
    pub(super) fn with_date(&self, now: &Zoned) -> String {
        format!("{} {}", now.strftime(DATE), self.plain())
    }

    /// In the system's log, which knows the time itself. It is cut at a NUL, which no text has
    /// that was escaped.
    pub(super) fn for_syslog(&self) -> String {
        format!("{}, {}", self.category.name(), self.text).replace('\0', "\\0")
    }
}

/// The local time. Where the zone can't be found it is UTC.
pub(crate) fn now() -> Zoned {
    static ZONE: LazyLock<TimeZone> =
        LazyLock::new(|| TimeZone::try_system().unwrap_or(TimeZone::UTC));
    Timestamp::now().to_zoned(ZONE.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_has_the_shape_of_the_original() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let moment: Timestamp = "2026-11-02T20:04:05.9Z".parse().unwrap();
        let now = moment.to_zoned(zone);
        let message = Message { category: Category::Debug("Exec"), text: "a b" };
        assert_eq!(message.plain(), "Exec: a b\n");
        assert_eq!(message.with_clock(&now), "22:04:05 Exec: a b\n");
        assert_eq!(message.with_date(&now), "Mon Nov  2 22:04:05 2026 Exec: a b\n");
        assert_eq!(message.for_syslog(), "Exec, a b");
    }
}
