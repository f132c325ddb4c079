//! What a mirror makes of what it is told of its source: places to look at.

use alloc::vec::Vec;

use super::Mirror;
use crate::{
    effect::Effect,
    event::MirrorEvent,
    job::Scope,
    notice::{Change, Edit, Kind, News},
    path::TreePath,
    queue::Pace,
    time::Moment,
};

impl Mirror {
    /// Takes in what a source of changes says.
    pub fn hear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        match news {
            News::Changed(change) => self.hear_change(&change, now),
            News::Moved { from, to, kind } => self.hear_move(&from, &to, kind, now),
            News::Lost(path) => {
                if !self.settings.filter.excludes(&path, Kind::Directory) {
                    self.queue.mark(&path, Scope::Tree, now);
                    self.report(MirrorEvent::Lost(path), effects);
                }
            }
            News::Gone(gone) => self.lose_source(gone.sentence().into(), now, effects),
        }
    }

    /// Takes over what `other`, which mirrored the same source to the same target, heard and did not
    /// bring: the first transfer compares sizes and times, which do not tell it.
    pub(crate) fn inherit(&mut self, other: &Self, now: Moment) {
        self.queue.inherit(&other.queue, now);
        for path in other.open.paths() {
            self.queue.mark_written(path, Scope::Entry, now);
        }
    }

    /// Takes in what is told of the source of the one before, which is watched until that of this
    /// one is. Whether it is lost, its own will tell.
    pub(crate) fn overhear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        match news {
            // What was told of it while it went is no proof that somebody deleted something.
            News::Gone(_) => self.queue.forget_deletions(),
            news => self.hear(news, now, effects),
        }
    }

    fn hear_change(&mut self, change: &Change, now: Moment) {
        let Change { edit, kind, path } = change;
        // A directory that came or went may hold anything by now, and may have done so before; a
        // change of its attributes says nothing of what it lists.
        let scope = match (kind, edit) {
            (Kind::Other, _) | (Kind::Directory, Edit::Attrib) => Scope::Entry,
            (Kind::Directory, Edit::Create | Edit::Modify | Edit::Write | Edit::Delete) => {
                Scope::Tree
            }
        };
        match edit {
            _ if self.ignores(path, *kind, *edit) => {}
            // They go with its content.
            Edit::Attrib if self.open.holds(path) => {}
            Edit::Attrib => self.queue.mark(path, scope, now),
            Edit::Write if *kind == Kind::Other && self.open.write(path, now) => {}
            Edit::Create | Edit::Modify | Edit::Write => {
                let first = self.open.close(path);
                // A delay that was asked for counts from the first change on.
                let since = match self.settings.pace {
                    Pace::Fixed { .. } => first.unwrap_or(now),
                    Pace::Quiet { .. } => now,
                };
                self.queue.mark_written(path, scope, since);
                self.has_come(path, scope, now);
            }
            Edit::Delete => {
                // It may have come again meanwhile: a watcher that joins events tells both.
                for path in self.open.remove(path) {
                    self.queue.mark_written(&path, Scope::Entry, now);
                }
                self.queue.mark_gone(path, scope, now);
            }
        }
    }

    /// Returns true if a change of this entry can't matter to the target.
    ///
    /// Where something comes or goes, the target may have something of another kind under this name,
    /// which is not excluded.
    fn ignores(&self, path: &TreePath, kind: Kind, edit: Edit) -> bool {
        let excludes = |kind| self.settings.filter.excludes(path, kind);
        match edit {
            Edit::Create | Edit::Write | Edit::Delete => {
                excludes(Kind::Directory) && excludes(Kind::Other)
            }
            Edit::Attrib | Edit::Modify => excludes(kind),
        }
    }

    fn hear_move(&mut self, from: &TreePath, to: &TreePath, kind: Kind, now: Moment) {
        for path in self.open.rename(from, to) {
            self.queue.mark_written(&path, Scope::Entry, now);
        }
        let scope = match kind {
            Kind::Directory => Scope::Tree,
            Kind::Other => Scope::Entry,
        };
        let filter = &self.settings.filter;
        let is_one = !filter.excludes(from, kind)
            && !filter.excludes(to, kind)
            && (scope == Scope::Entry || filter.decides_alike_below(from, to));
        self.has_come(to, scope, now);
        let is_counted = self.holds_below(from, now);
        if is_one && is_counted {
            return self.queue.mark_counted_move(from, to, kind, now);
        }
        if is_one {
            return self.queue.mark_move(from, to, kind, now);
        }
        if !self.ignores(from, kind, Edit::Delete) {
            if is_counted {
                self.queue.mark(from, scope, now);
            } else {
                self.queue.mark_gone(from, scope, now);
            }
        }
        if !self.ignores(to, kind, Edit::Create) {
            self.queue.mark_written(to, scope, now);
        }
    }
}
