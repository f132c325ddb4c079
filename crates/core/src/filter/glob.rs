//! Globs: patterns with `*`, `?` and `[...]`, matched on bytes.
//!
//! The semantics are those of rsync's `wildmatch`. The algorithm keeps at most two backtracking
//! points, so that no combination of pattern and name is slow.

use alloc::{boxed::Box, vec::Vec};

use super::class::{self, ByteSet};

/// A compiled pattern with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Box<[GlobToken]>,
}

/// One element of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GlobToken {
    /// This byte.
    Byte(u8),
    /// One byte other than a slash.
    Any,
    /// One byte of a set.
    Set(Box<ByteSet>),
    /// Any run of bytes without a slash.
    Star,
    /// Any run of bytes.
    Stars,
}

/// The path, or tail of a path, that is matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct GlobText<'a> {
    /// The path without slashes at its ends.
    pub(super) bytes: &'a [u8],
    /// True if the text continues with one slash.
    pub(super) has_slash: bool,
}

/// Outcome of a match attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobOutcome {
    Match,
    /// No match from this start.
    Mismatch,
    /// No match from this start or any later one.
    Never,
}

/// Backtracking point: behind a star that can take one more byte.
#[derive(Clone, Copy, Debug)]
struct Backtrack {
    token: usize,
    text: usize,
}

impl GlobToken {
    fn accepts(&self, byte: u8) -> bool {
        match self {
            Self::Byte(b) => *b == byte,
            Self::Any => byte != b'/',
            Self::Set(set) => set.contains(byte),
            Self::Star | Self::Stars => false,
        }
    }
}

impl GlobText<'_> {
    fn at(self, position: usize) -> Option<u8> {
        match self.bytes.get(position) {
            Some(byte) => Some(*byte),
            None if self.has_slash && position == self.bytes.len() => Some(b'/'),
            None => None,
        }
    }

    /// Returns the distance from `position` to the byte after the next slash.
    fn to_next_component(self, position: usize) -> Option<usize> {
        let length = self.bytes.len();
        let rest = self.bytes.get(position.min(length)..)?;
        match rest.iter().position(|&b| b == b'/') {
            Some(at) => Some(at + 1),
            None if self.has_slash && position <= length => Some(rest.len() + 1),
            None => None,
        }
    }
}

impl Glob {
    /// Compiles a pattern. Returns `None` if it is malformed: rsync then matches nothing.
    pub(super) fn compile(pattern: &[u8]) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            tokens.push(match byte {
                b'\\' => {
                    let (&escaped, after) = rest.split_first()?;
                    rest = after;
                    GlobToken::Byte(escaped)
                }
                b'?' => GlobToken::Any,
                b'[' => {
                    let (set, after) = class::parse(rest)?;
                    rest = after;
                    GlobToken::Set(Box::new(set))
                }
                b'*' => {
                    let more = rest.iter().take_while(|&&b| b == b'*').count();
                    rest = rest.get(more..)?;
                    if more == 0 { GlobToken::Star } else { GlobToken::Stars }
                }
                _ => GlobToken::Byte(byte),
            });
        }
        Some(Self { tokens: tokens.into() })
    }

    /// Returns the last byte of all matching texts, if there is only one.
    pub(super) fn last_byte(&self) -> Option<u8> {
        match self.tokens.last() {
            Some(GlobToken::Byte(byte)) => Some(*byte),
            _ => None,
        }
    }

    /// Returns the first byte of all matching texts, if there is only one.
    pub(super) fn first_byte(&self) -> Option<u8> {
        match self.tokens.first() {
            Some(GlobToken::Byte(byte)) => Some(*byte),
            _ => None,
        }
    }

    /// Returns the only matching text, if there are no wildcards.
    pub(super) fn literal(&self) -> Option<Vec<u8>> {
        literal(&self.tokens)
    }

    /// Returns the bytes after the star of a pattern `*` + plain bytes: the suffix of all matching
    /// names.
    pub(super) fn ending(&self) -> Option<Vec<u8>> {
        match &*self.tokens {
            [GlobToken::Star, plain @ ..] => literal(plain).filter(|bytes| !bytes.is_empty()),
            _ => None,
        }
    }

    /// Returns the rest of a pattern that starts with `**/`. A path with a slash before it matches
    /// the whole pattern if and only if the rest matches from the start of one of its components.
    pub(super) fn after_any_directories(&self) -> Option<Self> {
        match &*self.tokens {
            [GlobToken::Stars, GlobToken::Byte(b'/'), rest @ ..] => {
                Some(Self { tokens: rest.into() })
            }
            _ => None,
        }
    }

    pub(super) fn matches(&self, text: GlobText) -> bool {
        self.run(text) == GlobOutcome::Match
    }

    /// Returns true if the text matches from the start of one of its components to its end.
    pub(super) fn matches_tail(&self, mut text: GlobText) -> bool {
        loop {
            match self.run(text) {
                GlobOutcome::Match => return true,
                GlobOutcome::Never => return false,
                GlobOutcome::Mismatch => {}
            }
            let Some(at) = text.bytes.iter().position(|&b| b == b'/') else { return false };
            text.bytes = text.bytes.get(at + 1..).unwrap_or_default();
        }
    }

    /// Runs the match.
    ///
    /// Two backtracking points are enough, at the last `*` and at the last `**`: the earlier the
    /// part before a star matches, the more is left for the star. When a `*` fails at a slash, so
    /// does every other start of the first `*` after `**` in the same component, and `**` skips
    /// them. The time is O(text x tokens x slashes in the pattern).
    fn run(&self, text: GlobText) -> GlobOutcome {
        let (mut token, mut at) = (0, 0);
        let mut star: Option<Backtrack> = None;
        let mut stars: Option<Backtrack> = None;
        let mut first_star: Option<usize> = None;
        loop {
            match (self.tokens.get(token), text.at(at)) {
                (None, None) => return GlobOutcome::Match,
                (Some(GlobToken::Stars), _) => {
                    token += 1;
                    if token == self.tokens.len() {
                        return GlobOutcome::Match;
                    }
                    (star, stars, first_star) = (None, Some(Backtrack { token, text: at }), None);
                }
                (Some(GlobToken::Star), _) => {
                    token += 1;
                    star = Some(Backtrack { token, text: at });
                    first_star = first_star.or(Some(at));
                }
                (Some(one), Some(byte)) if one.accepts(byte) => (token, at) = (token + 1, at + 1),
                // The text is used up, and each later attempt would have less of it.
                (Some(_), None) => return GlobOutcome::Never,
                (_, Some(_)) => {
                    let resume = if let Some(resume) = star.as_mut().filter(|s| s.can_grow(text)) {
                        resume.text += 1;
                        *resume
                    } else if let Some(resume) = stars.as_mut() {
                        // The part before `**` matched: a later start only leaves less text.
                        let Some(skipped) = skip_length(text, first_star) else {
                            return GlobOutcome::Never;
                        };
                        (star, first_star) = (None, None);
                        resume.text += skipped;
                        *resume
                    } else {
                        return GlobOutcome::Mismatch;
                    };
                    (token, at) = (resume.token, resume.text);
                }
            }
        }
    }
}

impl Backtrack {
    /// Returns true if a `*` can take one more byte.
    fn can_grow(&self, text: GlobText) -> bool {
        text.at(self.text).is_some_and(|byte| byte != b'/')
    }
}

fn literal(tokens: &[GlobToken]) -> Option<Vec<u8>> {
    let byte = |token: &GlobToken| match token {
        GlobToken::Byte(byte) => Some(*byte),
        GlobToken::Any | GlobToken::Set(_) | GlobToken::Star | GlobToken::Stars => None,
    };
    tokens.iter().map(byte).collect()
}

/// Returns the number of bytes that `**` has to take before another attempt can succeed, given that
/// the first `*` after it failed from `first_star`.
fn skip_length(text: GlobText, first_star: Option<usize>) -> Option<usize> {
    first_star.map_or(Some(1), |start| text.to_next_component(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    /// Reference implementation: tries every alternative.
    fn naive(tokens: &[GlobToken], text: &[u8]) -> bool {
        match (tokens, text) {
            ([], text) => text.is_empty(),
            ([GlobToken::Star, rest @ ..], text) => {
                let longest = text.iter().position(|&b| b == b'/').unwrap_or(text.len());
                (0..=longest).any(|at| naive(rest, &text[at..]))
            }
            ([GlobToken::Stars, rest @ ..], text) => {
                (0..=text.len()).any(|at| naive(rest, &text[at..]))
            }
            ([_, ..], []) => false,
            ([token, tokens @ ..], [byte, text @ ..]) => {
                token.accepts(*byte) && naive(tokens, text)
            }
        }
    }

    fn naive_tail(tokens: &[GlobToken], text: &[u8]) -> bool {
        let starts = (0..=text.len()).filter(|&at| at == 0 || text[at - 1] == b'/');
        starts.into_iter().any(|at| naive(tokens, &text[at..]))
    }

    /// Picks one of `from` by xorshift.
    fn pick<'a>(state: &mut u64, from: &[&'a [u8]]) -> &'a [u8] {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        from[usize::try_from(*state >> 32).unwrap() % from.len()]
    }

    fn random_bytes(state: &mut u64, from: &[&[u8]], most: u64) -> Vec<u8> {
        pick(state, &[b""]);
        (0..*state % most).flat_map(|_| pick(state, from)).copied().collect()
    }

    #[test]
    fn two_backtracking_points_equal_an_exhaustive_search() {
        let pieces: &[&[u8]] =
            &[b"a", b"b", b"aa", b"/", b"*", b"*", b"**", b"?", b"[ab]", b"[!a]", b"*/", b"**/"];
        let letters: &[&[u8]] = &[b"a", b"a", b"b", b"a/b", b"/"];
        let mut state = 1;
        let mut matches = 0;
        for _ in 0..200_000 {
            let pattern = random_bytes(&mut state, pieces, 9);
            let bytes = random_bytes(&mut state, letters, 12);
            let glob = Glob::compile(&pattern).unwrap();
            for has_slash in [false, true] {
                let text = [bytes.as_slice(), if has_slash { b"/" } else { b"" }].concat();
                let expected = naive(&glob.tokens, &text);
                let why = format!("{:?} {:?}", pattern.escape_ascii(), text.escape_ascii());
                assert_eq!(glob.matches(GlobText { bytes: &bytes, has_slash }), expected, "{why}");
                matches += usize::from(expected);
            }
            if !bytes.is_empty() {
                let text = GlobText { bytes: &bytes, has_slash: false };
                assert_eq!(glob.matches_tail(text), naive_tail(&glob.tokens, &bytes));
            }
        }
        assert!(matches > 20_000, "only {matches} pairs match");
    }

    #[test]
    fn pathological_patterns_match_in_bounded_time() {
        // Each of these takes years with exhaustive backtracking.
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
            let glob = Glob::compile(&pattern).unwrap();
            for bytes in [&flat, &deep] {
                let text = GlobText { bytes, has_slash: false };
                assert!(!glob.matches(text));
                assert!(!glob.matches_tail(text));
            }
        }
    }
}
