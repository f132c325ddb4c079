//! Character classes: `[a-z]`, `[!0-9]`, `[[:alpha:]]`.

/// Set of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    pub(super) fn insert(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    fn remove(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word &= !(1 << (byte & 63));
        }
    }

    fn insert_all(&mut self, accepts: impl Fn(u8) -> bool) {
        (0..=u8::MAX).filter(|&byte| accepts(byte)).for_each(|byte| self.insert(byte));
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.insert_all(|byte| other.contains(byte));
        all
    }

    fn complement(&self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

/// Parses a class after its `[`. Returns the set and the text after the closing `]`.
///
/// Returns `None` if the class is unterminated or names an unknown class: such a pattern matches
/// nothing. No class contains a slash. Class names cover ASCII only, as in rsync with the locales C
/// and UTF-8.
pub(super) fn parse(text: &[u8]) -> Option<(ByteSet, &[u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut set = ByteSet::default();
    // The previous byte, from which a range could start.
    let mut low: Option<u8> = None;
    let mut first = true;
    loop {
        rest = match rest {
            [] => return None,
            // A `]` in first position is a literal.
            [b']', after @ ..] if !first => {
                let mut set = if negated { set.complement() } else { set };
                set.remove(b'/');
                return Some((set, after));
            }
            [b'-', next, ..] if *next != b']' && low.is_some() => {
                let (high, after) = literal(rest.get(1..)?)?;
                let from = low.take()?;
                set.insert_all(|byte| (from..=high).contains(&byte));
                after
            }
            [b'[', b':', after @ ..] => match parse_named_class(after)? {
                NamedClass::Class(name, after) => {
                    let accepts = posix_class(name)?;
                    set.insert_all(accepts);
                    low = None;
                    after
                }
                NamedClass::Literal => {
                    set.insert(b'[');
                    low = Some(b'[');
                    rest.get(1..)?
                }
            },
            _ => {
                let (byte, after) = literal(rest)?;
                set.insert(byte);
                low = Some(byte);
                after
            }
        };
        first = false;
    }
}

/// Parses one byte, optionally escaped by a backslash.
fn literal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&byte, after) = text.strip_prefix(b"\\").unwrap_or(text).split_first()?;
    Some((byte, after))
}

/// Result of parsing the text after `[:` inside a class.
enum NamedClass<'a> {
    /// A class name, and the text after its `:]`.
    Class(&'a [u8], &'a [u8]),
    /// The next `]` has no colon before it, so the `[` is a literal.
    Literal,
}

/// Returns `None` if no `]` follows, so that the whole class is unterminated.
fn parse_named_class(text: &[u8]) -> Option<NamedClass<'_>> {
    let end = text.iter().position(|&b| b == b']')?;
    let (inside, after) = text.split_at_checked(end)?;
    let after = after.get(1..)?;
    Some(
        inside
            .strip_suffix(b":")
            .map_or(NamedClass::Literal, |name| NamedClass::Class(name, after)),
    )
}

fn posix_class(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name {
        b"alnum" => |b| b.is_ascii_alphanumeric(),
        b"alpha" => |b| b.is_ascii_alphabetic(),
        b"blank" => |b| b == b' ' || b == b'\t',
        b"cntrl" => |b| b.is_ascii_control(),
        b"digit" => |b| b.is_ascii_digit(),
        b"graph" => |b| b.is_ascii_graphic(),
        b"lower" => |b| b.is_ascii_lowercase(),
        b"print" => |b| b.is_ascii_graphic() || b == b' ',
        b"punct" => |b| b.is_ascii_punctuation(),
        // C includes the vertical tab, Rust does not.
        b"space" => |b| b.is_ascii_whitespace() || b == 0x0b,
        b"upper" => |b| b.is_ascii_uppercase(),
        b"xdigit" => |b| b.is_ascii_hexdigit(),
        _ => return None,
    })
}
