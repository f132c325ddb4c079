//! One pattern of a rule, and what it is compared with.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::num::NonZeroUsize;

use super::wild::{Text, Wild};
use crate::{notice::Kind, path::TreePath};

/// A pattern with rsync's meaning (`man rsync`, PATTERN MATCHING RULES), compiled.
///
/// It is compared with one entry, not with the directories above it: that an excluded directory
/// hides what is below it is a matter of the [`Filter`](super::Filter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    only_directories: bool,
    reach: Reach,
    form: Form,
}

/// Where the root of the paths is with which a pattern is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The root of the mirror.
    Mirror,
    /// The root of the file system (modifier `/`).
    FileSystem,
}

/// Which part of a path has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The last so many components.
    Tail(NonZeroUsize),
    /// From the start of any component to the end.
    AnyTail,
    /// All of it.
    Whole,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Literal(Box<[u8]>),
    Wild {
        wild: Wild,
        /// Whether the pattern ends in `***`: a directory is compared with a slash after it, so
        /// that `d/***` takes the directory and all that is in it.
        closes: bool,
    },
    /// Malformed, and so without any match.
    Nothing,
}

impl Pattern {
    /// Compiles a pattern. There is no wrong one: rsync takes a malformed one as one that never
    /// matches.
    #[must_use]
    pub fn new(text: &[u8], base: Base) -> Self {
        let body = match text {
            [inner @ .., b'/'] if !inner.is_empty() => inner,
            _ => text,
        };
        let wild = body.iter().any(|b| b"*?[".contains(b));
        // As rsync does, this looks at the bytes: `\**` and `[**]` count as well.
        let wide = wild && body.windows(2).any(|two| two == b"**");
        let reach = reach(body, wide);
        let (form, reach) = if wild {
            wild_form(body, reach, base, wide && body.ends_with(b"***"))
        } else {
            (Form::Literal(unanchored(body).into()), reach)
        };
        Self { text: text.into(), only_directories: body.len() < text.len(), reach, form }
    }

    /// Whether no path can match, so that whoever wrote it meant something else.
    #[must_use]
    pub fn is_void(&self) -> bool {
        let body = self.text.strip_suffix(b"/").unwrap_or(&self.text);
        let mut names = unanchored(body).split(|&byte| byte == b'/');
        self.form == Form::Nothing || names.any(|name| matches!(name, b"" | b"." | b".."))
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the pattern matches the entry at `path`, which starts at the base of the pattern
    /// and has no slash at its ends.
    #[must_use]
    pub fn matches(&self, path: &[u8], kind: Kind) -> bool {
        if path.is_empty() || (self.only_directories && kind != Kind::Directory) {
            return false;
        }
        let bytes = match self.reach {
            Reach::Tail(components) => match tail(path, components) {
                Some(tail) => tail,
                None => return false,
            },
            Reach::AnyTail | Reach::Whole => path,
        };
        match &self.form {
            Form::Literal(literal) => bytes == &**literal,
            Form::Wild { wild, closes } => {
                let text = Text { bytes, closed: *closes && kind == Kind::Directory };
                match self.reach {
                    Reach::AnyTail => wild.matches_tail(text),
                    Reach::Tail(_) | Reach::Whole => wild.matches(text),
                }
            }
            Form::Nothing => false,
        }
    }

    /// Whether only the name of an entry counts, not where it is.
    pub(super) fn is_for_names(&self) -> bool {
        self.reach == Reach::Tail(NonZeroUsize::MIN)
    }

    /// Whether it may matter to an entry below `directory` where that directory is. A doubt is a yes.
    pub(super) fn knows_places_below(&self, directory: &TreePath) -> bool {
        match self.reach {
            Reach::Tail(components) => components > NonZeroUsize::MIN,
            Reach::AnyTail => true,
            Reach::Whole => {
                let names = unanchored(&self.text).split(|&byte| byte == b'/');
                let literal = names.take_while(|name| !name.iter().any(|b| b"*?[".contains(b)));
                literal.zip(directory.components()).all(|(name, at)| name == at)
            }
        }
    }

    pub(super) fn is_for_directories(&self) -> bool {
        self.only_directories
    }

    /// By what the pattern can be looked up. `None` if it has to be tried.
    pub(super) fn key(&self) -> Option<Key<'_>> {
        match (&self.form, self.reach) {
            (Form::Literal(literal), Reach::Tail(components)) => {
                Some(Key::Tail(Cow::Borrowed(literal), components))
            }
            (Form::Literal(literal), Reach::Whole | Reach::AnyTail) => Some(Key::Whole(literal)),
            (Form::Wild { wild, .. }, Reach::AnyTail) => {
                let literal = wild.literal()?;
                let components = components(&literal);
                Some(Key::Tail(Cow::Owned(literal), components))
            }
            (Form::Wild { wild, .. }, Reach::Tail(NonZeroUsize::MIN)) => {
                wild.ending().map(Key::Ending)
            }
            (Form::Wild { .. } | Form::Nothing, _) => None,
        }
    }

    /// What can be told of all paths that match.
    pub(super) fn ends(&self) -> Ends {
        let Form::Wild { wild, .. } = &self.form else { return Ends::default() };
        let first = wild.first_byte();
        Ends {
            of_path: first.filter(|_| self.reach == Reach::Whole),
            of_name: first.filter(|_| self.is_for_names()),
            last: wild.last_byte(),
        }
    }
}

/// What can be looked up instead of trying a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// All of a path.
    Whole(&'a [u8]),
    /// So many last components.
    Tail(Cow<'a, [u8]>, NonZeroUsize),
    /// The end of a name.
    Ending(Vec<u8>),
}

/// The bytes at the ends of all paths that match, where there is only one such byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Ends {
    /// With which the path starts.
    of_path: Option<u8>,
    /// With which the name starts.
    of_name: Option<u8>,
    /// With which both end.
    last: Option<u8>,
}

impl Ends {
    /// Whether the entry `name` at `path` may match.
    pub(super) fn allow(self, path: &[u8], name: &[u8]) -> bool {
        let allows = |asked: Option<u8>, is: Option<&u8>| asked.is_none() || asked.as_ref() == is;
        allows(self.last, name.last())
            && allows(self.of_name, name.first())
            && allows(self.of_path, path.first())
    }
}

/// What has to match a pattern that was rid of its trailing slash. `wide`: there is a `**` in it.
fn reach(body: &[u8], wide: bool) -> Reach {
    if body.starts_with(b"/") || (wide && body.starts_with(b"**")) {
        Reach::Whole
    } else if wide {
        Reach::AnyTail
    } else {
        Reach::Tail(components(body))
    }
}

/// How many components a relative path has.
fn components(path: &[u8]) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(path.split(|&b| b == b'/').skip(1).count())
}

fn wild_form(body: &[u8], reach: Reach, base: Base, closes: bool) -> (Form, Reach) {
    let Some(wild) = Wild::compile(unanchored(body)) else { return (Form::Nothing, reach) };
    // rsync lets a leading `**/` match no directory as well, except in absolute paths.
    if base == Base::Mirror
        && body.starts_with(b"**")
        && let Some(wild) = wild.after_any_directories()
    {
        return (Form::Wild { wild, closes }, Reach::AnyTail);
    }
    (Form::Wild { wild, closes }, reach)
}

fn unanchored(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"/").unwrap_or(body)
}

/// The last `components` components of a path. `None` if it has fewer.
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

    /// Which of the paths match; a slash at the end of a path says that it is a directory.
    fn check(pattern: &str, paths: &str, expected: &str) {
        let compiled = Pattern::new(pattern.as_bytes(), Base::Mirror);
        let matches = |path: &&str| match path.strip_suffix('/') {
            Some(path) => compiled.matches(path.as_bytes(), Kind::Directory),
            None => compiled.matches(path.as_bytes(), Kind::Other),
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
    fn what_is_malformed_matches_nothing() {
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
    fn bytes_are_bytes() {
        let pattern = Pattern::new(b"?\xff[\x80-\xfe]\n*", Base::Mirror);
        assert!(pattern.matches(b"\n\xff\x90\n", Kind::Other));
        assert!(!pattern.matches("é\u{ff}\n".as_bytes(), Kind::Other));
        check("?", "é", "");
    }

    #[test]
    fn absolute_paths_have_no_slash_before_them() {
        let pattern = |text: &str| Pattern::new(text.as_bytes(), Base::FileSystem);
        assert!(pattern("/srv/*/x").matches(b"srv/www/x", Kind::Other));
        assert!(pattern("**/www").matches(b"srv/www", Kind::Other));
        assert!(!pattern("**/srv").matches(b"srv", Kind::Other));
    }

    #[test]
    fn the_tail_of_a_path() {
        let tail = |path: &'static str, components| {
            let tail = tail(path.as_bytes(), NonZeroUsize::new(components).unwrap());
            tail.map(|tail| String::from_utf8(tail.into()).unwrap())
        };
        let found = [1, 2, 3, 4].map(|components| tail("a/bc/d", components));
        assert_eq!(format!("{found:?}"), r#"[Some("d"), Some("bc/d"), Some("a/bc/d"), None]"#);
    }
}
