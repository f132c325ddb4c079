//! Walk of a source: records all directories, and compares them with the records of the last
//! snapshot.

use std::{
    io,
    num::NonZero,
    sync::{Condvar, Mutex, PoisonError},
    thread,
};

use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::PathSet,
    snapshot::{DifferenceKind, DirListing, EntryRecord, SourceDifference, Stamp},
};
use mirror_platform::{dir::Dir, entries::ReadBuffer, stat::Stat};
use rustix::fs::FileType;

use super::{
    records::{RecordIndex, append_record},
    stamp::{SettledBefore, StampKey},
};
use crate::lock;

/// Maximum number of threads.
const MAX_WORKERS: usize = 4;

/// Number of bytes that a thread collects before it passes them on.
const CHUNK: usize = 256 << 10;

/// Maximum number of differences. Beyond it a full transfer costs less.
const MAX_DIFFERENCES: usize = 100_000;

/// Maximum number of directories that are remembered one by one because they are unsettled.
const MAX_UNSETTLED: usize = 10_000;

/// Predicate that returns true for a directory if nothing at or below it is wanted.
pub(crate) type UnwantedFn = dyn Fn(&TreePath) -> bool + Send + Sync;

/// Receiver of encoded records.
pub(super) type RecordSink<'a> = &'a (dyn Fn(&[u8]) -> io::Result<()> + Sync);

/// Walk through a part of a source.
pub(super) struct SourceWalk<'a> {
    pub(super) root: &'a Dir,
    pub(super) key: StampKey,
    pub(super) skip: &'a UnwantedFn,
    /// Records to compare with. `None`: nothing is compared.
    pub(super) old: Option<&'a RecordIndex>,
    /// Records that are replaced, and the paths that were touched since.
    pub(super) replaced: Option<(&'a RecordIndex, &'a PathSet)>,
    pub(super) sink: RecordSink<'a>,
    /// Returns true if the walk is to be given up.
    pub(super) is_cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// Findings of a walk.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Differences between the records and the source.
    pub(super) differences: Vec<SourceDifference>,
    /// True if there were too many differences to collect.
    pub(super) has_too_many: bool,
    /// Directories to be read again, because they may change without a trace.
    pub(super) unsettled: PathSet,
    /// Number of recorded directories.
    pub(super) directories: u64,
}

/// Directory to be read.
struct Task {
    path: TreePath,
    /// True if everything below it is to be read, too.
    is_tree: bool,
    /// True if it is to be compared with its record. Otherwise a directory above is new.
    compares: bool,
}

/// Tasks and threads of a walk.
struct TaskQueue {
    tasks: Mutex<Tasks>,
    changed: Condvar,
}

#[derive(Default)]
struct Tasks {
    waiting: Vec<Task>,
    /// Number of threads that may still add tasks.
    busy: usize,
    error: Option<io::Error>,
}

/// State of one thread.
#[derive(Default)]
struct WorkerState {
    buffer: ReadBuffer,
    listing: DirListing,
    records: Vec<u8>,
    subdirectories: Vec<Task>,
    findings: Findings,
}

/// Directory that is being read.
struct OpenTask<'a> {
    task: &'a Task,
    dir: Dir,
    own: Stat,
    settled: SettledBefore,
}

impl SourceWalk<'_> {
    /// Reads these trees and entries: of an entry only the directory itself, if it is one.
    ///
    /// # Errors
    ///
    /// If the sink fails, or with [`io::ErrorKind::Interrupted`] if the walk was cancelled.
    pub(super) fn run(&self, paths: &PathSet) -> io::Result<Findings> {
        let tasks = paths.iter().map(|DirtyPath { path, scope }| Task {
            path,
            is_tree: scope == Scope::Tree,
            compares: true,
        });
        let tasks = Tasks { waiting: tasks.collect(), ..Tasks::default() };
        let queue = TaskQueue { tasks: Mutex::new(tasks), changed: Condvar::new() };
        let mount = self.root.stat(b"")?.mount;
        let workers = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS);
        let total = Mutex::new(Findings::default());
        let work = || {
            let mut state = WorkerState::default();
            let result = self.run_worker(&queue, mount, &mut state);
            if let Err(error) = result {
                queue.fail(error);
            }
            lock(&total).append(state.findings);
        };
        thread::scope(|scope| {
            for _ in 1..workers {
                // The caller's thread does the work if there is no other one.
                let _ = thread::Builder::new().name("snapshot".into()).spawn_scoped(scope, work);
            }
            work();
        });
        let error = lock(&queue.tasks).error.take();
        let findings = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(findings), Err)
    }

    fn run_worker(&self, queue: &TaskQueue, mount: u64, state: &mut WorkerState) -> io::Result<()> {
        while let Some(task) = queue.next() {
            self.visit(&task, mount, state);
            if state.records.len() >= CHUNK {
                self.flush(state)?;
            }
            queue.done(&mut state.subdirectories);
        }
        self.flush(state)
    }

    fn flush(&self, state: &mut WorkerState) -> io::Result<()> {
        if (self.is_cancelled)() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let result = (self.sink)(&state.records);
        state.records.clear();
        result
    }

    fn visit(&self, task: &Task, mount: u64, state: &mut WorkerState) {
        if !task.path.is_root() && (self.skip)(&task.path) {
            return;
        }
        let settled = SettledBefore::now();
        let opened = self.root.open_below(task.path.as_bytes());
        let opened = opened.and_then(|dir| dir.stat(b"").map(|own| (dir, own)));
        // If it is not a directory any more, or can't be read, everything below it is compared. A
        // record can't tell one file system from another one that is mounted later.
        let Some((dir, own)) = opened.ok().filter(|(_, own)| own.mount == mount) else {
            return self.note_unknown(task, state);
        };
        let open = OpenTask { task, dir, own, settled };
        if self.list(&open, mount, state).is_err() {
            state.subdirectories.clear();
            return self.note_unknown(task, state);
        }
        self.record(&open, state);
    }

    /// Handles a directory without a record. If it had one, it may have been deleted.
    fn note_unknown(&self, task: &Task, state: &mut WorkerState) {
        if task.compares && self.old.is_some() {
            state.findings.add_all(vec![unknown_below(&task.path)]);
        }
    }

    /// Reads the entries, and finds the subdirectories.
    fn list(&self, open: &OpenTask<'_>, mount: u64, state: &mut WorkerState) -> io::Result<()> {
        let WorkerState { buffer, listing, subdirectories, .. } = state;
        let OpenTask { task, dir, settled, .. } = open;
        listing.clear();
        dir.read(buffer, |entry| {
            let name = entry.name;
            if entry.file_type == FileType::Directory {
                let stamp = self.key.of_subdirectory(entry.inode);
                listing.add(EntryRecord { name, kind: EntryKind::Directory, stamp });
                return Ok(());
            }
            let stat = match dir.stat(name) {
                Ok(stat) => stat,
                // Its deletion is reported.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let is_same_mount = stat.mount == mount;
            let stamp = if is_same_mount { self.key.of(&stat, *settled) } else { Stamp::UNSETTLED };
            listing.add(EntryRecord { name, kind: EntryKind::Other, stamp });
            Ok(())
        })?;
        listing.sort();
        if task.is_tree {
            let directories = listing.iter().filter(|entry| entry.kind == EntryKind::Directory);
            let paths = directories.filter_map(|entry| task.path.join(entry.name));
            let compares = task.compares;
            subdirectories.extend(paths.map(|path| Task { path, is_tree: true, compares }));
        }
        Ok(())
    }

    /// Compares a directory with its record, and appends its new one.
    fn record(&self, open: &OpenTask<'_>, state: &mut WorkerState) {
        let OpenTask { task, own, settled, .. } = open;
        let own = self.key.of(own, *settled);
        let WorkerState { listing, records, subdirectories, findings, .. } = state;
        if task.compares
            && let Some(old) = self.old
        {
            let record = old.get(task.path.as_bytes());
            let found = record.and_then(|it| listing.differences(&task.path, own, &it).ok());
            let found = found.unwrap_or_else(|| vec![unknown_below(&task.path)]);
            if !found.is_empty() {
                let unknown: PathSet = found.iter().map(|it| it.dirty.clone()).collect();
                for below in subdirectories {
                    below.compares = !unknown.covers(&below.path, Scope::Tree);
                }
                findings.add_all(found);
            }
        }
        if let Some((old, touched)) = self.replaced
            && let Some(record) = old.get(task.path.as_bytes())
        {
            let is_touched = |name: &[u8]| {
                task.path.join(name).is_none_or(|path| touched.covers(&path, Scope::Entry))
            };
            // A damaged record keeps nothing: the file has a checksum.
            let _ = listing.keep_stamps(&record, is_touched);
        }
        if !own.is_settled() || !listing.is_settled() {
            findings.add_unsettled(&task.path);
        }
        findings.directories += 1;
        append_record(records, |records| listing.encode(task.path.as_bytes(), own, records));
    }
}

/// A directory below which everything may have been written.
fn unknown_below(path: &TreePath) -> SourceDifference {
    SourceDifference::new(path.clone(), Scope::Tree, DifferenceKind::Written)
}

impl Findings {
    fn add_all(&mut self, found: Vec<SourceDifference>) {
        self.has_too_many |= self.differences.len() + found.len() > MAX_DIFFERENCES;
        if self.has_too_many {
            self.differences.clear();
        } else {
            self.differences.extend(found);
        }
    }

    fn add_unsettled(&mut self, path: &TreePath) {
        if self.unsettled.len() >= MAX_UNSETTLED {
            self.unsettled.insert(&TreePath::root(), Scope::Tree);
        } else {
            self.unsettled.insert(path, Scope::Entry);
        }
    }

    fn append(&mut self, other: Self) {
        self.has_too_many |= other.has_too_many;
        self.add_all(other.differences);
        self.unsettled.append(other.unsettled);
        self.directories += other.directories;
    }
}

impl TaskQueue {
    /// Returns the next task, when there is one. `None` at the end of the walk.
    fn next(&self) -> Option<Task> {
        let mut tasks = lock(&self.tasks);
        loop {
            if tasks.error.is_some() {
                return None;
            }
            if let Some(task) = tasks.waiting.pop() {
                tasks.busy += 1;
                return Some(task);
            }
            if tasks.busy == 0 {
                return None;
            }
            tasks = self.changed.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a task, which has found these subdirectories.
    fn done(&self, found: &mut Vec<Task>) {
        let mut tasks = lock(&self.tasks);
        tasks.busy -= 1;
        tasks.waiting.append(found);
        if tasks.busy == 0 || tasks.waiting.len() > 1 {
            self.changed.notify_all();
        }
    }

    fn fail(&self, error: io::Error) {
        lock(&self.tasks).error = Some(error);
        self.changed.notify_all();
    }
}
