//! Protection of unmounted parts of the source, and of mounts in the target, from deletion.

use std::borrow::Cow;

use mirror_core::{
    job::{DirtyPath, Failure, Scope},
    path::TreePath,
    plan::{options::TransferPhase, rsync::RsyncCall},
};

use super::run::RsyncRun;
use crate::exec::{
    inode::EntryType,
    nested_mounts::ProtectedPaths,
    survey::{Survey, SurveyedEntry},
};

/// Reason for which a name that is missing in the source stays on the target.
const TARGET_MOUNT: &str = "a file system is mounted there on the target: nothing is deleted in it";

/// Reason for which a directory on the target cannot be replaced.
const UNMOUNTED_SOURCE: &str =
    "a file system was unmounted there in the source: the target keeps its files";

impl RsyncRun<'_> {
    /// Returns the call with rules that protect what was unmounted in the source, or is mounted in
    /// the target, from deletion, and that hide what the target cannot have.
    pub(super) fn with_protected_mounts<'c>(&self, call: &'c RsyncCall) -> Cow<'c, RsyncCall> {
        let (absent, mounted) = (self.absent(), self.mounted_in_target());
        if absent.is_empty() && mounted.is_empty() && self.shared_names.is_empty() {
            return Cow::Borrowed(call);
        }
        let paths = absent.paths().chain(mounted.paths());
        let shared = self.shared_names.iter().map(|shared| &shared.path);
        let hidden = absent.bare_mount_points().chain(shared);
        Cow::Owned(call.clone().protecting(paths).hiding(hidden))
    }

    /// Removes protected paths from the survey, and records the changes that they prevent as
    /// failures. A directory around a protected path loses its other entries.
    pub(super) fn drop_protected(&mut self, found: &mut Survey) {
        let shared = &self.shared_names;
        found.entries.retain(|entry| !shared.contains(&entry.path));
        found.trees.retain(|path| !shared.contains(path));
        let (absent, mounted) = (self.absent(), self.mounted_in_target());
        if absent.is_empty() && mounted.is_empty() {
            return;
        }
        let deletes = self.executor.plan.options.delete.applies(TransferPhase::Running);
        let failed = &mut self.failed;
        let mut fail = |path: &TreePath, why: &str| {
            let dirty = DirtyPath { path: path.clone(), scope: Scope::Entry };
            failed.push((dirty, Failure::new(format!("{path}: {why}"))));
        };
        let mut may_go = |path: &TreePath| {
            let stays = absent.protects(path) || mounted.protects(path);
            if deletes && (mounted.protects(path) || mounted.has_below(path)) {
                fail(path, TARGET_MOUNT);
            }
            !stays
        };
        found.gone.retain(|path| may_go(path));
        found.unwanted.retain(|(path, _)| may_go(path));
        found.entries.retain(|SurveyedEntry { path, entry_type, .. }| {
            let holds = absent.has_below(path) || mounted.has_below(path);
            let in_the_way = holds && *entry_type != EntryType::Directory;
            if in_the_way {
                fail(path, if absent.has_below(path) { UNMOUNTED_SOURCE } else { TARGET_MOUNT });
            }
            !in_the_way && !absent.is_bare_mount_point(path)
        });
        found.trees.retain(|path| !absent.is_bare_mount_point(path));
    }

    fn absent(&self) -> ProtectedPaths {
        self.executor.root.unmounted_paths(self.root)
    }

    /// Returns the mounts below a local target without a counterpart in the source.
    fn mounted_in_target(&self) -> ProtectedPaths {
        self.executor
            .state
            .target_identity
            .path()
            .map(|path| ProtectedPaths::of_target(path, self.root))
            .unwrap_or_default()
    }
}
