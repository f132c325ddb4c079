//! All mirrors of a daemon: what they share, how they are replaced, and how they end.

mod bridges;
mod lineup;
mod load;
mod member;
mod onepass;
mod scripts;

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use crate::{
    effect::Effect,
    event::Event,
    input::{Input, Signal},
    job::{JobId, Outcome},
    mirror::{Mirror, Verdict},
    notice::{MirrorId, Notice},
    time::Moment,
};

use bridges::Bridges;
pub use lineup::Entrant;
use lineup::Retired;
use load::Load;
pub use load::MOST_THROUGH_CONNECTION;
pub use member::{Charter, Member};
use onepass::Pass;

/// How long running jobs may take to end by themselves once the daemon was asked to end.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long they may take once they were asked to end, before the daemon leaves them alone.
pub const LAST_GRACE: Duration = Duration::from_secs(5);

/// The exit code of everything that goes wrong: `exit(-1)` of the original.
pub const EXIT_FAILURE: u8 = 255;

/// All mirrors.
///
/// [`handle`](Self::handle) takes in what happened; [`advance`](Self::advance), which has to be
/// called after it and when [`next_wakeup`](Self::next_wakeup) has come, does what is due.
#[derive(Debug)]
pub struct Fleet {
    mirrors: Vec<Member>,
    /// Where each of them is in the list.
    places: BTreeMap<MirrorId, usize>,
    /// Those that were replaced, and still have a job.
    retired: Vec<Retired>,
    bridges: Bridges,
    limits: Limits,
    phase: Phase,
    pass: Pass,
    next_mirror: u32,
    next_job: u64,
    /// The indices of the mirrors, that which started a job last at the end.
    turns: Vec<usize>,
}

/// What holds for all mirrors together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The most jobs at once; `None` for as many as the mirrors may have together.
    pub max_jobs: Option<usize>,
    /// Whether the daemon ends when all first transfers are done.
    pub onepass: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// No job is started, and those that run may end by themselves until `until`.
    Draining {
        until: Moment,
        code: u8,
    },
    /// They have been asked to end.
    Stopping {
        until: Moment,
        code: u8,
    },
    Over,
}

impl Fleet {
    /// A fleet of mirrors with these settings. The index in `settings` is the mirror's name.
    #[must_use]
    pub fn new<C: Into<Charter>>(settings: Vec<C>, limits: Limits) -> Self {
        let mut fleet = Self {
            mirrors: Vec::new(),
            places: BTreeMap::new(),
            retired: Vec::new(),
            bridges: Bridges::default(),
            limits,
            phase: Phase::Running,
            pass: Pass::First,
            next_mirror: 0,
            next_job: 0,
            turns: Vec::new(),
        };
        let mirrors = settings.into_iter().map(|charter| fleet.make(charter.into())).collect();
        fleet.line_up(mirrors);
        fleet
    }

    /// The mirrors, in the order in which they were given.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.mirrors
    }

    /// Those of them that have a target of ours.
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.mirrors.iter().filter_map(|member| match member {
            Member::Built(mirror) => Some(&**mirror),
            Member::Scripted(_) => None,
        })
    }

    /// Starts all mirrors.
    pub fn begin(&mut self, effects: &mut Vec<Effect>) {
        for mirror in &mut self.mirrors {
            mirror.begin(effects);
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::Covered(id) => {
                self.end_bridge(id, effects);
                self.with(id, |mirror| mirror.covered(now, effects));
            }
            Input::CannotCover { mirror, why } => {
                self.end_bridge(mirror, effects);
                self.with(mirror, |mirror| mirror.cannot_cover(why, now, effects));
            }
            Input::Gate(id, gate) => self.with(id, |mirror| mirror.set_gate(gate, now, effects)),
            Input::Notice(notice) => self.hear(notice, now, effects),
            Input::JobEnded { job, outcome } => self.job_ended(job, outcome, now, effects),
            Input::FullDue(id) => self.with(id, |mirror| mirror.full_due(now, effects)),
            Input::Signal(signal) => self.signal(signal, now, effects),
            Input::Called { .. }
            | Input::ChildEnded { .. }
            | Input::Collected { .. }
            | Input::Listed { .. } => self.handle_script(input, now, effects),
        }
    }

    fn hear(&mut self, notice: Notice, now: Moment, effects: &mut Vec<Effect>) {
        let Notice { mirror, news } = notice;
        let heirs: Vec<_> = self.bridges.heirs_of(mirror).collect();
        for heir in heirs {
            self.with(heir, |heir| heir.overhear(news.clone(), now, effects));
        }
        self.with(mirror, |mirror| mirror.hear(news, now, effects));
    }

    fn with(&mut self, id: MirrorId, act: impl FnOnce(&mut Member)) {
        // Of one that was replaced, something may still be told.
        let place = self.places.get(&id);
        if let Some(mirror) = place.and_then(|&place| self.mirrors.get_mut(place)) {
            act(mirror);
        }
    }

    fn job_ended(&mut self, job: JobId, outcome: Outcome, now: Moment, effects: &mut Vec<Effect>) {
        if self.retired_ended(job, effects) {
            return;
        }
        let mut built = self.mirrors.iter_mut().filter_map(|member| match member {
            Member::Built(mirror) => Some(mirror),
            Member::Scripted(_) => None,
        });
        let Some(mirror) = built.find(|mirror| mirror.jobs().any(|it| it == job)) else {
            return;
        };
        // A job that was asked to end did not fail, whatever it says.
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        let mut said = Vec::new();
        let verdict = mirror.job_ended(job, outcome, now, &mut said);
        if stopping {
            return;
        }
        effects.append(&mut said);
        if verdict == Verdict::EndDaemon {
            self.end_for_failure(now);
        }
    }

    /// The daemon ends, since that is what the user asked for.
    fn end_for_failure(&mut self, now: Moment) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining { until: now, code: EXIT_FAILURE };
        }
    }

    fn signal(&mut self, signal: Signal, now: Moment, effects: &mut Vec<Effect>) {
        if signal == Signal::Hangup {
            effects.push(Effect::Report(Event::Hangup));
            return self.retry(now, effects);
        }
        let code = 128 + signal.number();
        self.phase = match self.phase {
            Phase::Running => {
                effects.push(Effect::Report(Event::Draining(signal, self.busy())));
                Phase::Draining { until: now + GRACE, code }
            }
            // Asked a second time: at once.
            Phase::Draining { code, .. } => Phase::Draining { until: now, code },
            Phase::Stopping { code, .. } => Phase::Stopping { until: now, code },
            Phase::Over => Phase::Over,
        };
    }

    /// Tries again at once what waits for a later try.
    pub fn retry(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for mirror in &mut self.mirrors {
            mirror.hangup(now, effects);
        }
    }

    /// Whether nobody has asked the daemon to end yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// From now on at most so many jobs run at once; `None` for as many as the mirrors may have.
    pub const fn limit_jobs(&mut self, most: Option<usize>) {
        self.limits.max_jobs = most;
    }

    fn jobs(&self) -> impl Iterator<Item = JobId> {
        let retired = self.retired.iter().flat_map(Retired::jobs);
        self.mirrors.iter().flat_map(Member::jobs).chain(retired)
    }

    fn busy(&self) -> usize {
        self.jobs().count()
    }

    /// When [`advance`](Self::advance) has to be called next. `None`: not before something happens.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Moment> {
        match self.phase {
            Phase::Running => {
                let load = self.load();
                let may_start =
                    |it: &Member| load.has_room(it.connection()) && !self.waits(it.id());
                let next = |it: &Member| it.next_wakeup(may_start(it));
                self.mirrors.iter().filter_map(next).min()
            }
            Phase::Draining { until, .. } | Phase::Stopping { until, .. } => Some(until),
            Phase::Over => None,
        }
    }

    /// Whether this mirror waits for jobs of one that was replaced.
    fn waits(&self, id: MirrorId) -> bool {
        self.retired.iter().any(|it| it.has_heir(id))
    }

    fn load(&self) -> Load {
        let mut load = Load::new(self.limits.max_jobs);
        for mirror in &self.mirrors {
            load.add(mirror.connection(), mirror.load());
        }
        for retired in &self.retired {
            load.add(retired.connection(), retired.jobs().count());
        }
        load
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Running {
            self.start_jobs(now, effects);
            self.end_onepass(now, effects);
        }
        match self.phase {
            Phase::Draining { code, .. } | Phase::Stopping { code, .. } if self.busy() == 0 => {
                self.end(code, effects);
            }
            Phase::Draining { until, code } if until <= now => {
                effects.push(Effect::Report(Event::Stopping(self.busy())));
                effects.extend(self.jobs().map(Effect::Stop));
                self.phase = Phase::Stopping { until: now + LAST_GRACE, code };
            }
            Phase::Stopping { until, code } if until <= now => self.end(code, effects),
            Phase::Running | Phase::Draining { .. } | Phase::Stopping { .. } | Phase::Over => {}
        }
    }

    /// Starts what is due. Under a limit, who started something last comes last, so that none
    /// starves.
    fn start_jobs(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut load = self.load();
        while self.start_round(&mut load, now, effects) {}
    }

    /// Starts at most one job of each mirror. Whether there was one.
    fn start_round(&mut self, load: &mut Load, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let mut started = Vec::new();
        for &index in &self.turns {
            let Some(mirror) = self.mirrors.get_mut(index) else { continue };
            let waits = self.retired.iter().any(|it| it.has_heir(mirror.id()));
            let has_room = load.has_room(mirror.connection()) && !waits;
            let has_started = match mirror {
                Member::Built(mirror) => {
                    let job = has_room.then_some(JobId(self.next_job));
                    mirror.advance(job, now, effects)
                }
                Member::Scripted(mirror) => mirror.advance(has_room, now, effects),
            };
            if has_started {
                load.add(mirror.connection(), 1);
                self.pass.started(mirror.id());
                self.next_job += 1;
                started.push(index);
            }
        }
        let mut next = started.iter().peekable();
        self.turns.retain(|index| next.next_if_eq(&index).is_none());
        self.turns.extend_from_slice(&started);
        !started.is_empty()
    }

    fn end(&mut self, code: u8, effects: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        effects.push(Effect::Exit(code));
    }
}

#[cfg(test)]
mod tests;
