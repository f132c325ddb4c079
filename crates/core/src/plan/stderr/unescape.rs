//! Decoding of the names in rsync's messages.

use alloc::vec::Vec;

/// Decodes rsync's `\#ooo`, three octal digits. rsync encodes a backslash that would look like the
/// start of such a sequence; every other backslash is a literal.
#[must_use]
pub fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.strip_prefix(b"#").and_then(|tail| tail.split_at_checked(3));
        match octal.and_then(|(digits, tail)| Some((from_octal(digits)?, tail))) {
            Some((byte, tail)) if first == b'\\' => {
                bytes.push(byte);
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

fn from_octal(digits: &[u8]) -> Option<u8> {
    let digits = core::str::from_utf8(digits).ok()?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| u8::from_str_radix(digits, 8).ok())?
}
