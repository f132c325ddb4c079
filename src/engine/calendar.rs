//! Schedule of full transfers by wall-clock time.

use std::time::Duration;

use jiff::{SignedDuration, Zoned};
use mirror_core::{fs_event::MirrorId, input::Input};

use crate::config::cron::CronRule;

/// Maximum time between two checks of the wall clock. It can be set, and advances while the machine
/// sleeps; the clock that timeouts use does neither.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// A wall clock that is set back by less than this does not repeat transfers.
const TOLERATED_STEP_BACK: SignedDuration = SignedDuration::from_hours(1);

/// Schedule of the full transfers of all mirrors.
#[derive(Debug)]
pub(super) struct Calendar {
    entries: Vec<CalendarEntry>,
    /// Everything that was due up to this time has been taken.
    taken_until: Zoned,
}

#[derive(Debug)]
struct CalendarEntry {
    mirror: MirrorId,
    rules: Vec<CronRule>,
    next: Option<Zoned>,
}

impl CalendarEntry {
    fn schedule_after(&mut self, now: &Zoned) {
        self.next = self.rules.iter().filter_map(|rule| rule.next_after(now)).min();
    }
}

impl Calendar {
    /// Creates an empty calendar that starts at `now`.
    pub(super) const fn new(now: Zoned) -> Self {
        Self { entries: Vec::new(), taken_until: now }
    }

    /// Replaces the schedule at `now`. Nothing is missed, and nothing that was already taken is due
    /// again.
    pub(super) fn schedule<'a>(
        &mut self,
        all: impl IntoIterator<Item = (MirrorId, &'a [CronRule])>,
        now: Zoned,
    ) {
        if self.entries.is_empty() {
            self.taken_until = now;
        }
        let taken_until = &self.taken_until;
        let entry = |(mirror, rules): (MirrorId, &[CronRule])| {
            let mut entry = CalendarEntry { mirror, rules: rules.to_vec(), next: None };
            entry.schedule_after(taken_until);
            entry
        };
        self.entries = all.into_iter().filter(|(_, rules)| !rules.is_empty()).map(entry).collect();
    }

    /// Returns the time until the next entry may be due, bounded by the interval of clock checks.
    /// `None`: never. The clock is read only if there are entries, since each turn of the engine
    /// asks.
    pub(super) fn wait(&self, clock: impl FnOnce() -> Zoned) -> Option<Duration> {
        let next = self.entries.iter().filter_map(|entry| entry.next.as_ref()).min()?;
        // The difference is negative if an entry is already due.
        let wait = Duration::try_from(clock().duration_until(next)).unwrap_or_default();
        Some(wait.min(CLOCK_CHECK_INTERVAL))
    }

    /// Returns inputs for the transfers that are due now, one for each mirror, however often it is
    /// due. The clock is read only if there are entries.
    pub(super) fn step(&mut self, clock: impl FnOnce() -> Zoned) -> Vec<Input> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let now = clock();
        if now.duration_until(&self.taken_until) > TOLERATED_STEP_BACK {
            self.entries.iter_mut().for_each(|entry| entry.schedule_after(&now));
        }
        let mut due = Vec::new();
        for entry in &mut self.entries {
            if entry.next.as_ref().is_some_and(|next| *next <= now) {
                due.push(Input::FullDue(entry.mirror));
                entry.schedule_after(&now);
            }
        }
        self.taken_until = now;
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

    /// Mirror 0 daily at three, mirror 1 twice at noon, mirror 2 never.
    fn calendar() -> Calendar {
        let rules = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>();
        let all = [rules(&["0 0 3 * * *"]), rules(&["0 0 12 * * *", "5 0 12 * * *"]), rules(&[])];
        let mut calendar = Calendar::new(at("2026-05-01 02:00:00"));
        let all = (0..).map(MirrorId).zip(all.iter().map(Vec::as_slice));
        calendar.schedule(all, at("2026-05-01 02:00:00"));
        calendar
    }

    fn due(calendar: &mut Calendar, now: &str) -> Vec<u32> {
        let mirror = |input| match input {
            Input::FullDue(MirrorId(mirror)) => mirror,
            other => panic!("{other:?}"),
        };
        calendar.step(|| at(now)).into_iter().map(mirror).collect()
    }

    #[test]
    fn each_time_is_due_once() {
        let mut calendar = calendar();
        let none: [u32; 0] = [];
        assert_eq!(due(&mut calendar, "2026-05-01 02:59:59.9"), none);
        assert_eq!(due(&mut calendar, "2026-05-01 03:00:00.1"), [0]);
        assert_eq!(due(&mut calendar, "2026-05-01 03:00:00.2"), none);
        assert_eq!(due(&mut calendar, "2026-05-01 12:00:00"), [1]);
        assert_eq!(due(&mut calendar, "2026-05-01 12:00:07"), [1]);
        // The machine was suspended for days.
        assert_eq!(due(&mut calendar, "2026-05-09 00:00:00"), [0, 1]);
        assert_eq!(due(&mut calendar, "2026-05-09 00:00:01"), none);
    }

    #[test]
    fn wait_is_bounded_by_the_clock_check_interval() {
        let calendar = calendar();
        let wait = |now| calendar.wait(|| at(now));
        assert_eq!(wait("2026-05-01 02:00:00"), Some(CLOCK_CHECK_INTERVAL));
        assert_eq!(wait("2026-05-01 02:59:58.5"), Some(Duration::from_millis(1500)));
        assert_eq!(wait("2026-05-01 04:00:00"), Some(Duration::ZERO));
    }

    #[test]
    fn an_empty_calendar_does_not_read_the_clock() {
        let mut calendar = Calendar::new(at("2026-05-01 02:00:00"));
        let clock = || panic!("the clock was read");
        assert_eq!(calendar.wait(clock), None);
        assert!(calendar.step(clock).is_empty());
    }

    #[test]
    fn a_small_clock_step_back_repeats_nothing_and_a_large_one_reschedules() {
        let mut calendar = calendar();
        assert_eq!(due(&mut calendar, "2026-05-01 03:00:00"), [0]);
        assert!(due(&mut calendar, "2026-05-01 02:59:00").is_empty());
        assert!(due(&mut calendar, "2026-05-01 03:00:00").is_empty());
        // The clock had been wrong by years.
        assert!(due(&mut calendar, "2024-05-01 02:00:00").is_empty());
        assert_eq!(due(&mut calendar, "2024-05-01 03:00:00"), [0]);
    }

    #[test]
    fn rescheduling_misses_and_repeats_nothing() {
        let mut calendar = calendar();
        assert!(due(&mut calendar, "2026-05-01 02:59:59").is_empty());
        let rules = ["0 0 3 * * *".parse().unwrap()];
        calendar.schedule([(MirrorId(7), &rules[..])], at("2026-05-01 03:00:04"));
        assert_eq!(due(&mut calendar, "2026-05-01 03:00:05"), [7]);
        calendar.schedule([(MirrorId(7), &rules[..])], at("2026-05-01 03:00:05"));
        assert!(due(&mut calendar, "2026-05-01 03:00:06").is_empty());
    }

    #[test]
    fn a_new_schedule_does_not_repeat_the_past() {
        let mut calendar = Calendar::new(at("2026-05-01 02:00:00"));
        assert!(due(&mut calendar, "2026-05-01 04:00:00").is_empty());
        let rules = ["0 0 3 * * *".parse().unwrap()];
        calendar.schedule([(MirrorId(7), &rules[..])], at("2026-05-01 04:00:00"));
        assert!(due(&mut calendar, "2026-05-01 04:00:01").is_empty());
        assert_eq!(due(&mut calendar, "2026-05-02 03:00:00"), [7]);
    }
}
