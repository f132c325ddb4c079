//! Target: cron rules, and the times at which they are due.
//!
//! An input is text: a rule, a time in seconds since 1970, and the number of a time zone, one per
//! line.

use jiff::{
    SignedDuration, Timestamp, Zoned,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use lsyncd::config::cron::CronRule;

use crate::input::split_first_line;

/// Times lie between these years, so that the calendar does not end.
const FIRST_TIME: i64 = 0;
const LAST_TIME: i64 = 8_000_000_000;

/// Number of days in which a rule that is ever due is due.
const SEARCH_DAYS: usize = 41 * 366;

/// Time zones: none, two with an hour of daylight saving time, one with half an hour, and one whose
/// clocks change at midnight.
const ZONES: [&str; 5] = [
    "UTC0",
    "EST5EDT,M3.2.0,M11.1.0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "<-03>3<-02>,M10.3.0/0,M2.3.0/0",
];

const MONTHS: &str = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC";
const WEEKDAYS: &str = "SUN MON TUE WED THU FRI SAT";
const DAYS_OF_MONTHS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Field of a rule.
#[derive(Clone, Copy)]
struct FieldRange {
    first: u8,
    last: u8,
    /// The names of the numbers, from the first one on.
    names: &'static str,
}

const FIELDS: [FieldRange; 6] = [
    FieldRange { first: 0, last: 59, names: "" },
    FieldRange { first: 0, last: 59, names: "" },
    FieldRange { first: 0, last: 23, names: "" },
    FieldRange { first: 1, last: 31, names: "" },
    FieldRange { first: 1, last: 12, names: MONTHS },
    FieldRange { first: 0, last: 7, names: WEEKDAYS },
];

/// Returns the tokens.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    const TOKENS: &str = "* */2 */5 */20 0 1 2 3 7 12 23 24 29 30 31 59 60 0-5 1-3 5-3 50/4 10-20/5 \
        1,2 MON sun FRI-SAT MON-WED JAN FEB jul , - / +1 1521943200 1772953200 1793511000 \
        4107542400 1759593600 1743879600 1760842800 1739671200";
    let lines: [&[u8]; 4] = [b"\n", b" ", b"\n1\n", b"0 0 3 * * *\n"];
    TOKENS.split(' ').map(str::as_bytes).chain(lines).collect()
}

/// Checks that valid rules are accepted and others refused, and that the next due time is the first
/// match.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    let (rule, rest) = split_first_line(data);
    let (seconds, zone) = split_first_line(rest);
    let text = String::from_utf8_lossy(rule);
    let reference = ReferenceRule::parse(&text);
    let rule = match text.parse::<CronRule>() {
        Ok(rule) => rule,
        Err(error) => {
            let shown = error.to_string();
            assert!(!reference.is_some_and(|rule| rule.has_a_day()), "{text:?} is valid: {shown}");
            assert!(!shown.is_empty() && !shown.contains(char::is_control), "{shown:?}");
            return;
        }
    };
    let reference = reference.filter(ReferenceRule::has_a_day);
    let reference = reference.unwrap_or_else(|| panic!("{text:?} is not valid"));
    assert_eq!(rule.to_string(), text, "the text of a rule");
    let again = rule.to_string().parse::<CronRule>();
    assert!(again.as_ref() == Ok(&rule), "parsed differently the second time");
    let index = usize::try_from(number(zone).unsigned_abs()).unwrap_or_default() % ZONES.len();
    let zone = ZONES.get(index).unwrap_or(&ZONES[0]);
    let zone = TimeZone::posix(zone).expect("the zones of the table are valid");
    let seconds = number(seconds).rem_euclid(LAST_TIME - FIRST_TIME) + FIRST_TIME;
    let now = Timestamp::new(seconds, 500_000_000 * i32::from(data.len() % 2 == 1));
    let now = now.expect("the time is in range").to_zoned(zone);
    check_next(&rule, &reference, &now);
}

/// Parses a number. Other text counts as 0.
fn number(text: &[u8]) -> i64 {
    str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Checks the next due time after `now`.
fn check_next(rule: &CronRule, reference: &ReferenceRule, now: &Zoned) {
    let next = rule.next_after(now).unwrap_or_else(|| panic!("never due after {now}"));
    assert!(next > *now, "due in the past: {next} after {now}");
    assert_eq!(next.time_zone(), now.time_zone());
    if reference.matches(next.datetime()) {
        assert!(reference.is_every_hour() || !is_second_occurrence(&next), "due again: {next}");
    } else {
        assert!(!reference.is_every_hour(), "{next} does not match");
        check_skipped(reference, &next);
    }
    if *now.time_zone() == TimeZone::posix(ZONES[0]).expect("the first zone is valid") {
        assert_eq!(Some(next.datetime()), reference.next(now.datetime()), "after {now}");
    }
    // Between now and then nothing is due.
    let second = SignedDuration::from_secs(1);
    let half = now.duration_until(&next) / 2;
    let times = [now.checked_add(half), next.checked_sub(second), next.checked_sub(second / 2)];
    for time in times.into_iter().flatten().filter(|time| time > now && *time < next) {
        let is_whole = time.subsec_nanosecond() == 0;
        let is_due = is_whole
            && reference.matches(time.datetime())
            && (reference.is_every_hour() || !is_second_occurrence(&time));
        assert!(!is_due, "{time} matches, but {next} is next after {now}");
        assert_eq!(rule.next_after(&time).as_ref(), Some(&next), "after {time} and {now}");
    }
}

/// Checks that a due time that does not match is the end of a skipped interval with a match.
fn check_skipped(reference: &ReferenceRule, next: &Zoned) {
    let before = next.checked_sub(SignedDuration::from_secs(1)).expect("the time is in range");
    let shift = next.offset().duration_since(before.offset());
    assert!(shift.is_positive(), "{next} does not match");
    // The last second before the interval.
    let match_in_it = reference.next(before.datetime());
    assert!(match_in_it.is_some_and(|time| time < next.datetime()), "{next} skips no match");
}

/// Returns true if the same local time occurred before.
fn is_second_occurrence(time: &Zoned) -> bool {
    let first = time.time_zone().to_ambiguous_zoned(time.datetime()).earlier();
    first.is_ok_and(|first| first < *time)
}

/// A rule as lists of numbers, one for each field.
struct ReferenceRule {
    fields: [Vec<u8>; 6],
}

impl ReferenceRule {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let fields: [&str; 6] = fields.try_into().ok()?;
        let mut lists: [Vec<u8>; 6] = Default::default();
        for ((text, field), list) in fields.iter().zip(FIELDS).zip(&mut lists) {
            for part in text.split(',') {
                list.extend(numbers(part, field)?);
            }
        }
        let [.., weekdays] = &mut lists;
        if weekdays.contains(&7) {
            weekdays.push(0);
        }
        for list in &mut lists {
            list.sort_unstable();
            list.dedup();
        }
        Some(Self { fields: lists })
    }

    /// Returns true if there is a day with one of the months and one of the numbers. In the long
    /// run it falls on each day of the week.
    fn has_a_day(&self) -> bool {
        let [.., days, months, _] = &self.fields;
        let last = |month: &u8| DAYS_OF_MONTHS.get(usize::from(*month) - 1);
        months.iter().filter_map(last).any(|last| days.iter().any(|day| day <= last))
    }

    fn is_every_hour(&self) -> bool {
        let [_, _, hours, ..] = &self.fields;
        hours.len() == 24
    }

    fn matches(&self, time: DateTime) -> bool {
        let [seconds, minutes, hours, ..] = &self.fields;
        self.matches_date(time.date())
            && has(hours, time.hour())
            && has(minutes, time.minute())
            && has(seconds, time.second())
    }

    fn matches_date(&self, date: Date) -> bool {
        let [.., days, months, weekdays] = &self.fields;
        has(months, date.month())
            && has(days, date.day())
            && has(weekdays, date.weekday().to_sunday_zero_offset())
    }

    /// Returns the first match after a local time, without regard to time zones.
    fn next(&self, after: DateTime) -> Option<DateTime> {
        let [seconds, minutes, hours, ..] = &self.fields;
        let mut dates = after.date().series(jiff::Span::new().days(1)).take(SEARCH_DAYS);
        dates.find_map(|date| {
            if !self.matches_date(date) {
                return None;
            }
            let times = hours.iter().flat_map(|hour| {
                minutes.iter().flat_map(move |minute| {
                    seconds.iter().filter_map(move |second| {
                        let [hour, minute, second] =
                            [hour, minute, second].map(|it| i8::try_from(*it).unwrap_or(0));
                        jiff::civil::Time::new(hour, minute, second, 0).ok()
                    })
                })
            });
            times.map(|time| date.to_datetime(time)).find(|time| *time > after)
        })
    }
}

fn has(list: &[u8], number: i8) -> bool {
    u8::try_from(number).is_ok_and(|number| list.binary_search(&number).is_ok())
}

/// Returns the numbers of one part of a field. `None` if it is invalid.
fn numbers(part: &str, field: FieldRange) -> Option<Vec<u8>> {
    let FieldRange { first, last, .. } = field;
    let (range, step) = part.split_once('/').unwrap_or((part, ""));
    let has_step = part.contains('/');
    let step = if has_step { digits(step)? } else { 1 };
    let (from, to) = match range.split_once('-') {
        _ if range == "*" => (first, last),
        Some((from, to)) => (value(from, field)?, value(to, field)?),
        None if has_step => (value(range, field)?, last),
        None => (value(range, field)?, value(range, field)?),
    };
    if from > to || step == 0 {
        return None;
    }
    Some((from..=to).filter(|number| (number - from) % step == 0).collect())
}

/// Returns the number that a text or a name stands for.
fn value(text: &str, field: FieldRange) -> Option<u8> {
    let FieldRange { first, last, names } = field;
    let mut words = names.split_whitespace().zip(first..);
    let value = match words.find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        Some((_, value)) => value,
        None => digits(text)?,
    };
    (first..=last).contains(&value).then_some(value)
}

/// Parses digits.
fn digits(text: &str) -> Option<u8> {
    let mut number = 0_u8;
    for byte in text.bytes() {
        number =
            number.checked_mul(10)?.checked_add(byte.checked_sub(b'0').filter(|it| *it < 10)?)?;
    }
    (!text.is_empty()).then_some(number)
}
