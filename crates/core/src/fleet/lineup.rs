//! Another set of mirrors in place of the one that runs.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Charter, Fleet, Member};
use crate::{
    effect::Effect,
    job::JobId,
    mirror::{Connection, Settings},
    notice::MirrorId,
    time::Moment,
};

/// One mirror of a new set.
#[derive(Clone, Debug)]
pub enum Entrant {
    /// One that is there goes on as if nothing had happened.
    Stays(MirrorId),
    /// One that is there goes on with other settings: what it knows of its target stays true.
    Changes {
        /// Which one. It has a target of ours.
        mirror: MirrorId,
        /// What holds from now on.
        settings: Settings,
        /// Whether deletions that are held are counted again, since the budget is another one.
        recount: bool,
    },
    /// A new one.
    Joins {
        /// What it has to know.
        settings: Charter,
        /// Those that have something of its target, too. It does not begin before the jobs of
        /// those among them that do not stay have ended; one with a script is watched meanwhile.
        after: Vec<MirrorId>,
        /// One of the same sort and the same source that does not stay: what was told of it and is
        /// not done it takes over, and what is told of it until this one is watched.
        heir_of: Option<MirrorId>,
    },
}

/// A mirror that was replaced while it had jobs.
#[derive(Debug)]
pub(super) struct Retired {
    mirror: MirrorId,
    jobs: Vec<JobId>,
    connection: Option<Connection>,
    /// Those that begin when the jobs have ended.
    heirs: Vec<MirrorId>,
}

impl Retired {
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().copied()
    }

    pub(super) fn has_heir(&self, mirror: MirrorId) -> bool {
        self.heirs.contains(&mirror)
    }

    pub(super) const fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }
}

impl Fleet {
    /// Replaces the mirrors by these, in this order. Returns their names; that of a new one was
    /// never used before.
    ///
    /// What does not stay is uncovered, one that has an heir when that is watched. Its jobs
    /// are asked to end, and it is dismissed when they have ended. What joins begins with the
    /// effects of this.
    pub fn replace(
        &mut self,
        entrants: Vec<Entrant>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Vec<MirrorId> {
        let was = core::mem::take(&mut self.mirrors);
        let mut was: BTreeMap<_, _> = was.into_iter().map(|it| (it.id(), it)).collect();
        let mut mirrors = Vec::with_capacity(entrants.len());
        let mut joined = Vec::new();
        // These need what is watched.
        let mut lists = Vec::new();
        for entrant in entrants {
            match entrant {
                Entrant::Stays(id) => {
                    let mirror = was.remove(&id);
                    debug_assert!(mirror.is_some(), "who stays has to be there");
                    mirrors.extend(mirror);
                }
                Entrant::Changes { mirror: id, settings, recount } => {
                    let mirror = was.remove(&id);
                    mirrors.extend(mirror.map(|it| it.changed(settings, recount, now)));
                }
                Entrant::Joins { settings, after, heir_of } => {
                    let mut mirror = self.make(settings);
                    if let Some(testator) = heir_of.and_then(|id| was.get(&id)) {
                        mirror.take_over(testator, now, &mut lists);
                        self.bridges.build(testator.id(), mirror.id());
                    }
                    joined.push((mirror.id(), after));
                    mirrors.push(mirror);
                }
            }
        }
        for (_, mirror) in was {
            self.retire(mirror, effects);
        }
        let names = mirrors.iter().map(Member::id).collect();
        self.line_up(mirrors);
        let unneeded = self.bridges.end(|heir| !self.places.contains_key(&heir));
        effects.extend(unneeded.into_iter().map(Effect::Uncover));
        for (mirror, after) in joined {
            let ahead = self.retired.iter_mut().filter(|it| after.contains(&it.mirror));
            ahead.for_each(|it| it.heirs.push(mirror));
            if self.script(mirror).is_some() {
                self.with(mirror, |mirror| mirror.begin(effects));
            } else {
                self.begin_unless_it_waits(mirror, effects);
            }
        }
        effects.extend(lists);
        self.retry(now, effects);
        names
    }

    /// Takes in the end of a job of a retired mirror. `false` if it is of another one.
    pub(super) fn retired_ended(&mut self, job: JobId, effects: &mut Vec<Effect>) -> bool {
        let Some(at) = self.retired.iter().position(|it| it.jobs.contains(&job)) else {
            return false;
        };
        if let Some(retired) = self.retired.get_mut(at) {
            retired.jobs.retain(|it| *it != job);
            if !retired.jobs.is_empty() {
                return true;
            }
        }
        let Retired { mirror, heirs, .. } = self.retired.remove(at);
        effects.push(Effect::Dismiss(mirror));
        for heir in heirs {
            if self.script(heir).is_none() {
                self.begin_unless_it_waits(heir, effects);
            }
        }
        true
    }

    pub(super) fn make(&mut self, charter: Charter) -> Member {
        let id = MirrorId(self.next_mirror);
        self.next_mirror += 1;
        Member::new(id, charter)
    }

    pub(super) fn line_up(&mut self, mirrors: Vec<Member>) {
        self.places = mirrors.iter().map(Member::id).zip(0..).collect();
        self.turns = (0..mirrors.len()).collect();
        self.mirrors = mirrors;
    }

    /// This mirror is watched, or can't be: nobody else has to be watched for it any more.
    pub(super) fn end_bridge(&mut self, id: MirrorId, effects: &mut Vec<Effect>) {
        effects.extend(self.bridges.end(|heir| heir == id).into_iter().map(Effect::Uncover));
    }

    fn retire(&mut self, mirror: Member, effects: &mut Vec<Effect>) {
        let (id, connection) = (mirror.id(), mirror.connection().cloned());
        if !self.bridges.needs(id) {
            effects.push(Effect::Uncover(id));
        }
        let jobs = mirror.retire(effects);
        if jobs.is_empty() {
            effects.push(Effect::Dismiss(id));
        } else {
            self.retired.push(Retired { mirror: id, jobs, connection, heirs: Vec::new() });
        }
    }

    fn begin_unless_it_waits(&mut self, id: MirrorId, effects: &mut Vec<Effect>) {
        if self.is_running() && !self.waits(id) {
            self.with(id, |mirror| mirror.begin(effects));
        }
    }
}
