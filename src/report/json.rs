//! Log lines as JSON, for programs that collect logs.

use jiff::Zoned;
use mirror_core::path::Escaped;
use serde::Serialize;

use super::{Category, stream::StdStream, text::LogMessage};

/// Format of the log file and of the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// The lines of the original.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Returns the format of this name.
    #[must_use]
    pub const fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"text" => Some(Self::Text),
            b"json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Returns the name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Category of lines that a child process has written.
const OUTPUT: &str = "Output";

/// One line.
#[derive(Serialize)]
struct JsonLine<'a> {
    /// RFC 3339, with milliseconds and the offset of the zone.
    time: String,
    level: &'static str,
    category: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<&'a str>,
    /// Stream of a child process.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'static str>,
    message: &'a str,
}

impl JsonLine<'_> {
    /// Formats the line with its line feed.
    fn to_line(&self) -> String {
        let object = serde_json::to_string(self).expect("strings can always be serialized");
        object + "\n"
    }
}

/// Formats a message.
pub(super) fn message_line(message: LogMessage<'_>, now: &Zoned) -> String {
    let LogMessage { category, text, sync } = message;
    let (time, level) = (time(now), level(category));
    JsonLine { time, level, category: category.name(), sync, stream: None, message: text }.to_line()
}

/// Formats whole lines that a child process has written to this stream. `sync` is the sync that it
/// works for.
pub(super) fn child_lines(
    lines: &[u8],
    stream: StdStream,
    sync: Option<&str>,
    now: &Zoned,
) -> String {
    let stream = match stream {
        StdStream::Out => "stdout",
        StdStream::Err => "stderr",
    };
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines).split(|&byte| byte == b'\n');
    let formatted = lines.map(|line| {
        let message = &Escaped(line).to_string();
        let (time, level, stream) = (time(now), level(Category::Normal), Some(stream));
        JsonLine { time, level, category: OUTPUT, sync, stream, message }.to_line()
    });
    formatted.collect()
}

fn time(now: &Zoned) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

const fn level(category: Category) -> &'static str {
    match category {
        Category::Error => "error",
        Category::Warn => "warning",
        Category::Normal => "info",
        Category::Debug(_) => "debug",
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Zoned {
        let moment: Timestamp = "2026-11-02T20:04:05.9Z".parse().unwrap();
        moment.to_zoned(TimeZone::fixed(jiff::tz::offset(2)))
    }

    fn parse(line: &str) -> Value {
        assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_message_is_one_object() {
        let message = LogMessage { category: Category::Warn, text: "a\n\"b\"", sync: Some("s") };
        let expected = json!({
            "time": "2026-11-02T22:04:05.900+02:00", "level": "warning", "category": "Warn",
            "sync": "s", "message": "a\n\"b\"",
        });
        assert_eq!(parse(&message_line(message, &now())), expected);
        let message = LogMessage { category: Category::Debug("Exec"), text: "x", sync: None };
        let expected = json!({
            "time": "2026-11-02T22:04:05.900+02:00", "level": "debug", "category": "Exec",
            "message": "x",
        });
        assert_eq!(parse(&message_line(message, &now())), expected);
    }

    #[test]
    fn lines_of_a_child_with_any_bytes_are_objects() {
        let lines = child_lines(b"one\ntwo\xff\x1b\n", StdStream::Err, Some("s"), &now());
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let expected = json!({
            "time": "2026-11-02T22:04:05.900+02:00", "level": "info", "category": "Output",
            "sync": "s", "stream": "stderr", "message": "two\\xff\\u{1b}",
        });
        assert_eq!(lines[1], expected);
    }
}
