//! Words for a shell on another machine.

use alloc::vec::Vec;

/// A word that every POSIX shell reads as exactly these bytes, whatever they are.
///
/// All that a remote shell gets to see from us goes through here. It must hold no NUL: no name does.
#[must_use]
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(word.len() + 2);
    text.push(b'\'');
    for &byte in word {
        // Within single quotes nothing means anything but the quote that ends them.
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
    fn only_a_quote_ends_a_quoted_word() {
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
