//! Numbers in Lua's syntax, which the original uses for the command line.

/// Parses a number: decimal or hexadecimal, with optional fraction and exponent, and surrounded by
/// optional white space. `None` if it is none. There is no spelling of infinity, but numbers that
/// are too large become it.
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1.0, rest),
        _ => (1.0, text.strip_prefix(b"+").unwrap_or(text)),
    };
    let value = match digits {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest),
        rest => decimal(rest),
    }?;
    Some(sign * value)
}

fn trim(text: &[u8]) -> &[u8] {
    // `isspace(3)` in the C locale. Rust's `is_ascii_whitespace` lacks the vertical tab.
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

fn decimal(text: &[u8]) -> Option<f64> {
    let (mantissa, exponent) = split_exponent(text, b'e');
    let exponent_is_right = exponent.is_none_or(is_integer);
    let mut parts = mantissa.splitn(2, |&byte| byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let is_right = has_digits && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !is_right || !exponent_is_right {
        return None;
    }
    // The forms that are left are a subset of those that Rust parses.
    str::from_utf8(text).ok()?.parse().ok()
}

/// Parses the part after `0x`. The exponent is one of two, in decimal digits.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let (mantissa, exponent) = split_exponent(text, b'p');
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
            // Zero times infinity is no number, but `0x0p9999` is one.
            Some(if value == 0.0 { value } else { value * exponent.exp2() })
        }
        Some(_) => None,
    }
}

/// Splits a number at the letter of its exponent.
fn split_exponent(text: &[u8], letter: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| byte.eq_ignore_ascii_case(&letter)) {
        None => (text, None),
        Some(at) => {
            let (mantissa, rest) = text.split_at(at);
            (mantissa, rest.get(1..))
        }
    }
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lua_numbers_are_parsed() {
        for (text, value) in [
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
            assert_eq!(parse(text.as_bytes()), Some(value), "{text:?}");
        }
        assert!(parse(b"-0").is_some_and(|zero| zero == 0.0));
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in [
            "", " ", "1x", "x", "inf", "nan", "infinity", "-inf", "1e", "1e+", "1e1.5", "0x",
            "0x.", "0x1p", "0xg", "0x1p1p1", "0x1.2.3", ".", "1.2.3", "1 2", "- 1", "1_0", "--1",
            "+-1", "1,5", "e5", "1f", "1d", "\u{a0}1", "1\0",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"1\xff"), None);
    }
}
