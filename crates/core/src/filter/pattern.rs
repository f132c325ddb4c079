//! Pattern of a rule.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::num::NonZeroUsize;

use super::glob::{Glob, GlobText};
use crate::{fs_event::EntryKind, path::TreePath};

/// A compiled pattern with rsync's meaning (`man rsync`, PATTERN MATCHING RULES).
///
/// It is compared with one entry, not with its ancestors: the [`Filter`](super::Filter) handles
/// entries below an excluded directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    only_directories: bool,
    extent: MatchExtent,
    matcher: Matcher,
}

/// Root of the paths with which a pattern is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternRoot {
    /// The root of the mirror.
    Mirror,
    /// The root of the file system (modifier `/`).
    FileSystem,
}

/// The part of a path that has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchExtent {
    /// This number of components at the end.
    Tail(NonZeroUsize),
    /// Any suffix that starts at a component.
    AnyTail,
    /// The whole path.
    Whole,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Matcher {
    Literal(Box<[u8]>),
    Glob {
        glob: Glob,
        /// True if the pattern ends in `***`: a directory is compared with a trailing slash, so
        /// that `d/***` matches the directory and everything in it.
        triple_star: bool,
    },
    /// A malformed pattern, which never matches.
    Never,
}

impl Pattern {
    /// Compiles a pattern. This can't fail: like rsync, it treats a malformed pattern as one that
    /// never matches.
    #[must_use]
    pub fn new(text: &[u8], base: PatternRoot) -> Self {
        let body = match text {
            [inner @ .., b'/'] if !inner.is_empty() => inner,
            _ => text,
        };
        let has_wildcard = body.iter().any(|b| b"*?[".contains(b));
        // rsync also looks at the raw bytes: `\**` and `[**]` count as well.
        let wide = has_wildcard && body.windows(2).any(|two| two == b"**");
        let extent = extent_of(body, wide);
        let (matcher, extent) = if has_wildcard {
            glob_matcher(body, extent, base, wide && body.ends_with(b"***"))
        } else {
            (Matcher::Literal(unanchored(body).into()), extent)
        };
        Self { text: text.into(), only_directories: body.len() < text.len(), extent, matcher }
    }

    /// Returns true if no path can match, which is certainly not what the author meant.
    #[must_use]
    pub fn never_matches(&self) -> bool {
        let body = self.text.strip_suffix(b"/").unwrap_or(&self.text);
        let mut names = unanchored(body).split(|&byte| byte == b'/');
        self.matcher == Matcher::Never || names.any(|name| matches!(name, b"" | b"." | b".."))
    }

    /// Returns the pattern as written.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns true if the pattern matches the entry at `path`, which is relative to the pattern's
    /// root and has no slash at its ends.
    #[must_use]
    pub fn matches(&self, path: &[u8], kind: EntryKind) -> bool {
        if path.is_empty() || (self.only_directories && kind != EntryKind::Directory) {
            return false;
        }
        let bytes = match self.extent {
            MatchExtent::Tail(components) => match tail(path, components) {
                Some(tail) => tail,
                None => return false,
            },
            MatchExtent::AnyTail | MatchExtent::Whole => path,
        };
        match &self.matcher {
            Matcher::Literal(literal) => bytes == &**literal,
            Matcher::Glob { glob, triple_star } => {
                let text =
                    GlobText { bytes, has_slash: *triple_star && kind == EntryKind::Directory };
                match self.extent {
                    MatchExtent::AnyTail => glob.matches_tail(text),
                    MatchExtent::Tail(_) | MatchExtent::Whole => glob.matches(text),
                }
            }
            Matcher::Never => false,
        }
    }

    /// Returns true if only the name of an entry matters, not its directory.
    pub(super) fn matches_names_only(&self) -> bool {
        self.extent == MatchExtent::Tail(NonZeroUsize::MIN)
    }

    /// Returns true if the location of `directory` may affect the match of an entry below it. In
    /// doubt, returns true.
    pub(super) fn may_depend_on_location(&self, directory: &TreePath) -> bool {
        match self.extent {
            MatchExtent::Tail(components) => components > NonZeroUsize::MIN,
            MatchExtent::AnyTail => true,
            MatchExtent::Whole => {
                let names = unanchored(&self.text).split(|&byte| byte == b'/');
                let literal = names.take_while(|name| !name.iter().any(|b| b"*?[".contains(b)));
                literal.zip(directory.components()).all(|(name, at)| name == at)
            }
        }
    }

    pub(super) fn matches_directories_only(&self) -> bool {
        self.only_directories
    }

    /// Returns the key for a lookup of the pattern, or `None` if it has to be matched individually.
    pub(super) fn key(&self) -> Option<LookupKey<'_>> {
        match (&self.matcher, self.extent) {
            (Matcher::Literal(literal), MatchExtent::Tail(components)) => {
                Some(LookupKey::Tail(Cow::Borrowed(literal), components))
            }
            (Matcher::Literal(literal), MatchExtent::Whole | MatchExtent::AnyTail) => {
                Some(LookupKey::Whole(literal))
            }
            (Matcher::Glob { glob, .. }, MatchExtent::AnyTail) => {
                let literal = glob.literal()?;
                let components = components(&literal);
                Some(LookupKey::Tail(Cow::Owned(literal), components))
            }
            (Matcher::Glob { glob, .. }, MatchExtent::Tail(NonZeroUsize::MIN)) => {
                glob.ending().map(LookupKey::Ending)
            }
            (Matcher::Glob { .. } | Matcher::Never, _) => None,
        }
    }

    /// Returns the first and last bytes that all matching paths share.
    pub(super) fn edge_bytes(&self) -> EdgeBytes {
        let Matcher::Glob { glob, .. } = &self.matcher else { return EdgeBytes::default() };
        let first = glob.first_byte();
        EdgeBytes {
            of_path: first.filter(|_| self.extent == MatchExtent::Whole),
            of_name: first.filter(|_| self.matches_names_only()),
            last: glob.last_byte(),
        }
    }
}

/// Key for looking up a pattern instead of matching it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupKey<'a> {
    /// A whole path.
    Whole(&'a [u8]),
    /// This number of components at the end of a path.
    Tail(Cow<'a, [u8]>, NonZeroUsize),
    /// The suffix of a name.
    Ending(Vec<u8>),
}

/// First and last bytes shared by all matching paths. `None` if there is no single such byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct EdgeBytes {
    /// First byte of the path.
    of_path: Option<u8>,
    /// First byte of the name.
    of_name: Option<u8>,
    /// Last byte of both.
    last: Option<u8>,
}

impl EdgeBytes {
    /// Returns true if the entry `name` at `path` may match.
    pub(super) fn allow(self, path: &[u8], name: &[u8]) -> bool {
        let allows = |asked: Option<u8>, is: Option<&u8>| asked.is_none() || asked.as_ref() == is;
        allows(self.last, name.last())
            && allows(self.of_name, name.first())
            && allows(self.of_path, path.first())
    }
}

/// Returns the extent of a pattern without its trailing slash. `wide`: it contains `**`.
fn extent_of(body: &[u8], wide: bool) -> MatchExtent {
    if body.starts_with(b"/") || (wide && body.starts_with(b"**")) {
        MatchExtent::Whole
    } else if wide {
        MatchExtent::AnyTail
    } else {
        MatchExtent::Tail(components(body))
    }
}

/// Returns the number of components of a relative path.
fn components(path: &[u8]) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(path.split(|&b| b == b'/').skip(1).count())
}

fn glob_matcher(
    body: &[u8],
    extent: MatchExtent,
    base: PatternRoot,
    triple_star: bool,
) -> (Matcher, MatchExtent) {
    let Some(glob) = Glob::compile(unanchored(body)) else { return (Matcher::Never, extent) };
    // In rsync a leading `**/` also matches no directory at all, except in absolute paths.
    if base == PatternRoot::Mirror
        && body.starts_with(b"**")
        && let Some(glob) = glob.after_any_directories()
    {
        return (Matcher::Glob { glob, triple_star }, MatchExtent::AnyTail);
    }
    (Matcher::Glob { glob, triple_star }, extent)
}

fn unanchored(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"/").unwrap_or(body)
}

/// Returns the last `components` components of a path, or `None` if it has fewer.
pub(super) fn tail(path: &[u8], components: NonZeroUsize) -> Option<&[u8]> {
    let mut start = path.len() + 1;
    for _ in 0..components.get() {
        let before = path.get(..start.checked_sub(1)?)?;
        start = before.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    }
    path.get(start..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, string::String};

    /// Checks which paths match; a trailing slash marks a path as a directory.
    fn check(pattern: &str, paths: &str, expected: &str) {
        let compiled = Pattern::new(pattern.as_bytes(), PatternRoot::Mirror);
        let matches = |path: &&str| match path.strip_suffix('/') {
            Some(path) => compiled.matches(path.as_bytes(), EntryKind::Directory),
            None => compiled.matches(path.as_bytes(), EntryKind::Other),
        };
        let found: Vec<&str> = paths.split(' ').filter(matches).collect();
        assert_eq!(found.join(" "), expected, "{pattern}");
    }

    #[test]
    fn a_name_matches_at_any_depth_and_as_a_whole() {
        check("foo", "foo foo/ d/foo d/e/foo foobar xfoo foo/in", "foo foo/ d/foo d/e/foo");
        check("*.o", "a.o d/a.o .o a.oo o", "a.o d/a.o .o");
        check("f?o", "foo f/o fo d/fxo", "foo d/fxo");
    }

    #[test]
    fn a_slash_inside_makes_it_match_the_last_components() {
        check("a/b", "a/b x/a/b xa/b b a/b/c", "a/b x/a/b");
        check("a/*", "a/b x/a/b a/b/c a", "a/b x/a/b");
        check("*/b", "b x/b x/y/b", "x/b x/y/b");
    }

    #[test]
    fn a_slash_at_the_start_anchors_it() {
        check("/foo", "foo d/foo", "foo");
        check("/a/*.c", "a/x.c b/a/x.c a/b/x.c", "a/x.c");
        check("/", "a a/", "");
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_directory() {
        check("foo/", "foo foo/ d/foo/ d/foo", "foo/ d/foo/");
        check("*/", "a a/ b/c/", "a/ b/c/");
        check("foo//", "foo foo/", "");
    }

    #[test]
    fn two_stars_match_slashes() {
        check("/d/**", "d/ d/a d/a/b e/d/a", "d/a d/a/b");
        check("d/**/e", "d/e d/x/e d/x/y/e f/d/x/e", "d/x/e d/x/y/e f/d/x/e");
        check("**/e", "e d/e d/f/e de", "e d/e d/f/e");
        check("/**/e", "e d/e d/f/e", "d/e d/f/e");
        check("**e", "e d/e de d/ef", "e d/e de");
        check("a**b", "ab a/b axb/ x/ay/b xa/b", "ab a/b axb/ x/ay/b");
    }

    #[test]
    fn three_stars_at_the_end_take_the_directory_too() {
        check("d/***", "d d/ d/a d/a/b e/d/ e/d", "d/ d/a d/a/b e/d/");
        check("/d/***", "d d/ d/a e/d/", "d/ d/a");
        check("d***", "d d/ da/ d/a x/d", "d d/ da/ d/a x/d");
    }

    #[test]
    fn classes() {
        check("[a-c]x", "ax bx dx -x", "ax bx");
        check("[!a-c]x", "ax dx /x", "dx");
        check("[^a]", "a b", "b");
        check("[]a]", "] a [", "] a");
        check("[!]a]", "] a [", "[");
        check("[a-]", "a - b", "a -");
        check(r"[\]]", r"] \", "]");
        check(r"[\\]", r"] \", r"\");
        check("[[:digit:]x]", "1 x : d", "1 x");
        check("[![:upper:]]", "A a", "a");
        check("[[:]", "[ : a", "[ :");
        check("[a/b]c", "ac bc /c x/bc", "");
        check("x[/]y", "x/y", "");
    }

    #[test]
    fn malformed_patterns_match_nothing() {
        check("[", "[ a", "");
        check("[]", "[] ]", "");
        check("a[", "a[ a", "");
        check("[[:nope:]]", "n [", "");
        check(r"*\", r"a\ a", "");
    }

    #[test]
    fn a_backslash_escapes_only_where_there_is_a_wildcard() {
        check(r"a\b", r"a\b ab", r"a\b");
        check(r"a\b*", r"a\b ab abc", "ab abc");
        check(r"\*", r"* \* a", "*");
        check(r"a\[", r"a[ a\[", "a[");
        check(r"a\]", r"a] a\]", r"a\]");
    }

    #[test]
    fn patterns_match_raw_bytes() {
        let pattern = Pattern::new(b"?\xff[\x80-\xfe]\n*", PatternRoot::Mirror);
        assert!(pattern.matches(b"\n\xff\x90\n", EntryKind::Other));
        assert!(!pattern.matches("é\u{ff}\n".as_bytes(), EntryKind::Other));
        check("?", "é", "");
    }

    #[test]
    fn absolute_paths_have_no_slash_before_them() {
        let pattern = |text: &str| Pattern::new(text.as_bytes(), PatternRoot::FileSystem);
        assert!(pattern("/srv/*/x").matches(b"srv/www/x", EntryKind::Other));
        assert!(pattern("**/www").matches(b"srv/www", EntryKind::Other));
        assert!(!pattern("**/srv").matches(b"srv", EntryKind::Other));
    }

    #[test]
    fn tail_returns_the_last_components() {
        let tail = |path: &'static str, components| {
            let tail = tail(path.as_bytes(), NonZeroUsize::new(components).unwrap());
            tail.map(|tail| String::from_utf8(tail.into()).unwrap())
        };
        let found = [1, 2, 3, 4].map(|components| tail("a/bc/d", components));
        assert_eq!(format!("{found:?}"), r#"[Some("d"), Some("bc/d"), Some("a/bc/d"), None]"#);
    }
}
