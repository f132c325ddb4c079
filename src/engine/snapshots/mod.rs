//! Snapshots of the sources: compared at the start, written from time to time and at the end.
//!
//! A new snapshot is made in this order. Each step may be interrupted by the death of the process:
//! the previous snapshot stays valid until the new one has its name.
//!
//! 1. Take what was reported to change since the last snapshot, and read it again (on a thread).
//! 2. Wait until the watcher has reported everything that happened before.
//! 3. Ask each mirror what is not known to be on its target.
//! 4. Write all that (on a thread), and rename the new file.
//! 5. Mark the targets (on a thread).

mod decision;
mod flow;
mod last;
mod notes;
mod status;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io, mem,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use mirror_core::{
    fs_event::MirrorId,
    job::{DirtyPath, Job, Scope},
    path::{Escaped, TreePath},
    queue::PathSet,
    snapshot::{DifferenceKind, SourceDifference},
    time::Moment,
};

use super::Inbox;
use crate::{
    config::DaemonConfig,
    report::{Category, Log},
    snapshot::{self, Footer, JournalEntry, NewRecords, StateDir, StoredPath},
};
use decision::boot_id;
pub(super) use decision::{SnapshotTarget, settings_hash};
use notes::SourceNotes;
use status::SnapshotUse;
pub(crate) use work::SnapshotMessage;
use work::SnapshotThread;

/// Maximum number of changed paths that the journal of a snapshot names one by one.
const MAX_NOTED: usize = 50_000;

/// A snapshot is not written more often than so many times the duration of the last write.
const WRITE_RATIO: u32 = 50;

/// A snapshot that failed is not tried again before this time. The disk may be full.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Snapshots of all sources of a daemon.
pub(super) struct Snapshots {
    state_dir: StateDir,
    /// Minimum time between two snapshots of a source.
    interval: Duration,
    /// True if the start is to transfer everything.
    is_full: bool,
    sources: BTreeMap<PathBuf, SourceSnapshots>,
    /// Sources whose state has changed, to be looked at.
    attention: BTreeSet<PathBuf>,
    /// Sources that wait for a barrier of the watcher.
    barriers: BTreeMap<u64, PathBuf>,
    next_barrier: u64,
    is_cancelled: Arc<AtomicBool>,
    boot: String,
    /// Use of the last snapshot by the start of each mirror.
    starts: BTreeMap<MirrorId, SnapshotUse>,
    inbox: Inbox,
    log: Log,
}

/// Snapshots of one source.
struct SourceSnapshots {
    file: PathBuf,
    /// Mirrors that wait for a comparison.
    waiting: Vec<MirrorId>,
    /// True if there was one: later mirrors get everything.
    is_compared: bool,
    phase: SnapshotPhase,
    /// Start of the present write.
    since: Moment,
    /// Paths to be read again for the next snapshot.
    touched: PathSet,
    /// Paths that are read again for the present one.
    reading: PathSet,
    /// Entries of the journal since the present write began.
    journal: Vec<JournalEntry>,
    /// Number of paths that were noted in this time.
    noted: usize,
    /// Footer of the present snapshot.
    footer: Option<Footer>,
    /// Records that were read and not written yet.
    fresh: Option<NewRecords>,
    /// True if the present snapshot is outdated.
    has_changed: bool,
    next_write: Moment,
    /// Time at which the source is to be looked at again.
    wakeup: Option<Moment>,
    health: SnapshotHealth,
    /// True if it was reported that its held deletions are not stored.
    are_holds_unstored: bool,
    /// Notes as they are stored, once they were read.
    notes: Option<SourceNotes>,
    /// Time from which notes are to be stored that may have changed: later after a failure.
    notes_due: Option<Moment>,
}

/// Condition of the snapshots of a source. Each failure is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SnapshotHealth {
    Good,
    /// New ones can't be written.
    Failing,
    /// The present one is wrong, and can't be removed.
    Wrong,
}

/// Progress of a snapshot.
enum SnapshotPhase {
    Idle,
    /// A thread compares the source with the last snapshot.
    Comparing,
    /// A thread reads what was touched.
    Reading,
    /// The watcher catches up.
    AtBarrier(NewRecords),
    /// A thread writes it.
    Writing,
    /// A thread marks the targets.
    Marking,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Opens the directory of the snapshots. `None` if there are to be none, or if it can't be
    /// used, which is logged: mirroring is more important than a fast restart.
    pub(super) fn open(daemon: &DaemonConfig, inbox: &Inbox, log: &Log) -> Option<Self> {
        let path = daemon.state_dir.as_ref()?;
        let opened = StateDir::open(path).and_then(|state_dir| Ok((state_dir, boot_id()?)));
        let (state_dir, boot) = opened
            .map_err(|why| log.say(Category::Warn, format!("there are no snapshots: {why}")))
            .ok()?;
        Some(Self {
            state_dir,
            interval: daemon.state_interval,
            is_full: daemon.full,
            sources: BTreeMap::new(),
            attention: BTreeSet::new(),
            barriers: BTreeMap::new(),
            next_barrier: 0,
            is_cancelled: Arc::default(),
            boot,
            starts: BTreeMap::new(),
            inbox: inbox.clone(),
            log: log.clone(),
        })
    }

    fn source_mut(&mut self, path: &Path) -> &mut SourceSnapshots {
        let Self { state_dir, sources, .. } = self;
        let new = || SourceSnapshots::new(state_dir.snapshot_of(path));
        sources.entry(path.to_owned()).or_insert_with(new)
    }

    fn thread(&self, path: &Path) -> SnapshotThread {
        SnapshotThread {
            source: path.to_owned(),
            file: self.state_dir.snapshot_of(path),
            is_cancelled: Arc::clone(&self.is_cancelled),
            until: None,
            inbox: self.inbox.clone(),
        }
    }

    /// Notes that a job begins, before it changes the target: see [`JournalEntry::Changed`].
    fn note_job(&mut self, path: &Path, target: &str, job: &Job) {
        let log = self.log.clone();
        self.source_mut(path).note_changes(target, &job.work.paths(), &log);
    }

    /// Reports a failure once, until the snapshots of this source succeed again.
    fn report_failure(&mut self, path: &Path, why: &dyn fmt::Display) {
        let source = self.source_mut(path);
        if source.health == SnapshotHealth::Good {
            source.health = SnapshotHealth::Failing;
            let shown = Escaped(path.as_os_str().as_bytes());
            let text = format!("cannot write the snapshot of {shown}: {why}");
            self.log.say(Category::Warn, text);
        }
    }
}

impl SourceSnapshots {
    fn new(file: PathBuf) -> Self {
        Self {
            file,
            waiting: Vec::new(),
            is_compared: false,
            phase: SnapshotPhase::Idle,
            since: Moment::ORIGIN,
            touched: PathSet::new(),
            reading: PathSet::new(),
            journal: Vec::new(),
            noted: 0,
            footer: None,
            fresh: None,
            has_changed: false,
            next_write: Moment::ORIGIN,
            wakeup: None,
            health: SnapshotHealth::Good,
            are_holds_unstored: false,
            notes: None,
            notes_due: None,
        }
    }

    /// Notes what a target may change from now on. Beyond a number of paths, that is everything.
    fn note_changes(&mut self, target: &str, paths: &PathSet, log: &Log) {
        self.noted = self.noted.saturating_add(paths.len());
        if self.noted <= MAX_NOTED {
            return self.note(&[changed_entry(target, paths)], log);
        }
        let entry = changed_entry(target, &[DirtyPath::root_tree()].iter().collect());
        if !self.journal.contains(&entry) {
            self.note(&[entry], log);
        }
    }

    /// Appends entries to the journal of the present snapshot, and of the one that is being made.
    /// If that is not possible, the present snapshot is removed, since it is wrong without them.
    fn note(&mut self, entries: &[JournalEntry], log: &Log) {
        if entries.is_empty() {
            return;
        }
        self.journal.extend_from_slice(entries);
        if let Err(error) = snapshot::append_journal(&self.file, entries) {
            self.discard(&error, log);
        }
    }

    /// Removes the present snapshot.
    fn discard(&mut self, why: &io::Error, log: &Log) {
        self.footer = None;
        let shown = Escaped(self.file.as_os_str().as_bytes()).to_string();
        let removed = snapshot::invalidate(&self.file);
        if removed.is_err()
            && mem::replace(&mut self.health, SnapshotHealth::Wrong) == SnapshotHealth::Wrong
        {
            return;
        }
        let text = match removed {
            Ok(()) => format!("the snapshot {shown} was removed, since it can't be kept: {why}"),
            Err(error) => format!(
                "the snapshot {shown} is wrong from now on, and can't be removed: {error}: remove \
                 it before the next start"
            ),
        };
        log.say(Category::Warn, text);
    }

    /// Begins the next snapshot for these targets. Returns what is to be read, or `None` if the
    /// records are there.
    fn begin(&mut self, now: Moment, targets: &[SnapshotTarget]) -> Option<PathSet> {
        self.since = now;
        self.has_changed = false;
        self.journal.clear();
        self.noted = 0;
        if let Some(new) = self.fresh.take() {
            // They are older than what was touched since: that stays for the next snapshot.
            self.has_changed = !self.touched.is_empty();
            self.journal = self.touched_entries(targets);
            self.reading = [DirtyPath::root_tree()].iter().collect();
            self.phase = SnapshotPhase::AtBarrier(new);
            return None;
        }
        self.reading = mem::take(&mut self.touched);
        self.phase = SnapshotPhase::Reading;
        Some(self.reading.clone())
    }

    /// Returns entries of the journal for what was touched since the records were read.
    fn touched_entries(&self, targets: &[SnapshotTarget]) -> Vec<JournalEntry> {
        if self.touched.is_empty() {
            return Vec::new();
        }
        targets.iter().map(|target| changed_entry(&target.name, &self.touched)).collect()
    }

    /// Ends a snapshot that failed. The next one has to read all of this again.
    fn fail(&mut self, retry: Moment) {
        self.phase = SnapshotPhase::Idle;
        let reading = mem::take(&mut self.reading);
        self.touch(reading);
        self.has_changed = true;
        self.next_write = retry;
    }

    /// Returns the time of the next snapshot, for one that has succeeded at this time.
    fn next_after_success(&self, now: Moment, interval: Duration) -> Moment {
        now + interval.max((now - self.since) * WRITE_RATIO)
    }

    /// Returns the time of the next try, for a snapshot that has failed at this time.
    fn next_after_failure(&self, now: Moment, interval: Duration) -> Moment {
        self.next_after_success(now, interval.max(RETRY_PAUSE))
    }

    fn touch(&mut self, paths: PathSet) {
        /// Beyond this number of paths the whole source is read again.
        const MAX: usize = 50_000;
        self.touched.append(paths);
        if self.touched.len() > MAX {
            self.touched.insert(&TreePath::root(), Scope::Tree);
        }
    }
}

fn changed_entry(target: &str, paths: &PathSet) -> JournalEntry {
    let written = |DirtyPath { path, scope }| {
        StoredPath::new(&SourceDifference::new(path, scope, DifferenceKind::Written))
    };
    let paths = paths.iter().map(written);
    JournalEntry::Changed { target: target.into(), paths: paths.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_does_not_cause_one_try_after_the_other() {
        let mut source = SourceSnapshots::new("/state/a.snapshot".into());
        let second = Duration::from_secs(1);
        source.since = Moment::ORIGIN + second;
        let now = source.since;
        assert_eq!(source.next_after_success(now, Duration::ZERO), now);
        assert_eq!(source.next_after_failure(now, Duration::ZERO), now + RETRY_PAUSE);
        assert_eq!(source.next_after_failure(now, second * 120), now + second * 120);
        // To read the source again may take long.
        let late = now + second * 10;
        assert_eq!(source.next_after_failure(late, Duration::ZERO), late + second * 500);
    }
}
