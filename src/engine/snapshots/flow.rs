//! Flow of snapshots through the engine.

use std::{
    io, mem,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use mirror_core::{
    fleet::Member,
    fs_event::MirrorId,
    input::Input,
    job::{DirtyPath, Job, Scope},
    mirror::{Availability, Mirror, SyncMember},
    path::TreePath,
    queue::PathSet,
    snapshot::{SourceComparison, Unconfirmed},
    time::Moment,
};

use super::{
    SnapshotHealth, SnapshotPhase, SourceSnapshots,
    decision::{self, PresentFacts, SnapshotTarget},
    work::{self, Compared, ReadSource, SnapshotMessage, SnapshotResult},
};
use crate::{
    engine::{Engine, sync::SyncInstance},
    snapshot::{self, Footer, JournalEntry, NewRecords, PreparedSnapshot, StoredTarget},
};

/// While jobs run, a snapshot waits for this number of intervals.
const BUSY_FACTOR: u32 = 10;

/// Number from which barriers of the watcher belong to snapshots.
const FIRST_BARRIER: u64 = 1 << 63;

/// Reason for a full transfer of a sync that a reload has added or replaced.
const NEW_SYNC: &str = "the sync is new";

impl Engine {
    /// Handles that a mirror asks for a comparison of its source with the last snapshot.
    pub(in crate::engine) fn request_comparison(&mut self, mirror: MirrorId) {
        let (Some(snapshots), Some(instance)) = (&mut self.snapshots, self.registry.get(mirror))
        else {
            return self.answer_comparison(mirror, "there is no stateDir");
        };
        let path = instance.source.path();
        let source = snapshots.source_mut(path);
        if source.is_compared {
            // It was added or replaced by a reload. Until now, nobody has watched for it.
            source.touched.insert(&TreePath::root(), Scope::Tree);
            let (thread, target) = (snapshots.thread(path), instance.snapshot_target(mirror));
            let started = thread.start(move |_| {
                work::outdate_mark(&target);
                SnapshotResult::Outdated(mirror)
            });
            return started.unwrap_or_else(|_| self.answer_comparison(mirror, NEW_SYNC));
        }
        source.waiting.push(mirror);
    }

    fn answer_comparison(&mut self, mirror: MirrorId, reason: &str) {
        let unknown = SourceComparison::unknown(reason);
        self.next_inputs.push(Input::Compared(mirror, unknown));
    }

    /// Notes that a job begins, before it changes the target.
    pub(in crate::engine) fn note_snapshot_job(&mut self, job: &Job) {
        let Self { snapshots, registry, .. } = self;
        let Some((snapshots, instance)) = snapshots.as_mut().zip(registry.get(job.mirror)) else {
            return;
        };
        if instance.has_snapshots {
            snapshots.note_job(instance.source.path(), &instance.target_text(), job);
        }
    }

    /// Notes that the state of this mirror may have changed.
    pub(in crate::engine) fn touch_snapshots(&mut self, mirror: MirrorId) {
        if let (Some(snapshots), Some(instance)) = (&mut self.snapshots, self.registry.get(mirror))
            && instance.has_snapshots
        {
            let path = instance.source.path();
            snapshots.attention.insert(path.to_owned());
            // The end of a job changes what is known of the target.
            snapshots.source_mut(path).has_changed = true;
        }
    }

    /// Does what is due for the snapshots.
    pub(in crate::engine) fn step_snapshots(&mut self) {
        let (now, is_running) = (self.now(), self.fleet.is_running());
        let Some(snapshots) = &mut self.snapshots else { return };
        let mut sources = mem::take(&mut snapshots.attention);
        let is_due = |source: &SourceSnapshots| source.wakeup.is_some_and(|at| at <= now);
        let due = snapshots.sources.iter().filter(|(_, source)| is_due(source));
        sources.extend(due.map(|(path, _)| path.clone()));
        for path in sources.into_iter().filter(|_| is_running) {
            self.start_comparison(&path);
            let due = self.snapshot_due(&path);
            if due.is_some_and(|due| due <= now) {
                self.start_snapshot(&path);
            }
            if let Some(snapshots) = &mut self.snapshots {
                snapshots.source_mut(&path).wakeup = due.filter(|&due| due > now);
            }
        }
    }

    /// Returns the time at which [`step_snapshots`](Self::step_snapshots) is due.
    pub(in crate::engine) fn next_snapshot(&self) -> Option<Moment> {
        let snapshots = self.snapshots.as_ref()?;
        if !snapshots.attention.is_empty() {
            return Some(Moment::ORIGIN);
        }
        let wakeups = |source: &SourceSnapshots| [source.wakeup, source.notes_due];
        snapshots.sources.values().flat_map(wakeups).flatten().min()
    }

    /// Returns the time of the next snapshot of a source. `None`: not before the next change. While
    /// jobs run, it is later.
    fn snapshot_due(&self, path: &Path) -> Option<Moment> {
        let snapshots = self.snapshots.as_ref()?;
        let source = snapshots.sources.get(path)?;
        let is_outdated = source.has_changed && source.is_compared;
        let is_idle = matches!(source.phase, SnapshotPhase::Idle);
        let mirrors = || self.members_of(path).filter_map(|(id, _)| self.fleet.member(id));
        let mut built_in = mirrors().filter_map(Member::built_in);
        if !is_outdated || !is_idle || !built_in.any(Mirror::has_known_target) {
            return None;
        }
        let is_busy = mirrors().any(|mirror| mirror.is_busy());
        let wait = if is_busy { snapshots.interval * BUSY_FACTOR } else { Duration::ZERO };
        Some(source.next_write + wait)
    }

    /// Iterates over the syncs of this source that have snapshots.
    pub(super) fn members_of(
        &self,
        path: &Path,
    ) -> impl Iterator<Item = (MirrorId, &SyncInstance)> {
        let is_member = move |it: &SyncInstance| it.has_snapshots && it.source.path() == path;
        self.registry.iter().filter(move |(_, instance)| is_member(instance))
    }

    /// Returns the targets of this source.
    pub(super) fn snapshot_targets(&self, path: &Path) -> Vec<SnapshotTarget> {
        self.members_of(path).map(|(id, instance)| instance.snapshot_target(id)).collect()
    }

    /// Returns what a thread needs to read this source. `None` if no sync has it.
    pub(super) fn read_source(&self, path: &Path) -> Option<ReadSource> {
        let (_, first) = self.members_of(path).next()?;
        let skips: Vec<_> =
            self.members_of(path).map(|(id, instance)| instance.watch_tree(id).skip).collect();
        let skip = Arc::new(move |path: &TreePath| skips.iter().all(|skip| skip(path)));
        Some(ReadSource { root: Arc::clone(&first.source), skip })
    }

    /// Begins the snapshots of a source that was missing at the start, as soon as it is there: its
    /// mirrors transfer everything, and ask for no comparison.
    fn begin_without_comparison(&mut self, path: &Path) {
        let mirror = |(id, _)| self.fleet.member(id).and_then(Member::built_in);
        let is_begun = |it: &Mirror| it.source().is_covered() && it.uses_snapshots();
        if !self.members_of(path).filter_map(mirror).any(is_begun) {
            return;
        }
        let Some(snapshots) = &mut self.snapshots else { return };
        let (boot, log) = (snapshots.boot.clone(), snapshots.log.clone());
        let source = snapshots.source_mut(path);
        source.is_compared = true;
        source.touch([DirtyPath::root_tree()].iter().collect());
        source.note(&[JournalEntry::Opened { boot }], &log);
    }

    /// Compares a source as soon as all of its mirrors are watched or can't be.
    fn start_comparison(&mut self, path: &Path) {
        let source = self.snapshots.as_ref().and_then(|snapshots| snapshots.sources.get(path));
        let is_covering = |id| {
            let member = self.fleet.member(id);
            member.is_some_and(|it| *it.source().availability() == Availability::Covering)
        };
        if source.is_none_or(|source| source.is_compared)
            || self.members_of(path).any(|(id, _)| is_covering(id))
        {
            return;
        }
        if source.is_some_and(|source| source.waiting.is_empty()) {
            return self.begin_without_comparison(path);
        }
        let (mut targets, read) = (self.snapshot_targets(path), self.read_source(path));
        let Some(snapshots) = &mut self.snapshots else { return };
        let (is_full, thread) = (snapshots.is_full, snapshots.thread(path));
        let source = snapshots.source_mut(path);
        let waiting = mem::take(&mut source.waiting);
        source.is_compared = true;
        source.phase = SnapshotPhase::Comparing;
        targets.retain(|target| waiting.contains(&target.mirror));
        let started = match read {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(read) => thread.start(move |thread| {
                SnapshotResult::Compared(thread.compare(&read, &targets, is_full))
            }),
        };
        if let Err(error) = started {
            source.phase = SnapshotPhase::Idle;
            let reason = format!("the source can't be compared: {error}");
            for mirror in waiting {
                self.answer_comparison(mirror, &reason);
            }
        }
    }

    /// Handles the result of a thread.
    pub(in crate::engine) fn handle_snapshot(&mut self, message: SnapshotMessage) {
        let SnapshotMessage { source: path, result } = message;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.attention.insert(path.clone());
            // The mounts were read again.
            snapshots.source_mut(&path).outdate_notes();
        }
        match result {
            SnapshotResult::Outdated(mirror) => self.answer_comparison(mirror, NEW_SYNC),
            SnapshotResult::Compared(compared) => self.end_comparison(&path, compared),
            SnapshotResult::Read(Ok(new)) => self.wait_for_watcher(&path, new),
            SnapshotResult::Read(Err(error)) | SnapshotResult::Prepared(Err(error)) => {
                self.fail_snapshot(&path, &error);
            }
            SnapshotResult::Prepared(Ok((prepared, footer))) => {
                self.commit_snapshot(&path, prepared, footer);
            }
            SnapshotResult::Marked => {
                if let Some(snapshots) = &mut self.snapshots {
                    snapshots.source_mut(&path).phase = SnapshotPhase::Idle;
                }
            }
        }
    }

    fn end_comparison(&mut self, path: &Path, compared: Result<Compared, String>) {
        let (now, targets) = (self.now(), self.snapshot_targets(path));
        let Some(snapshots) = &mut self.snapshots else { return };
        let (boot, log) = (snapshots.boot.clone(), snapshots.log.clone());
        let source = snapshots.source_mut(path);
        source.phase = SnapshotPhase::Idle;
        let Compared { answers, new, footer } = match compared {
            Ok(compared) => compared,
            Err(reason) => {
                source.fail(now);
                let mirrors = targets.into_iter().map(|target| target.mirror);
                mirrors.for_each(|mirror| self.answer_comparison(mirror, &reason));
                return;
            }
        };
        source.touch(new.unsettled.clone());
        source.note(&[JournalEntry::Opened { boot }], &log);
        let unchanged = SourceComparison::Differences(Vec::new());
        source.footer.clone_from(&footer);
        // The present snapshot is as good as a new one, if nothing has changed.
        if answers.iter().any(|(_, comparison)| *comparison != unchanged) {
            source.fresh = Some(new);
            source.has_changed = true;
        }
        for (mirror, comparison) in answers {
            if let SourceComparison::Differences(differences) = &comparison
                && let Some(instance) = self.registry.get(mirror)
            {
                let name = instance.target_text();
                let mut states = footer.iter().flat_map(|footer| &footer.targets);
                let state = states.find(|state| state.target == name);
                let taken = footer.as_ref().map_or(0, |footer| footer.taken);
                let since = UNIX_EPOCH + Duration::from_secs(taken);
                instance.resume(since, differences, state.and_then(|state| state.entries));
            }
            self.next_inputs.push(Input::Compared(mirror, comparison));
        }
    }

    /// Returns true if the present snapshot knows what a new one would know.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        let source = self.snapshots.as_ref().and_then(|it| it.sources.get(path));
        let Some((source, footer)) = source.and_then(|it| Some((it, it.footer.as_ref()?))) else {
            return false;
        };
        let states =
            self.snapshot_targets(path).into_iter().map(|it| self.target_state(path, &it, ""));
        let is_equal = |(one, other): (&StoredTarget, &StoredTarget)| {
            (&one.target, &one.settings, &one.unconfirmed, &one.written)
                == (&other.target, &other.settings, &other.unconfirmed, &other.written)
        };
        let states: Vec<_> = states.collect();
        source.touched.is_empty()
            && source.fresh.is_none()
            && states.len() == footer.targets.len()
            && states.iter().zip(&footer.targets).all(is_equal)
    }

    /// Returns the present state of a target, for a snapshot with this mark.
    fn target_state(&self, path: &Path, target: &SnapshotTarget, mark: &str) -> StoredTarget {
        let mirror = self.fleet.member(target.mirror).and_then(Member::built_in);
        let unconfirmed =
            mirror.map_or(Unconfirmed::Everything { written: Vec::new() }, Mirror::unconfirmed);
        let snapshots = self.snapshots.as_ref();
        let previous = snapshots.and_then(|it| it.sources.get(path)?.footer.as_ref());
        decision::target_state(target, unconfirmed, previous, mark)
    }

    /// Starts the next snapshot of a source.
    fn start_snapshot(&mut self, path: &Path) {
        let now = self.now();
        self.take_touched(path);
        if self.is_current(path) {
            if let Some(snapshots) = &mut self.snapshots {
                snapshots.source_mut(path).has_changed = false;
            }
            return;
        }
        let (targets, read) = (self.snapshot_targets(path), self.read_source(path));
        let Some((snapshots, read)) = self.snapshots.as_mut().zip(read) else { return };
        let thread = snapshots.thread(path);
        let source = snapshots.source_mut(path);
        let Some(touched) = source.begin(now, &targets) else { return self.start_barrier(path) };
        let started =
            thread.start(move |thread| SnapshotResult::Read(thread.read(&read, &touched)));
        if let Err(error) = started {
            self.fail_snapshot(path, &error);
        }
    }

    /// Takes what was reported to change since the last snapshot.
    pub(super) fn take_touched(&mut self, path: &Path) {
        let mirrors: Vec<_> = self.members_of(path).map(|(id, _)| id).collect();
        let Some(snapshots) = &mut self.snapshots else { return };
        let source = snapshots.source_mut(path);
        for mirror in mirrors {
            let touched = self.fleet.mirror_mut(mirror).map(Mirror::take_touched);
            source.touch(touched.unwrap_or_default());
        }
    }

    fn wait_for_watcher(&mut self, path: &Path, new: NewRecords) {
        let Some(snapshots) = &mut self.snapshots else { return };
        let source = snapshots.source_mut(path);
        source.touch(new.unsettled.clone());
        source.has_changed |= !new.unsettled.is_empty();
        source.phase = SnapshotPhase::AtBarrier(new);
        self.start_barrier(path);
    }

    fn start_barrier(&mut self, path: &Path) {
        let Some(snapshots) = &mut self.snapshots else { return };
        snapshots.next_barrier += 1;
        snapshots.barriers.insert(snapshots.next_barrier, path.to_owned());
        self.watch.barrier(FIRST_BARRIER + snapshots.next_barrier, [path.to_owned()].into());
    }

    /// Handles a barrier. Returns false if it is not one of the snapshots.
    pub(in crate::engine) fn snapshot_barrier_passed(&mut self, id: u64) -> bool {
        let Some(id) = id.checked_sub(FIRST_BARRIER) else { return false };
        let path = self.snapshots.as_mut().and_then(|snapshots| snapshots.barriers.remove(&id));
        if let Some(path) = path {
            self.write_snapshot(&path);
        }
        true
    }

    fn write_snapshot(&mut self, path: &Path) {
        let targets = self.snapshot_targets(path);
        let Some(snapshots) = &mut self.snapshots else { return };
        let thread = snapshots.thread(path);
        let source = snapshots.source_mut(path);
        let SnapshotPhase::AtBarrier(new) = mem::replace(&mut source.phase, SnapshotPhase::Writing)
        else {
            return;
        };
        let started = self.footer(path, &new, false).and_then(|footer| {
            thread.start(move |_| SnapshotResult::Prepared(work::prepare(new, footer, &targets)))
        });
        if let Err(error) = started {
            self.fail_snapshot(path, &error);
        }
    }

    /// Returns the footer of a new snapshot: the present state of all targets.
    pub(super) fn footer(
        &self,
        path: &Path,
        new: &NewRecords,
        is_final: bool,
    ) -> io::Result<Footer> {
        let read = self.read_source(path).ok_or(io::ErrorKind::NotFound)?;
        let root = work::open(&read).map_err(io::Error::other)?;
        let PresentFacts { root, boot, now } = PresentFacts::of(&root).map_err(io::Error::other)?;
        let mark = snapshot::new_mark()?;
        let targets = self.snapshot_targets(path).into_iter();
        let targets = targets.map(|target| self.target_state(path, &target, &mark)).collect();
        let (program, directories) = (env!("CARGO_PKG_VERSION").into(), new.directories);
        Ok(Footer { program, root, boot, is_final, taken: now, directories, mark, targets })
    }

    fn commit_snapshot(&mut self, path: &Path, prepared: PreparedSnapshot, footer: Footer) {
        let (now, targets) = (self.now(), self.snapshot_targets(path));
        let Some(snapshots) = &mut self.snapshots else { return };
        let (thread, interval) = (snapshots.thread(path), snapshots.interval);
        let source = snapshots.source_mut(path);
        if let Err(error) = prepared.commit(&source.journal) {
            return self.fail_snapshot(path, &error);
        }
        let mark = footer.mark.clone();
        source.reading = PathSet::new();
        source.footer = Some(footer);
        source.health = SnapshotHealth::Good;
        source.next_write = source.next_after_success(now, interval);
        source.phase = SnapshotPhase::Marking;
        let started = thread.start(move |thread| {
            work::write_marks(&targets, &mark, &thread.file);
            SnapshotResult::Marked
        });
        if started.is_err() {
            // The targets keep the mark of the snapshot before, which the new one accepts.
            source.phase = SnapshotPhase::Idle;
        }
    }

    fn fail_snapshot(&mut self, path: &Path, why: &io::Error) {
        let now = self.now();
        let Some(snapshots) = &mut self.snapshots else { return };
        let interval = snapshots.interval;
        let source = snapshots.source_mut(path);
        let retry = source.next_after_failure(now, interval);
        source.fail(retry);
        snapshots.report_failure(path, why);
    }
}
