//! When full transfers are due by the clock on the wall.

use std::time::Duration;

use jiff::{SignedDuration, Zoned};
use mirror_core::notice::MirrorId;

use crate::config::cron::Rule;

/// The clock on the wall can be set, and goes on while the machine sleeps; the one by which we wait
/// does neither. So it is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// A clock that is set back by less does not make anything due that was done.
const SET_BACK: SignedDuration = SignedDuration::from_hours(1);

/// When the full transfers of all mirrors are due.
#[derive(Debug)]
pub(super) struct Calendar {
    entries: Vec<Entry>,
    /// All that was due up to this time was taken.
    seen: Zoned,
}

#[derive(Debug)]
struct Entry {
    mirror: MirrorId,
    rules: Vec<Rule>,
    next: Option<Zoned>,
}

impl Entry {
    fn look_ahead(&mut self, now: &Zoned) {
        self.next = self.rules.iter().filter_map(|rule| rule.next_after(now)).min();
    }
}

impl Calendar {
    /// An empty calendar that begins now.
    pub(super) const fn new(now: Zoned) -> Self {
        Self { entries: Vec::new(), seen: now }
    }

    /// Writes the calendar anew. Nothing is missed, and nothing that was taken is due again.
    pub(super) fn plan<'a>(&mut self, all: impl IntoIterator<Item = (MirrorId, &'a [Rule])>) {
        let seen = &self.seen;
        let entry = |(mirror, rules): (MirrorId, &[Rule])| {
            let mut entry = Entry { mirror, rules: rules.to_vec(), next: None };
            entry.look_ahead(seen);
            entry
        };
        self.entries = all.into_iter().filter(|(_, rules)| !rules.is_empty()).map(entry).collect();
    }

    /// Whether nothing is ever due.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How long nothing is due, as far as anybody can know. `None`: for ever.
    pub(super) fn wait(&self, now: &Zoned) -> Option<Duration> {
        let next = self.entries.iter().filter_map(|entry| entry.next.as_ref()).min()?;
        // What is due already is waited for no longer.
        let wait = Duration::try_from(now.duration_until(next)).unwrap_or_default();
        Some(wait.min(LOOK_AGAIN))
    }

    /// Takes what is due at `now`. What is due several times is due once.
    pub(super) fn take_due(&mut self, now: Zoned) -> Vec<MirrorId> {
        if now.duration_until(&self.seen) > SET_BACK {
            self.entries.iter_mut().for_each(|entry| entry.look_ahead(&now));
        }
        let mut due = Vec::new();
        for entry in &mut self.entries {
            if entry.next.as_ref().is_some_and(|next| *next <= now) {
                due.push(entry.mirror);
                entry.look_ahead(&now);
            }
        }
        self.seen = now;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{civil::DateTime, tz::TimeZone};

    fn at(text: &str) -> Zoned {
        let time: DateTime = text.parse().unwrap();
        time.to_zoned(TimeZone::UTC).unwrap()
    }

    /// Mirror 0 each day at three, mirror 1 twice at noon, mirror 2 never.
    fn calendar() -> Calendar {
        let rules = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>();
        let all = [rules(&["0 0 3 * * *"]), rules(&["0 0 12 * * *", "5 0 12 * * *"]), rules(&[])];
        let mut calendar = Calendar::new(at("2026-05-01 02:00:00"));
        calendar.plan((0..).map(MirrorId).zip(all.iter().map(Vec::as_slice)));
        calendar
    }

    #[test]
    fn each_time_is_due_once() {
        let mut calendar = calendar();
        let none: [MirrorId; 0] = [];
        assert_eq!(calendar.take_due(at("2026-05-01 02:59:59.9")), none);
        assert_eq!(calendar.take_due(at("2026-05-01 03:00:00.1")), [MirrorId(0)]);
        assert_eq!(calendar.take_due(at("2026-05-01 03:00:00.2")), none);
        assert_eq!(calendar.take_due(at("2026-05-01 12:00:00")), [MirrorId(1)]);
        assert_eq!(calendar.take_due(at("2026-05-01 12:00:07")), [MirrorId(1)]);
        // The machine slept for days.
        assert_eq!(calendar.take_due(at("2026-05-09 00:00:00")), [MirrorId(0), MirrorId(1)]);
        assert_eq!(calendar.take_due(at("2026-05-09 00:00:01")), none);
    }

    #[test]
    fn nobody_waits_longer_than_the_clock_can_be_trusted() {
        let calendar = calendar();
        assert_eq!(calendar.wait(&at("2026-05-01 02:00:00")), Some(LOOK_AGAIN));
        let wait = calendar.wait(&at("2026-05-01 02:59:58.5"));
        assert_eq!(wait, Some(Duration::from_millis(1500)));
        assert_eq!(calendar.wait(&at("2026-05-01 04:00:00")), Some(Duration::ZERO));
        assert_eq!(Calendar::new(at("2026-05-01 02:00:00")).wait(&at("2026-05-01 02:00:00")), None);
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_repeats_nothing_and_far_back_begins_anew() {
        let mut calendar = calendar();
        assert_eq!(calendar.take_due(at("2026-05-01 03:00:00")), [MirrorId(0)]);
        assert!(calendar.take_due(at("2026-05-01 02:59:00")).is_empty());
        assert!(calendar.take_due(at("2026-05-01 03:00:00")).is_empty());
        // It had been wrong by years.
        assert!(calendar.take_due(at("2024-05-01 02:00:00")).is_empty());
        assert_eq!(calendar.take_due(at("2024-05-01 03:00:00")), [MirrorId(0)]);
    }

    #[test]
    fn a_new_plan_misses_nothing() {
        let mut calendar = calendar();
        assert!(calendar.take_due(at("2026-05-01 02:59:59")).is_empty());
        let rules = ["0 0 3 * * *".parse().unwrap()];
        calendar.plan([(MirrorId(7), &rules[..])]);
        assert_eq!(calendar.take_due(at("2026-05-01 03:00:05")), [MirrorId(7)]);
        calendar.plan([(MirrorId(7), &rules[..])]);
        assert!(calendar.take_due(at("2026-05-01 03:00:06")).is_empty());
    }
}
