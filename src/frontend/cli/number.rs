//! Numbers as the original reads them, which leaves it to Lua.

/// The number that `word` spells: decimal or hexadecimal, with a fraction and an exponent if it
/// likes, and with white space around it. `None` if it spells none; infinity has no spelling, but
/// a number can be too large and then becomes it.
pub(super) fn parse(word: &[u8]) -> Option<f64> {
    let word = trim(word);
    let (sign, digits) = match word {
        [b'-', rest @ ..] => (-1.0, rest),
        _ => (1.0, word.strip_prefix(b"+").unwrap_or(word)),
    };
    let value = match digits {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest),
        rest => decimal(rest),
    }?;
    Some(sign * value)
}

fn trim(word: &[u8]) -> &[u8] {
    // `isspace(3)` in the C locale. The one of Rust leaves out the vertical tab.
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = word.iter().position(|byte| !is_space(byte)).unwrap_or(word.len());
    let end = word.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    word.get(start..end).unwrap_or_default()
}

fn decimal(word: &[u8]) -> Option<f64> {
    let (mantissa, exponent) = split_exponent(word, b'e');
    let exponent_is_right = exponent.is_none_or(is_integer);
    let mut parts = mantissa.splitn(2, |&byte| byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let is_right = has_digits && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !is_right || !exponent_is_right {
        return None;
    }
    // The shapes that get here are a part of those that Rust reads.
    str::from_utf8(word).ok()?.parse().ok()
}

/// What follows `0x`. The exponent is one of two, and itself decimal.
fn hexadecimal(word: &[u8]) -> Option<f64> {
    let (mantissa, exponent) = split_exponent(word, b'p');
    let mut parts = mantissa.splitn(2, |&byte| byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for &byte in whole {
        value = value * 16.0 + f64::from(char::from(byte).to_digit(16)?);
    }
    let mut weight = 1.0;
    for &byte in fraction {
        weight /= 16.0;
        value += weight * f64::from(char::from(byte).to_digit(16)?);
    }
    match exponent {
        None => Some(value),
        Some(digits) if is_integer(digits) => {
            let exponent: f64 = str::from_utf8(digits).ok()?.parse().ok()?;
            // Nothing times infinity is no number, but `0x0p9999` is one.
            Some(if value == 0.0 { value } else { value * exponent.exp2() })
        }
        Some(_) => None,
    }
}

/// What stands before and after the letter of the exponent.
fn split_exponent(word: &[u8], letter: u8) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|byte| byte.eq_ignore_ascii_case(&letter)) {
        None => (word, None),
        Some(at) => {
            let (mantissa, rest) = word.split_at(at);
            (mantissa, rest.get(1..))
        }
    }
}

fn is_integer(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lua_reads_is_a_number() {
        for (word, value) in [
            ("0", 0.0),
            ("15", 15.0),
            ("007", 7.0),
            ("0.5", 0.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e1", 10.0),
            ("1E+1", 10.0),
            ("1e-1", 0.1),
            ("+1", 1.0),
            ("-1", -1.0),
            ("0x10", 16.0),
            ("0XfF", 255.0),
            ("0x.8", 0.5),
            ("0xA.8p1", 21.0),
            ("0x1p4", 16.0),
            ("0x0p9999", 0.0),
            ("-0x1p-1", -0.5),
            ("1e400", f64::INFINITY),
            ("0x1p9999", f64::INFINITY),
            ("99999999999999999999", 1e20),
            (" \t\n\x0b\x0c\r7\r\x0c\x0b\n\t ", 7.0),
        ] {
            assert_eq!(parse(word.as_bytes()), Some(value), "{word:?}");
        }
        assert!(parse(b"-0").is_some_and(|zero| zero == 0.0));
    }

    #[test]
    fn what_lua_does_not_read_is_none() {
        for word in [
            "", " ", "1x", "x", "inf", "nan", "infinity", "-inf", "1e", "1e+", "1e1.5", "0x",
            "0x.", "0x1p", "0xg", "0x1p1p1", "0x1.2.3", ".", "1.2.3", "1 2", "- 1", "1_0", "--1",
            "+-1", "1,5", "e5", "1f", "1d", "\u{a0}1", "1\0",
        ] {
            assert_eq!(parse(word.as_bytes()), None, "{word:?}");
        }
        assert_eq!(parse(b"1\xff"), None);
    }
}
