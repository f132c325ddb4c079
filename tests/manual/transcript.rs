//! Comparison of an output with the one in the manual.

/// Returns true if an output has the lines that the manual shows.
pub(crate) fn matches(shown: &[String], output: &str) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| normal(line)).collect();
    let output: Vec<String> = output.lines().map(normal).collect();
    lines_match(trimmed(&shown), trimmed(&output))
}

/// Returns true if an output begins with the lines that the manual shows.
pub(crate) fn begins(shown: &[String], output: &str) -> bool {
    let mut shown = shown.to_vec();
    shown.push("..".into());
    matches(&shown, output)
}

fn trimmed(lines: &[String]) -> &[String] {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    &lines[..end]
}

fn lines_match(shown: &[String], output: &[String]) -> bool {
    match shown {
        [] => output.is_empty(),
        [first, rest @ ..] if first == ".." => {
            (0..=output.len()).any(|skipped| lines_match(rest, &output[skipped..]))
        }
        [first, rest @ ..] => output
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others)),
    }
}

/// Compares a line in which `..` stands for any text.
fn line_matches(shown: &str, line: &str) -> bool {
    let Some((start, mut rest_shown)) = shown.split_once("..") else { return shown == line };
    let Some(mut rest) = line.strip_prefix(start) else { return false };
    while let Some((part, after)) = rest_shown.split_once("..") {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        rest_shown = after;
    }
    rest.ends_with(rest_shown)
}

/// Replaces what differs from run to run, and the widths of columns.
fn normal(line: &str) -> String {
    let mut words = Vec::new();
    let mut before = "";
    for word in line.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let replacement = match before {
            "pid" => Some("PID"),
            "lsyncd" if bare.starts_with(|c: char| c.is_ascii_digit()) => Some("VERSION"),
            _ => volatile(bare),
        };
        words.push(match replacement {
            Some(name) if !bare.is_empty() => word.replacen(bare, name, 1),
            _ => word.to_owned(),
        });
        before = bare;
    }
    words.join(" ")
}

/// Returns a name for a time, a date or a duration.
fn volatile(word: &str) -> Option<&'static str> {
    let only = |others: &str| word.chars().all(|c| c.is_ascii_digit() || others.contains(c));
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let separators = |separator: char| word.chars().filter(|&c| c == separator).count();
    if separators(':') == 2 && only(":") {
        return Some("TIME");
    }
    if separators('-') == 2 && only("-") {
        return Some("DATE");
    }
    (word.ends_with(['s', 'm', 'h', 'd']) && only(".msdh")).then_some("DURATION")
}

#[test]
fn durations_times_and_columns_may_differ() {
    let same = [
        ("lsyncd 3.0.0, pid 4711, up 2h10m, /a", "lsyncd 4.1.0-b, pid 1, up 3ms, /a"),
        ("www  in sync   2.0s  x", "www in sync 66ms x"),
        ("2026-01-02 10:11:12  www", "2025-11-29 19:49:19 www"),
        ("(1.9s ago)", "(5m ago)"),
        ("a .. c .. e", "a b c d e"),
    ];
    for (shown, line) in same {
        assert!(matches(&[shown.to_owned()], line), "{shown}");
    }
    for (shown, line) in [("3 files", "4 files"), ("a .. c", "a b"), ("pending", "in sync")] {
        assert!(!matches(&[shown.to_owned()], line), "{shown}");
    }
}

#[test]
fn a_line_of_dots_stands_for_any_lines() {
    let shown = ["a", "..", "d"].map(String::from);
    assert!(matches(&shown, "a\nd\n"));
    assert!(matches(&shown, "a\nb\nc\nd\n"));
    assert!(!matches(&shown, "a\nb\n"));
    assert!(begins(&["a".to_owned()], "a\nb\n"));
    assert!(!matches(&["a".to_owned()], "a\nb\n"));
    assert!(!matches(&[], "a\n"));
}
