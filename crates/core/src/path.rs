//! Paths below the root of a mirror.

use alloc::{collections::BTreeSet, vec::Vec};
use core::fmt::{self, Write as _};

/// A path below the root of a mirror, as raw bytes.
///
/// **Invariants.** Components are separated by one `/`; none is empty, `.` or `..`, and none
/// contains a NUL. There is no slash at either end. The empty path is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Returns true if `name` is a valid component: a name that a directory can list.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

/// Returns the ancestor directories of these paths, without the root.
#[must_use]
pub fn directories_above<'a>(paths: impl IntoIterator<Item = &'a TreePath>) -> BTreeSet<TreePath> {
    let mut above = BTreeSet::new();
    for path in paths {
        let mut parent = path.parent();
        while let Some(path) = parent.take().filter(|path| !path.is_root()) {
            parent = path.parent();
            // Its ancestors are in the set already.
            if !above.insert(path) {
                break;
            }
        }
    }
    above
}

impl TreePath {
    /// The root of the mirror.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Parses `bytes`; leading, trailing and repeated slashes are ignored.
    ///
    /// Returns `None` if a component is `.` or `..` or contains a NUL.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut path = Self(Vec::with_capacity(bytes.len()));
        for name in bytes.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            path.push(name)?;
        }
        Some(path)
    }

    /// Returns the path of the entry `name` in this directory, or `None` if the name is invalid.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        let mut path = Self(bytes);
        path.push(name)?;
        Some(path)
    }

    /// Appends a component. Returns `None` and changes nothing if the name is invalid.
    #[must_use]
    pub fn push(&mut self, name: &[u8]) -> Option<()> {
        is_name(name).then(|| {
            if !self.0.is_empty() {
                self.0.push(b'/');
            }
            self.0.extend_from_slice(name);
        })
    }

    /// Removes the last component; the root is left unchanged.
    pub fn pop(&mut self) {
        let length = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        self.0.truncate(length);
    }

    /// Returns the parent directory, or `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        (!self.is_root()).then(|| {
            let mut parent = self.clone();
            parent.pop();
            parent
        })
    }

    /// Returns the last component, or `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.0.rsplit(|&b| b == b'/').next().filter(|name| !name.is_empty())
    }

    /// Iterates over the components, starting at the root.
    #[must_use]
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// Returns true if this is the root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if `other` is this path or lies below it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.strip(self).is_some()
    }

    /// Returns the part of this path below `ancestor`, or `None` if the path is not below it.
    #[must_use]
    pub fn strip(&self, ancestor: &Self) -> Option<&[u8]> {
        let rest = self.0.strip_prefix(ancestor.as_bytes())?;
        if ancestor.is_root() || rest.is_empty() {
            return Some(rest);
        }
        rest.strip_prefix(b"/")
    }

    /// Replaces the prefix `from` of this path by `to`. Returns `None` if the path is not below
    /// `from`.
    #[must_use]
    pub fn rebase(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.strip(from)?;
        let mut bytes = Vec::with_capacity(to.0.len() + 1 + rest.len());
        bytes.extend_from_slice(&to.0);
        if !bytes.is_empty() && !rest.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(rest);
        Some(Self(bytes))
    }

    /// Returns the bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Displays the bytes of a name as text. Control characters and changes of the writing direction
/// are escaped, so that a name can neither break a log line nor send control sequences to a
/// terminal, nor look like another name.
///
/// The alternate form `{:#}` leaves the writing direction alone: for documents that programs read.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_escaped: fn(char) -> bool =
            if f.alternate() { char::is_control } else { controls_display };
        for chunk in self.0.utf8_chunks() {
            // Fast path: nearly all names need no escaping, and a status lists thousands of them.
            if chunk.valid().chars().any(is_escaped) {
                escape(chunk.valid(), is_escaped, f)?;
            } else {
                f.write_str(chunk.valid())?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Returns true for control characters, and for those that change the writing direction or end a
/// line: Unicode Standard Annex 9, 2.
#[must_use]
pub fn controls_display(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Writes `text` with these characters escaped.
fn escape(text: &str, is_escaped: fn(char) -> bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        if is_escaped(c) {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('/')?;
        fmt::Display::fmt(&Escaped(&self.0), f)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn leading_trailing_and_repeated_slashes_are_ignored() {
        assert_eq!(path("/a//b/"), path("a/b"));
        assert_eq!(path("/"), TreePath::root());
    }

    #[test]
    fn dot_components_slashes_and_nuls_are_rejected() {
        assert_eq!(TreePath::new(b"a/../b"), None);
        assert_eq!(TreePath::new(b"./a"), None);
        assert_eq!(path("a").join(b".."), None);
        assert_eq!(path("a").join(b"b/c"), None);
        assert_eq!(path("a").join(b"n\0l"), None);
    }

    #[test]
    fn a_directory_contains_its_descendants_only() {
        assert!(path("a").contains(&path("a")));
        assert!(path("a").contains(&path("a/b")));
        assert!(!path("a").contains(&path("ab")));
        assert!(TreePath::root().contains(&path("a")));
        assert!(!path("a").contains(&TreePath::root()));
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
        assert_eq!(path("a/b").name(), Some(&b"b"[..]));
        assert_eq!(TreePath::root().name(), None);
        assert_eq!(path("a/b/c").components().count(), 3);
    }

    #[test]
    fn rebase_replaces_the_prefix() {
        assert_eq!(path("a/b").rebase(&path("a"), &path("c/d")), Some(path("c/d/b")));
        assert_eq!(path("a").rebase(&path("a"), &path("c")), Some(path("c")));
        assert_eq!(path("a").rebase(&path("a"), &TreePath::root()), Some(TreePath::root()));
        assert_eq!(path("x/b").rebase(&path("a"), &path("c")), None);
        assert_eq!(path("b").rebase(&TreePath::root(), &path("c")), Some(path("c/b")));
    }

    #[test]
    fn escaped_text_is_one_line_and_keeps_every_byte() {
        let odd = TreePath::new(b"a\nb/\xfc\x1b[0m").unwrap();
        assert_eq!(odd.to_string(), "/a\\nb/\\xfc\\u{1b}[0m");
    }

    #[test]
    fn changes_of_direction_are_escaped_for_people_only() {
        let odd = path("gnp.\u{202e}exe\u{2066}\u{200f}\u{2028}\u{7}.\u{e9}");
        let text = "/gnp.\\u{202e}exe\\u{2066}\\u{200f}\\u{2028}\\u{7}.\u{e9}";
        assert_eq!(odd.to_string(), text);
        let exact = "/gnp.\u{202e}exe\u{2066}\u{200f}\u{2028}\\u{7}.\u{e9}";
        assert_eq!(alloc::format!("{odd:#}"), exact);
    }
}
