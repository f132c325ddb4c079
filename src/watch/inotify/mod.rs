//! inotify as a source: one instance, one watch for each directory that some mirror wants.

mod events;
mod mirrors;
mod scout;
mod walk;

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use mirror_core::notice::MirrorId;
use mirror_linux::{
    dir::Dir,
    entries::ReadBuffer,
    inotify::{Inotify as Kernel, SMALLEST_BUFFER},
};

use super::{
    forest::{Forest, State, TOP, Ticket},
    source::{Findings, Ready, Source, Tree},
};
use events::Half;
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
}

impl Default for Limits {
    fn default() -> Self {
        Self { buffer: BUFFER, watches: usize::MAX, at_once: 256, scouted: 128 }
    }
}

/// The source.
#[derive(Debug)]
pub(super) struct Inotify {
    kernel: Kernel,
    base: Dir,
    limits: Limits,
    watches: usize,
    forest: Forest,
    mirrors: Mirrors,
    here: Here,
    walks: VecDeque<Walk>,
    halves: Vec<Half>,
    /// Directories in limbo, and the drain in which they came there.
    aside: Vec<(Ticket, u64)>,
    /// Directories that may not be where they are thought to be.
    suspects: Vec<Ticket>,
    /// Whether anything was looked for that was not known, since the suspects were verified.
    unsure: bool,
    unmounted: Vec<Ticket>,
    /// The files whose content was told to have changed since anything else was told.
    modified: Vec<(u32, Box<[u8]>)>,
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
        Ok(Self {
            kernel: Kernel::new()?,
            base: Dir::open(Path::new("/"))?,
            watches: 0,
            forest: Forest::new(),
            mirrors: Mirrors::default(),
            here: Here::default(),
            walks: VecDeque::new(),
            halves: Vec::new(),
            aside: Vec::new(),
            suspects: Vec::new(),
            unsure: false,
            unmounted: Vec::new(),
            modified: Vec::new(),
            drains: 0,
            buffer: vec![0; limits.buffer.max(SMALLEST_BUFFER)],
            entries: ReadBuffer::new(),
            limits,
        })
    }

    /// How many directories were read for a mirror that is being covered.
    pub(super) fn progress(&self, mirror: MirrorId) -> Option<usize> {
        self.walks.iter().find(|walk| walk.then == Then::Cover(mirror)).map(|walk| walk.read)
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

impl Source for Inotify {
    fn name(&self) -> &'static str {
        "inotify"
    }

    fn cover(&mut self, tree: &Tree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let path = tree.root.as_os_str().as_bytes();
        // Whatever else is wrong with it comes out at the first step of the walk.
        self.base.open_below(path.strip_prefix(b"/").unwrap_or(path))?;
        let names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        let root =
            names.fold(TOP, |parent, name| self.forest.child_or_new(parent, name, State::Way));
        self.forest.set_root(root, true);
        let ticket = self.forest.ticket(root);
        self.mirrors.add(tree, ticket);
        self.walks.push_back(Walk::new(ticket, Then::Cover(tree.mirror)));
        Ok(())
    }

    fn uncover(&mut self, mirror: MirrorId) {
        self.walks.retain(|walk| walk.then != Then::Cover(mirror));
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
        if matches!(result, Ok(Ready::Nothing)) {
            self.verify_suspects();
        }
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
        !self.walks.is_empty()
    }

    fn awaits(&self) -> bool {
        !(self.halves.is_empty() && self.aside.is_empty() && self.suspects.is_empty())
    }

    fn settle(&mut self, found: &mut Findings) {
        self.settle_halves(found);
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
        let mut walk = Walk::new(ticket, Then::Lost(ticket));
        walk.verify = true;
        self.walks.push_back(walk);
    }

    fn unmounted(&mut self, directory: &[u8], found: &mut Findings) {
        let Some(node) = self.find(directory) else { return };
        if self.forest.state(node) == State::Watched && !self.forest.is_root(node) {
            self.stop_watching_below(node);
            self.forest.set_state(node, State::Unmounted);
            self.unmounted.push(self.forest.ticket(node));
            self.tell_unmounted(found);
        }
    }
}

impl Inotify {
    /// How many watches there are, and at most `most` of them with their directories: absolute
    /// paths without a slash at the end.
    pub(super) fn list(&self, most: usize) -> (usize, Vec<(i32, Vec<u8>)>) {
        (self.watches, self.forest.list(most))
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
