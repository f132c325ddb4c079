//! Configuration reload: replaces the running mirrors by a new set.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Fleet, Member, MirrorSpec};
use crate::{
    effect::Effect,
    fs_event::MirrorId,
    job::JobId,
    mirror::{Connection, MirrorSettings},
    time::Moment,
};

/// One mirror of a new set.
#[derive(Clone, Debug)]
pub enum Replacement {
    /// A running mirror that continues unchanged.
    Keep(MirrorId),
    /// A running mirror that continues with other settings; its knowledge of the target stays
    /// valid.
    Update {
        /// The mirror, which has a built-in target.
        mirror: MirrorId,
        /// The new settings.
        settings: MirrorSettings,
        /// True if held deletions are counted again, because the budget has changed.
        recount: bool,
    },
    /// A new mirror.
    Add {
        /// Its specification.
        spec: MirrorSpec,
        /// The running mirrors whose targets overlap with its own. It does not begin before the
        /// jobs of those among them that are removed have ended; a scripted mirror is watched
        /// meanwhile.
        after: Vec<MirrorId>,
        /// A removed mirror of the same kind and source: the new mirror inherits the events that it
        /// has not processed, and receives its events until the new one is watched.
        predecessor: Option<MirrorId>,
    },
}

/// A mirror that was replaced while it had running jobs.
#[derive(Debug)]
pub(super) struct Retiring {
    mirror: MirrorId,
    jobs: Vec<JobId>,
    connection: Option<Connection>,
    /// The mirrors that begin when the jobs have ended.
    successors: Vec<MirrorId>,
}

impl Retiring {
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().copied()
    }

    pub(super) fn has_successor(&self, mirror: MirrorId) -> bool {
        self.successors.contains(&mirror)
    }

    pub(super) const fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }
}

impl Fleet {
    /// Replaces the mirrors by these, in this order. Returns their ids; that of a new mirror was
    /// never used before.
    ///
    /// A removed mirror is uncovered, if it has a successor as soon as that is watched. Its jobs
    /// are asked to stop, and it is forgotten when they have ended. New mirrors begin with the
    /// effects of this call.
    pub fn replace(
        &mut self,
        replacements: Vec<Replacement>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Vec<MirrorId> {
        let previous = core::mem::take(&mut self.mirrors);
        let mut previous: BTreeMap<_, _> = previous.into_iter().map(|it| (it.id(), it)).collect();
        let mut mirrors = Vec::with_capacity(replacements.len());
        let mut added = Vec::new();
        // Sent last, because they need the watches.
        let mut lists = Vec::new();
        for replacement in replacements {
            match replacement {
                Replacement::Keep(id) => {
                    let mirror = previous.remove(&id);
                    debug_assert!(mirror.is_some(), "a kept mirror exists");
                    mirrors.extend(mirror);
                }
                Replacement::Update { mirror: id, settings, recount } => {
                    let mirror = previous.remove(&id);
                    mirrors.extend(mirror.map(|it| it.changed(settings, recount, now)));
                }
                Replacement::Add { spec: settings, after, predecessor } => {
                    let mut mirror = self.new_member(settings);
                    if let Some(old) = predecessor.and_then(|id| previous.get(&id)) {
                        mirror.inherit(old, now, &mut lists);
                        self.handover.add(old.id(), mirror.id());
                    }
                    added.push((mirror.id(), after));
                    mirrors.push(mirror);
                }
            }
        }
        for mirror in previous.values() {
            self.retire(mirror, effects);
        }
        let ids = mirrors.iter().map(|it| it.id()).collect();
        self.set_members(mirrors);
        let unneeded = self.handover.remove(|successor| !self.indices.contains_key(&successor));
        effects.extend(unneeded.into_iter().map(Effect::Uncover));
        for (mirror, after) in added {
            let ahead = self.retiring.iter_mut().filter(|it| after.contains(&it.mirror));
            ahead.for_each(|it| it.successors.push(mirror));
            if self.script(mirror).is_some() {
                self.with_member(mirror, |mirror| mirror.begin(effects));
            } else {
                self.begin_unless_waiting(mirror, effects);
            }
        }
        effects.extend(lists);
        self.retry_now(now, effects);
        ids
    }

    /// Handles the end of a job of a retiring mirror. Returns false if the job belongs to another
    /// one.
    pub(super) fn retiring_job_ended(&mut self, job: JobId, effects: &mut Vec<Effect>) -> bool {
        let Some(at) = self.retiring.iter().position(|it| it.jobs.contains(&job)) else {
            return false;
        };
        if let Some(retiring) = self.retiring.get_mut(at) {
            retiring.jobs.retain(|it| *it != job);
            if !retiring.jobs.is_empty() {
                return true;
            }
        }
        let Retiring { mirror, successors, .. } = self.retiring.remove(at);
        effects.push(Effect::Forget(mirror));
        for successor in successors {
            if self.script(successor).is_none() {
                self.begin_unless_waiting(successor, effects);
            }
        }
        true
    }

    pub(super) fn new_member(&mut self, spec: MirrorSpec) -> Member {
        let id = MirrorId(self.next_mirror);
        self.next_mirror += 1;
        Member::new(id, spec)
    }

    pub(super) fn set_members(&mut self, mirrors: Vec<Member>) {
        self.indices = mirrors.iter().map(|it| it.id()).zip(0..).collect();
        self.start_order = (0..mirrors.len()).collect();
        self.mirrors = mirrors;
    }

    /// Ends the handover to this mirror: it is watched, or can't be, so its predecessor need not
    /// stay watched.
    pub(super) fn end_handover(&mut self, id: MirrorId, effects: &mut Vec<Effect>) {
        effects.extend(
            self.handover.remove(|successor| successor == id).into_iter().map(Effect::Uncover),
        );
    }

    fn retire(&mut self, mirror: &Member, effects: &mut Vec<Effect>) {
        let (id, connection) = (mirror.id(), mirror.connection().cloned());
        if !self.handover.is_needed(id) {
            effects.push(Effect::Uncover(id));
        }
        let jobs = mirror.retire(effects);
        if jobs.is_empty() {
            effects.push(Effect::Forget(id));
        } else {
            self.retiring.push(Retiring { mirror: id, jobs, connection, successors: Vec::new() });
        }
    }

    fn begin_unless_waiting(&mut self, id: MirrorId, effects: &mut Vec<Effect>) {
        if self.is_running() && !self.waits_for_predecessor(id) {
            self.with_member(id, |mirror| mirror.begin(effects));
        }
    }
}
