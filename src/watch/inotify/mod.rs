//! inotify as a source: one instance, one watch for each directory that some mirror wants.

mod doubt;
mod events;
mod going;
mod kernel;
mod mirrors;
mod scout;
#[cfg(test)]
mod sim;
mod walk;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
};

use mirror_core::notice::{MirrorId, Writes};
use mirror_platform::{entries::ReadBuffer, inotify::SMALLEST_BUFFER};

use super::{
    forest::{Forest, State, TOP, Ticket},
    source::{Findings, Ready, Source, Tree},
};
use events::Half;
use kernel::{Kernel, Real};
use mirrors::{Here, Mirrors};
use walk::{Then, Walk};

/// How many bytes of events are read at a time.
const BUFFER: usize = 128 * 1024;

/// How many bytes a drain reads at most: more than the kernel's queue holds by default.
const MOST_AT_A_DRAIN: usize = 16 * 1024 * 1024;

/// What a test may want otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many bytes are read at a time.
    pub(super) buffer: usize,
    /// How many watches there may be, before the kernel's own limit.
    pub(super) watches: usize,
    /// How many directories are read at once when a directory comes into being. Only larger trees
    /// are told later than what happens meanwhile elsewhere.
    pub(super) at_once: usize,
    /// From how many directories on scouts are sent.
    pub(super) scouted: usize,
    /// How many scouts there are at most; without any, the source looks itself.
    pub(super) scouts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { buffer: BUFFER, watches: usize::MAX, at_once: 256, scouted: 128, scouts: 4 }
    }
}

/// The source.
#[derive(Debug)]
pub(super) struct Inotify<K: Kernel = Real> {
    kernel: K,
    limits: Limits,
    watches: usize,
    forest: Forest,
    mirrors: Mirrors,
    here: Here,
    walks: VecDeque<Walk>,
    halves: Vec<Half>,
    /// Directories in limbo, and the drain in which they came there.
    aside: Vec<(Ticket, u64)>,
    /// Directories that were moved to where events told and not seen there, and when.
    followed: Vec<(Ticket, u64)>,
    /// Directories that could not be reached and are to be read again, and whether all that is below
    /// them is to be verified.
    doubts: BTreeMap<Ticket, bool>,
    /// Whether the walk that goes on at the moment is a verifying one.
    verifies: bool,
    /// Whether anything was told or found since the doubts were tried last.
    stirred: bool,
    unmounted: Vec<Ticket>,
    /// The files whose content was told to have changed since anything else was told.
    modified: Vec<(u32, Box<[u8]>, Writes)>,
    drains: u64,
    buffer: Vec<u8>,
    entries: ReadBuffer,
}

impl Inotify {
    /// A source that covers nothing yet.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`.
    pub(super) fn new(limits: Limits) -> io::Result<Self> {
        Ok(Self::with_kernel(Real::new()?, limits))
    }
}

impl<K: Kernel> Inotify<K> {
    /// A source on that kernel.
    fn with_kernel(kernel: K, limits: Limits) -> Self {
        Self {
            kernel,
            watches: 0,
            forest: Forest::new(),
            mirrors: Mirrors::default(),
            here: Here::default(),
            walks: VecDeque::new(),
            halves: Vec::new(),
            aside: Vec::new(),
            followed: Vec::new(),
            doubts: BTreeMap::new(),
            verifies: false,
            stirred: false,
            unmounted: Vec::new(),
            modified: Vec::new(),
            drains: 0,
            buffer: vec![0; limits.buffer.max(SMALLEST_BUFFER)],
            entries: ReadBuffer::new(),
            limits,
        }
    }

    /// How many directories were read for a mirror that is being covered.
    pub(super) fn progress(&self, mirror: MirrorId) -> Option<usize> {
        self.walks.iter().find(|walk| walk.then == Then::Cover(mirror)).map(|walk| walk.read)
    }
}

impl<K: Kernel> AsFd for Inotify<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

impl<K: Kernel> Source for Inotify<K> {
    fn name(&self) -> &'static str {
        "inotify"
    }

    fn cover(&mut self, tree: &Tree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let path = tree.root.as_os_str().as_bytes();
        // Whatever else is wrong with it comes out at the first step of the walk.
        self.kernel.open(path.strip_prefix(b"/").unwrap_or(path))?;
        let names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        let root =
            names.fold(TOP, |parent, name| self.forest.child_or_new(parent, name, State::Way));
        self.forest.set_root(root, true);
        let ticket = self.forest.ticket(root);
        let below = self.forest.subtree(root);
        let is_shared = self.forest.way_up(root).any(|node| self.is_root_of_another(node, ticket))
            || below.into_iter().any(|node| self.is_root_of_another(node, ticket))
            || self.mirrors.has_root(ticket);
        self.mirrors.add(tree, ticket);
        let walk = Walk::new(ticket, Then::Cover(tree.mirror));
        self.walks.push_back(Walk { is_shared, ..walk });
        Ok(())
    }

    fn uncover(&mut self, mirror: MirrorId) {
        for walk in &mut self.walks {
            // What it has still to look at, and what it found, others may want.
            if walk.then == Then::Cover(mirror) {
                walk.then = Then::Verify;
            }
        }
        let Some(root) = self.mirrors.remove(mirror) else { return };
        let Some(root) = self.forest.resolve(root) else { return };
        if !self.mirrors.has_root(self.forest.ticket(root)) {
            self.forest.set_root(root, false);
        }
        self.prune(root);
    }

    fn drain(&mut self, found: &mut Findings) -> io::Result<Ready> {
        self.drains += 1;
        self.modified.clear();
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.drain_with(&mut buffer, found);
        self.buffer = buffer;
        self.tell_unmounted(found);
        self.retry_doubts();
        result
    }

    fn work(&mut self, found: &mut Findings) -> bool {
        if let Some(mut walk) = self.walks.pop_front() {
            let is_done = if self.is_for_scouts(&walk) {
                self.leap(&mut walk, found)
            } else {
                self.step(&mut walk, found)
            };
            if is_done {
                self.finish(&walk, found);
            } else {
                self.walks.push_back(walk);
            }
        }
        if self.walks.is_empty() {
            self.retry_doubts();
        }
        !self.walks.is_empty()
    }

    fn awaits(&self) -> bool {
        !(self.halves.is_empty() && self.aside.is_empty() && self.followed.is_empty())
    }

    fn settle(&mut self, found: &mut Findings) {
        self.settle_halves(found);
        self.settle_followed(found);
        if self.walks.iter().any(|walk| walk.verify) {
            return;
        }
        let drains = self.drains;
        for (ticket, _) in
            self.aside.extract_if(.., |(_, since)| *since < drains).collect::<Vec<_>>()
        {
            self.forget_if_aside(ticket);
        }
    }

    fn mounted(&mut self, directory: &[u8]) {
        let Some(node) = self.find(directory).filter(|&node| self.wanted(node)) else { return };
        let ticket = self.forest.ticket(node);
        self.walks.push_back(Walk::verifying(vec![ticket], Then::Lost(ticket)));
    }

    fn unmounted(&mut self, directory: &[u8], found: &mut Findings) {
        let Some(node) = self.find(directory).filter(|&node| !self.forest.is_root(node)) else {
            return;
        };
        let Some(watch) = self.forest.watch(node) else { return };
        // The events of the kernel may have told it, and what shows there now be watched already.
        if self.reach(node, watch, false).is_none() {
            self.stop_watching_below(node);
            self.forest.set_state(node, State::Unmounted);
            self.unmounted.push(self.forest.ticket(node));
            self.tell_unmounted(found);
        }
    }
}

impl<K: Kernel> Inotify<K> {
    /// How many watches there are, and at most `most` of them with their directories: absolute
    /// paths without a slash at the end.
    pub(super) fn list(&self, most: usize) -> (usize, Vec<(i32, Vec<u8>)>) {
        (self.watches, self.forest.list(most))
    }

    fn is_root_of_another(&self, node: u32, root: Ticket) -> bool {
        self.forest.is_root(node) && self.forest.ticket(node) != root
    }

    /// The directory at an absolute path.
    fn find(&self, path: &[u8]) -> Option<u32> {
        let mut names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        names.try_fold(TOP, |parent, name| self.forest.child(parent, name))
    }

    fn drain_with(&mut self, buffer: &mut [u8], found: &mut Findings) -> io::Result<Ready> {
        let mut reads = MOST_AT_A_DRAIN / buffer.len();
        loop {
            let Some(events) = self.kernel.read(buffer)? else { return Ok(Ready::Nothing) };
            self.stirred = true;
            for event in events {
                self.handle(&event, found);
            }
            match reads.checked_sub(1) {
                Some(left) => reads = left,
                None => return Ok(Ready::More),
            }
        }
    }
}
