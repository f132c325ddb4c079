//! Work of snapshots that is done by threads.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use mirror_core::{fs_event::MirrorId, job::Outcome, queue::PathSet, snapshot::SourceComparison};
use mirror_platform::dir::Dir;

use super::decision::{self, PresentFacts, SnapshotTarget};
use crate::{
    engine::{Inbox, Message},
    exec::source_root::SourceRoot,
    snapshot::{
        self, Footer, JournalEntry, LastSnapshot, NewRecords, PreparedSnapshot, SnapshotSource,
        UnwantedFn,
    },
};

/// Message of a thread about the snapshot of a source.
#[derive(Debug)]
pub(crate) struct SnapshotMessage {
    pub(super) source: PathBuf,
    pub(super) result: SnapshotResult,
}

/// Result of a thread.
#[derive(Debug)]
pub(super) enum SnapshotResult {
    /// The target of this mirror has no valid mark any more.
    Outdated(MirrorId),
    /// The source was compared.
    Compared(Result<Compared, String>),
    /// The touched directories were read.
    Read(io::Result<NewRecords>),
    /// The snapshot was written, without its final name.
    Prepared(io::Result<(PreparedSnapshot, Footer)>),
    /// The targets were marked.
    Marked,
}

/// Result of a comparison for all mirrors of a source.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) answers: Vec<(MirrorId, SourceComparison)>,
    pub(super) new: NewRecords,
    /// Footer of the present snapshot, if it is readable.
    pub(super) footer: Option<Footer>,
}

/// Thread for the snapshot of a source.
pub(super) struct SnapshotThread {
    pub(super) source: PathBuf,
    pub(super) file: PathBuf,
    pub(super) is_cancelled: Arc<AtomicBool>,
    /// Time after which the work is given up.
    pub(super) until: Option<Instant>,
    pub(super) inbox: Inbox,
}

/// Source of a snapshot, as the engine knows it.
#[derive(Clone)]
pub(super) struct ReadSource {
    pub(super) root: Arc<SourceRoot>,
    /// Directories that no sync wants.
    pub(super) skip: Arc<UnwantedFn>,
}

impl SnapshotThread {
    /// Does the work on a thread of its own, and sends the result.
    ///
    /// # Errors
    ///
    /// As `pthread_create(3)`.
    pub(super) fn start(
        self,
        work: impl FnOnce(&Self) -> SnapshotResult + Send + 'static,
    ) -> io::Result<()> {
        let run = move || {
            let result = work(&self);
            let Self { source, inbox, .. } = self;
            inbox.send(Message::Snapshot(Box::new(SnapshotMessage { source, result })));
        };
        thread::Builder::new().name("snapshot".into()).spawn(run).map(drop)
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
            || self.until.is_some_and(|until| until <= Instant::now())
    }

    fn with_source<T>(
        &self,
        read: &ReadSource,
        root: &Dir,
        act: impl FnOnce(&SnapshotSource<'_>) -> T,
    ) -> T {
        let is_cancelled = &|| self.is_cancelled();
        act(&SnapshotSource { file: &self.file, root, skip: &*read.skip, is_cancelled })
    }

    /// Compares the source with its last snapshot, for these targets. If `is_full`, the answer is
    /// that everything is unknown.
    pub(super) fn compare(
        &self,
        read: &ReadSource,
        targets: &[SnapshotTarget],
        is_full: bool,
    ) -> Result<Compared, String> {
        let root = open(read)?;
        let facts = PresentFacts::of(&root)?;
        let compared = self.with_source(read, &root, snapshot::compare);
        let compared = compared.map_err(|error| error.to_string())?;
        let last = compared.last;
        let answer = |target: &SnapshotTarget| {
            let comparison = if is_full {
                SourceComparison::unknown("the command line asks for it")
            } else {
                decision::decide(&last, target, &facts)
            };
            if let SourceComparison::Unknown { .. } = comparison {
                outdate_mark(target);
            }
            (target.mirror, comparison)
        };
        let answers = for_each_target(targets, answer);
        let continued = targets.iter().zip(&answers).filter(|(target, (_, answer))| {
            matches!(answer, SourceComparison::Differences(_)) && !target.is_trusted
        });
        let continued: Vec<_> = continued.map(|(target, _)| target.clone()).collect();
        let mut footer = last.ok().map(without_old_counts);
        if let Some(footer) = &mut footer {
            self.renew_marks(&continued, footer);
        }
        Ok(Compared { answers, new: compared.new, footer })
    }

    /// Gives these targets, which are as the snapshot says, marks of this run before they are
    /// changed: if the snapshot is restored from a backup, they are newer.
    fn renew_marks(&self, targets: &[SnapshotTarget], footer: &mut Footer) {
        let Ok(mark) = snapshot::new_mark() else { return };
        let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
        let entry = JournalEntry::Marking { mark: mark.clone(), targets: names.clone() };
        // They keep their present marks if a later start could not know the new one.
        if targets.is_empty() || snapshot::append_journal(&self.file, &[entry]).is_err() {
            return;
        }
        for state in footer.targets.iter_mut().filter(|state| names.contains(&state.target)) {
            state.marks.push(mark.clone());
        }
        write_marks(targets, &mark, &self.file);
    }

    /// Reads what was touched since the last snapshot, or everything if there is none.
    ///
    /// # Errors
    ///
    /// As [`snapshot::refresh`].
    pub(super) fn read(&self, read: &ReadSource, touched: &PathSet) -> io::Result<NewRecords> {
        let root = open(read).map_err(io::Error::other)?;
        PresentFacts::of(&root).map_err(io::Error::other)?;
        self.with_source(read, &root, |source| match snapshot::refresh(source, touched) {
            Err(error) if is_unusable(&error) => Ok(snapshot::compare(source)?.new),
            result => result,
        })
    }
}

/// Returns the footer, without the numbers of entries on targets that were changed since.
fn without_old_counts(last: LastSnapshot) -> Footer {
    let LastSnapshot { mut footer, journal, .. } = last;
    for entry in journal {
        if let JournalEntry::Changed { target, .. } = entry {
            let states = footer.targets.iter_mut().filter(|state| state.target == target);
            states.for_each(|state| state.entries = None);
        }
    }
    footer
}

/// Returns true if there is no snapshot, or none that can be read.
fn is_unusable(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
    kinds.contains(&error.kind())
}

/// Opens the root of a source.
///
/// # Errors
///
/// The reason why it is not available.
pub(super) fn open(read: &ReadSource) -> Result<Dir, String> {
    read.root.open().map_err(|outcome| match outcome {
        Outcome::SourceGone(failure) | Outcome::Retry(failure) => failure.message,
        Outcome::Done
        | Outcome::Partial(_)
        | Outcome::Split { .. }
        | Outcome::Fatal(..)
        | Outcome::HookFailed { .. } => "the source is not available".into(),
    })
}

/// Writes a snapshot under a temporary name. A target that can't be identified counts as unknown.
///
/// # Errors
///
/// As [`SnapshotWriter::prepare`](snapshot::SnapshotWriter::prepare).
pub(super) fn prepare(
    new: NewRecords,
    mut footer: Footer,
    targets: &[SnapshotTarget],
) -> io::Result<(PreparedSnapshot, Footer)> {
    for state in &mut footer.targets {
        let target = targets.iter().find(|target| target.name == state.target);
        match target.and_then(|target| target.identity.as_ref()?.read_mark()) {
            None => {}
            Some(Ok(found)) => state.identity = Some(found.identity),
            Some(Err(_)) => state.unconfirmed = None,
        }
    }
    Ok((new.writer.prepare(&footer)?, footer))
}

/// Replaces the mark of a target before it is changed without regard to the snapshot that has this
/// mark. That may be one of another source, from which it was filled before.
pub(super) fn outdate_mark(target: &SnapshotTarget) {
    if let Some(mark) = &target.remote_mark {
        return mark.outdate();
    }
    let Some(identity) = &target.identity else { return };
    // A target that can't be marked can't be changed either.
    let _ = identity.outdate_mark();
}

/// Marks the targets, and notes those that have the mark now behind the snapshot at `file`. Where
/// that fails, the next start finds no mark, and transfers everything, or one that was before.
pub(super) fn write_marks(targets: &[SnapshotTarget], mark: &str, file: &Path) {
    let mark_one = |target: &SnapshotTarget| {
        let is_marked = match (&target.remote_mark, &target.identity) {
            (Some(remote), _) => remote.write(mark),
            (None, Some(identity)) => identity.write_mark(mark) == Some(Ok(())),
            (None, None) => false,
        };
        is_marked.then(|| target.name.clone())
    };
    let targets: Vec<_> = for_each_target(targets, mark_one).into_iter().flatten().collect();
    if !targets.is_empty() {
        let entry = JournalEntry::Marked { mark: mark.to_owned(), targets };
        // Without it, the mark before is accepted, too.
        let _ = snapshot::append_journal(file, &[entry]);
    }
}

/// Calls a function for each target, at the same time for those on other machines: one that does
/// not answer delays the others no more than itself.
fn for_each_target<'a, T: Send>(
    targets: &'a [SnapshotTarget],
    act: impl Fn(&SnapshotTarget) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let act = &act;
        let start = |target: &'a SnapshotTarget| {
            let thread = thread::Builder::new().name("mark".into());
            let thread = target
                .remote_mark
                .is_some()
                .then(|| thread.spawn_scoped(scope, move || act(target)));
            (target, thread.and_then(Result::ok))
        };
        let started: Vec<_> = targets.iter().map(start).collect();
        let end = |(target, thread): (_, Option<thread::ScopedJoinHandle<'_, T>>)| {
            let result = thread.and_then(|thread| thread.join().ok());
            result.unwrap_or_else(|| act(target))
        };
        started.into_iter().map(end).collect()
    })
}
