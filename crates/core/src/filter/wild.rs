//! Wildcards: what `*`, `?` and `[...]` match, in bytes.
//!
//! The meaning is that of rsync's `wildmatch`. The way is another one: at most two places to go
//! back to are kept, so that no pattern and no name can make it slow.

use alloc::{boxed::Box, vec::Vec};

use super::class::{self, ByteSet};

/// A pattern with wildcards, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wild {
    tokens: Box<[Token]>,
}

/// What a token may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This byte.
    Byte(u8),
    /// One byte that is no slash.
    Any,
    /// One byte of a set.
    Set(Box<ByteSet>),
    /// Any run of bytes without a slash.
    Star,
    /// Any run of bytes.
    Stars,
}

/// A path to be matched, or the tail of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// The path without slashes at its ends.
    pub(super) bytes: &'a [u8],
    /// Whether one slash follows.
    pub(super) closed: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Match,
    /// Not from this start on.
    Mismatch,
    /// Neither from this start on nor from a later one.
    Never,
}

/// A place to go back to: after a star that can take one more byte.
#[derive(Clone, Copy, Debug)]
struct Resume {
    token: usize,
    text: usize,
}

impl Token {
    fn accepts(&self, byte: u8) -> bool {
        match self {
            Self::Byte(b) => *b == byte,
            Self::Any => byte != b'/',
            Self::Set(set) => set.contains(byte),
            Self::Star | Self::Stars => false,
        }
    }
}

impl Text<'_> {
    fn at(self, position: usize) -> Option<u8> {
        match self.bytes.get(position) {
            Some(byte) => Some(*byte),
            None if self.closed && position == self.bytes.len() => Some(b'/'),
            None => None,
        }
    }

    /// How many bytes it is from `position` to the first byte after the next slash.
    fn to_next_component(self, position: usize) -> Option<usize> {
        let length = self.bytes.len();
        let rest = self.bytes.get(position.min(length)..)?;
        match rest.iter().position(|&b| b == b'/') {
            Some(at) => Some(at + 1),
            None if self.closed && position <= length => Some(rest.len() + 1),
            None => None,
        }
    }
}

impl Wild {
    /// Compiles a pattern. `None` if it is malformed: then rsync finds that it matches nothing.
    pub(super) fn compile(pattern: &[u8]) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            tokens.push(match byte {
                b'\\' => {
                    let (&escaped, after) = rest.split_first()?;
                    rest = after;
                    Token::Byte(escaped)
                }
                b'?' => Token::Any,
                b'[' => {
                    let (set, after) = class::parse(rest)?;
                    rest = after;
                    Token::Set(Box::new(set))
                }
                b'*' => {
                    let more = rest.iter().take_while(|&&b| b == b'*').count();
                    rest = rest.get(more..)?;
                    if more == 0 { Token::Star } else { Token::Stars }
                }
                _ => Token::Byte(byte),
            });
        }
        Some(Self { tokens: tokens.into() })
    }

    /// The byte with which every text that matches ends, if there is only one.
    pub(super) fn last_byte(&self) -> Option<u8> {
        match self.tokens.last() {
            Some(Token::Byte(byte)) => Some(*byte),
            _ => None,
        }
    }

    /// The byte with which every text that matches starts, if there is only one.
    pub(super) fn first_byte(&self) -> Option<u8> {
        match self.tokens.first() {
            Some(Token::Byte(byte)) => Some(*byte),
            _ => None,
        }
    }

    /// The only text that matches, if there are no wildcards left.
    pub(super) fn literal(&self) -> Option<Vec<u8>> {
        literal(&self.tokens)
    }

    /// Of `*` and plain bytes: these bytes, with which each name that matches ends.
    pub(super) fn ending(&self) -> Option<Vec<u8>> {
        match &*self.tokens {
            [Token::Star, plain @ ..] => literal(plain).filter(|bytes| !bytes.is_empty()),
            _ => None,
        }
    }

    /// If the pattern starts with `**/`: what follows. A path with a slash before it matches the
    /// whole exactly if the rest matches from the start of one of its components on.
    pub(super) fn after_any_directories(&self) -> Option<Self> {
        match &*self.tokens {
            [Token::Stars, Token::Byte(b'/'), rest @ ..] => Some(Self { tokens: rest.into() }),
            _ => None,
        }
    }

    /// Whether all of `text` matches.
    pub(super) fn matches(&self, text: Text) -> bool {
        self.run(text) == Verdict::Match
    }

    /// Whether the text matches from the start of one of its components to its end.
    pub(super) fn matches_tail(&self, mut text: Text) -> bool {
        loop {
            match self.run(text) {
                Verdict::Match => return true,
                Verdict::Never => return false,
                Verdict::Mismatch => {}
            }
            let Some(at) = text.bytes.iter().position(|&b| b == b'/') else { return false };
            text.bytes = text.bytes.get(at + 1..).unwrap_or_default();
        }
    }

    /// The match proper.
    ///
    /// It is enough to go back to the last `*` and to the last `**`: the earlier the part before a
    /// star matches, the more is left to the star. When a `*` runs into a slash in vain, so does
    /// each other start of the first `*` after `**` in the same component, and `**` leaps over
    /// them. The time is O(text x tokens x slashes in the pattern).
    fn run(&self, text: Text) -> Verdict {
        let (mut token, mut at) = (0, 0);
        let mut star: Option<Resume> = None;
        let mut stars: Option<Resume> = None;
        let mut first_star: Option<usize> = None;
        loop {
            match (self.tokens.get(token), text.at(at)) {
                (None, None) => return Verdict::Match,
                (Some(Token::Stars), _) => {
                    token += 1;
                    if token == self.tokens.len() {
                        return Verdict::Match;
                    }
                    (star, stars, first_star) = (None, Some(Resume { token, text: at }), None);
                }
                (Some(Token::Star), _) => {
                    token += 1;
                    star = Some(Resume { token, text: at });
                    first_star = first_star.or(Some(at));
                }
                (Some(one), Some(byte)) if one.accepts(byte) => (token, at) = (token + 1, at + 1),
                // The text is used up, and each later attempt would have less of it.
                (Some(_), None) => return Verdict::Never,
                (_, Some(_)) => {
                    let resume = if let Some(resume) = star.as_mut().filter(|s| s.can_grow(text)) {
                        resume.text += 1;
                        *resume
                    } else if let Some(resume) = stars.as_mut() {
                        // What stands before `**` matched: a later start only has less text.
                        let Some(leap) = leap(text, first_star) else { return Verdict::Never };
                        (star, first_star) = (None, None);
                        resume.text += leap;
                        *resume
                    } else {
                        return Verdict::Mismatch;
                    };
                    (token, at) = (resume.token, resume.text);
                }
            }
        }
    }
}

impl Resume {
    /// Whether a `*` can take one more byte.
    fn can_grow(&self, text: Text) -> bool {
        text.at(self.text).is_some_and(|byte| byte != b'/')
    }
}

fn literal(tokens: &[Token]) -> Option<Vec<u8>> {
    let byte = |token: &Token| match token {
        Token::Byte(byte) => Some(*byte),
        Token::Any | Token::Set(_) | Token::Star | Token::Stars => None,
    };
    tokens.iter().map(byte).collect()
}

/// How many more bytes `**` has to take before another attempt makes sense, when the first `*`
/// after it started at `first_star` in vain.
fn leap(text: Text, first_star: Option<usize>) -> Option<usize> {
    first_star.map_or(Some(1), |start| text.to_next_component(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    /// The meaning without the art: every way is tried.
    fn naive(tokens: &[Token], text: &[u8]) -> bool {
        match (tokens, text) {
            ([], text) => text.is_empty(),
            ([Token::Star, rest @ ..], text) => {
                let longest = text.iter().position(|&b| b == b'/').unwrap_or(text.len());
                (0..=longest).any(|at| naive(rest, &text[at..]))
            }
            ([Token::Stars, rest @ ..], text) => {
                (0..=text.len()).any(|at| naive(rest, &text[at..]))
            }
            ([_, ..], []) => false,
            ([token, tokens @ ..], [byte, text @ ..]) => {
                token.accepts(*byte) && naive(tokens, text)
            }
        }
    }

    fn naive_tail(tokens: &[Token], text: &[u8]) -> bool {
        let starts = (0..=text.len()).filter(|&at| at == 0 || text[at - 1] == b'/');
        starts.into_iter().any(|at| naive(tokens, &text[at..]))
    }

    /// xorshift, and one of `from`.
    fn pick<'a>(state: &mut u64, from: &[&'a [u8]]) -> &'a [u8] {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        from[usize::try_from(*state >> 32).unwrap() % from.len()]
    }

    fn joined(state: &mut u64, from: &[&[u8]], most: u64) -> Vec<u8> {
        pick(state, &[b""]);
        (0..*state % most).flat_map(|_| pick(state, from)).copied().collect()
    }

    #[test]
    fn going_back_to_two_places_finds_what_trying_every_way_finds() {
        let pieces: &[&[u8]] =
            &[b"a", b"b", b"aa", b"/", b"*", b"*", b"**", b"?", b"[ab]", b"[!a]", b"*/", b"**/"];
        let letters: &[&[u8]] = &[b"a", b"a", b"b", b"a/b", b"/"];
        let mut state = 1;
        let mut matches = 0;
        for _ in 0..200_000 {
            let pattern = joined(&mut state, pieces, 9);
            let bytes = joined(&mut state, letters, 12);
            let wild = Wild::compile(&pattern).unwrap();
            for closed in [false, true] {
                let text = [bytes.as_slice(), if closed { b"/" } else { b"" }].concat();
                let expected = naive(&wild.tokens, &text);
                let why = format!("{:?} {:?}", pattern.escape_ascii(), text.escape_ascii());
                assert_eq!(wild.matches(Text { bytes: &bytes, closed }), expected, "{why}");
                matches += usize::from(expected);
            }
            if !bytes.is_empty() {
                let text = Text { bytes: &bytes, closed: false };
                assert_eq!(wild.matches_tail(text), naive_tail(&wild.tokens, &bytes));
            }
        }
        assert!(matches > 20_000, "only {matches} pairs match");
    }

    #[test]
    fn no_pattern_takes_more_time_than_the_text_is_long() {
        // Each of these takes years if every way is tried.
        let stars = b"*a".repeat(40);
        let flat = b"a".repeat(4000);
        let deep = b"aaaa/".repeat(800);
        for pattern in [
            [&stars[..], b"b"].concat(),
            [b"**", &stars[..], b"b"].concat(),
            [&b"**a".repeat(40)[..], b"b"].concat(),
            [&b"a**".repeat(40)[..], b"b"].concat(),
            [&b"**/*a".repeat(40)[..], b"b"].concat(),
            [&b"**?*a*".repeat(40)[..], b"[b]"].concat(),
        ] {
            let wild = Wild::compile(&pattern).unwrap();
            for bytes in [&flat, &deep] {
                let text = Text { bytes, closed: false };
                assert!(!wild.matches(text));
                assert!(!wild.matches_tail(text));
            }
        }
    }
}
