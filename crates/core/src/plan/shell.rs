//! Quoting for remote shells.

use alloc::vec::Vec;

/// Quotes a word so that every POSIX shell reads exactly these bytes.
///
/// Everything that is passed to a remote shell is quoted here. The word must not contain a NUL; no
/// name does.
#[must_use]
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(word.len() + 2);
    text.push(b'\'');
    for &byte in word {
        // Within single quotes only the closing quote is special.
        match byte {
            b'\'' => text.extend_from_slice(b"'\\''"),
            _ => text.push(byte),
        }
    }
    text.push(b'\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_escapes_single_quotes_only() {
        for (word, text) in [
            (&b""[..], &b"''"[..]),
            (b"a b", b"'a b'"),
            (b"$(x)`y`\\\n\"*", b"'$(x)`y`\\\n\"*'"),
            (b"it's", b"'it'\\''s'"),
            (b"''", b"''\\'''\\'''"),
            (b"\xff-", b"'\xff-'"),
        ] {
            assert_eq!(quoted(word), text);
        }
    }
}
