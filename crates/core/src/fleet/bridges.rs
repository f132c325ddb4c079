//! The watching of a sync that is replaced goes on until that of its heir stands.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::notice::MirrorId;

/// Who is watched for whom: by the heir that is not watched yet, the mirror that was replaced.
///
/// A source of changes tells nothing of a mirror before all of it is watched, so that what is told
/// of the one before is told to the heir once.
#[derive(Debug, Default)]
pub(super) struct Bridges(BTreeMap<MirrorId, MirrorId>);

impl Bridges {
    /// What is told of `old` goes to `heir` from now on. If `old` is itself not watched yet, that is
    /// what is told of the one before it.
    pub(super) fn build(&mut self, old: MirrorId, heir: MirrorId) {
        let first = self.0.get(&old).copied().unwrap_or(old);
        self.0.insert(heir, first);
    }

    /// Those to which goes what is told of this mirror.
    pub(super) fn heirs_of(&self, old: MirrorId) -> impl Iterator<Item = MirrorId> {
        self.0.iter().filter(move |&(_, &first)| first == old).map(|(&heir, _)| heir)
    }

    /// Whether this mirror, though replaced, has to be watched.
    pub(super) fn needs(&self, old: MirrorId) -> bool {
        self.heirs_of(old).next().is_some()
    }

    /// These are watched, can't be, or are not there any more. Returns those that nobody needs to be
    /// watched now.
    pub(super) fn end(&mut self, heirs: impl Fn(MirrorId) -> bool) -> BTreeSet<MirrorId> {
        let ended: Vec<_> = self.0.extract_if(.., |&heir, _| heirs(heir)).collect();
        ended.into_iter().map(|(_, old)| old).filter(|&old| !self.needs(old)).collect()
    }
}
