//! What a kernel facility that tells of changes has to do.

use std::{fmt, io, os::fd::AsFd, path::PathBuf, sync::Arc};

use mirror_core::{
    notice::{MirrorId, News, Notice, Writes},
    path::{Escaped, TreePath},
};

use super::limits::Limit;

/// Tells whether nothing is wanted of a directory and of all that is below it. Whoever says so of
/// a directory must say so of the directories below it.
pub type Skip = Arc<dyn Fn(&TreePath) -> bool + Send + Sync>;

/// A tree to be covered.
#[derive(Clone)]
pub struct Tree {
    /// Whose tree it is.
    pub mirror: MirrorId,
    /// Where it is: absolute and without symbolic links.
    pub root: PathBuf,
    /// The directories of which nothing is wanted. A source may spare their watches, and need not.
    pub skip: Skip,
    /// Whether each event matters, in order: then a source that tells of several as one is of no
    /// use. And which of them count where a file is written to.
    pub exact: Option<Writes>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("mirror", &self.mirror)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// A kernel facility that tells what happens below the roots of the mirrors.
///
/// A source is passive. It owns descriptors and no thread, clock or channel: the reader polls the
/// descriptor, calls [`drain`](Self::drain) and [`work`](Self::work), and hands on what it found.
/// So a test can drive a source by hand, and a new backend is one file.
///
/// What a source promises:
///
/// 1. **Nothing is lost in silence.** What it cannot tell (an overflow, an event that it does not
///    know) it tells as `News::Lost`; what it cannot watch it gives to be polled.
/// 2. **In order.** The notices of one mirror come as the kernel reported them.
/// 3. **Watched before told.** When a directory is told that came into being, all that is below
///    it is watched, so that whoever reads it then misses nothing.
/// 4. **No wrong delete.** What was unmounted is not told as deleted.
///
/// A source need not be exact: a change may be told twice, or as a larger one.
pub(super) trait Source: AsFd + Send {
    /// The backend's name in logs, metrics and status: `"fanotify"`, `"inotify"`.
    fn name(&self) -> &'static str;

    /// Begins to cover `tree`; the end comes out of [`work`](Self::work), as
    /// [`Findings::covered`]. Of a mirror that is not covered yet nothing is told.
    ///
    /// # Errors
    ///
    /// If its root can't be covered. Then none of it is.
    fn cover(&mut self, tree: &Tree) -> io::Result<()>;

    /// Ends the covering of a mirror. One that is not covered is ignored.
    fn uncover(&mut self, mirror: MirrorId);

    /// Finds out what the kernel has ready. Never blocks. `Ready::More` if it may not be all.
    ///
    /// # Errors
    ///
    /// Only if the source is of no more use.
    fn drain(&mut self, found: &mut Findings) -> io::Result<Ready>;

    /// Does a bounded piece of the work that is left, such as reading directories that are to be
    /// watched. Returns whether there is more.
    fn work(&mut self, found: &mut Findings) -> bool;

    /// Whether the other half of an event is awaited, or something is to be looked at again that no
    /// event may tell of any more: then it should be drained, and `settle` be called, in a few
    /// milliseconds.
    fn awaits(&self) -> bool;

    /// Tells what waited for its other half.
    fn settle(&mut self, found: &mut Findings);

    /// A file system was mounted at this directory, an absolute path. If it lies in a tree, what
    /// is below it has to be watched and told.
    fn mounted(&mut self, directory: &[u8]);

    /// What was mounted at this directory is not any more. If it lies in a tree, that is told to
    /// people, and nothing of it as deleted; what shows in its place has to be watched and told.
    fn unmounted(&mut self, directory: &[u8], found: &mut Findings);
}

/// How much a [`Source::drain`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// There was a moment at which the kernel had no more.
    Nothing,
    /// It ended before such a moment.
    More,
}

/// What a source found out.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What happened.
    pub(super) notices: Vec<Notice>,
    /// Which of them tell of a name that was made, not moved there, in their order.
    pub(super) made: Vec<usize>,
    /// Mirrors that are covered from here on, with the number of directories that are watched.
    pub(super) covered: Vec<(MirrorId, usize)>,
    /// Mirrors that could not be covered, and why.
    pub(super) failed: Vec<(MirrorId, io::Error)>,
    /// Directories that could not be watched, with all that is below them.
    pub(super) unwatched: Vec<Unwatched>,
    /// How many events of the kernel were read, whether they led to anything or not.
    pub(super) events: usize,
    /// The limits because of which events were lost.
    pub(super) overflows: Vec<Limit>,
    /// What somebody should know.
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// Whether there is nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.notices.is_empty()
            && self.covered.is_empty()
            && self.failed.is_empty()
            && self.unwatched.is_empty()
            && self.overflows.is_empty()
            && self.warnings.is_empty()
    }

    /// Adds a notice.
    pub(super) fn tell(&mut self, mirror: MirrorId, news: News) {
        self.notices.push(Notice { mirror, news });
    }

    /// Adds a notice of a name that was made, by whoever has it open perhaps.
    pub(super) fn tell_made(&mut self, mirror: MirrorId, news: News) {
        self.made.push(self.notices.len());
        self.tell(mirror, news);
    }
}

/// A directory that a source can't watch.
#[derive(Debug)]
pub(super) struct Unwatched {
    /// Whose it is.
    pub(super) mirror: MirrorId,
    /// Where it is.
    pub(super) path: TreePath,
    /// Why it can't be watched.
    pub(super) error: io::Error,
}

/// What to say when the file system at this absolute path, which lies in a tree, was unmounted.
pub(super) fn unmounted(path: &[u8]) -> String {
    let path = Escaped(path);
    format!("{path} was unmounted: what the targets have of it stays until it is mounted again")
}

/// What is left of the absolute path `path` below `root`, without slashes at its ends. `None` if
/// it does not lie there.
pub(super) fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_below_its_root_and_not_below_a_namesake() {
        assert_eq!(below(b"/srv", b"/srv/www"), Some(&b"www"[..]));
        assert_eq!(below(b"/srv", b"/srv"), Some(&b""[..]));
        assert_eq!(below(b"/srv", b"/srv2"), None);
        assert_eq!(below(b"/", b"/srv"), Some(&b"srv"[..]));
        assert_eq!(below(b"/srv", b"/"), None);
    }
}
