//! When full transfers are to be made: the rules of `crontab`.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use jiff::{
    SignedDuration, Zoned,
    civil::{self, Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

/// The same date falls on the same day of the week again within this time, whatever the leap years
/// between do: a rule that names no day in it names none at all.
const MOST_DAYS: usize = 41 * 366;

/// A rule: at which times something is due, in local time.
///
/// It has six fields: second, minute, hour, day of the month, month, day of the week. A time fits
/// if all of them fit; so the day of the month **and** that of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    text: String,
    second: Set,
    minute: Set,
    hour: Set,
    day: Set,
    month: Set,
    weekday: Set,
}

/// Small numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u64);

impl Set {
    const fn add(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    fn has(self, number: i8) -> bool {
        u8::try_from(number).is_ok_and(|number| self.0 >> number & 1 == 1)
    }

    /// The first of its numbers that is in `range`.
    fn first(self, mut range: RangeInclusive<i8>) -> Option<i8> {
        range.find(|&number| self.has(number))
    }
}

/// What a field is about.
struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    /// Names of the numbers from `least` on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 6] = [
    Field { name: "second", least: 0, most: 59, names: &[] },
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    // Sunday is 0, and to many people 7.
    Field { name: "day of week", least: 0, most: 7, names: &WEEKDAYS },
];

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRule {
    /// It has so many fields.
    Count(String, usize),
    /// This part of this field means nothing; it takes numbers from and to these.
    Part(String, String, &'static str, (u8, u8)),
    /// There is no such day, such as the 30th of February.
    Never(String),
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(rule, count) => write!(
                f,
                "crontab rule \"{rule}\" has {count} fields and needs 6: \
                 second minute hour day-of-month month day-of-week"
            ),
            Self::Part(rule, part, name, (least, most)) => write!(
                f,
                "crontab rule \"{rule}\": \"{part}\" is no {name}: \
                 give *, numbers from {least} to {most}, ranges or steps"
            ),
            Self::Never(rule) => write!(f, "crontab rule \"{rule}\" names a day that never comes"),
        }
    }
}

impl std::error::Error for BadRule {}

/// The rule in the words of the user.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = || BadRule::Count(shown(text), words.len());
        let words: [&str; 6] = words.as_slice().try_into().map_err(|_| count())?;
        let mut sets = [Set::default(); 6];
        for ((word, field), set) in words.iter().zip(&FIELDS).zip(&mut sets) {
            for part in word.split(',') {
                field.add(part, set).ok_or_else(|| {
                    let range = (field.least, field.most);
                    BadRule::Part(shown(text), shown(part), field.name, range)
                })?;
            }
        }
        let [second, minute, hour, day, month, mut weekday] = sets;
        if weekday.has(7) {
            weekday.add(0);
        }
        let rule = Self { text: text.into(), second, minute, hour, day, month, weekday };
        let some_day = rule.next_civil(civil::datetime(2000, 1, 1, 0, 0, 0, 0));
        some_day.is_some().then_some(rule).ok_or_else(|| BadRule::Never(shown(text)))
    }
}

/// A text of the user in a message.
fn shown(text: &str) -> String {
    mirror_core::path::Escaped(text.as_bytes()).to_string()
}

impl Field {
    /// Adds what one part of a list means. `None` if it means nothing.
    fn add(&self, part: &str, set: &mut Set) -> Option<()> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|&step| step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => {
                let from = self.value(range)?;
                (from, if step.is_some() { self.most } else { from })
            }
        };
        if from > to {
            return None;
        }
        (from..=to).step_by(step.unwrap_or(1).into()).for_each(|number| set.add(number));
        Some(())
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named = (self.least..).zip(self.names);
        let named = named.filter(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(value, _)| value).next().or_else(|| number(text))?;
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Rule {
    /// The first time after `now`, in the time zone of `now`. `None` at the end of all times only.
    ///
    /// Where clocks are changed: a time that is skipped is due when it is skipped, and one that
    /// comes twice is due the first time. A rule for every hour goes on as if nothing had happened.
    #[must_use]
    pub fn next_after(&self, now: &Zoned) -> Option<Zoned> {
        if self.hour.first(0..=23) == Some(0) && (0..24).all(|hour| self.hour.has(hour)) {
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

    /// The clock is followed as it goes, from change to change.
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
                    // The moment of the change itself may be one.
                    let before = change.checked_sub(SignedDuration::from_secs(1)).ok()?;
                    after = offset.to_datetime(before);
                }
                _ => return Some(next.to_zoned(zone.clone())),
            }
        }
    }

    /// The first time after `after` that fits, wherever that may be.
    fn next_civil(&self, after: DateTime) -> Option<DateTime> {
        let second = SignedDuration::from_secs(1);
        let whole = after.with().subsec_nanosecond(0).build().ok()?;
        let from = whole.checked_add(second).ok()?;
        let mut start = from.time();
        for date in from.date().series(jiff::Span::new().days(1)).take(MOST_DAYS) {
            if self.fits(date)
                && let Some(time) = self.next_time(start)
            {
                return Some(date.to_datetime(time));
            }
            start = Time::midnight();
        }
        None
    }

    fn fits(&self, date: Date) -> bool {
        self.month.has(date.month())
            && self.day.has(date.day())
            && self.weekday.has(date.weekday().to_sunday_zero_offset())
    }

    /// The first time of a day that fits and is not before `from`.
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

/// The first moment at which clocks show this time; where they skip it, when they do.
fn first_instant(zone: &TimeZone, civil: DateTime) -> Option<Zoned> {
    let instant = zone.to_ambiguous_zoned(civil);
    if !matches!(instant.offset(), AmbiguousOffset::Gap { .. }) {
        return instant.earlier().ok();
    }
    // That is before the change, by at most as much as is skipped.
    let before = instant.earlier().ok()?;
    let change = zone.following(before.timestamp()).next()?;
    Some(change.timestamp().to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eastern time of North America: clocks skip 2:00 to 3:00 on 2026-03-08, and show 1:00 to
    /// 2:00 twice on 2026-11-01.
    fn eastern() -> TimeZone {
        TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()
    }

    fn at(text: &str) -> Zoned {
        text.parse::<DateTime>().unwrap().to_zoned(eastern()).unwrap()
    }

    /// The next times after `now`, with their offsets.
    fn next(rule: &str, now: &str, count: usize) -> Vec<String> {
        let rule: Rule = rule.parse().unwrap();
        let mut times = Vec::new();
        let mut now = at(now);
        for _ in 0..count {
            now = rule.next_after(&now).unwrap();
            times.push(format!("{} {}", now.datetime(), now.offset()));
        }
        times
    }

    #[test]
    fn all_fields_have_to_fit() {
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
            // A Friday the 13th, and the next Monday that is the 29th of a February.
            ("0 0 0 13 * FRI", "2026-05-01 01:00:00", "2026-11-13T00:00:00 -05"),
            ("0 0 0 29 FEB 1", "2026-05-01 01:00:00", "2044-02-29T00:00:00 -05"),
            ("0 0 0 31 * *", "2026-05-31 00:00:00", "2026-07-31T00:00:00 -04"),
        ] {
            assert_eq!(next(rule, now, 1), [then], "{rule} after {now}");
        }
    }

    #[test]
    fn a_time_that_clocks_skip_is_due_once_when_they_do() {
        let days =
            ["2026-03-07T02:30:00 -05", "2026-03-08T03:00:00 -04", "2026-03-09T02:30:00 -04"];
        assert_eq!(next("0 30 2 * * *", "2026-03-07 00:00:00", 3), days);
        let times = ["2026-03-08T03:00:00 -04", "2026-03-08T03:20:00 -04"];
        assert_eq!(next("0 */20 2,3 * * *", "2026-03-08 01:59:00", 2), times);
    }

    #[test]
    fn a_time_that_comes_twice_is_due_the_first_time() {
        let days =
            ["2026-10-31T01:30:00 -04", "2026-11-01T01:30:00 -04", "2026-11-02T01:30:00 -05"];
        assert_eq!(next("0 30 1 * * *", "2026-10-31 00:00:00", 3), days);
        // Also for somebody who looks when it comes again.
        let rule: Rule = "0 30 1 * * *".parse().unwrap();
        let second = at("2026-11-01 01:10:00").checked_add(SignedDuration::from_hours(1)).unwrap();
        assert_eq!(second.datetime().to_string(), "2026-11-01T01:10:00");
        let then = rule.next_after(&second).unwrap();
        assert_eq!(then.datetime().to_string(), "2026-11-02T01:30:00");
    }

    #[test]
    fn a_rule_for_every_hour_does_not_pause() {
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
    fn what_is_no_rule_is_told() {
        for (rule, why) in [
            ("* * * * *", "has 5 fields and needs 6"),
            ("60 * * * * *", "\"60\" is no second: give *, numbers from 0 to 59"),
            ("* * 24 * * *", "\"24\" is no hour"),
            ("* * * 0 * *", "\"0\" is no day of month"),
            ("* * * * FOO *", "\"FOO\" is no month"),
            ("* * * * * 8", "\"8\" is no day of week"),
            ("* * 5-3 * * *", "\"5-3\" is no hour"),
            ("* */0 * * * *", "\"*/0\" is no minute"),
            ("1,,2 * * * * *", "\"\" is no second"),
            ("+1 * * * * *", "\"+1\" is no second"),
            ("* * * 30 FEB *", "names a day that never comes"),
        ] {
            let error = rule.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(why), "{rule}: {error}");
        }
    }

    #[test]
    fn a_rule_is_shown_as_it_was_given() {
        assert_eq!("0  0 3 * * *".parse::<Rule>().unwrap().to_string(), "0  0 3 * * *");
    }
}
