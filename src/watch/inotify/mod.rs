//! inotify backend: one instance, and one watch for each directory that a mirror wants.

mod dir_tree;
mod events;
mod kernel;
mod mirrors;
mod opening;
mod parallel_walk;
mod removal;
mod reread;
#[cfg(test)]
mod sim;
mod walk;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    time::{Duration, Instant},
};

use mirror_core::fs_event::{MirrorId, WriteDetection};
use mirror_platform::{
    entries::ReadBuffer,
    inotify::{InotifyEvents, MIN_BUFFER_SIZE},
};

use super::backend::{Backend, DrainStatus, Drained, WatchTree};
use dir_tree::{DirState, DirTree, ROOT, Ticket};
use events::PendingMove;
use kernel::{Kernel, RealKernel};
use mirrors::{InotifyMirrors, PathCache};
use walk::{DirWalk, WalkPurpose};

/// Number of bytes of events per read.
const BUFFER_SIZE: usize = 128 * 1024;

/// Maximum duration of a drain. Events that come as fast as they are handled must not keep those
/// of other sources from being published.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(100);

/// Maximum duration of reading directories between two drains, besides the last step. A storm may
/// ask for more directories than one step in each drain would read.
const MAX_ADVANCE_TIME: Duration = Duration::from_millis(20);

/// Length of the paths of events, in bytes, after which they are published. The path of each
/// change in a deep directory may be long.
const MAX_PATH_BYTES: usize = 8 * 1024 * 1024;

/// Parameters that tests change.
#[derive(Clone, Copy, Debug)]
pub(super) struct InotifyLimits {
    /// Number of bytes per read.
    pub(super) buffer: usize,
    /// Maximum number of watches, in addition to the kernel's own limit.
    pub(super) max_watches: usize,
    /// Number of directories that are read at once when a directory appears. Only larger trees are
    /// reported later than concurrent changes elsewhere.
    pub(super) eager_dirs: usize,
    /// Minimum number of remaining directories for a parallel step.
    pub(super) min_parallel_dirs: usize,
    /// Maximum number of worker threads; with 0 the calling thread does the work.
    pub(super) max_workers: usize,
    /// Maximum duration of a drain, which handles at least one event.
    pub(super) drain_time: Duration,
    /// Maximum duration of reading directories between two drains, which does at least one step.
    pub(super) advance_time: Duration,
    /// Length of the paths of published events, in bytes, that ends a drain.
    pub(super) path_bytes: usize,
}

impl Default for InotifyLimits {
    fn default() -> Self {
        Self {
            buffer: BUFFER_SIZE,
            max_watches: usize::MAX,
            eager_dirs: 256,
            min_parallel_dirs: 128,
            max_workers: 4,
            drain_time: MAX_DRAIN_TIME,
            advance_time: MAX_ADVANCE_TIME,
            path_bytes: MAX_PATH_BYTES,
        }
    }
}

/// An entry of a directory in the tree.
#[derive(Clone, Copy, Debug)]
struct EntryAt<'a> {
    directory: u32,
    name: &'a [u8],
}

#[derive(Debug)]
pub(super) struct InotifyBackend<K: Kernel = RealKernel> {
    kernel: K,
    limits: InotifyLimits,
    watches: usize,
    dirs: DirTree,
    mirrors: InotifyMirrors,
    path_cache: PathCache,
    walks: VecDeque<DirWalk>,
    pending_moves: Vec<PendingMove>,
    /// Directories in limbo, and the drain that moved them there.
    limbo: Vec<(Ticket, u64)>,
    /// Directories at locations that events reported and that were not seen there, and the drain.
    assumed_moves: Vec<(Ticket, u64)>,
    /// True if events were lost while everything was rescanned because of earlier losses.
    is_rescan_outdated: bool,
    /// Directories that could not be reached and are to be read again; true if everything below
    /// them is to be verified.
    rereads: BTreeMap<Ticket, bool>,
    /// True while a verifying walk is running.
    is_in_verifying_walk: bool,
    /// True if anything was reported or found since the last retry of `rereads`.
    has_changes: bool,
    unmounted: Vec<Ticket>,
    /// Files whose content was reported as changed since any other report.
    recently_modified: Vec<(u32, Box<[u8]>, WriteDetection)>,
    drain_count: u64,
    buffer: Vec<u8>,
    /// The part of the buffer with events that were read and not handled yet.
    unhandled: Range<usize>,
    entries: ReadBuffer,
}

impl InotifyBackend {
    /// Creates a backend that covers nothing yet.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`.
    pub(super) fn new(limits: InotifyLimits) -> io::Result<Self> {
        Ok(Self::with_kernel(RealKernel::new()?, limits))
    }
}

impl<K: Kernel> InotifyBackend<K> {
    /// Creates a backend on that kernel.
    fn with_kernel(kernel: K, limits: InotifyLimits) -> Self {
        Self {
            kernel,
            watches: 0,
            dirs: DirTree::new(),
            mirrors: InotifyMirrors::default(),
            path_cache: PathCache::default(),
            walks: VecDeque::new(),
            pending_moves: Vec::new(),
            limbo: Vec::new(),
            assumed_moves: Vec::new(),
            rereads: BTreeMap::new(),
            is_in_verifying_walk: false,
            has_changes: false,
            unmounted: Vec::new(),
            recently_modified: Vec::new(),
            drain_count: 0,
            buffer: vec![0; limits.buffer.max(MIN_BUFFER_SIZE)],
            unhandled: 0..0,
            is_rescan_outdated: false,
            entries: ReadBuffer::new(),
            limits,
        }
    }

    /// Returns the number of directories read so far for a mirror that is being covered.
    pub(super) fn progress(&self, mirror: MirrorId) -> Option<usize> {
        self.walks
            .iter()
            .find(|walk| walk.purpose == WalkPurpose::Cover(mirror))
            .map(|walk| walk.read)
    }
}

impl<K: Kernel> AsFd for InotifyBackend<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

impl<K: Kernel> Backend for InotifyBackend<K> {
    fn name(&self) -> &'static str {
        "inotify"
    }

    fn cover(&mut self, tree: &WatchTree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let path = tree.root.as_os_str().as_bytes();
        // Further errors of the root are found by the first step of the walk.
        self.kernel.open(path.strip_prefix(b"/").unwrap_or(path))?;
        let names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        let root = names
            .fold(ROOT, |parent, name| self.dirs.child_or_new(parent, name, DirState::Ancestor));
        self.dirs.set_root(root, true);
        let ticket = self.dirs.ticket(root);
        let below = self.dirs.subtree(root);
        let is_shared = self.dirs.ancestors(root).any(|node| self.is_root_of_another(node, ticket))
            || below.into_iter().any(|node| self.is_root_of_another(node, ticket))
            || self.mirrors.has_root(ticket);
        self.mirrors.add(tree, ticket);
        let walk = DirWalk::new(ticket, WalkPurpose::Cover(tree.mirror));
        self.walks.push_back(DirWalk { is_shared, ..walk });
        Ok(())
    }

    fn uncover(&mut self, mirror: MirrorId) {
        for walk in &mut self.walks {
            // Other mirrors may want the directories that the walk has found or still has to visit.
            if walk.purpose == WalkPurpose::Cover(mirror) {
                walk.purpose = WalkPurpose::Verify;
            }
        }
        let Some(root) = self.mirrors.remove(mirror) else { return };
        let Some(root) = self.dirs.resolve(root) else { return };
        if !self.mirrors.has_root(self.dirs.ticket(root)) {
            self.dirs.set_root(root, false);
        }
        self.prune(root);
    }

    fn drain(&mut self, drained: &mut Drained) -> io::Result<DrainStatus> {
        self.drain_count += 1;
        self.recently_modified.clear();
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.drain_with(&mut buffer, drained);
        self.buffer = buffer;
        self.report_unmounted(drained);
        self.retry_rereads();
        result
    }

    fn unhandled_bytes(&self) -> usize {
        self.unhandled.len()
    }

    fn advance(&mut self, drained: &mut Drained) -> bool {
        let until = Instant::now() + self.limits.advance_time;
        // While a tree is being covered, it may turn out to be too large for this backend.
        while !self.advance_first_walk(drained) && Instant::now() < until {}
        if self.walks.is_empty() {
            self.retry_rereads();
        }
        !self.walks.is_empty()
    }

    fn has_pending(&self) -> bool {
        !(self.pending_moves.is_empty() && self.limbo.is_empty() && self.assumed_moves.is_empty())
    }

    fn flush_pending(&mut self, drained: &mut Drained) {
        self.expire_pending_moves(drained);
        self.verify_assumed_moves(drained);
        if self.walks.iter().any(|walk| walk.verify) {
            return;
        }
        let drain_count = self.drain_count;
        for (ticket, _) in
            self.limbo.extract_if(.., |(_, since)| *since < drain_count).collect::<Vec<_>>()
        {
            self.forget_if_in_limbo(ticket);
        }
    }

    fn on_mounted(&mut self, directory: &[u8]) {
        let Some(node) = self.find(directory).filter(|&node| self.is_wanted(node)) else { return };
        let ticket = self.dirs.ticket(node);
        self.walks.push_back(DirWalk::verifying(vec![ticket], WalkPurpose::Rescan(ticket)));
    }

    fn on_unmounted(&mut self, directory: &[u8], drained: &mut Drained) {
        let Some(node) = self.find(directory).filter(|&node| !self.dirs.is_root(node)) else {
            return;
        };
        let Some(watch) = self.dirs.watch(node) else { return };
        // The kernel events may already have reported it, and the directory visible now may already
        // be watched.
        if self.open_by_watch(node, watch, false).is_none() {
            self.stop_watching_below(node);
            self.dirs.set_state(node, DirState::Unmounted);
            self.unmounted.push(self.dirs.ticket(node));
            self.report_unmounted(drained);
        }
    }
}

impl<K: Kernel> InotifyBackend<K> {
    /// Returns the number of watches, and at most `limit` of them with their directories: absolute
    /// paths without a trailing slash.
    pub(super) fn list(&self, limit: usize) -> (usize, Vec<(i32, Vec<u8>)>) {
        (self.watches, self.dirs.list(limit))
    }

    /// Does one step of the first walk, which then becomes the last. Returns true if there was
    /// none, or if it covers a tree.
    fn advance_first_walk(&mut self, drained: &mut Drained) -> bool {
        let Some(mut walk) = self.walks.pop_front() else { return true };
        let is_done = if self.is_worth_parallel(&walk) {
            self.parallel_step(&mut walk, drained)
        } else {
            self.step(&mut walk, drained)
        };
        let covers = matches!(walk.purpose, WalkPurpose::Cover(_));
        if is_done {
            self.finish(&walk, drained);
        } else {
            self.walks.push_back(walk);
        }
        covers
    }

    fn is_root_of_another(&self, node: u32, root: Ticket) -> bool {
        self.dirs.is_root(node) && self.dirs.ticket(node) != root
    }

    /// Returns the directory at an absolute path.
    fn find(&self, path: &[u8]) -> Option<u32> {
        let mut names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        names.try_fold(ROOT, |parent, name| self.dirs.child(parent, name))
    }

    fn drain_with(&mut self, buffer: &mut [u8], drained: &mut Drained) -> io::Result<DrainStatus> {
        let until = Instant::now() + self.limits.drain_time;
        loop {
            let left = std::mem::take(&mut self.unhandled);
            let (mut events, end) = if left.is_empty() {
                let Some(events) = self.kernel.read(buffer)? else { return Ok(DrainStatus::Empty) };
                let end = events.remaining();
                (events, end)
            } else {
                let end = left.end;
                (InotifyEvents::new(buffer.get(left).unwrap_or_default()), end)
            };
            self.has_changes = true;
            while let Some(event) = events.next() {
                self.handle(&event, drained);
                if drained.path_bytes >= self.limits.path_bytes || Instant::now() >= until {
                    self.unhandled = end - events.remaining()..end;
                    return Ok(DrainStatus::More);
                }
            }
        }
    }
}
