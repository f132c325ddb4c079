//! The mirrors as the engine knows them, by their names.

use std::collections::BTreeMap;

use mirror_core::notice::MirrorId;

use super::member::Member;

/// The mirrors that there are, and those that were replaced and still have a job.
#[derive(Default)]
pub(super) struct Roster {
    members: BTreeMap<MirrorId, Member>,
    order: Vec<MirrorId>,
}

impl Roster {
    /// The mirror of this name.
    pub(super) fn get(&self, id: MirrorId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: MirrorId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// The mirrors that there are, in the order in which they were given.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MirrorId, &Member)> {
        self.order.iter().filter_map(|id| Some((*id, self.members.get(id)?)))
    }

    /// All mirrors, also those that were replaced and are not dismissed yet.
    pub(super) fn all(&self) -> impl Iterator<Item = (MirrorId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// Adds a mirror, or puts it in the place of the one that has its name.
    pub(super) fn add(&mut self, id: MirrorId, member: Member) {
        self.members.insert(id, member);
    }

    /// From now on the mirrors are these, in this order. The others stay until they are dismissed.
    pub(super) fn line_up(&mut self, order: Vec<MirrorId>) {
        self.order = order;
    }

    /// Gives the mirror `id` another name for people.
    pub(super) fn rename(&mut self, id: MirrorId, name: String) {
        if let Some(member) = self.members.get_mut(&id) {
            member.sync.name = name;
        }
    }

    /// Drops a mirror.
    pub(super) fn dismiss(&mut self, id: MirrorId) {
        self.members.remove(&id);
    }
}
