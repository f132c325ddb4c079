//! Paths below the root of a mirror.

use alloc::{collections::BTreeSet, vec::Vec};
use core::fmt::{self, Write as _};

/// A path below the root of a mirror, in the bytes that the disk has.
///
/// **Invariants.** Components are separated by one `/`; none is empty, `.` or `..`, and none holds
/// a NUL. There is no slash at either end. The empty path is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Whether `name` can be a component: what a directory can list.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

/// The directories that lead to these paths, without the root.
#[must_use]
pub fn directories_above<'a>(paths: impl IntoIterator<Item = &'a TreePath>) -> BTreeSet<TreePath> {
    let mut above = BTreeSet::new();
    for path in paths {
        let mut parent = path.parent();
        while let Some(path) = parent.take().filter(|path| !path.is_root()) {
            parent = path.parent();
            // Then so are those above it.
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

    /// The path that `bytes` spell, slashes at the ends and doubled ones ignored.
    ///
    /// `None` if a component is `.`, `..` or holds a NUL.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut path = Self(Vec::with_capacity(bytes.len()));
        for name in bytes.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            path.push(name)?;
        }
        Some(path)
    }

    /// The path of the entry `name` in this directory. `None` if no directory can list that name.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        let mut path = Self(bytes);
        path.push(name)?;
        Some(path)
    }

    /// Appends a component. `None`, and no change, if no directory can list that name.
    #[must_use]
    pub fn push(&mut self, name: &[u8]) -> Option<()> {
        is_name(name).then(|| {
            if !self.0.is_empty() {
                self.0.push(b'/');
            }
            self.0.extend_from_slice(name);
        })
    }

    /// Takes the last component off; the root stays as it is.
    pub fn pop(&mut self) {
        let length = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        self.0.truncate(length);
    }

    /// The directory that lists this path. `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        (!self.is_root()).then(|| {
            let mut parent = self.clone();
            parent.pop();
            parent
        })
    }

    /// The last component. `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.0.rsplit(|&b| b == b'/').next().filter(|name| !name.is_empty())
    }

    /// The components from the root on.
    #[must_use]
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// Whether this is the root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is this path or lies below it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.strip(self).is_some()
    }

    /// What is left of this path below `ancestor`. `None` if it does not lie there.
    #[must_use]
    pub fn strip(&self, ancestor: &Self) -> Option<&[u8]> {
        let rest = self.0.strip_prefix(ancestor.as_bytes())?;
        if ancestor.is_root() || rest.is_empty() {
            return Some(rest);
        }
        rest.strip_prefix(b"/")
    }

    /// This path with `from` at its start replaced by `to`. `None` if it does not lie below `from`.
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

    /// The bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of a name as text for people: what is not printable is escaped, so that a name can
/// neither break a line of the log nor send a terminal a command.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // Nearly all names are as they should be, and a status has thousands of them.
            if chunk.valid().chars().any(char::is_control) {
                escape_controls(chunk.valid(), f)?;
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

/// With a leading slash, as everywhere in logs.
fn escape_controls(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", Escaped(&self.0))
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
    fn slashes_at_the_ends_and_doubled_ones_do_not_count() {
        assert_eq!(path("/a//b/"), path("a/b"));
        assert_eq!(path("/"), TreePath::root());
    }

    #[test]
    fn no_component_leads_out() {
        assert_eq!(TreePath::new(b"a/../b"), None);
        assert_eq!(TreePath::new(b"./a"), None);
        assert_eq!(path("a").join(b".."), None);
        assert_eq!(path("a").join(b"b/c"), None);
        assert_eq!(path("a").join(b"n\0l"), None);
    }

    #[test]
    fn a_directory_contains_what_is_below_it_and_not_its_namesakes() {
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
    fn a_path_moves_with_its_directory() {
        assert_eq!(path("a/b").rebase(&path("a"), &path("c/d")), Some(path("c/d/b")));
        assert_eq!(path("a").rebase(&path("a"), &path("c")), Some(path("c")));
        assert_eq!(path("a").rebase(&path("a"), &TreePath::root()), Some(TreePath::root()));
        assert_eq!(path("x/b").rebase(&path("a"), &path("c")), None);
        assert_eq!(path("b").rebase(&TreePath::root(), &path("c")), Some(path("c/b")));
    }

    #[test]
    fn text_for_people_is_one_line_and_loses_no_byte() {
        let odd = TreePath::new(b"a\nb/\xfc\x1b[0m").unwrap();
        assert_eq!(odd.to_string(), "/a\\nb/\\xfc\\u{1b}[0m");
    }
}
