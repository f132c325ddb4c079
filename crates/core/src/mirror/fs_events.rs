//! Translates file system events into dirty paths.

use alloc::vec::Vec;

use super::{Mirror, SyncMember};
use crate::{
    effect::Effect,
    fs_event::{Change, Edit, EntryKind, FsEventKind},
    job::{HoldReason, Scope},
    log_event::{MirrorEvent, SourceEvent},
    path::TreePath,
    queue::Debounce,
    time::Moment,
};

impl Mirror {
    /// Applies an event of a watch backend.
    pub(super) fn apply(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>) {
        match event {
            FsEventKind::Changed(change) => self.on_change(&change, now),
            FsEventKind::Renamed { from, to, kind } => self.on_rename(&from, &to, kind, now),
            FsEventKind::Lost(path) => {
                if !self.settings.filter.excludes(&path, EntryKind::Directory) {
                    self.queue.mark(&path, Scope::Tree, now);
                    self.note_change(&path, Scope::Tree);
                    self.report(MirrorEvent::Source(SourceEvent::EventsLost(path)), effects);
                }
            }
            FsEventKind::RootGone(gone) => {
                self.lose_source(gone.description().into(), now, effects);
            }
        }
    }

    /// Inherits the observed changes that `other`, a mirror of the same source and target, has not
    /// transferred: the first transfer compares sizes and times only, which do not reveal them.
    pub(crate) fn inherit(&mut self, other: &Self, now: Moment) {
        self.queue.inherit(&other.queue, now);
        self.inherit_held(other);
        if !other.running.is_empty() {
            // They are stopped.
            self.lost_receivers.job_lost();
        }
        self.lost_receivers.inherit(&other.lost_receivers);
        for path in other.open.paths() {
            self.queue.mark_written(path, Scope::Entry, now);
        }
    }

    fn on_change(&mut self, change: &Change, now: Moment) {
        let Change { edit, kind, path } = change;
        if self.ignores(path, *kind, *edit) {
            return;
        }
        // A directory that was created, renamed or deleted may hold anything by now, and may have
        // done so before. A change of its attributes does not affect its entries.
        let scope = match (kind, edit) {
            (EntryKind::Other, _) | (EntryKind::Directory, Edit::Attrib) => Scope::Entry,
            (EntryKind::Directory, Edit::Create | Edit::Modify | Edit::Write | Edit::Delete) => {
                Scope::Tree
            }
        };
        match edit {
            // The attributes are transferred together with the content.
            Edit::Attrib if self.open.holds(path) => {}
            Edit::Attrib => {
                self.queue.mark(path, scope, now);
                self.note_change(path, scope);
            }
            Edit::Write if *kind == EntryKind::Other && self.open.write(path, now) => {}
            Edit::Create | Edit::Modify | Edit::Write => {
                let first = self.open.close(path);
                // An explicit delay counts from the first change.
                let since = match self.settings.debounce {
                    Debounce::FixedDelay { .. } => first.unwrap_or(now),
                    Debounce::Quiet { .. } => now,
                };
                self.queue.mark_written(path, scope, since);
                self.recount_changed(path, scope, now);
            }
            Edit::Delete => {
                // The file may exist again: a backend that merges events reports both.
                for path in self.open.remove(path) {
                    self.queue.mark_written(&path, Scope::Entry, now);
                }
                self.queue.mark_deleted(path, scope, now);
                self.recount_changed(path, scope, now);
            }
        }
    }

    fn note_change(&mut self, path: &TreePath, scope: Scope) {
        self.lost_receivers.changed(path, scope, !self.running.is_empty());
    }

    /// Returns true if a change of this entry can't affect the target.
    ///
    /// When an entry is created or deleted, the target may have an entry of the other kind under
    /// this name, which is not excluded.
    pub(super) fn ignores(&self, path: &TreePath, kind: EntryKind, edit: Edit) -> bool {
        let excludes = |kind| self.settings.filter.excludes(path, kind);
        match edit {
            Edit::Create | Edit::Write | Edit::Delete => {
                excludes(EntryKind::Directory) && excludes(EntryKind::Other)
            }
            Edit::Attrib | Edit::Modify => excludes(kind),
        }
    }

    fn on_rename(&mut self, from: &TreePath, to: &TreePath, kind: EntryKind, now: Moment) {
        for path in self.open.rename(from, to) {
            self.queue.mark_written(&path, Scope::Entry, now);
        }
        let scope = match kind {
            EntryKind::Directory => Scope::Tree,
            EntryKind::Other => Scope::Entry,
        };
        let filter = &self.settings.filter;
        let is_one = !filter.excludes(from, kind)
            && !filter.excludes(to, kind)
            && (scope == Scope::Entry || filter.decides_equally_below(from, to));
        for path in [from, to] {
            self.recount_changed(path, scope, now);
        }
        let held_below = self.recount_held_below(from, scope, now);
        if is_one {
            return match held_below {
                None => self.queue.mark_rename(from, to, kind, now),
                Some(HoldReason::Observed) => {
                    self.queue.mark_deleting_rename(from, to, kind, now);
                }
                Some(HoldReason::Unobserved | HoldReason::EmptySource) => {
                    self.queue.mark_counted_rename(from, to, kind, now);
                }
            };
        }
        if !self.ignores(from, kind, Edit::Delete) {
            if held_below.is_none_or(|reason| reason == HoldReason::Observed) {
                self.queue.mark_deleted(from, scope, now);
            } else {
                self.queue.mark(from, scope, now);
            }
        }
        if !self.ignores(to, kind, Edit::Create) {
            self.queue.mark_written(to, scope, now);
        }
    }
}
