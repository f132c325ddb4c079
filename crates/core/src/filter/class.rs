//! Character classes: `[a-z]`, `[!0-9]`, `[[:alpha:]]`.

/// A set of bytes.
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

/// Reads a class whose `[` is taken already: the set, and what follows the closing `]`.
///
/// `None` if it has no end or names a class that does not exist: such a pattern matches nothing.
/// No class has a slash. The names stand for ASCII only, as in rsync with the locales C and UTF-8.
pub(super) fn parse(text: &[u8]) -> Option<(ByteSet, &[u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut set = ByteSet::default();
    // The byte before, from which a range could start.
    let mut low: Option<u8> = None;
    let mut first = true;
    loop {
        rest = match rest {
            [] => return None,
            // The first `]` is one of the bytes.
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
            [b'[', b':', after @ ..] => match named(after)? {
                Named::Class(name, after) => {
                    let accepts = posix(name)?;
                    set.insert_all(accepts);
                    low = None;
                    after
                }
                Named::No => {
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

/// One byte, with a backslash before it or not.
fn literal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&byte, after) = text.strip_prefix(b"\\").unwrap_or(text).split_first()?;
    Some((byte, after))
}

/// What follows `[:` inside a class.
enum Named<'a> {
    /// A name, its `:]` taken, and what comes then.
    Class(&'a [u8], &'a [u8]),
    /// The next `]` has no colon before it, so the `[` stands for itself.
    No,
}

/// `None` if there is no `]` any more, so that the whole class has no end.
fn named(text: &[u8]) -> Option<Named<'_>> {
    let end = text.iter().position(|&b| b == b']')?;
    let (inside, after) = text.split_at_checked(end)?;
    let after = after.get(1..)?;
    Some(inside.strip_suffix(b":").map_or(Named::No, |name| Named::Class(name, after)))
}

fn posix(name: &[u8]) -> Option<fn(u8) -> bool> {
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
        // C counts the vertical tab, Rust does not.
        b"space" => |b| b.is_ascii_whitespace() || b == 0x0b,
        b"upper" => |b| b.is_ascii_uppercase(),
        b"xdigit" => |b| b.is_ascii_hexdigit(),
        _ => return None,
    })
}
