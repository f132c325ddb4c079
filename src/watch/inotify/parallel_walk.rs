//! Parallel watching and reading of many new directories.
//!
//! Nearly all the cost of a walk is system calls for directories that are independent of each
//! other. Worker threads make these calls without changing any state of the backend; the results
//! are adopted afterwards, in the order of the walk. Workers handle only the plain case: a
//! directory that is at its location, is wanted and readable, and was not watched before. All other
//! cases are left to the sequential walk, as if they had not been probed.
//!
//! Like the walk, they look names up only in a directory that is identified by its watch. But they
//! watch a directory by its name instead of opening it, and do not read one without subdirectories.
//! The watched and the probed directory may be two different ones, if one replaced the other in
//! between. Then the parent, which has been watched for longer, reports at any later time that the
//! first one left. Therefore a directory that was probed by its name is read again when it leaves
//! its location.

use std::{io, sync::Mutex, thread};

use mirror_core::path::TreePath;
use mirror_platform::{entries::ReadBuffer, inotify::WatchId, thread_cwd::ThreadCwd};

use super::{
    super::backend::Drained,
    InotifyBackend,
    dir_tree::{DirState, DirTree, Ticket},
    kernel::Kernel,
    mirrors::{InotifyMirror, InotifyMirrors},
    walk::DirWalk,
};

/// Number of directories per parallel step, after which events are read again: some milliseconds.
const PROBES_PER_STEP: usize = 1024;

/// Number of probes that a worker takes at a time.
const CHUNK: usize = 32;

/// A directory to be probed, and the result in the plain case.
struct Probe {
    ticket: Ticket,
    result: Option<ProbeResult>,
}

/// Result of a probe: the directory was not watched before, is watched from now on, and was read
/// after that.
struct ProbeResult {
    watch: WatchId,
    /// Names of the subdirectories, each terminated by a NUL.
    directories: Vec<u8>,
}

/// State of a worker.
struct WorkerContext {
    cwd: Option<ThreadCwd>,
    buffer: ReadBuffer,
}

/// State shared by the workers.
struct ParallelWalk<'a, K> {
    kernel: &'a K,
    dirs: &'a DirTree,
    mirrors: &'a InotifyMirrors,
    max_workers: usize,
    /// Watches of unexpected directories, possibly without a node.
    strays: Mutex<Vec<WatchId>>,
}

/// The parent of probed directories.
struct ProbeParent<'a, 'k, K: Kernel + 'k> {
    dir: &'a K::Dir,
    lookup: &'a K::LookupDir<'k>,
    leaves: K::LeafDirs,
}

impl WorkerContext {
    fn new(cwd: Option<ThreadCwd>) -> Self {
        Self { cwd, buffer: ReadBuffer::new() }
    }
}

impl<K: Kernel> InotifyBackend<K> {
    /// Returns true if enough of a walk is left for a parallel step.
    pub(super) fn is_worth_parallel(&self, walk: &DirWalk) -> bool {
        let room = self.limits.max_watches.saturating_sub(self.watches);
        !walk.verify
            && walk.remaining.len() >= self.limits.min_parallel_dirs
            && room >= PROBES_PER_STEP
    }

    /// Does a large part of a walk. Returns true if the walk is finished.
    pub(super) fn parallel_step(&mut self, walk: &mut DirWalk, drained: &mut Drained) -> bool {
        let first = walk.remaining.len().saturating_sub(PROBES_PER_STEP);
        let tickets = walk.remaining.drain(first..).rev();
        let mut probes: Vec<Probe> = tickets.map(|ticket| Probe { ticket, result: None }).collect();
        let Self { kernel, dirs, mirrors, limits, .. } = self;
        let strays = Mutex::default();
        let parallel =
            ParallelWalk { kernel, dirs, mirrors, max_workers: limits.max_workers, strays };
        let strays = parallel.run(&mut probes);
        let mut held = None;
        let departures = self.dirs.detach_count();
        for Probe { ticket, result } in probes {
            let node = self.dirs.resolve(ticket);
            match (node, result) {
                (Some(node), Some(result)) if self.is_still_valid(&result, departures) => {
                    self.adopt(node, &result, walk);
                }
                (node, result) => {
                    if let Some(result) = result {
                        self.release_stray(result.watch);
                    }
                    if let Some(node) = node {
                        self.visit(node, walk, &mut held, drained);
                    }
                }
            }
        }
        for stray in strays {
            self.release_stray(stray);
        }
        walk.remaining.is_empty()
    }

    /// Returns true if the sequential walk would have found the same: no directory was found
    /// elsewhere meanwhile, this one included.
    fn is_still_valid(&self, result: &ProbeResult, departures: u64) -> bool {
        self.dirs.detach_count() == departures && self.dirs.node_with_watch(result.watch).is_none()
    }

    fn adopt(&mut self, node: u32, result: &ProbeResult, walk: &mut DirWalk) {
        self.watches += 1;
        let node = self.bind_new_dir(node, result.watch);
        for name in result.directories.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            let child = self.dirs.child_or_new(node, name, DirState::Pending);
            walk.remaining.push(self.dirs.ticket(child));
        }
        self.dirs.set_state(node, DirState::WatchedByName);
        walk.read += 1;
        if walk.reports_discovered() {
            walk.discovered.push(self.dirs.ticket(node));
        }
    }

    /// Removes a watch without a node, so that the next walk finds the directory as new.
    pub(super) fn release_stray(&self, watch: WatchId) {
        if self.dirs.node_with_watch(watch).is_none() {
            // It fails if the directory was deleted: then the kernel has removed the watch.
            let _ = self.kernel.unwatch(watch);
        }
    }
}

impl<K: Kernel> ParallelWalk<'_, K> {
    /// Executes all probes. Returns the watches that may have no node.
    fn run(self, probes: &mut [Probe]) -> Vec<WatchId> {
        let max_workers =
            thread::available_parallelism().map_or(1, |n| n.get().min(self.max_workers));
        let chunks = Mutex::new(probes.chunks_mut(CHUNK));
        thread::scope(|scope| {
            let run_worker =
                || self.run_worker(&chunks, &mut WorkerContext::new(ThreadCwd::unshare().ok()));
            let started = (0..max_workers).filter(|_| {
                let thread = thread::Builder::new().name("watch-walk".into());
                thread.spawn_scoped(scope, run_worker).is_ok()
            });
            if started.count() == 0 {
                self.run_worker(&chunks, &mut WorkerContext::new(None));
            }
        });
        self.strays.into_inner().unwrap_or_default()
    }

    /// Executes probes until none is left.
    fn run_worker<'e>(
        &self,
        chunks: &Mutex<impl Iterator<Item = &'e mut [Probe]>>,
        context: &mut WorkerContext,
    ) {
        let next = || chunks.lock().ok()?.next();
        while let Some(chunk) = next() {
            for siblings in chunk.chunk_by_mut(|a, b| self.parent(a) == self.parent(b)) {
                self.probe_siblings(siblings, context);
            }
        }
    }

    fn parent(&self, probe: &Probe) -> Option<u32> {
        self.dirs.parent(self.dirs.resolve(probe.ticket)?)
    }

    /// Executes the probes of the children of one directory.
    fn probe_siblings(&self, siblings: &mut [Probe], context: &mut WorkerContext) -> Option<()> {
        let parent = self.parent(siblings.first()?)?;
        let expected = self.dirs.watch(parent)?;
        let mut interested: Vec<_> = self.mirrors.interested(self.dirs, parent).collect();
        let dir = self.kernel.open_for_lookup(&self.dirs.path(parent)?).ok()?;
        let leaves = self.kernel.leaf_dirs(&dir).ok()?;
        let WorkerContext { cwd, buffer } = context;
        let lookup = self.kernel.lookup_dir(&dir, cwd.as_mut()).ok()?;
        self.is_expected_dir(&lookup, expected).then_some(())?;
        let parent = ProbeParent { dir: &dir, lookup: &lookup, leaves };
        for probe in siblings {
            let Some(node) = self.dirs.resolve(probe.ticket) else { continue };
            let is_plain = self.dirs.state(node) == DirState::Pending
                && self.dirs.watch(node).is_none()
                && !self.dirs.is_root(node);
            let name = self.dirs.name(node);
            let mut is_wanted = || interested.iter_mut().any(|(m, path)| wants(m, path, name));
            if is_plain && is_wanted() {
                probe.result = self.probe(&parent, name, buffer);
            }
        }
        Some(())
    }

    /// Returns true if the lookup directory is the one with this watch.
    fn is_expected_dir(&self, lookup: &K::LookupDir<'_>, expected: WatchId) -> bool {
        let Ok(watch) = self.kernel.watch_lookup_dir(lookup) else { return false };
        let is_expected = watch == expected;
        // Another worker may find this directory at its location: unused watches are determined at
        // the end.
        if !is_expected && let Ok(mut strays) = self.strays.lock() {
            strays.push(watch);
        }
        is_expected
    }

    /// Watches a directory first, and then reads its subdirectories.
    fn probe(
        &self,
        parent: &ProbeParent<'_, '_, K>,
        name: &[u8],
        buffer: &mut ReadBuffer,
    ) -> Option<ProbeResult> {
        let &ProbeParent { dir, lookup, leaves } = parent;
        let watch = self.kernel.watch_new(lookup, name).ok()?;
        let Ok(directories) = directories(self.kernel, dir, name, leaves, buffer) else {
            let _ = self.kernel.unwatch(watch);
            return None;
        };
        Some(ProbeResult { watch, directories })
    }
}

/// Returns the names of the subdirectories of `parent`/`name`, each terminated by a NUL.
fn directories<K: Kernel>(
    kernel: &K,
    parent: &K::Dir,
    name: &[u8],
    leaves: K::LeafDirs,
    buffer: &mut ReadBuffer,
) -> io::Result<Vec<u8>> {
    let mut directories = Vec::new();
    if !kernel.is_leaf(leaves, parent, name)? {
        kernel.list(&kernel.open_in(parent, name)?, buffer, |name| {
            directories.extend_from_slice(name);
            directories.push(0);
        })?;
    }
    Ok(directories)
}

/// Returns true if a mirror that wants the directory at `path` wants its subdirectory `name`, too.
fn wants(mirror: &InotifyMirror, path: &mut TreePath, name: &[u8]) -> bool {
    if path.push(name).is_none() {
        return false;
    }
    let wants = mirror.wants(path);
    path.pop();
    wants
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::backend::{Backend, WatchTree},
            InotifyLimits,
        },
        *,
    };
    use mirror_core::fs_event::{FsEvent, FsEventKind, MirrorId};
    use mirror_platform::{dir::Dir, leaf_dirs::LeafDirs, thread_cwd::LookupDir};
    use std::{fs, path::PathBuf, sync::Arc, time::Duration};

    const DIRECTORIES: usize = 3000;

    /// Creates a wide and deep tree at `tree`, and a backend.
    fn fixture() -> (tempfile::TempDir, PathBuf, InotifyBackend) {
        let temp = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temp.path()).unwrap().join("tree");
        for n in 0..DIRECTORIES / 2 {
            fs::create_dir_all(root.join(format!("{}/{n}/below", n % 7))).unwrap();
        }
        fs::create_dir_all(root.join("6/skipped/below")).unwrap();
        let limits = InotifyLimits { advance_time: Duration::ZERO, ..InotifyLimits::default() };
        (temp, root, InotifyBackend::new(limits).unwrap())
    }

    fn cover(backend: &mut InotifyBackend, id: u32, root: &std::path::Path) -> Drained {
        let skip = Arc::new(|path: &TreePath| {
            path.as_bytes().split(|&b| b == b'/').any(|name| name == b"skipped")
        });
        let mut drained = Drained::default();
        backend.cover(&WatchTree { skip, ..WatchTree::whole(id, root) }).unwrap();
        while backend.advance(&mut drained) {}
        drained
    }

    /// Returns the reported paths.
    fn reported(backend: &mut InotifyBackend) -> Vec<(MirrorId, String)> {
        let mut drained = Drained::default();
        backend.drain(&mut drained).unwrap();
        let mut reported: Vec<_> = drained
            .fs_events
            .into_iter()
            .map(|FsEvent { mirror, kind }| match kind {
                FsEventKind::Changed(change) => (mirror, change.path.to_string()),
                other => panic!("{other:?}"),
            })
            .collect();
        reported.sort_unstable();
        reported.dedup();
        reported
    }

    #[test]
    fn each_wanted_directory_of_a_large_tree_is_watched() {
        let (_temp, root, mut backend) = fixture();
        let drained = cover(&mut backend, 0, &root);
        assert_eq!(drained.covered, [(MirrorId(0), 1 + 7 + DIRECTORIES)]);
        assert_eq!(backend.watches, 1 + 7 + DIRECTORIES);
        let numbers = (0..DIRECTORIES / 2).map(|n| format!("/{}/{n}/below/f", n % 7));
        let mut files: Vec<String> = numbers.collect();
        for file in &files {
            fs::write(root.join(&file[1..]), "").unwrap();
        }
        fs::write(root.join("6/skipped/below/f"), "").unwrap();
        files.sort_unstable();
        let reported: Vec<String> =
            reported(&mut backend).into_iter().map(|(_, path)| path).collect();
        assert!(reported == files, "reported {} of {}", reported.len(), files.len());
    }

    /// Otherwise nothing would be reported as long as a storm overflows the queue.
    #[test]
    fn rescans_end_although_events_are_lost_all_the_time() {
        let (_temp, root, mut backend) = fixture();
        cover(&mut backend, 0, &root);
        let lost = |drained: &Drained| {
            let lost = FsEventKind::Lost(TreePath::root());
            drained.fs_events.iter().filter(|event| event.kind == lost).count()
        };
        let mut drained = Drained::default();
        for _ in 0..10_000 {
            backend.rescan_everything();
            backend.advance(&mut drained);
            if lost(&drained) == 2 {
                break;
            }
        }
        assert_eq!(lost(&drained), 2);
        // What was lost during the last one needs one more, and no further one.
        while backend.advance(&mut drained) {}
        assert_eq!(lost(&drained), 3);
    }

    #[test]
    fn a_nested_root_reports_to_both_mirrors() {
        let (_temp, root, mut backend) = fixture();
        assert_eq!(cover(&mut backend, 0, &root.join("3")).covered.len(), 1);
        assert_eq!(cover(&mut backend, 1, &root).covered, [(MirrorId(1), 1 + 7 + DIRECTORIES)]);
        assert_eq!(backend.watches, 1 + 7 + DIRECTORIES);
        fs::write(root.join("3/10/below/f"), "").unwrap();
        let expected = [(0, "/10/below/f"), (1, "/3/10/below/f")];
        assert_eq!(reported(&mut backend), expected.map(|(id, path)| (MirrorId(id), path.into())));
    }

    #[test]
    fn a_stray_watch_is_released() {
        let (_temp, root, mut backend) = fixture();
        cover(&mut backend, 0, &root);
        let before = backend.watches;
        let new = root.join("new");
        fs::create_dir(&new).unwrap();
        let dir = Dir::open(&root).unwrap();
        let lookup = LookupDir::new(&dir, None).unwrap();
        let watch = backend.kernel.watch_new(&lookup, b"new").unwrap();
        backend.release_stray(watch);
        assert!(backend.kernel.watch_new(&lookup, b"new").is_ok());
        assert_eq!(backend.watches, before);
    }

    #[test]
    fn a_directory_replaced_during_a_probe_is_read_again() {
        let temp = tempfile::tempdir().unwrap();
        let outside = fs::canonicalize(temp.path()).unwrap();
        let root = outside.join("tree");
        for directory in [root.join("x/below"), outside.join("y")] {
            fs::create_dir_all(directory).unwrap();
        }
        let mut backend = InotifyBackend::new(InotifyLimits {
            min_parallel_dirs: 1,
            advance_time: Duration::ZERO,
            ..InotifyLimits::default()
        })
        .unwrap();
        backend.cover(&WatchTree::whole(0, &root)).unwrap();
        let mut drained = Drained::default();
        // The root is read, and its subdirectories are still to be visited.
        assert!(backend.advance(&mut drained));
        let mut walk = backend.walks.pop_front().unwrap();
        let node = backend.dirs.resolve(walk.remaining.pop().unwrap()).unwrap();
        let dir = Dir::open(&root).unwrap();
        let lookup = LookupDir::new(&dir, None).unwrap();
        let watch = backend.kernel.watch_new(&lookup, b"x").unwrap();
        fs::rename(root.join("x"), root.join("z")).unwrap();
        fs::rename(outside.join("y"), root.join("x")).unwrap();
        let leaves = LeafDirs::for_file_system_of(&dir).unwrap();
        let kernel = &backend.kernel;
        let directories = directories(kernel, &dir, b"x", leaves, &mut ReadBuffer::new()).unwrap();
        assert!(directories.is_empty());
        backend.adopt(node, &ProbeResult { watch, directories }, &mut walk);
        backend.walks.push_back(walk);
        // Verification takes place after the next events.
        for _ in 0..3 {
            backend.drain(&mut drained).unwrap();
            while backend.advance(&mut drained) {}
        }
        assert_eq!(backend.watches, 4);
        fs::write(root.join("z/below/f"), "").unwrap();
        assert_eq!(reported(&mut backend), [(MirrorId(0), "/z/below/f".into())]);
    }
}
