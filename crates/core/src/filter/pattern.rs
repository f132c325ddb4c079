//! One pattern of a rule, and what it is compared with.

use alloc::boxed::Box;
use core::num::NonZeroUsize;

use super::wild::{Text, Wild};
use crate::notice::Kind;

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
        /// Whether the pattern ends in `***`: a directory is compared with a slash after it, so that `d/***`
        /// takes the directory and all that is in it.
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

    pub(super) fn is_for_directories(&self) -> bool {
        self.only_directories
    }

    /// Of a pattern without wildcards: what has to be equal to it.
    pub(super) fn literal(&self) -> Option<(Reach, &[u8])> {
        match &self.form {
            Form::Literal(literal) => Some((self.reach, literal)),
            Form::Wild { .. } | Form::Nothing => None,
        }
    }

    /// The byte with which each path that matches ends, if there is only one.
    pub(super) fn last_byte(&self) -> Option<u8> {
        match &self.form {
            Form::Literal(literal) => literal.last().copied(),
            Form::Wild { wild, .. } => wild.last_byte(),
            Form::Nothing => None,
        }
    }
}

/// What has to match a pattern that was rid of its trailing slash. `wide`: there is a `**` in it.
fn reach(body: &[u8], wide: bool) -> Reach {
    let slashes = body.split(|&b| b == b'/').skip(1).count();
    if body.starts_with(b"/") || (wide && body.starts_with(b"**")) {
        Reach::Whole
    } else if wide {
        Reach::AnyTail
    } else {
        Reach::Tail(NonZeroUsize::MIN.saturating_add(slashes))
    }
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
