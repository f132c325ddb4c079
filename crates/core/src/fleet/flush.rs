//! Flush: a barrier over queues and transfers.
//!
//! Everything that was reported before the request is made due at once, and the request is answered
//! when it is on the targets, or when something is in the way that does not pass by itself.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::Fleet;
use crate::{
    effect::Effect,
    flush::{FlushEnd, FlushObstacle, FlushPath, FlushRequest},
    fs_event::MirrorId,
    mirror::{FlushMark, FlushProgress},
    time::Moment,
};

/// The interval of retries while a flush is patient.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Flush {
    id: u64,
    until: Option<Moment>,
    /// The next retry of what is in the way. `None`: nothing is, or nobody is patient.
    retry_at: Option<Moment>,
    marks: BTreeMap<MirrorId, Vec<FlushMark>>,
    obstacles: Vec<(MirrorId, FlushObstacle)>,
}

impl Flush {
    /// Drops what is done, and notes what is in the way. Returns true if the request is to be
    /// answered.
    fn update(&mut self, fleet: &mut Fleet, now: Moment) -> bool {
        let is_over = self.until.is_none_or(|until| until <= now);
        let is_running = fleet.is_running();
        let is_retry_due = self.retry_at.is_some_and(|at| at <= now);
        let mut is_blocked = false;
        let Self { marks, obstacles, .. } = self;
        marks.retain(|&id, marks| {
            marks.retain_mut(|mark| {
                let progress = match fleet.member_mut(id) {
                    _ if !is_running => FlushProgress::Blocked(FlushObstacle::Exiting),
                    None => FlushProgress::Blocked(FlushObstacle::Removed),
                    Some(member) => member.flush_progress(mark, now),
                };
                match progress {
                    FlushProgress::Done => false,
                    FlushProgress::Blocked(obstacle) if is_over || !obstacle.may_pass() => {
                        obstacles.push((id, obstacle));
                        false
                    }
                    FlushProgress::Waiting(obstacle) if is_over && self.until.is_some() => {
                        obstacles.push((id, obstacle));
                        false
                    }
                    FlushProgress::Blocked(_) => {
                        is_blocked = true;
                        if let Some(member) = fleet.member_mut(id).filter(|_| is_retry_due) {
                            member.retry_for_flush(now);
                        }
                        true
                    }
                    FlushProgress::Waiting(_) => true,
                }
            });
            !marks.is_empty()
        });
        if !is_blocked {
            self.retry_at = None;
        } else if is_retry_due || self.retry_at.is_none() {
            self.retry_at = Some(now + RETRY_INTERVAL);
        }
        self.marks.is_empty()
    }
}

impl Fleet {
    /// Begins a flush. Call it after the watcher has reported all earlier changes.
    pub(super) fn begin_flush(&mut self, request: FlushRequest, now: Moment) {
        let FlushRequest { id, paths, until } = request;
        let mut flush =
            Flush { id, until, retry_at: None, marks: BTreeMap::new(), obstacles: Vec::new() };
        for FlushPath { mirror, path } in paths {
            match self.member_mut(mirror) {
                Some(member) => {
                    let mark = member.begin_flush(path, now);
                    flush.marks.entry(mirror).or_default().push(mark);
                }
                None => flush.obstacles.push((mirror, FlushObstacle::Removed)),
            }
        }
        self.flushes.push(flush);
    }

    /// Answers the flushes that are done or can't be.
    pub(super) fn end_flushes(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.flushes.is_empty() {
            return;
        }
        for mut flush in core::mem::take(&mut self.flushes) {
            if flush.update(self, now) {
                let Flush { id, obstacles, .. } = flush;
                effects.push(Effect::Flushed(FlushEnd { id, obstacles }));
            } else {
                self.flushes.push(flush);
            }
        }
    }

    /// Lets the flushes of these mirrors, which were just [replaced](Self::replace), wait for the
    /// mirrors that bring the same source to the same target now.
    pub fn hand_over_flushes(
        &mut self,
        successors: &BTreeMap<MirrorId, Vec<MirrorId>>,
        now: Moment,
    ) {
        for mut flush in core::mem::take(&mut self.flushes) {
            for (old, successors) in successors {
                let Some(marks) = flush.marks.remove(old) else { continue };
                for &successor in successors {
                    let Some(member) = self.member_mut(successor) else { continue };
                    let paths = marks.iter().map(|mark| mark.path().clone());
                    let again: Vec<_> = paths.map(|path| member.begin_flush(path, now)).collect();
                    flush.marks.entry(successor).or_default().extend(again);
                }
            }
            self.flushes.push(flush);
        }
    }

    /// Drops a flush whose answer nobody waits for any more.
    pub fn cancel_flush(&mut self, id: u64) {
        self.flushes.retain(|flush| flush.id != id);
    }

    /// The time at which the patience of a flush ends, or something is retried for it.
    pub(super) fn next_flush_step(&self) -> Option<Moment> {
        self.flushes.iter().flat_map(|flush| [flush.until, flush.retry_at]).flatten().min()
    }
}
