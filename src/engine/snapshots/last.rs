//! Last snapshots, at the end of the daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io, mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_core::input::Input;

use super::{SnapshotPhase, work};
use crate::{
    engine::{Engine, Message},
    snapshot::{JournalEntry, NewRecords},
    watch::WatchMessage,
};

/// Maximum time for the last snapshots of all sources.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Maximum time to wait until the targets are marked. One that is not still has the mark of the
/// snapshot before, which the last one accepts.
const MAX_MARKING: Duration = Duration::from_secs(3);

/// Maximum time to wait for the watcher.
const MAX_BARRIER: Duration = Duration::from_secs(2);

/// Number from which barriers precede last snapshots.
const FIRST_LAST_BARRIER: u64 = 3 << 62;

/// Records for the last snapshot of a source.
enum LastRecords {
    /// The present snapshot is up to date.
    Unchanged,
    /// These records, and a journal of what they may not contain.
    New(NewRecords, Vec<JournalEntry>),
}

impl Engine {
    /// Writes the last snapshots. Without one, the next start compares more.
    pub(in crate::engine) fn write_last_snapshots(&mut self) {
        self.save_all_notes();
        let Some(snapshots) = &mut self.snapshots else { return };
        // Threads that still work on a snapshot have nothing to say any more.
        snapshots.is_cancelled.store(true, Ordering::Relaxed);
        snapshots.is_cancelled = Arc::default();
        let until = Instant::now() + MAX_TIME;
        let mut sources: Vec<_> = snapshots.sources.keys().cloned().collect();
        // A reload may have removed the last sync of a source.
        sources.retain(|source| self.members_of(source).next().is_some());
        let read = |source: PathBuf| (self.read_last(&source, until), source);
        let records: Vec<_> = sources.into_iter().map(read).collect();
        // The mounts were read again.
        self.save_all_notes();
        let read = self.wait_for_last_events(records.iter().map(|(_, source)| source));
        let mut marking = Vec::new();
        for (records, source) in records.into_iter().filter(|(_, source)| read.contains(source)) {
            let written = records.and_then(|records| self.write_last(&source, records, until));
            match (written, &mut self.snapshots) {
                (Ok(marked), _) => marking.extend(marked),
                (Err(error), Some(snapshots)) => snapshots.report_failure(&source, &error),
                (Err(_), None) => {}
            }
        }
        let until = until.min(Instant::now() + MAX_MARKING);
        for marked in marking {
            // It ends without a message.
            let _ = marked.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Reads what has changed since the present snapshot.
    fn read_last(&mut self, path: &Path, until: Instant) -> io::Result<LastRecords> {
        self.take_touched(path);
        let targets = self.snapshot_targets(path);
        let snapshots = self.snapshots.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let mut thread = snapshots.thread(path);
        thread.until = Some(until);
        let source = snapshots.source_mut(path);
        if !matches!(source.phase, SnapshotPhase::Idle | SnapshotPhase::Marking) {
            // It was interrupted.
            source.fail(source.next_write);
        }
        if let Some(new) = source.fresh.take() {
            return Ok(LastRecords::New(new, source.touched_entries(&targets)));
        }
        if self.is_current(path) {
            return Ok(LastRecords::Unchanged);
        }
        let read = self.read_source(path).ok_or(io::ErrorKind::NotFound)?;
        let snapshots = self.snapshots.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let touched = mem::take(&mut snapshots.source_mut(path).touched);
        thread.read(&read, &touched).map(|new| LastRecords::New(new, Vec::new()))
    }

    /// Waits until the watcher has reported everything that happened up to now. Returns the sources
    /// of which it has: others don't answer.
    fn wait_for_last_events<'a>(
        &mut self,
        sources: impl Iterator<Item = &'a PathBuf>,
    ) -> BTreeSet<PathBuf> {
        let until = Instant::now() + MAX_BARRIER;
        let mut waiting: BTreeMap<u64, &PathBuf> = (FIRST_LAST_BARRIER..).zip(sources).collect();
        for (&id, &source) in &waiting {
            self.watch.barrier(id, [source.clone()].into());
        }
        let mut read = BTreeSet::new();
        while !waiting.is_empty() {
            match self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Message::Watch) => {}
                Ok(_) => continue,
                Err(_) => break,
            }
            for message in self.watch.take() {
                match message {
                    WatchMessage::Barrier(id) => read.extend(waiting.remove(&id).cloned()),
                    WatchMessage::Event(event) => {
                        let now = self.now();
                        self.fleet.handle(Input::FsEvent(event), now, &mut Vec::new());
                    }
                    WatchMessage::Covered { .. }
                    | WatchMessage::CannotCover { .. }
                    | WatchMessage::RootRepointed(_)
                    | WatchMessage::SourceAnswers(..)
                    | WatchMessage::Listed(_) => {}
                }
            }
        }
        read
    }

    /// Writes the last snapshot of a source. The receiver ends when the targets are marked.
    fn write_last(
        &mut self,
        path: &Path,
        records: LastRecords,
        until: Instant,
    ) -> io::Result<Option<Receiver<Infallible>>> {
        let (new, journal) = match records {
            LastRecords::New(new, journal) => (new, journal),
            LastRecords::Unchanged => {
                let Some(snapshots) = &mut self.snapshots else { return Ok(None) };
                let log = snapshots.log.clone();
                let source = snapshots.source_mut(path);
                if source.footer.is_some() {
                    source.note(&[JournalEntry::Closed], &log);
                }
                return Ok(None);
            }
        };
        let footer = self.footer(path, &new, true)?;
        let previous = self.snapshots.as_ref().and_then(|it| it.sources.get(path)?.footer.as_ref());
        let is_same_root = previous.is_some_and(|previous| previous.root == footer.root);
        if is_same_root && footer.targets.iter().all(|target| target.unconfirmed.is_none()) {
            // The present one is not worse.
            return Ok(None);
        }
        let targets = self.snapshot_targets(path);
        let Some(snapshots) = &self.snapshots else { return Ok(None) };
        let file = snapshots.state_dir.snapshot_of(path);
        let (sender, receiver) = mpsc::channel();
        let (marking, marked) = mpsc::channel::<Infallible>();
        // A target may be on a file system that does not answer.
        thread::Builder::new().name("snapshot".into()).spawn(move || {
            let written = work::prepare(new, footer, &targets).and_then(|(prepared, footer)| {
                prepared.commit(&journal)?;
                Ok(footer.mark)
            });
            let mark = written.as_ref().ok().cloned();
            let _ = sender.send(written);
            if let Some(mark) = mark {
                work::write_marks(&targets, &mark, &file);
            }
            drop(marking);
        })?;
        let wait = until.saturating_duration_since(Instant::now());
        let written = receiver.recv_timeout(wait).map_err(|_| io::ErrorKind::TimedOut)?;
        written.map(|_| Some(marked))
    }
}
