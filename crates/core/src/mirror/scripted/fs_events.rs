//! Translates file system events into Lsyncd queue events.

use alloc::{collections::BTreeSet, vec, vec::Vec};

use super::{
    FullHandling, MAX_EVENTS, RestartMode, ScriptPhase, ScriptedMirror, SourceCoverage,
    listings::ListingAnswer,
};
use crate::{
    effect::Effect,
    fs_event::{Change, Edit, EntryKind, FsEventKind},
    input::DirectoryListing,
    log_event::{MirrorEvent, SourceEvent},
    mirror::SyncMember,
    path::{TreePath, is_name},
    queue::event_queue::{Etype, FailureRule, QueuedEvent},
    time::Moment,
};

impl ScriptedMirror {
    /// Queues an event of a watch backend.
    pub(super) fn enqueue(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>) {
        self.apply(event, now, effects);
        if self.queue.len() > MAX_EVENTS && !self.has_pending_resync() {
            match self.settings.restart_mode {
                RestartMode::Clear => self.restart(RestartMode::Clear),
                RestartMode::Keep => self.overflowed = true,
            }
            self.report(MirrorEvent::Source(SourceEvent::EventsLost(TreePath::root())), effects);
        }
    }

    /// Returns true if events need not be queued, because a pending resync makes up for them.
    fn has_pending_resync(&self) -> bool {
        let is_cleared =
            matches!(self.phase, ScriptPhase::Restarting { mode: RestartMode::Clear, .. });
        is_cleared || self.overflowed || self.source.is_gone()
    }

    fn apply(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>) {
        self.note_listing_changes(&event);
        match event {
            FsEventKind::RootGone(gone) => {
                return self.lose_source(gone.description().into(), now, effects);
            }
            FsEventKind::Changed(_) | FsEventKind::Renamed { .. } | FsEventKind::Lost(_)
                if self.has_pending_resync() =>
            {
                return;
            }
            FsEventKind::Changed(change) => self.on_change(&change, now, effects),
            FsEventKind::Renamed { from, to, kind } => {
                let deleted = Change { edit: Edit::Delete, kind, path: from };
                let created = Change { edit: Edit::Create, kind, path: to };
                self.on_rename(&deleted, &created, now, effects);
            }
            FsEventKind::Lost(path) => self.on_lost(path, effects),
        }
        self.clear_idle();
    }

    /// Inherits the events that another mirror of this source has not processed. Those in progress
    /// count as unprocessed: their child was asked to stop.
    pub(crate) fn inherit(&mut self, other: &Self, now: Moment, effects: &mut Vec<Effect>) {
        self.coverage = if other.overflowed { SourceCoverage::Interrupted } else { other.coverage };
        for event in other.queue.iter() {
            if event.etype() == Etype::Full {
                self.queue.push_full(event.path().clone());
            } else {
                for event in fs_events_of(event, other.queue.failure_rule(event.id())) {
                    self.enqueue(event, now, effects);
                }
            }
        }
        for directory in other.queue.unlisted() {
            self.list(directory, effects);
        }
        for directory in other.listings.directories() {
            if other.probes.contains(&directory) {
                continue;
            }
            if self.listings.is_pending(&directory) {
                // It was requested before the inherited events, which are older than what the other
                // one is about to tell: it is repeated.
                self.listings.mark_stale(&directory);
            } else {
                self.list(&directory, effects);
            }
        }
    }

    /// Notes created and deleted entries of directories with a pending listing.
    fn note_listing_changes(&mut self, event: &FsEventKind) {
        match event {
            FsEventKind::Changed(Change { edit: Edit::Create | Edit::Delete, kind, path }) => {
                self.listings.note_change(path, *kind);
            }
            FsEventKind::Renamed { from, to, kind } => {
                self.listings.note_change(from, *kind);
                self.listings.note_change(to, *kind);
            }
            FsEventKind::Changed(_) | FsEventKind::Lost(_) | FsEventKind::RootGone(_) => {}
        }
    }

    fn on_change(&mut self, change: &Change, now: Moment, effects: &mut Vec<Effect>) {
        let Change { edit, kind, path } = change;
        if !self.concerns(path, *kind) {
            return;
        }
        self.create_above(path, now, effects);
        match (kind, edit) {
            // There is no such queue event; the entries may have changed.
            (EntryKind::Directory, Edit::Modify) => self.list(path, effects),
            (EntryKind::Directory, Edit::Create) => {
                self.queue.push(change, now);
                self.list(path, effects);
            }
            (EntryKind::Directory, Edit::Write | Edit::Attrib | Edit::Delete)
            | (EntryKind::Other, _) => self.queue.push(change, now),
        }
    }

    /// Queues a rename, or the delete and the create that it amounts to. That is done if one of the
    /// names does not concern the mirror; while the init or a full event is not done, because its
    /// transfer may have brought the new name already and another entry would be moved; and for a
    /// name that the script may not know yet.
    fn on_rename(
        &mut self,
        deleted: &Change,
        created: &Change,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let (from, to, kind) = (&deleted.path, &created.path, created.kind);
        let may_move = self.settings.wants_renames
            && self.phase.init().is_none()
            && !self.queue.has_full()
            && !self.listings.concerns(from);
        if may_move && self.concerns(from, kind) && self.concerns(to, kind) {
            self.create_above(to, now, effects);
            let stays_whole = self.queue.push_move(from, to, kind, now);
            if kind == EntryKind::Directory && !stays_whole {
                self.list(to, effects);
            }
            return;
        }
        self.on_change(deleted, now, effects);
        self.on_change(created, now, effects);
    }

    /// Queues the creation of directories above a path that only an outstanding listing would
    /// report: as by the original, a directory is created before what is in it. A directory that
    /// was renamed with its content is watched already, so events in it arrive before the listing.
    fn create_above(&mut self, path: &TreePath, now: Moment, effects: &mut Vec<Effect>) {
        loop {
            let probes = &self.probes;
            let is_probe = |directory: &TreePath| probes.contains(directory);
            let Some(path) = self.listings.take_unreported(path, is_probe) else { return };
            let (edit, kind) = (Edit::Create, EntryKind::Directory);
            // Its listing is requested, so that the next one below it is unreported as well.
            self.on_change(&Change { edit, kind, path }, now, effects);
        }
    }

    fn on_lost(&mut self, path: TreePath, effects: &mut Vec<Effect>) {
        let is_root = path.is_root();
        if is_root && self.settings.restart_mode == RestartMode::Clear {
            self.restart(RestartMode::Clear);
        } else if !is_root && !self.concerns(&path, EntryKind::Directory) {
            return;
        } else {
            self.resync(&path, effects);
        }
        self.report(MirrorEvent::Source(SourceEvent::EventsLost(path)), effects);
    }

    /// Queues what exists below `directory`, because events may have been lost.
    pub(super) fn resync(&mut self, directory: &TreePath, effects: &mut Vec<Effect>) {
        if self.settings.full == FullHandling::Function {
            self.replace_events(|queue| queue.push_full_for_lost(directory));
            self.list_created(effects);
        } else {
            self.listings.mark_stale(directory);
            self.list(directory, effects);
        }
    }

    /// Returns true if events of this entry are passed to the script. As by the original, none of
    /// the root itself are.
    fn concerns(&self, path: &TreePath, kind: EntryKind) -> bool {
        let is_near = || path.components().nth(1).is_none();
        !path.is_root()
            && (self.settings.subdirectories || is_near())
            && !self.settings.filter.excludes(path, kind)
    }

    /// Requests a listing, unless the mirror ignores the entries of that directory.
    fn list(&mut self, path: &TreePath, effects: &mut Vec<Effect>) {
        if !self.settings.subdirectories && !path.is_root() {
            return;
        }
        self.probes.remove(path);
        self.listings.request(path);
        effects.push(Effect::ListDirectory { mirror: self.id(), path: path.clone() });
    }

    /// Lists directories whose creation is queued without that of their entries.
    pub(super) fn list_created(&mut self, effects: &mut Vec<Effect>) {
        for directory in self.queue.take_unlisted() {
            self.list(&directory, effects);
        }
    }

    /// Requests a listing only to find out which entries are gone.
    pub(super) fn probe(&mut self, path: &TreePath, effects: &mut Vec<Effect>) {
        if !self.listings.is_pending(path) {
            self.probes.insert(path.clone());
            self.listings.request(path);
            effects.push(Effect::ListDirectory { mirror: self.id(), path: path.clone() });
        }
    }

    /// Handles a requested listing: each entry is queued as if it had just been created. The
    /// listing of a directory that is gone is empty. Entries that changed after the request are
    /// skipped, since their events are queued already. Failed events of entries that are gone are
    /// dropped.
    pub fn listed(
        &mut self,
        path: &TreePath,
        listing: DirectoryListing,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let DirectoryListing { entries, is_complete } = listing;
        let is_probe = self.probes.remove(path);
        let except = match self.listings.complete(path) {
            ListingAnswer::Entries { except } => except,
            ListingAnswer::Pending => return,
            ListingAnswer::Retry if is_probe => return,
            ListingAnswer::Retry => return self.list(path, effects),
        };
        if is_complete && self.queue.failed_count() > 0 {
            let names: BTreeSet<_> = entries.iter().map(|(name, _)| &**name).collect();
            let holds = |name: &[u8]| names.contains(name) || except.contains(name);
            self.queue.drop_missing(path, holds, now);
            self.update_init();
        }
        if is_probe {
            return;
        }
        let is_skipped = |name: &[u8]| !is_name(name) || except.contains(name);
        for (name, kind) in entries.into_iter().filter(|(name, _)| !is_skipped(name)) {
            if let Some(path) = path.join(&name) {
                let change = Change { edit: Edit::Create, kind, path };
                // A listing may queue more than [`MAX_EVENTS`] only if nothing else makes up for
                // it.
                match self.settings.restart_mode {
                    RestartMode::Clear => {
                        self.enqueue(FsEventKind::Changed(change), now, effects);
                    }
                    RestartMode::Keep => self.apply(FsEventKind::Changed(change), now, effects),
                }
            }
        }
    }
}

/// The file system events that led to this queue event, as far as they are repeated if it fails.
fn fs_events_of(event: &QueuedEvent, rule: FailureRule) -> Vec<FsEventKind> {
    let (path, kind) = (event.path().clone(), event.kind());
    let changed = |edit, path: &TreePath| {
        let path = path.clone();
        FsEventKind::Changed(Change { edit, kind, path })
    };
    let edit = match (event.etype(), event.to()) {
        (Etype::Attrib, _) => Edit::Attrib,
        (Etype::Create, _) => Edit::Create,
        (Etype::Modify, _) => Edit::Modify,
        (Etype::Delete, _) => Edit::Delete,
        (Etype::Move, Some(to)) => {
            let deleted = changed(Edit::Delete, &path);
            let created = changed(Edit::Create, to);
            return match rule {
                FailureRule::Retry => {
                    vec![FsEventKind::Renamed { from: path, to: to.clone(), kind }]
                }
                FailureRule::Split => vec![deleted, created],
                FailureRule::Replaced => vec![created],
            };
        }
        (Etype::Move, None) | (Etype::Init | Etype::Blanket | Etype::Full, _) => return vec![],
    };
    match rule {
        FailureRule::Retry | FailureRule::Split => vec![changed(edit, &path)],
        FailureRule::Replaced => vec![],
    }
}
