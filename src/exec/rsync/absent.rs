//! Deletions beside what was unmounted in the source, and beside what is mounted in the target.

use std::borrow::Cow;

use mirror_core::{
    job::{Failure, Outcome, Place, Scope},
    notice::Kind,
    plan::{options::Phase, rsync::Call},
};

use super::{batch::Run, findings::Covered};
use crate::exec::{
    absent::Absent,
    survey::{Survey, kind_at},
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
        Cow::Owned(call.clone().protecting(places))
    }

    /// Takes out what can't be deleted by its name, since something in it has to stay, and deletes
    /// all that is beside that. The rules of a list of names do not reach a receiver that deletes
    /// nothing else.
    pub(super) fn delete_around(&mut self, found: &mut Survey) -> Result<(), Outcome> {
        let (absent, mounted) = (self.absent(), self.mounted_in_target());
        if absent.is_empty() && mounted.is_empty() {
            return Ok(());
        }
        let plan = &self.of.plan;
        let deletes = plan.options.delete.applies(Phase::Running);
        let (mut around, mut failed) = (Vec::new(), Vec::new());
        let failure = |path: &_, why: &str| {
            let place = Place { path: Clone::clone(path), scope: Scope::Entry };
            (place, Failure::new(format!("{path}: {why}")))
        };
        found.gone.retain(|path| {
            let stays = absent.protects(path) || mounted.protects(path);
            let holds = absent.lies_below(path) || mounted.lies_below(path);
            if deletes && (mounted.protects(path) || mounted.lies_below(path)) {
                failed.push(failure(path, MOUNTED));
            }
            if holds && !stays {
                around.push(path.clone());
            }
            !stays && !holds
        });
        found.entries.retain(|path| {
            let is_file = || matches!(kind_at(self.root, path), Ok(Some(Kind::Other)));
            let holds = absent.lies_below(path) || mounted.lies_below(path);
            let in_the_way = holds && is_file();
            if in_the_way {
                failed.push(failure(path, ABSENT));
            }
            !in_the_way
        });
        self.failed.append(&mut failed);
        if around.is_empty() || !deletes {
            return Ok(());
        }
        let (end, findings) = self.call(&plan.deletions(&around))?;
        self.settle(&end, &findings, Covered::List { entries: &[], gone: &around })
    }

    fn absent(&self) -> Absent {
        self.of.root.absent(self.root)
    }

    /// The mounts below a target on this machine that the source has no directory for.
    fn mounted_in_target(&self) -> Absent {
        self.of.presence.path().map(|path| Absent::of_target(path, self.root)).unwrap_or_default()
    }
}
