//! Interpretation of a fuzzer's bytes as values.

/// Reader that takes values from the front of an input. Past its end, numbers are 0 and byte
/// strings are empty, so that every input is valid.
#[derive(Clone, Debug)]
pub(crate) struct InputReader<'a> {
    rest: &'a [u8],
}

impl<'a> InputReader<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Returns true at the end of the input.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes one byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Takes a number of four bytes, in the byte order of this machine.
    pub(crate) fn number(&mut self) -> u32 {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            *byte = self.byte();
        }
        u32::from_ne_bytes(bytes)
    }

    /// Takes a number below `limit`, which must not be 0, from one byte.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// Takes one of `items`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let at = self.below(items.len());
        *items.get(at).expect("the position is below the length")
    }

    /// Takes `length` bytes, or what is left.
    pub(crate) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

/// Splits text at its first empty line. The second part is empty if there is none.
pub(crate) fn split_at_blank_line(text: &[u8]) -> (&[u8], &[u8]) {
    if let Some(rest) = text.strip_prefix(b"\n") {
        return (b"", rest);
    }
    match text.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (text.get(..at).unwrap_or(text), text.get(at + 2..).unwrap_or_default()),
        None => (text, b""),
    }
}

/// Splits text at its first newline. The second part is empty if there is none.
pub(crate) fn split_first_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'\n') {
        Some(at) => (text.get(..at).unwrap_or(text), text.get(at + 1..).unwrap_or_default()),
        None => (text, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_from_the_front() {
        let mut reader = InputReader::new(b"ab\x01\0\0\0xy");
        assert_eq!(reader.byte(), b'a');
        assert_eq!(reader.bytes(1), b"b");
        assert_eq!(reader.number(), u32::from_ne_bytes([1, 0, 0, 0]));
        assert_eq!(reader.below(7), usize::from(b'x') % 7);
        assert_eq!(reader.bytes(9), b"y");
        assert!(reader.is_empty());
        assert_eq!((reader.byte(), reader.number(), reader.pick(b"pq")), (0, 0, b'p'));
    }

    #[test]
    fn text_is_split_at_lines() {
        assert_eq!(split_at_blank_line(b"a\nb\n\nc\n\nd"), (&b"a\nb"[..], &b"c\n\nd"[..]));
        assert_eq!(split_at_blank_line(b"\nb"), (&b""[..], &b"b"[..]));
        assert_eq!(split_at_blank_line(b"a\n"), (&b"a\n"[..], &b""[..]));
        assert_eq!(split_first_line(b"a\nb\nc"), (&b"a"[..], &b"b\nc"[..]));
        assert_eq!(split_first_line(b"a"), (&b"a"[..], &b""[..]));
    }
}
