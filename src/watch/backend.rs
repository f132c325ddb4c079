//! Interface of a watch backend.

use std::{fmt, io, os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};

use mirror_core::{
    fs_event::{Change, Edit, FsEvent, FsEventKind, MirrorId, WriteDetection},
    path::{Escaped, TreePath},
};

use super::limits::KernelLimit;

/// Predicate that returns true for a directory if nothing at or below it is wanted. If it holds for
/// a directory, it must hold for all directories below.
pub(crate) type SkipFn = Arc<dyn Fn(&TreePath) -> bool + Send + Sync>;

/// A tree to be covered.
#[derive(Clone)]
pub(crate) struct WatchTree {
    /// The mirror of this tree.
    pub mirror: MirrorId,
    /// The source directory: absolute and without symbolic links.
    pub root: PathBuf,
    /// Directories that are not wanted. A backend may watch them all the same.
    pub skip: SkipFn,
    /// Set if each event matters, in order; then a backend that merges events is not suitable. The
    /// value tells which events count as a write to a file.
    pub exact: Option<WriteDetection>,
    /// The time for which a backend may gather changes that follow another one.
    pub latency: Duration,
}

#[cfg(test)]
impl WatchTree {
    /// Creates a tree of which all is wanted, at once.
    pub(super) fn whole(mirror: u32, root: impl Into<PathBuf>) -> Self {
        Self {
            mirror: MirrorId(mirror),
            root: root.into(),
            skip: Arc::new(|_| false),
            exact: None,
            latency: Duration::ZERO,
        }
    }
}

impl fmt::Debug for WatchTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchTree")
            .field("mirror", &self.mirror)
            .field("root", &self.root)
            .field("latency", &self.latency)
            .finish_non_exhaustive()
    }
}

/// A kernel facility that reports changes below the roots of the mirrors.
///
/// A backend is passive. It owns descriptors and no thread, clock or channel: the reader polls the
/// descriptor, calls [`drain`](Self::drain) and [`advance`](Self::advance), and passes the results
/// on. Thus a test can drive a backend step by step, and a new backend is one file.
///
/// Guarantees of a backend:
///
/// 1. **No silent loss.** Changes that it can't report (an overflow, an unknown event) are reported
///    as `Lost`; directories that it can't watch are handed over for polling.
/// 2. **In order.** The events of one mirror keep the order of the kernel.
/// 3. **Watched before reported.** When the creation of a directory is reported, everything below
///    it is already watched, so a subsequent scan misses nothing.
/// 4. **No false delete.** Unmounted files are not reported as deleted.
///
/// A backend need not be exact: it may report a change twice, or as a larger one.
pub(super) trait Backend: AsFd + Send {
    /// Returns the backend's name in logs, metrics and status: `"fanotify"`, `"inotify"`.
    fn name(&self) -> &'static str;

    /// Starts to cover `tree`. Completion is reported by [`advance`](Self::advance) in
    /// [`Drained::covered`]. No events are reported for a mirror before that.
    ///
    /// # Errors
    ///
    /// If its root can't be covered. Then no part of it is.
    fn cover(&mut self, tree: &WatchTree) -> io::Result<()>;

    /// Stops covering a mirror. Does nothing if it is not covered.
    fn uncover(&mut self, mirror: MirrorId);

    /// Reads the pending kernel events. Never blocks. Returns [`DrainStatus::More`] if there may be
    /// more.
    ///
    /// # Errors
    ///
    /// Only if the backend has failed and must be replaced.
    fn drain(&mut self, drained: &mut Drained) -> io::Result<DrainStatus>;

    /// Returns the number of bytes of kernel events that were read and that the next drain handles.
    fn unhandled_bytes(&self) -> usize {
        0
    }

    /// Does a bounded amount of the remaining work, such as reading directories that are to be
    /// watched. Returns true if there is more.
    fn advance(&mut self, drained: &mut Drained) -> bool;

    /// Makes everything that has happened up to now available to [`drain`](Self::drain). The queue
    /// of a kernel needs nothing for that; a service that gathers events has to be asked.
    fn catch_up(&mut self) {}

    /// Returns true if half of a rename is pending, or a directory needs verification that no
    /// further event may trigger: then `drain` and `flush_pending` should be called in a few
    /// milliseconds.
    fn has_pending(&self) -> bool;

    /// Reports pending halves of renames as creations and deletions.
    fn flush_pending(&mut self, drained: &mut Drained);

    /// Handles a new mount at this absolute path. If it lies in a tree, the content of the mount
    /// must be watched and reported.
    fn on_mounted(&mut self, directory: &[u8]);

    /// Handles an unmount at this absolute path. If it lies in a tree, it is logged, nothing is
    /// reported as deleted, and the directory that is visible now must be watched and reported.
    fn on_unmounted(&mut self, directory: &[u8], drained: &mut Drained);
}

/// Result of [`Backend::drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DrainStatus {
    /// There was a moment without pending kernel events.
    Empty,
    /// The drain stopped before such a moment.
    More,
}

/// Number of events whose memory is kept for the next ones.
pub(super) const KEPT_EVENTS: usize = 1024;

/// Results of draining a backend.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// File system events.
    pub(super) fs_events: Vec<FsEvent>,
    /// Length of the paths of these events, in bytes, before they are merged.
    pub(super) path_bytes: usize,
    /// Positions of those events that are creations of a name, not moves to it, in order.
    pub(super) created: Vec<usize>,
    /// Mirrors that are covered from here on, with the number of watched directories.
    pub(super) covered: Vec<(MirrorId, usize)>,
    /// Mirrors that can't be covered, and the reason.
    pub(super) failed: Vec<(MirrorId, io::Error)>,
    /// Directories that can't be watched, each with everything below it.
    pub(super) unwatched: Vec<Unwatched>,
    /// Number of kernel events that were read, relevant or not.
    pub(super) kernel_events: usize,
    /// True if a root may be gone or replaced, and is to be checked.
    pub(super) checks_roots: bool,
    /// Limits whose overflow lost events.
    pub(super) overflows: Vec<KernelLimit>,
    /// Warnings for the log.
    pub(super) warnings: Vec<String>,
    /// Details for the log, in a category of their own.
    pub(super) details: Vec<String>,
}

impl Drained {
    /// Returns true if there is nothing to publish.
    pub(super) const fn is_empty(&self) -> bool {
        self.fs_events.is_empty()
            && self.covered.is_empty()
            && self.failed.is_empty()
            && self.unwatched.is_empty()
            && self.overflows.is_empty()
            && self.warnings.is_empty()
            && self.details.is_empty()
    }

    /// Frees memory that only a burst of events needs.
    pub(super) fn shrink(&mut self) {
        self.fs_events.shrink_to(KEPT_EVENTS);
        self.created.shrink_to(KEPT_EVENTS);
    }

    /// Adds an event.
    pub(super) fn push(&mut self, mirror: MirrorId, kind: FsEventKind) {
        self.path_bytes += kind.path_bytes();
        self.fs_events.push(FsEvent { mirror, kind });
    }

    /// Merges a change of a file into the event at this position, if that is its creation or an
    /// earlier change of its content, for the same mirror. Returns false otherwise.
    pub(super) fn merge(&mut self, at: usize, mirror: MirrorId, change: &Change) -> bool {
        let Some(FsEvent { mirror: of, kind: FsEventKind::Changed(last) }) =
            self.fs_events.get_mut(at)
        else {
            return false;
        };
        if *of != mirror || last.path != change.path || last.kind != change.kind {
            return false;
        }
        let created = self.created.binary_search(&at);
        match (last.edit, change.edit, created) {
            (Edit::Write, Edit::Modify, _) => last.edit = Edit::Modify,
            // Whether the file is still open is looked up later.
            (Edit::Create, Edit::Write, Ok(_)) => {}
            (Edit::Create, Edit::Modify, Ok(place)) => {
                self.created.remove(place);
            }
            _ => return false,
        }
        true
    }

    /// Adds the creation of a name; the file may still be open.
    pub(super) fn push_created(&mut self, mirror: MirrorId, kind: FsEventKind) {
        self.created.push(self.fs_events.len());
        self.push(mirror, kind);
    }
}

/// A directory that a backend can't watch.
#[derive(Debug)]
pub(super) struct Unwatched {
    /// The mirror of the directory.
    pub(super) mirror: MirrorId,
    /// The path in the mirror's tree.
    pub(super) path: TreePath,
    /// The error of the watch.
    pub(super) error: io::Error,
}

/// Returns the warning for an unmount at this absolute path in a tree.
pub(super) fn unmounted_warning(path: &[u8]) -> String {
    let path = Escaped(path);
    format!("{path} was unmounted: the targets keep its files until it is mounted again")
}

/// Returns the part of the absolute path `path` below `root`, without leading or trailing slash.
/// `None` if it does not lie below.
pub(super) fn strip_root<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::fs_event::EntryKind;

    #[test]
    fn the_memory_of_a_burst_is_freed() {
        let mut drained = Drained::default();
        for _ in 0..KEPT_EVENTS * 3 {
            drained.push_created(MirrorId(0), FsEventKind::Lost(TreePath::root()));
        }
        drained.fs_events.clear();
        drained.created.clear();
        drained.shrink();
        let kept = drained.fs_events.capacity().max(drained.created.capacity());
        assert!(kept < KEPT_EVENTS * 2, "{kept}");
    }

    #[test]
    fn what_follows_the_creation_or_a_write_of_a_file_is_merged_with_it() {
        let path = |name: &str| TreePath::new(name.as_bytes()).unwrap();
        let change = |edit, name: &str| Change { edit, kind: EntryKind::Other, path: path(name) };
        let (one, other) = (MirrorId(0), MirrorId(1));
        // The event before, the one that follows, and what becomes of them.
        let cases = [
            (Edit::Write, Edit::Modify, Some(Edit::Modify)),
            (Edit::Create, Edit::Write, Some(Edit::Create)),
            (Edit::Create, Edit::Modify, Some(Edit::Create)),
            (Edit::Modify, Edit::Write, None),
            (Edit::Delete, Edit::Modify, None),
            (Edit::Attrib, Edit::Modify, None),
            (Edit::Create, Edit::Delete, None),
        ];
        for (first, second, merged) in cases {
            let mut drained = Drained::default();
            drained.push(other, FsEventKind::Changed(change(first, "f")));
            if first == Edit::Create {
                drained.push_created(one, FsEventKind::Changed(change(first, "f")));
            } else {
                drained.push(one, FsEventKind::Changed(change(first, "f")));
            }
            assert!(!drained.merge(1, one, &change(second, "g")), "another path");
            assert!(!drained.merge(0, one, &change(second, "f")), "another mirror");
            assert!(!drained.merge(2, one, &change(second, "f")), "no event");
            assert_eq!(drained.merge(1, one, &change(second, "f")), merged.is_some());
            let expected = FsEventKind::Changed(change(merged.unwrap_or(first), "f"));
            assert_eq!(drained.fs_events[1].kind, expected);
            let may_be_open = first == Edit::Create && second != Edit::Modify;
            assert_eq!(drained.created.len(), usize::from(may_be_open), "{first:?} {second:?}");
        }
        // A file that was moved there may be open for longer than its new name exists.
        let mut drained = Drained::default();
        drained.push(one, FsEventKind::Changed(change(Edit::Create, "f")));
        assert!(!drained.merge(0, one, &change(Edit::Write, "f")));
    }

    #[test]
    fn strip_root_matches_whole_components() {
        assert_eq!(strip_root(b"/srv", b"/srv/www"), Some(&b"www"[..]));
        assert_eq!(strip_root(b"/srv", b"/srv"), Some(&b""[..]));
        assert_eq!(strip_root(b"/srv", b"/srv2"), None);
        assert_eq!(strip_root(b"/", b"/srv"), Some(&b"srv"[..]));
        assert_eq!(strip_root(b"/srv", b"/"), None);
    }
}
