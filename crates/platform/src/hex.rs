//! Hexadecimal digits.

/// Formats bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Parses hexadecimal digits, two for each byte. `None` if they are none.
#[must_use]
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let is_right =
        digits.len().is_multiple_of(2) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    is_right.then(|| digits.as_bytes().chunks(2).map(pair).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_two_for_each_byte() {
        assert_eq!(hex(b"\x00a\xff"), "0061ff");
        assert_eq!(unhex("0061fF").as_deref(), Some(&b"\x00a\xff"[..]));
        assert_eq!(unhex(""), Some(Vec::new()));
        for digits in ["0", "0g", "+1", "-1", " 1", "\u{e9}"] {
            assert_eq!(unhex(digits), None, "{digits}");
        }
    }
}
