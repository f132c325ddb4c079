//! Text for a terminal: nothing that the daemon reports can control it.

use jiff::Timestamp;
use mirror_core::path::controls_display;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::now;

/// Sign for a part that was left out.
const ELLIPSIS: &str = "…";

/// Returns the text with its control characters escaped, newlines and changes of the writing
/// direction included.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if controls_display(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Returns the lines of a text, each one clean.
pub(super) fn clean_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(clean)
}

/// Returns the width of a clean text in columns of the terminal.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Shortens a clean text to a width, in its middle: both ends of a path tell something.
pub(super) fn shorten_middle(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let Some(rest) = limit.checked_sub(width(ELLIPSIS)) else { return String::new() };
    let head = cut(text, rest.div_ceil(2));
    let reversed: String = text.chars().rev().collect();
    let tail: String = cut(&reversed, rest / 2).chars().rev().collect();
    format!("{head}{ELLIPSIS}{tail}")
}

/// Returns the beginning of a clean text up to a width.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or_default();
        if used > limit {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// Returns a duration in at most two units, such as `3m20s`, or as a fraction.
pub(super) fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let whole = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 0.0995 => format!("{:.0}ms", seconds.max(0.0) * 1000.0),
        (0, 0, 0) if seconds < 9.95 => format!("{:.1}s", seconds.max(0.0)),
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Returns a number with its noun.
pub(super) fn count(number: u64, singular: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { singular } else { plural })
}

/// Returns the local time of a moment in seconds since the epoch.
pub(super) fn local_time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let timestamp = Timestamp::from_second(seconds as i64);
    timestamp.map_or_else(
        |_| "?".to_owned(),
        |it| it.to_zoned(now().time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(clean("a\x1b[2Jb\n\u{9b}\u{202e}ü"), "a\\u{1b}[2Jb\\n\\u{9b}\\u{202e}ü");
        let lines: Vec<String> = clean_lines("a\tb\nc").collect();
        assert_eq!(lines, ["a\\tb", "c"]);
    }

    #[test]
    fn texts_are_shortened_to_their_width() {
        assert_eq!(shorten_middle("abcdef", 6), "abcdef");
        assert_eq!(shorten_middle("abcdefg", 6), "abc…fg");
        assert_eq!(shorten_middle("abcdefg", 1), "…");
        assert_eq!(shorten_middle("abcdefg", 0), "");
        // Two columns each.
        assert_eq!(shorten_middle("漢字漢字", 6), "漢…字");
        assert_eq!(cut("漢字", 3), "漢");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (-1.0, "0ms"),
            (0.0123, "12ms"),
            (0.0996, "0.1s"),
            (0.24, "0.2s"),
            (9.96, "9s"),
            (59.9, "59s"),
            (200.0, "3m20s"),
            (7500.0, "2h05m"),
            (450_000.0, "5d05h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
