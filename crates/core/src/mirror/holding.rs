//! Deletions that wait for a person.

use alloc::vec::Vec;

use super::{
    Mirror,
    flight::Purpose,
    state::{Resume, State},
};
use crate::{
    effect::Effect,
    event::MirrorEvent,
    job::{HeldDeletions, HeldFor, Place, Scope},
    path::TreePath,
    plan::options::Phase,
    queue::PlaceSet,
    time::Moment,
};

impl Mirror {
    /// Notes which deletions are held now in these places, which were compared.
    pub(super) fn hold(
        &mut self,
        purpose: Purpose,
        places: &PlaceSet,
        held: Vec<HeldDeletions>,
        effects: &mut Vec<Effect>,
    ) {
        // What deletes nothing has counted nothing.
        if self.deletes_at_startup_only() && purpose != Purpose::Startup {
            return;
        }
        let was_held = !self.held.is_empty();
        let counted = |place: &Place| places.covers(&place.path, place.scope);
        let all_counted = |it: &mut HeldDeletions| it.places.iter().all(counted);
        let before: Vec<_> = self.held.extract_if(.., all_counted).collect();
        for it in &mut self.held {
            it.places.retain(|place| !counted(place));
        }
        self.held.extend(held.iter().cloned());
        if !held.is_empty() && held != before {
            self.report(MirrorEvent::DeletionsHeld(held), effects);
        } else if was_held && self.held.is_empty() {
            self.report(MirrorEvent::NothingHeld, effects);
        }
    }

    /// Counts again what is held, and makes what the budget allows.
    pub(super) fn recount(&mut self, now: Moment) {
        if self.held.is_empty() {
            return;
        }
        if self.deletes_at_startup_only() {
            return self.start_again(now);
        }
        for held in &self.held {
            for Place { path, scope } in &held.places {
                // As long as the source was whole, what was seen is still true; but nobody saw all of
                // it go.
                if held.why == HeldFor::Seen && !path.is_root() {
                    self.queue.mark_gone(path, *scope, now);
                }
                self.queue.mark_due(path, *scope, now);
            }
        }
    }

    /// Something came into being here. If the target holds it only because its deletion is held, that
    /// is counted again.
    pub(super) fn has_come(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        let is_it = |name: &TreePath| name == path || scope == Scope::Tree && path.contains(name);
        let is_back = |held: &&HeldDeletions| held.names.iter().any(is_it);
        let places = self.held.iter().filter(is_back).flat_map(|held| held.places.clone());
        let places: Vec<Place> = places.collect();
        if !places.is_empty() && self.deletes_at_startup_only() {
            return self.start_again(now);
        }
        for Place { path, scope } in places {
            self.queue.mark(&path, scope, now);
        }
    }

    /// Something of this name gets another one. Returns true if deletions are held below it: nobody saw
    /// those, so they do not go with the old name. Where it is held that this name itself goes, that is
    /// the rename.
    pub(super) fn holds_below(&mut self, from: &TreePath, now: Moment) -> bool {
        let is_below = |path: &TreePath| path != from && from.contains(path);
        let is_of_it = |held: &&HeldDeletions| {
            let mut names = held.names.iter();
            held.places.iter().any(|place| is_below(&place.path))
                || names.clone().any(is_below) && !names.any(|name| name.contains(from))
        };
        let places = self.held.iter().filter(is_of_it).flat_map(|held| held.places.clone());
        let places: Vec<Place> = places.collect();
        // Where the rename is repeated, they have another name at the target now.
        for Place { path, scope } in &places {
            self.queue.mark(path, *scope, now);
        }
        !places.is_empty()
    }

    /// Only a first transfer deletes, so it is made once more.
    fn start_again(&mut self, now: Moment) {
        match &mut self.state {
            State::Live => self.state = State::Starting,
            State::Away(away) => away.resume = Resume::Starting,
            State::Held { resume, .. } => *resume = Resume::Starting,
            State::Covering | State::Starting => {}
        }
        self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
    }

    fn deletes_at_startup_only(&self) -> bool {
        let delete = self.settings.delete;
        delete.applies(Phase::Startup) && !delete.applies(Phase::Running)
    }
}
