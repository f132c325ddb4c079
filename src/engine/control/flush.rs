//! Flushes that wait: first for the watcher, then for the fleet.

use std::{collections::BTreeMap, mem, time::Duration};

use mirror_core::{
    flush::{FlushEnd, FlushObstacle, FlushPath, FlushRequest},
    fs_event::MirrorId,
    input::Input,
    time::Moment,
};

use super::{answer, labels};
use crate::{
    control::{
        frame::{ErrorKind, RequestError},
        request::{FlushResult, Selection, SyncObstacle},
        server::AnswerSender,
    },
    engine::{Engine, Message},
    report::status::first_line,
};

/// Maximum number of flushes that wait.
const MAX_FLUSHES: usize = 256;

/// Flushes that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct PendingFlushes {
    next: u64,
    pending: BTreeMap<u64, PendingFlush>,
}

#[derive(Debug)]
struct PendingFlush {
    reply: AnswerSender,
    /// The names of its syncs: a reload may remove one.
    names: BTreeMap<MirrorId, String>,
    /// The request to the fleet, until the watcher has reported all earlier changes.
    request: Option<FlushRequest>,
}

impl Engine {
    pub(super) fn begin_flush(
        &mut self,
        selections: Vec<Selection>,
        timeout: Option<f64>,
        reply: AnswerSender,
    ) {
        match self.flush_request(selections, timeout) {
            Ok(request) => {
                let id = request.id;
                let all = labels(&self.registry);
                let names = request.paths.iter().map(|it| it.mirror);
                let names = names.map(|id| (id, all.get(&id).cloned().unwrap_or_default()));
                let names: BTreeMap<_, _> = names.collect();
                let syncs = names.keys().filter_map(|&id| self.registry.get(id));
                let sources = syncs.map(|sync| sync.source.path().to_owned()).collect();
                let inbox = self.inbox.clone();
                reply.on_hangup(move || inbox.send(Message::FlushAbandoned(id)));
                let pending = PendingFlush { reply, names, request: Some(request) };
                self.control.flushes.pending.insert(id, pending);
                self.watch.barrier(id, sources);
            }
            Err(error) => answer::<FlushResult>(reply, Err(error)),
        }
    }

    fn flush_request(
        &mut self,
        selections: Vec<Selection>,
        timeout: Option<f64>,
    ) -> Result<FlushRequest, RequestError> {
        if self.control.flushes.pending.len() >= MAX_FLUSHES {
            return Err(RequestError::new(ErrorKind::Busy, "too many flushes are waiting"));
        }
        let timeout = timeout.map(Duration::try_from_secs_f64).transpose().map_err(|error| {
            RequestError::new(ErrorKind::InvalidRequest, format!("invalid timeout: {error}"))
        })?;
        let mut paths = Vec::new();
        for selection in selections {
            let selected = self.select(&selection)?;
            paths.extend(selected.into_iter().map(|(mirror, path)| FlushPath { mirror, path }));
        }
        let flushes = &mut self.control.flushes;
        flushes.next += 1;
        let id = flushes.next;
        let until = timeout.map(|timeout| self.now() + timeout);
        Ok(FlushRequest { id, paths, until })
    }

    /// Handles that the watcher has reported everything that happened before a flush.
    pub(in crate::engine) fn barrier_passed(&mut self, id: u64) -> Option<Input> {
        self.control.flushes.pending.get_mut(&id)?.request.take().map(Input::Flush)
    }

    /// Lets the flushes of these mirrors wait for their successors.
    pub(in crate::engine) fn hand_over_flushes(
        &mut self,
        successors: &BTreeMap<MirrorId, Vec<MirrorId>>,
    ) {
        let pending = self.control.flushes.pending.values_mut();
        for request in pending.filter_map(|flush| flush.request.as_mut()) {
            name_successors(request, successors);
        }
        self.fleet.hand_over_flushes(successors, self.now());
    }

    /// Answers the flushes that do not wait any longer for the watcher: their time is over, or they
    /// have none, and a source does not answer.
    pub(in crate::engine) fn end_overdue_flushes(&mut self) {
        let now = self.now();
        let Self { control, fleet, .. } = self;
        let why_silent = |id: &MirrorId| {
            let source = fleet.member(*id)?.source();
            source.why_unavailable().filter(|_| source.is_silent())
        };
        let is_overdue = |flush: &PendingFlush| match flush.request {
            None => false,
            Some(FlushRequest { until: Some(until), .. }) => until <= now,
            Some(FlushRequest { until: None, .. }) => {
                flush.names.keys().any(|id| why_silent(id).is_some())
            }
        };
        let pending = &mut control.flushes.pending;
        let overdue: Vec<_> = pending.extract_if(.., |_, flush| is_overdue(flush)).collect();
        for (_, PendingFlush { reply, names, .. }) in overdue {
            let obstacle = |(id, sync): (&MirrorId, &String)| SyncObstacle {
                sync: sync.clone(),
                message: why_silent(id).map_or_else(
                    || "the changes before the request have not been read yet".into(),
                    |why| format!("source unavailable: {why}"),
                ),
            };
            let obstacles = names.iter().map(obstacle).collect();
            let syncs = names.into_values().collect();
            answer(reply, Ok(FlushResult { is_complete: false, syncs, obstacles }));
        }
    }

    /// Returns the time at which [`end_overdue_flushes`](Self::end_overdue_flushes) is due.
    pub(in crate::engine) fn next_flush_end(&self) -> Option<Moment> {
        self.control.flushes.pending.values().filter_map(PendingFlush::until).min()
    }

    /// Drops a flush whose client does not wait any more.
    pub(in crate::engine) fn abandon_flush(&mut self, id: u64) {
        self.control.flushes.pending.remove(&id);
        self.fleet.cancel_flush(id);
    }

    /// Answers a flush.
    pub(in crate::engine) fn end_flush(&mut self, end: FlushEnd) {
        let Some(flush) = self.control.flushes.pending.remove(&end.id) else { return };
        let PendingFlush { reply, names, .. } = flush;
        let present = labels(&self.registry);
        let obstacles = end.obstacles.into_iter().map(|(id, obstacle)| {
            let name = names.get(&id).or_else(|| present.get(&id));
            SyncObstacle { sync: name.cloned().unwrap_or_default(), message: describe(&obstacle) }
        });
        let mut obstacles: Vec<_> = obstacles.collect();
        // Several paths of one sync can have the same one.
        obstacles.dedup();
        let syncs = names.into_values().collect();
        answer(reply, Ok(FlushResult { is_complete: obstacles.is_empty(), syncs, obstacles }));
    }
}

impl PendingFlush {
    /// The end of its time, while it waits for the watcher.
    fn until(&self) -> Option<Moment> {
        self.request.as_ref()?.until
    }
}

/// Names the successors of these mirrors in a request instead of them.
fn name_successors(request: &mut FlushRequest, successors: &BTreeMap<MirrorId, Vec<MirrorId>>) {
    let follow = |path: FlushPath| match successors.get(&path.mirror) {
        None => vec![path],
        Some(ids) => ids.iter().map(|&mirror| FlushPath { mirror, ..path.clone() }).collect(),
    };
    request.paths = mem::take(&mut request.paths).into_iter().flat_map(follow).collect();
}

/// Describes an obstacle, as a sentence without a full stop.
fn describe(obstacle: &FlushObstacle) -> String {
    match obstacle {
        FlushObstacle::Unfinished(None) => "a full transfer is not finished".into(),
        FlushObstacle::Unfinished(Some(1)) => "1 path is not on the target yet".into(),
        FlushObstacle::Unfinished(Some(count)) => {
            format!("{count} paths are not on the target yet")
        }
        FlushObstacle::SettingUp => "the watches are being set up".into(),
        FlushObstacle::SourceGone(why) => format!("source unavailable: {why}"),
        FlushObstacle::LinkDown => "the tunnel to the target is down".into(),
        FlushObstacle::TransferFailed(why) => {
            format!("the last transfer failed, and is retried: {}", first_line(why))
        }
        FlushObstacle::PathsFailed { count, first, reason } => {
            let reason =
                reason.as_ref().map_or(String::new(), |why| format!(": {}", first_line(why)));
            match count {
                1 => format!("1 path fails: {first}{reason}"),
                _ => format!("{count} paths fail, such as {first}{reason}"),
            }
        }
        FlushObstacle::HookFailed(why) => {
            format!("onSynced failed, and the sync waits for an operator: {}", first_line(why))
        }
        FlushObstacle::DeletionsHeld(count) => {
            format!("{count} deletions are held for an operator")
        }
        FlushObstacle::Paused => "the sync is paused".into(),
        FlushObstacle::Removed => "the sync was removed from the configuration".into(),
        FlushObstacle::Exiting => "the daemon is exiting".into(),
    }
}

#[cfg(test)]
mod tests {
    use mirror_core::path::TreePath;

    use super::*;

    #[test]
    fn a_request_that_waits_for_the_watcher_follows_a_reload() {
        let path = |mirror| FlushPath { mirror: MirrorId(mirror), path: TreePath::root() };
        let mut request =
            FlushRequest { id: 1, paths: vec![path(0), path(1), path(2)], until: None };
        let successors = [(0, vec![3]), (1, vec![4, 5])];
        let successors = successors
            .map(|(old, new)| (MirrorId(old), new.into_iter().map(MirrorId).collect::<Vec<_>>()));
        name_successors(&mut request, &successors.into());
        assert_eq!(request.paths, [path(3), path(4), path(5), path(2)]);
    }
}
