//! Patterns with placeholders for text that differs from run to run.

/// Placeholder in a pattern: `<any>`, `<n>`, `<time>` or `<date>`.
#[derive(Clone, Copy, Debug)]
enum Placeholder {
    /// Any text, including none.
    Any,
    /// One or more digits.
    Number,
    /// The time of day, `12:34:56`.
    Time,
    /// A date in the format of the original, `Mon Nov  2 12:34:56 2026`.
    Date,
}

const PLACEHOLDERS: [(&str, Placeholder); 4] = [
    ("<any>", Placeholder::Any),
    ("<n>", Placeholder::Number),
    ("<time>", Placeholder::Time),
    ("<date>", Placeholder::Date),
];

/// Returns true if all of `text` matches `pattern`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let first = PLACEHOLDERS
        .iter()
        .filter_map(|(name, placeholder)| Some((pattern.find(name)?, name.len(), *placeholder)))
        .min_by_key(|(at, ..)| *at);
    let Some((at, length, placeholder)) = first else { return pattern == text };
    let (before, after) = (pattern.get(..at), pattern.get(at + length..));
    let (Some(before), Some(after)) = (before, after) else { return false };
    text.strip_prefix(before).is_some_and(|rest| {
        rest.char_indices()
            .map(|(index, _)| index)
            .chain([rest.len()])
            .filter_map(|end| rest.split_at_checked(end))
            .any(|(middle, rest)| placeholder.matches(middle) && matches(after, rest))
    })
}

impl Placeholder {
    fn matches(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Number => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Time => has_shape(text, "dd:dd:dd"),
            Self::Date => has_shape(text, "aaa aaa bd dd:dd:dd dddd"),
        }
    }
}

/// Returns true if `text` has this shape: `d` is a digit, `a` a letter, `b` a digit or a blank.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'a' => byte.is_ascii_alphabetic(),
        b'b' => byte.is_ascii_digit() || byte == b' ',
        _ => byte == wanted,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_match_varying_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("<any>", "", true),
            ("a<any>c", "abbc", true),
            ("a<any>c", "abb", false),
            ("<n>", "", false),
            ("pid=<n> x", "pid=12 x", true),
            ("pid=<n> x", "pid= x", false),
            ("<time> Normal: a", "01:23:45 Normal: a", true),
            ("<time> Normal: a", "1:23:45 Normal: a", false),
            ("at <date>", "at Mon Nov  2 12:34:56 2026", true),
            ("at <date>", "at Mon Nov 22 12:34:56 2026", true),
            ("at <date>", "at Mon Nov 22 2026", false),
            ("<any> -> <any>", "é -> ü", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
