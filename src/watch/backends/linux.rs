//! The backends in use, and the selection of a backend for each tree.
//!
//! inotify costs time at startup and memory per directory, and nothing for changes elsewhere.
//! fanotify costs nothing per directory, and something for each change anywhere in the file system.
//! It also requires privileges and a suitable file system. Therefore small trees get inotify, and
//! large ones get fanotify where it is available.

use std::{collections::BTreeMap, io, path::Path};

use mirror_core::fs_event::MirrorId;
use mirror_platform::{fanotify::FanotifyQueue, file_system_type::FileSystemType};

use super::is_on_shared_file_system;
use crate::watch::{
    Coverage, Preference,
    backend::{Backend, DrainStatus, Drained, WatchTree},
    fanotify::FanotifyBackend,
    inotify::{InotifyBackend, InotifyLimits},
};

/// Maximum number of directories of a tree that stays with inotify.
const MAX_INOTIFY_DIRS: usize = 4096;

/// All backends, and the assignment of mirrors to them.
#[derive(Debug)]
pub(in crate::watch) struct Backends {
    preference: Preference,
    max_inotify_dirs: usize,
    inotify: InotifyBackend,
    fanotify: Option<FanotifyBackend>,
    assignments: BTreeMap<MirrorId, Assignment>,
}

/// The backend of a tree.
#[derive(Debug)]
struct Assignment {
    tree: WatchTree,
    kind: BackendKind,
    /// Reason for the backend, unless it is the number of directories.
    reason: Option<String>,
    /// True if the tree may still be switched to the other backend.
    may_switch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackendKind {
    Inotify,
    Fanotify,
}

impl Backends {
    /// Creates the backends; none covers a tree yet.
    ///
    /// # Errors
    ///
    /// If no inotify instance can be created.
    pub(in crate::watch) fn new(preference: Preference) -> io::Result<Self> {
        Ok(Self {
            preference,
            max_inotify_dirs: MAX_INOTIFY_DIRS,
            inotify: InotifyBackend::new(InotifyLimits::default())?,
            fanotify: None,
            assignments: BTreeMap::new(),
        })
    }

    /// As `new`, with other limits.
    #[cfg(test)]
    pub(in crate::watch) fn with_limits(
        preference: Preference,
        max_inotify_dirs: usize,
        limits: InotifyLimits,
    ) -> io::Result<Self> {
        let inotify = InotifyBackend::new(limits)?;
        Ok(Self { max_inotify_dirs, inotify, ..Self::new(preference)? })
    }

    /// Starts to cover a tree.
    ///
    /// # Errors
    ///
    /// If no backend can cover it.
    pub(in crate::watch) fn cover(&mut self, tree: &WatchTree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let is_shared = self.assignments.values().any(|assignment| {
            assignment.tree.root == tree.root && assignment.kind == BackendKind::Fanotify
        });
        let wants_fanotify = tree.exact.is_none()
            && match self.preference {
                Preference::Auto => is_shared,
                Preference::Inotify => false,
                Preference::Fanotify => true,
            };
        let mut assignment = Assignment {
            tree: tree.clone(),
            kind: BackendKind::Inotify,
            reason: None,
            may_switch: false,
        };
        if wants_fanotify {
            let why = if is_shared { "shared with another sync" } else { "as configured" };
            match self.cover_with_fanotify(tree) {
                Ok(()) => {
                    assignment.kind = BackendKind::Fanotify;
                    assignment.reason = Some(why.into());
                    self.assignments.insert(tree.mirror, assignment);
                    return Ok(());
                }
                Err(error) => assignment.reason = Some(fanotify_unavailable(tree, &error)),
            }
        }
        let is_switchable = self.preference == Preference::Auto && tree.exact.is_none();
        assignment.may_switch = is_switchable && !is_on_shared_file_system(&tree.root);
        self.inotify.cover(tree)?;
        self.assignments.insert(tree.mirror, assignment);
        Ok(())
    }

    fn cover_with_fanotify(&mut self, tree: &WatchTree) -> io::Result<()> {
        if let Some(fanotify) = &mut self.fanotify {
            return fanotify.cover(tree);
        }
        let mut fanotify = FanotifyBackend::new(FanotifyQueue::Unlimited)?;
        fanotify.cover(tree)?;
        self.fanotify = Some(fanotify);
        Ok(())
    }

    /// Stops covering a mirror.
    pub(in crate::watch) fn uncover(&mut self, mirror: MirrorId) {
        let Some(assignment) = self.assignments.remove(&mirror) else { return };
        match assignment.kind {
            BackendKind::Inotify => self.inotify.uncover(mirror),
            BackendKind::Fanotify => self.uncover_with_fanotify(mirror),
        }
    }

    fn uncover_with_fanotify(&mut self, mirror: MirrorId) {
        if let Some(fanotify) = &mut self.fanotify {
            fanotify.uncover(mirror);
        }
        if !self.assignments.values().any(|assignment| assignment.kind == BackendKind::Fanotify) {
            self.fanotify = None;
        }
    }

    /// Switches trees that turn out to be large to fanotify, if it can cover them.
    fn switch_large_trees(&mut self) {
        let large: Vec<MirrorId> = self
            .assignments
            .iter()
            .filter(|(mirror, assignment)| {
                let read = self.inotify.progress(**mirror).filter(|_| assignment.may_switch);
                read.is_some_and(|read| read > self.max_inotify_dirs)
            })
            .map(|(mirror, _)| *mirror)
            .collect();
        for mirror in large {
            let Some(assignment) = self.assignments.get_mut(&mirror) else { continue };
            assignment.may_switch = false;
            let tree = assignment.tree.clone();
            let result = self.cover_with_fanotify(&tree);
            if result.is_ok() {
                self.inotify.uncover(mirror);
            }
            let Some(assignment) = self.assignments.get_mut(&mirror) else { continue };
            match result {
                Ok(()) => {
                    assignment.kind = BackendKind::Fanotify;
                    assignment.reason = Some(format!(
                        "more than {} directories on {}",
                        self.max_inotify_dirs,
                        file_system_name(&tree.root)
                    ));
                }
                Err(error) => assignment.reason = Some(fanotify_unavailable(&tree, &error)),
            }
        }
    }

    /// Describes the coverage of a mirror with these numbers of watched and polled directories.
    pub(in crate::watch) fn coverage(
        &self,
        mirror: MirrorId,
        directories: usize,
        polled: usize,
    ) -> Coverage {
        let assignment = self.assignments.get(&mirror);
        let backend = match assignment.map(|assignment| assignment.kind) {
            Some(BackendKind::Fanotify) => "fanotify",
            Some(BackendKind::Inotify) | None => "inotify",
        };
        let mut reason =
            match (assignment.and_then(|assignment| assignment.reason.as_deref()), directories) {
                (Some(reason), 0) => format!("{backend}: {reason}"),
                (Some(reason), _) => format!("{backend}: {directories} directories, {reason}"),
                (None, 1) => format!("{backend}: 1 directory"),
                (None, _) => format!("{backend}: {directories} directories"),
            };
        if polled > 0 {
            reason = format!("{reason}; {polled} directories are polled");
        }
        Coverage { backend, reason, directories, polled }
    }

    /// Lists the inotify watches, see [`InotifyBackend::list`].
    pub(in crate::watch) fn list(&self, limit: usize) -> (usize, Vec<(i32, Vec<u8>)>) {
        self.inotify.list(limit)
    }

    /// Number of inotify watches.
    pub(in crate::watch) fn watch_count(&self) -> usize {
        self.inotify.list(0).0
    }

    /// Returns the mirrors that fanotify covers.
    pub(in crate::watch) fn marked(&self) -> impl Iterator<Item = MirrorId> {
        let assignments = self.assignments.iter();
        assignments
            .filter(|(_, assignment)| assignment.kind == BackendKind::Fanotify)
            .map(|(&mirror, _)| mirror)
    }

    pub(in crate::watch) fn tree(&self, mirror: MirrorId) -> Option<&WatchTree> {
        self.assignments.get(&mirror).map(|assignment| &assignment.tree)
    }

    /// Iterates over the backends in use.
    pub(in crate::watch) fn all(&mut self) -> impl Iterator<Item = &mut dyn Backend> {
        let inotify: &mut dyn Backend = &mut self.inotify;
        let fanotify = self.fanotify.as_mut().map(|backend| -> &mut dyn Backend { backend });
        std::iter::once(inotify).chain(fanotify)
    }

    /// Returns the descriptors to poll of the backends in use.
    pub(in crate::watch) fn descriptors(
        &self,
    ) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        std::iter::once(self.inotify.as_fd()).chain(self.fanotify.as_ref().map(AsFd::as_fd))
    }

    /// Returns the number of bytes of kernel events that were read and that the next drain handles.
    pub(in crate::watch) fn unhandled_bytes(&self) -> usize {
        self.inotify.unhandled_bytes() + self.fanotify.as_ref().map_or(0, Backend::unhandled_bytes)
    }

    /// Does a bounded amount of the remaining work. Returns true if there is more.
    pub(in crate::watch) fn advance(&mut self, drained: &mut Drained) -> bool {
        self.switch_large_trees();
        self.all().filter_map(|backend| backend.advance(drained).then_some(())).count() > 0
    }

    /// Drains all backends. Returns [`DrainStatus::Empty`] if there was a moment at which nothing
    /// was left in any of them.
    pub(in crate::watch) fn drain(&mut self, drained: &mut Drained) -> DrainStatus {
        let mut status = DrainStatus::Empty;
        let mut broken = Vec::new();
        for backend in self.all() {
            match backend.drain(drained) {
                Ok(DrainStatus::Empty) => {}
                Ok(DrainStatus::More) => status = DrainStatus::More,
                Err(error) => broken.push((backend.name(), error)),
            }
        }
        for (name, error) in broken {
            drained
                .warnings
                .push(format!("cannot read the events of {name}: {error}: restarting it"));
            self.restart_backend(name, drained);
        }
        status
    }

    /// Replaces a backend that has failed. Its mirrors are reported as covered again later, and are
    /// to be rescanned.
    fn restart_backend(&mut self, name: &str, drained: &mut Drained) {
        let is_broken = |kind| (kind == BackendKind::Fanotify) == (name == "fanotify");
        let trees: Vec<WatchTree> = self
            .assignments
            .values()
            .filter(|assignment| is_broken(assignment.kind))
            .map(|assignment| assignment.tree.clone())
            .collect();
        if name == "fanotify" {
            self.fanotify = None;
        } else if let Ok(inotify) = InotifyBackend::new(InotifyLimits::default()) {
            self.inotify = inotify;
        }
        for tree in trees {
            if let Err(error) = self.cover(&tree) {
                drained.failed.push((tree.mirror, error));
            }
        }
    }
}

fn fanotify_unavailable(tree: &WatchTree, error: &io::Error) -> String {
    format!("as fanotify is unavailable on {}: {error}", file_system_name(&tree.root))
}

/// Returns the name of the type of the file system that holds `path`, for messages.
fn file_system_name(path: &Path) -> String {
    let name = FileSystemType::of(path).ok().and_then(|found| found.name);
    name.unwrap_or_else(|| "its file system".into())
}
