//! Deletions beside what was unmounted in the source, and beside what is mounted in the target.

use std::borrow::Cow;

use mirror_core::{
    job::{Failure, Place, Scope},
    path::TreePath,
    plan::{options::Phase, rsync::Call},
};

use super::batch::Run;
use crate::exec::{
    absent::Absent,
    survey::{Entry, Survey, What},
};

/// Why a name stays at the target that the source does not have.
const MOUNTED: &str = "something is mounted there at the target: nothing is deleted through it";

/// Why a directory at the target does not make way.
const ABSENT: &str = "the target keeps what was mounted there in the source, and is not now";

impl Run<'_> {
    /// The same call, but nothing of what was unmounted in the source, or is mounted in the target,
    /// is deleted.
    pub(super) fn protecting<'c>(&self, call: &'c Call) -> Cow<'c, Call> {
        let (absent, mounted) = (self.absent(), self.mounted_in_target());
        if absent.is_empty() && mounted.is_empty() {
            return Cow::Borrowed(call);
        }
        let places = absent.places().chain(mounted.places());
        Cow::Owned(call.clone().protecting(places).hiding(absent.bare()))
    }

    /// Takes out what stays at the target, and tells what can't be done because of that. Of a
    /// directory around it goes what is not protected.
    pub(super) fn spare(&mut self, found: &mut Survey) {
        let (absent, mounted) = (self.absent(), self.mounted_in_target());
        if absent.is_empty() && mounted.is_empty() {
            return;
        }
        let deletes = self.of.plan.options.delete.applies(Phase::Running);
        let failed = &mut self.failed;
        let mut fail = |path: &TreePath, why: &str| {
            let place = Place { path: path.clone(), scope: Scope::Entry };
            failed.push((place, Failure::new(format!("{path}: {why}"))));
        };
        let mut may_go = |path: &TreePath| {
            let stays = absent.protects(path) || mounted.protects(path);
            if deletes && (mounted.protects(path) || mounted.lies_below(path)) {
                fail(path, MOUNTED);
            }
            !stays
        };
        found.gone.retain(|path| may_go(path));
        found.unwanted.retain(|(path, _)| may_go(path));
        found.entries.retain(|Entry { path, what, .. }| {
            let holds = absent.lies_below(path) || mounted.lies_below(path);
            let in_the_way = holds && *what != What::Directory;
            if in_the_way {
                fail(path, if absent.lies_below(path) { ABSENT } else { MOUNTED });
            }
            !in_the_way && !absent.is_bare(path)
        });
        found.trees.retain(|path| !absent.is_bare(path));
    }

    fn absent(&self) -> Absent {
        self.of.root.absent(self.root)
    }

    /// The mounts below a target on this machine that the source has no directory for.
    fn mounted_in_target(&self) -> Absent {
        self.of
            .learned
            .presence
            .path()
            .map(|path| Absent::of_target(path, self.root))
            .unwrap_or_default()
    }
}
