//! Cron rules: the times of full transfers (`crontab`).

use std::{fmt, ops::RangeInclusive, str::FromStr};

use jiff::{
    SignedDuration, Zoned,
    civil::{self, Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

/// Number of days to search for the next match. Within them each date falls on each day of the
/// week, whatever the leap years between; so a rule that finds no match never matches.
const SEARCH_DAYS: usize = 41 * 366;

/// A cron rule in local time.
///
/// Its six fields are second, minute, hour, day of the month, month and day of the week. A time
/// matches if all fields match: the day of the month **and** the day of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronRule {
    text: String,
    second: FieldSet,
    minute: FieldSet,
    hour: FieldSet,
    day: FieldSet,
    month: FieldSet,
    weekday: FieldSet,
}

/// Set of numbers below 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FieldSet(u64);

impl FieldSet {
    const fn add(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    fn contains(self, number: i8) -> bool {
        u8::try_from(number).is_ok_and(|number| self.0 >> number & 1 == 1)
    }

    /// Returns the first number of the set that is in `range`.
    fn first(self, mut range: RangeInclusive<i8>) -> Option<i8> {
        range.find(|&number| self.contains(number))
    }
}

/// Name and range of a field.
struct CronField {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names of the numbers, beginning with `min`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [CronField; 6] = [
    CronField { name: "second", min: 0, max: 59, names: &[] },
    CronField { name: "minute", min: 0, max: 59, names: &[] },
    CronField { name: "hour", min: 0, max: 23, names: &[] },
    CronField { name: "day of month", min: 1, max: 31, names: &[] },
    CronField { name: "month", min: 1, max: 12, names: &MONTHS },
    // Sunday is 0 or 7.
    CronField { name: "day of week", min: 0, max: 7, names: &WEEKDAYS },
];

/// Error in a cron rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronError {
    /// Wrong number of fields.
    FieldCount(String, usize),
    /// Invalid part of a field; the rule, the part, the name of the field and its range.
    InvalidField(String, String, &'static str, (u8, u8)),
    /// A date that does not exist, such as the 30th of February.
    NeverDue(String),
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldCount(rule, count) => write!(
                f,
                "crontab rule \"{rule}\" has {count} fields instead of 6: second minute hour \
                 day-of-month month day-of-week"
            ),
            Self::InvalidField(rule, part, name, (min, max)) => write!(
                f,
                "crontab rule \"{rule}\": \"{part}\" is not a valid {name}: use *, numbers from \
                 {min} to {max}, ranges or steps"
            ),
            Self::NeverDue(rule) => {
                write!(f, "crontab rule \"{rule}\" selects a date that does not exist")
            }
        }
    }
}

impl std::error::Error for CronError {}

/// Prints the rule as the user wrote it.
impl fmt::Display for CronRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CronRule {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let count = || CronError::FieldCount(escaped(text), fields.len());
        let fields: [&str; 6] = fields.as_slice().try_into().map_err(|_| count())?;
        let mut sets = [FieldSet::default(); 6];
        for ((field_text, field), set) in fields.iter().zip(&FIELDS).zip(&mut sets) {
            for part in field_text.split(',') {
                field.add(part, set).ok_or_else(|| {
                    let range = (field.min, field.max);
                    CronError::InvalidField(escaped(text), escaped(part), field.name, range)
                })?;
            }
        }
        let [second, minute, hour, day, month, mut weekday] = sets;
        if weekday.contains(7) {
            weekday.add(0);
        }
        let rule = Self { text: text.into(), second, minute, hour, day, month, weekday };
        let some_day = rule.next_civil(civil::datetime(2000, 1, 1, 0, 0, 0, 0));
        some_day.is_some().then_some(rule).ok_or_else(|| CronError::NeverDue(escaped(text)))
    }
}

/// Escapes text of the user for a message.
fn escaped(text: &str) -> String {
    mirror_core::path::Escaped(text.as_bytes()).to_string()
}

impl CronField {
    /// Adds the numbers of one part of a list. `None` if the part is invalid.
    fn add(&self, part: &str, set: &mut FieldSet) -> Option<()> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|&step| step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => {
                let from = self.value(range)?;
                (from, if step.is_some() { self.max } else { from })
            }
        };
        if from > to {
            return None;
        }
        (from..=to).step_by(step.unwrap_or(1).into()).for_each(|number| set.add(number));
        Some(())
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named = (self.min..).zip(self.names);
        let named = named.filter(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(value, _)| value).next().or_else(|| number(text))?;
        (self.min..=self.max).contains(&value).then_some(value)
    }
}

/// Parses a number of digits only.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl CronRule {
    /// Returns the first match after `now`, in the time zone of `now`. `None` only at the end of
    /// the calendar.
    ///
    /// Daylight saving time: a time that is skipped is due at the moment of the change. A time that
    /// occurs twice is due the first time only. A rule for every hour is not affected.
    #[must_use]
    pub fn next_after(&self, now: &Zoned) -> Option<Zoned> {
        if self.hour.first(0..=23) == Some(0) && (0..24).all(|hour| self.hour.contains(hour)) {
            return self.next_of_every_hour(now);
        }
        let zone = now.time_zone();
        let mut civil = now.datetime();
        loop {
            civil = self.next_civil(civil)?;
            let next = first_instant(zone, civil)?;
            if next > *now {
                return Some(next);
            }
        }
    }

    /// Finds the next match of a rule for every hour. The local offset is followed from one change
    /// to the next.
    fn next_of_every_hour(&self, now: &Zoned) -> Option<Zoned> {
        let zone = now.time_zone();
        let mut offset = now.offset();
        let mut at = now.timestamp();
        let mut after = now.datetime();
        loop {
            let next = offset.to_timestamp(self.next_civil(after)?).ok()?;
            let change =
                zone.following(at).next().map(|change| (change.timestamp(), change.offset()));
            match change {
                Some((change, then)) if change <= next => {
                    at = change;
                    offset = then;
                    // The moment of the change itself may match.
                    let before = change.checked_sub(SignedDuration::from_secs(1)).ok()?;
                    after = offset.to_datetime(before);
                }
                _ => return Some(next.to_zoned(zone.clone())),
            }
        }
    }

    /// Returns the first matching date and time after `after`, regardless of the time zone.
    fn next_civil(&self, after: DateTime) -> Option<DateTime> {
        let second = SignedDuration::from_secs(1);
        let whole = after.with().subsec_nanosecond(0).build().ok()?;
        let from = whole.checked_add(second).ok()?;
        let mut start = from.time();
        for date in from.date().series(jiff::Span::new().days(1)).take(SEARCH_DAYS) {
            if self.matches_date(date)
                && let Some(time) = self.next_time(start)
            {
                return Some(date.to_datetime(time));
            }
            start = Time::midnight();
        }
        None
    }

    fn matches_date(&self, date: Date) -> bool {
        self.month.contains(date.month())
            && self.day.contains(date.day())
            && self.weekday.contains(date.weekday().to_sunday_zero_offset())
    }

    /// Returns the first matching time of a day that is not before `from`.
    fn next_time(&self, from: Time) -> Option<Time> {
        let mut hour = from.hour();
        let mut minute = from.minute();
        let mut second = from.second();
        loop {
            let next = self.hour.first(hour..=23)?;
            if next > hour {
                (minute, second) = (0, 0);
            }
            hour = next;
            let Some(next) = self.minute.first(minute..=59) else {
                (hour, minute, second) = (hour + 1, 0, 0);
                continue;
            };
            if next > minute {
                second = 0;
            }
            minute = next;
            let Some(next) = self.second.first(second..=59) else {
                (minute, second) = (minute + 1, 0);
                continue;
            };
            return Time::new(hour, minute, next, 0).ok();
        }
    }
}

/// Returns the first moment with this local time. If the local time is skipped, returns the moment
/// of the change.
fn first_instant(zone: &TimeZone, civil: DateTime) -> Option<Zoned> {
    let instant = zone.to_ambiguous_zoned(civil);
    if !matches!(instant.offset(), AmbiguousOffset::Gap { .. }) {
        return instant.earlier().ok();
    }
    // This is before the change, by at most the skipped interval.
    let before = instant.earlier().ok()?;
    let change = zone.following(before.timestamp()).next()?;
    Some(change.timestamp().to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eastern time of North America: clocks skip 2:00 to 3:00 on 2026-03-08, and show 1:00 to 2:00
    /// twice on 2026-11-01.
    fn eastern() -> TimeZone {
        TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()
    }

    fn at(text: &str) -> Zoned {
        text.parse::<DateTime>().unwrap().to_zoned(eastern()).unwrap()
    }

    /// Returns the next matches after `now`, with their offsets.
    fn next(rule: &str, now: &str, count: usize) -> Vec<String> {
        let rule: CronRule = rule.parse().unwrap();
        let mut times = Vec::new();
        let mut now = at(now);
        for _ in 0..count {
            now = rule.next_after(&now).unwrap();
            times.push(format!("{} {}", now.datetime(), now.offset()));
        }
        times
    }

    #[test]
    fn all_fields_must_match() {
        for (rule, now, then) in [
            ("* * * * * *", "2026-05-01 10:00:00.5", "2026-05-01T10:00:01 -04"),
            ("0 0 3 * * *", "2026-05-01 03:00:00", "2026-05-02T03:00:00 -04"),
            ("0 0 3 * * *", "2026-05-01 02:59:59.9", "2026-05-01T03:00:00 -04"),
            ("30 15 3 * * *", "2026-12-31 23:00:00", "2027-01-01T03:15:30 -05"),
            ("5,10 */20 1-3 * * *", "2026-05-01 01:20:10", "2026-05-01T01:40:05 -04"),
            ("0 50/4 * * * *", "2026-05-01 01:54:00", "2026-05-01T01:58:00 -04"),
            ("0 10-20/5 * * * *", "2026-05-01 01:20:00", "2026-05-01T02:10:00 -04"),
            ("0 0 0 * JAN,jul SUN", "2026-05-01 01:00:00", "2026-07-05T00:00:00 -04"),
            ("0 0 0 * * 7", "2026-05-01 01:00:00", "2026-05-03T00:00:00 -04"),
            ("0 0 0 * * MON-WED", "2026-05-06 01:00:00", "2026-05-11T00:00:00 -04"),
            // The next Friday the 13th, and the next February 29th that is a Monday.
            ("0 0 0 13 * FRI", "2026-05-01 01:00:00", "2026-11-13T00:00:00 -05"),
            ("0 0 0 29 FEB 1", "2026-05-01 01:00:00", "2044-02-29T00:00:00 -05"),
            ("0 0 0 31 * *", "2026-05-31 00:00:00", "2026-07-31T00:00:00 -04"),
        ] {
            assert_eq!(next(rule, now, 1), [then], "{rule} after {now}");
        }
    }

    #[test]
    fn skipped_local_time_is_due_at_the_change() {
        let days =
            ["2026-03-07T02:30:00 -05", "2026-03-08T03:00:00 -04", "2026-03-09T02:30:00 -04"];
        assert_eq!(next("0 30 2 * * *", "2026-03-07 00:00:00", 3), days);
        let times = ["2026-03-08T03:00:00 -04", "2026-03-08T03:20:00 -04"];
        assert_eq!(next("0 */20 2,3 * * *", "2026-03-08 01:59:00", 2), times);
    }

    #[test]
    fn repeated_local_time_is_due_once() {
        let days =
            ["2026-10-31T01:30:00 -04", "2026-11-01T01:30:00 -04", "2026-11-02T01:30:00 -05"];
        assert_eq!(next("0 30 1 * * *", "2026-10-31 00:00:00", 3), days);
        // Nor is it due if `now` lies in the second occurrence.
        let rule: CronRule = "0 30 1 * * *".parse().unwrap();
        let second = at("2026-11-01 01:10:00").checked_add(SignedDuration::from_hours(1)).unwrap();
        assert_eq!(second.datetime().to_string(), "2026-11-01T01:10:00");
        let then = rule.next_after(&second).unwrap();
        assert_eq!(then.datetime().to_string(), "2026-11-02T01:30:00");
    }

    #[test]
    fn hourly_rule_is_unaffected_by_dst() {
        let rule = "0 */30 * * * *";
        let spring =
            ["2026-03-08T01:30:00 -05", "2026-03-08T03:00:00 -04", "2026-03-08T03:30:00 -04"];
        assert_eq!(next(rule, "2026-03-08 01:10:00", 3), spring);
        let autumn = [
            "2026-11-01T01:30:00 -04",
            "2026-11-01T01:00:00 -05",
            "2026-11-01T01:30:00 -05",
            "2026-11-01T02:00:00 -05",
        ];
        assert_eq!(next(rule, "2026-11-01 01:10:00", 4), autumn);
    }

    #[test]
    fn invalid_rules_are_reported() {
        for (rule, why) in [
            ("* * * * *", "has 5 fields instead of 6"),
            ("60 * * * * *", "\"60\" is not a valid second: use *, numbers from 0 to 59"),
            ("* * 24 * * *", "\"24\" is not a valid hour"),
            ("* * * 0 * *", "\"0\" is not a valid day of month"),
            ("* * * * FOO *", "\"FOO\" is not a valid month"),
            ("* * * * * 8", "\"8\" is not a valid day of week"),
            ("* * 5-3 * * *", "\"5-3\" is not a valid hour"),
            ("* */0 * * * *", "\"*/0\" is not a valid minute"),
            ("1,,2 * * * * *", "\"\" is not a valid second"),
            ("+1 * * * * *", "\"+1\" is not a valid second"),
            ("* * * 30 FEB *", "selects a date that does not exist"),
        ] {
            let error = rule.parse::<CronRule>().unwrap_err().to_string();
            assert!(error.contains(why), "{rule}: {error}");
        }
    }

    #[test]
    fn rule_is_displayed_as_written() {
        assert_eq!("0  0 3 * * *".parse::<CronRule>().unwrap().to_string(), "0  0 3 * * *");
    }
}
