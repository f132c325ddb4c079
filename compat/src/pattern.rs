//! Texts with gaps, for what differs from run to run.

/// What may stand in a gap: `<any>`, `<n>`, `<time>`, `<date>`.
#[derive(Clone, Copy, Debug)]
enum Gap {
    /// Anything, also nothing.
    Any,
    /// Digits.
    Number,
    /// The time of day, `12:34:56`.
    Time,
    /// A date as the original writes it, `Mon Nov  2 12:34:56 2026`.
    Date,
}

const GAPS: [(&str, Gap); 4] =
    [("<any>", Gap::Any), ("<n>", Gap::Number), ("<time>", Gap::Time), ("<date>", Gap::Date)];

/// Whether `text` as a whole is what `pattern` says.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let first = GAPS
        .iter()
        .filter_map(|(name, gap)| Some((pattern.find(name)?, name.len(), *gap)))
        .min_by_key(|(at, ..)| *at);
    let Some((at, length, gap)) = first else { return pattern == text };
    let (before, after) = (pattern.get(..at), pattern.get(at + length..));
    let (Some(before), Some(after)) = (before, after) else { return false };
    text.strip_prefix(before).is_some_and(|rest| {
        rest.char_indices()
            .map(|(index, _)| index)
            .chain([rest.len()])
            .filter_map(|end| rest.split_at_checked(end))
            .any(|(middle, rest)| gap.holds(middle) && matches(after, rest))
    })
}

impl Gap {
    fn holds(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Number => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Time => has_shape(text, "dd:dd:dd"),
            Self::Date => has_shape(text, "aaa aaa bd dd:dd:dd dddd"),
        }
    }
}

/// `d` is a digit, `a` a letter, `b` a digit or a blank.
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
    fn gaps_are_filled() {
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
