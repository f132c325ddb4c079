//! Record of what the syncs have done: counters, recent batches, and the starts of their states.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use mirror_core::{
    fs_event::MirrorId,
    input::ChildExit,
    job::{DirtyPath, Failure, Job, JobEnd, JobId, Outcome, Scope, Work},
    path::TreePath,
    queue::PathSet,
    time::Moment,
};

use super::{clock::WallClock, kept_paths::KeptPaths, kept_record::KeptRecord};
use crate::control::{
    request::BatchRecord,
    status::{SyncState, Totals},
};

/// Maximum number of recent batches of all syncs together.
const MAX_BATCHES: usize = 1000;

/// Maximum size of the paths of a batch that are kept, in bytes.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// Maximum size of the paths of recent batches that are kept to explain a path, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// Number of names of a batch that are listed.
const MAX_NAMES: usize = 5;

/// Record of all syncs.
#[derive(Debug, Default)]
pub(super) struct Activity {
    syncs: BTreeMap<MirrorId, SyncActivity>,
    running: HashMap<JobId, RunningBatch>,
    recent: VecDeque<RecentBatch>,
    /// Size of the paths in `recent`, in bytes.
    bytes: usize,
    batches: u64,
}

/// Record of one sync.
#[derive(Clone, Debug, Default)]
pub(super) struct SyncActivity {
    /// Name, by which the record is found again after a reload.
    pub(super) name: String,
    pub(super) totals: Totals,
    /// End of the last successful transfer, in seconds since the epoch.
    pub(super) last_success: Option<f64>,
    /// Exit code of the last program.
    pub(super) last_exit: Option<i32>,
    /// State, and its start in seconds since the epoch.
    pub(super) state: Option<(SyncState, f64)>,
    /// The numbers of its target at the end of the last batch.
    last_counted: TransferCounts,
}

/// Numbers of a target, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TransferCounts {
    /// Sent files.
    pub(super) files: u64,
    /// Sent bytes.
    pub(super) sent: u64,
    /// Deletions.
    pub(super) deleted: u64,
    /// Calls whose sent files are not known.
    pub(super) unknown_sent: u64,
    /// Calls whose deletions are not known.
    pub(super) unknown_deleted: u64,
}

impl TransferCounts {
    /// The difference since `before`. A new target begins with zero.
    const fn since(self, before: Self) -> Self {
        Self {
            files: self.files.saturating_sub(before.files),
            sent: self.sent.saturating_sub(before.sent),
            deleted: self.deleted.saturating_sub(before.deleted),
            unknown_sent: self.unknown_sent.saturating_sub(before.unknown_sent),
            unknown_deleted: self.unknown_deleted.saturating_sub(before.unknown_deleted),
        }
    }
}

#[derive(Debug)]
struct RunningBatch {
    mirror: MirrorId,
    started: f64,
    began: Moment,
    oldest: Option<Moment>,
    is_full: bool,
    count: usize,
    names: Vec<String>,
    paths: Arc<PathSet>,
}

#[derive(Debug)]
struct RecentBatch {
    record: KeptRecord,
    mirror: MirrorId,
    /// Its paths. `None` if they were dropped to save memory.
    paths: Option<KeptPaths>,
}

/// The end of a batch, as a record needs it.
struct BatchEnd {
    outcome: &'static str,
    code: Option<i32>,
    message: Option<String>,
}

impl RunningBatch {
    fn new(mirror: MirrorId, paths: Arc<PathSet>, clock: &WallClock) -> Self {
        let names = paths.iter().take(MAX_NAMES).map(|dirty| format!("{:#}", dirty.path));
        Self {
            mirror,
            started: clock.now(),
            began: clock.moment,
            oldest: None,
            is_full: paths.covers(&TreePath::root(), Scope::Tree),
            count: paths.len(),
            names: names.collect(),
            paths,
        }
    }
}

impl Activity {
    /// Sets the current syncs with their names. The record of a sync of the same name is continued.
    pub(super) fn set_syncs(&mut self, syncs: impl Iterator<Item = (MirrorId, String)>) {
        let mut before = std::mem::take(&mut self.syncs);
        for (id, name) in syncs {
            let same = before.iter().find(|(_, it)| it.name == name).map(|(id, _)| *id);
            let known = before.remove(&id).or_else(|| before.remove(&same?));
            let state = known.unwrap_or_default();
            self.syncs.insert(id, SyncActivity { name, ..state });
        }
    }

    pub(super) fn sync(&self, mirror: MirrorId) -> Option<&SyncActivity> {
        self.syncs.get(&mirror)
    }

    /// Returns the bytes that a sync had sent before its running batch. `None`: no batch runs.
    pub(super) fn sent_before_batch(&self, mirror: MirrorId) -> Option<u64> {
        let is_running = self.running.values().any(|batch| batch.mirror == mirror);
        self.syncs.get(&mirror).filter(|_| is_running).map(|sync| sync.last_counted.sent)
    }

    /// Notes the state of a sync.
    pub(super) fn set_state(&mut self, mirror: MirrorId, state: SyncState, clock: &WallClock) {
        let Some(sync) = self.syncs.get_mut(&mirror) else { return };
        if sync.state.is_none_or(|(before, _)| before != state) {
            sync.state = Some((state, clock.now()));
        }
    }

    /// Notes the start of a job of a built-in target.
    pub(super) fn job_started(&mut self, job: &Job, clock: &WallClock) {
        let paths = match &job.work {
            Work::Full { .. } => Arc::new([DirtyPath::root_tree()].iter().collect()),
            Work::Batch { paths, .. } => Arc::clone(paths),
            Work::Large { path, .. } => {
                let file = DirtyPath { path: path.clone(), scope: Scope::Entry };
                Arc::new([file].iter().collect())
            }
        };
        let batch = RunningBatch::new(job.mirror, paths, clock);
        self.running.insert(job.id, RunningBatch { oldest: job.oldest, ..batch });
    }

    /// Notes the start of a child of a script, for these paths.
    pub(super) fn child_started(
        &mut self,
        job: JobId,
        mirror: MirrorId,
        paths: PathSet,
        clock: &WallClock,
    ) {
        self.running.insert(job, RunningBatch::new(mirror, Arc::new(paths), clock));
    }

    /// Notes the end of a job. `counts` are the present numbers of the target of a mirror. Returns
    /// its mirror.
    pub(super) fn job_ended(
        &mut self,
        end: &JobEnd,
        counts: impl FnOnce(MirrorId) -> Option<TransferCounts>,
        clock: &WallClock,
    ) -> Option<MirrorId> {
        let mirror = self.ended(end.job, batch_end(&end.outcome), clock)?;
        if let Some(sync) = self.syncs.get_mut(&mirror)
            && let Some(counts) = counts(mirror)
        {
            let since = counts.since(std::mem::replace(&mut sync.last_counted, counts));
            sync.totals.sent_files += since.files;
            sync.totals.sent_bytes += since.sent;
            sync.totals.deleted += since.deleted;
            if let Some(last) = self.recent.back_mut() {
                let is_sent_known = since.unknown_sent == 0 || since.files > 0;
                let is_deleted_known = since.unknown_deleted == 0 || since.deleted > 0;
                last.record.bare.sent_bytes = is_sent_known.then_some(since.sent);
                last.record.bare.deleted = is_deleted_known.then_some(since.deleted);
            }
        }
        Some(mirror)
    }

    /// Notes the exit of a child of a script. Returns its mirror.
    pub(super) fn child_exited(
        &mut self,
        job: JobId,
        exit: &ChildExit,
        clock: &WallClock,
    ) -> Option<MirrorId> {
        let end = match exit {
            ChildExit::Code(0) => BatchEnd { outcome: "done", code: Some(0), message: None },
            ChildExit::Code(code) => {
                BatchEnd { outcome: "failed", code: Some(*code), message: None }
            }
            ChildExit::Signal(signal) => {
                let message = Some(format!("killed by signal {signal}"));
                BatchEnd { outcome: "failed", code: None, message }
            }
            ChildExit::Partial(failed) => partial_end(failed),
        };
        self.ended(job, end, clock)
    }

    fn ended(&mut self, job: JobId, end: BatchEnd, clock: &WallClock) -> Option<MirrorId> {
        let batch = self.running.remove(&job)?;
        let now = clock.now();
        let duration = clock.moment.since(batch.began).as_secs_f64();
        let lag = batch.oldest.map(|oldest| clock.moment.since(oldest).as_secs_f64());
        let is_done = end.outcome == "done";
        let sync = self.syncs.entry(batch.mirror).or_default();
        let code = end.code.map_or_else(|| end.outcome.to_owned(), |code| code.to_string());
        *sync.totals.transfers.entry(code).or_default() += 1;
        sync.totals.batch_duration.add(duration);
        sync.last_exit = end.code.or(sync.last_exit);
        if is_done {
            sync.last_success = Some(now);
            if let Some(lag) = lag {
                sync.totals.lag.add(lag);
            }
        }
        self.batches += 1;
        let record = BatchRecord {
            number: self.batches,
            sync: sync.name.clone(),
            started: batch.started,
            duration,
            lag,
            is_full: batch.is_full,
            paths: batch.count,
            names: batch.names,
            outcome: end.outcome.to_owned(),
            code: end.code,
            message: end.message,
            sent_bytes: None,
            deleted: None,
        };
        let paths = KeptPaths::new(&batch.paths, MAX_BATCH_BYTES);
        let record = KeptRecord::new(record);
        self.keep(RecentBatch { record, mirror: batch.mirror, paths });
        Some(batch.mirror)
    }

    fn keep(&mut self, batch: RecentBatch) {
        let size = |paths: Option<KeptPaths>| paths.map_or(0, |paths| paths.memory());
        self.bytes += batch.paths.as_ref().map_or(0, KeptPaths::memory);
        self.recent.push_back(batch);
        if self.recent.len() > MAX_BATCHES {
            let oldest = self.recent.pop_front();
            self.bytes -= size(oldest.and_then(|it| it.paths));
        }
        let mut all = self.recent.iter_mut();
        while self.bytes > MAX_BYTES
            && let Some(oldest) = all.next()
        {
            self.bytes -= size(oldest.paths.take());
        }
    }

    /// Returns the recent batches of these mirrors, the latest `limit` of each, oldest first.
    pub(super) fn recent(&self, mirrors: &[MirrorId], limit: usize) -> Vec<BatchRecord> {
        let mut left: BTreeMap<_, _> = mirrors.iter().map(|&id| (id, limit)).collect();
        let mut found = Vec::new();
        for batch in self.recent.iter().rev() {
            if let Some(left @ 1..) = left.get_mut(&batch.mirror) {
                *left -= 1;
                found.push(batch.record.record());
            }
        }
        found.reverse();
        found
    }

    /// Returns the latest batches of a mirror that included this path, latest first.
    pub(super) fn batches_of(
        &self,
        mirror: MirrorId,
        path: &TreePath,
        limit: usize,
    ) -> Vec<BatchRecord> {
        let includes = |batch: &&RecentBatch| {
            let paths = batch.paths.as_ref();
            batch.mirror == mirror && paths.is_some_and(|it| it.covers(path))
        };
        let found = self.recent.iter().rev().filter(includes).take(limit);
        found.map(|batch| batch.record.record()).collect()
    }
}

fn batch_end(outcome: &Outcome) -> BatchEnd {
    match outcome {
        Outcome::Done => BatchEnd { outcome: "done", code: Some(0), message: None },
        Outcome::Split { failed, .. } if failed.is_empty() => {
            BatchEnd { outcome: "done", code: Some(0), message: None }
        }
        Outcome::Partial(failed) | Outcome::Split { failed, .. } => partial_end(failed),
        Outcome::Retry(failure) | Outcome::SourceGone(failure) | Outcome::Fatal(failure, _) => {
            failed_end("failed", failure)
        }
        Outcome::HookFailed { failure, .. } => failed_end("hook_failed", failure),
    }
}

fn failed_end(outcome: &'static str, failure: &Failure) -> BatchEnd {
    BatchEnd { outcome, code: failure.code, message: Some(failure.message.clone()) }
}

fn partial_end(failed: &[(DirtyPath, Failure)]) -> BatchEnd {
    let first = failed.first();
    let more = failed.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message =
        first.map(|(dirty, failure)| format!("{}: {}{more}", dirty.path, failure.message));
    BatchEnd { outcome: "partial", code: first.and_then(|(_, it)| it.code), message }
}
