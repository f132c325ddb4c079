//! The thread that drains the backends.
//!
//! It never waits for the engine. A change after a quiet period is read at once. While changes keep
//! arriving, it pauses some milliseconds between two drains, which costs a fifth of the time of
//! reading each event at once. Without events it sleeps.

mod drain;
mod polling;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use mirror_core::{
    fs_event::{FsEvent, FsEventKind, MirrorId},
    path::{Escaped, TreePath},
};
use mirror_platform::{answers::within_limit_below, mounts::MountTable};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    CommandSender, Inventory, MAX_LISTED, Preference, WatchCounters, WatchMessage,
    backend::{DrainStatus, Drained, KEPT_EVENTS, WatchTree, strip_root},
    backends::{Backends, is_on_shared_file_system},
    limits::KernelLimit,
    open_files::mark_open_files,
    outbox::Outbox,
    poll::{PollCommand, PollReport},
    root_monitor::RootMonitor,
};
use crate::report::{Category, Log};
use drain::PendingBarrier;

/// Pause after the first drain of a burst. A single change has several events, and the last of
/// them, the close, follows its first one within this time.
const FIRST_PAUSE: Duration = Duration::from_micros(100);

/// Minimum pause between two further drains.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// Maximum pause between two drains.
const MAX_PAUSE: Duration = Duration::from_millis(5);

/// Number of kernel events in a drain from which on the next pause is longer.
const BUSY_EVENTS: usize = 64;

/// Time to wait for the second half of a rename.
const RENAME_TIMEOUT: Duration = Duration::from_millis(3);

/// Command to the reader.
#[derive(Debug)]
pub(super) enum WatchCommand {
    Cover(WatchTree, Option<PathBuf>),
    Uncover(MirrorId),
    Ignore(PathBuf),
    /// Publish everything that has happened up to now in these sources, and then
    /// [`WatchMessage::Barrier`].
    Barrier(u64, BTreeSet<PathBuf>),
    List,
    Polled(Vec<PollReport>),
    /// This source, or a mount in it, does not answer its poller for some time, or does again.
    SourceAnswers(PathBuf, bool),
    Stop,
}

/// State of the reader thread.
pub(super) struct WatchReader {
    backends: Backends,
    root_monitor: RootMonitor,
    log: Log,
    commands: CommandSender,
    inbox: Receiver<WatchCommand>,
    outbox: Arc<Outbox>,
    counters: Arc<WatchCounters>,
    wake: Box<dyn Fn() + Send>,
    /// Polling threads of the roots, of which each may be on a file system that hangs.
    pollers: BTreeMap<PathBuf, Sender<PollCommand>>,
    mirrors: BTreeMap<MirrorId, CoverProgress>,
    /// Files of the daemon itself, whose changes are not reported.
    ignored: Vec<PathBuf>,
    drained: Drained,
    messages: Vec<WatchMessage>,
    barriers: Vec<PendingBarrier>,
    /// Pause before the next drain; `None` if there are no events.
    pause: Option<Duration>,
    /// True if the backends have work left.
    has_work: bool,
    /// Time at which pending halves of renames are reported as they are.
    flush_at: Option<Instant>,
    limit_was_logged: bool,
}

/// Channels of the reader: commands to it, and messages from it.
pub(super) struct ReaderChannels {
    /// For the polling thread, which answers by a command.
    pub(super) commands: CommandSender,
    pub(super) inbox: Receiver<WatchCommand>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) counters: Arc<WatchCounters>,
    /// Wakes the engine when the outbox is no longer empty.
    pub(super) wake: Box<dyn Fn() + Send>,
}

/// Progress of covering a mirror.
#[derive(Debug, Default)]
struct CoverProgress {
    /// Source directory. `None` if the mirror wants each event unmodified.
    root: Option<PathBuf>,
    /// True if others may change its source without this kernel.
    is_shared: bool,
    /// Number of watched directories, once all are watched.
    watched: Option<usize>,
    /// Number of subtrees that the polling thread is reading for the first time.
    pending_subtrees: usize,
    polled: usize,
    is_covered: bool,
    ignored: Vec<TreePath>,
}

impl WatchReader {
    pub(super) fn new(
        preference: Preference,
        log: Log,
        channels: ReaderChannels,
    ) -> io::Result<Self> {
        let ReaderChannels { commands, inbox, outbox, counters, wake } = channels;
        Ok(Self {
            backends: Backends::new(preference)?,
            root_monitor: RootMonitor::new()?,
            log,
            commands,
            inbox,
            outbox,
            counters,
            wake,
            pollers: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            ignored: Vec::new(),
            drained: Drained::default(),
            messages: Vec::new(),
            barriers: Vec::new(),
            pause: None,
            has_work: false,
            flush_at: None,
            limit_was_logged: false,
        })
    }

    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(super) fn with_backends(mut self, backends: Backends) -> Self {
        self.backends = backends;
        self
    }

    /// Adds a poller of the source at this path.
    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(super) fn with_poller(mut self, source: PathBuf, poller: Sender<PollCommand>) -> Self {
        self.pollers.insert(source, poller);
        self
    }

    /// Runs until the stop command.
    pub(super) fn run(mut self) {
        loop {
            let ready = self.wait();
            // Unrelated names may change in the directory of a link to a root.
            if ready.mount_table || (ready.events && self.root_monitor.read_events()) {
                self.check_roots();
            }
            if !self.handle_commands() {
                return;
            }
            let status = self.drain();
            self.has_work = self.backends.advance(&mut self.drained);
            if std::mem::take(&mut self.drained.checks_roots) {
                self.check_roots();
            }
            self.advance_barriers(status);
            self.publish();
        }
    }

    /// Waits for events, commands and pauses.
    fn wait(&self) -> Readiness {
        let pause = self.pause.or_else(|| self.flush_at.map(|_| MIN_PAUSE));
        // A pause lets events merge in the kernel, but not those that were read.
        if self.has_work || self.has_barrier() || self.backends.unhandled_bytes() > 0 {
            return self.poll(Some(Duration::ZERO));
        }
        let Some(pause) = pause else { return self.poll(None) };
        // Only a command interrupts a pause; kernel events can wait.
        let mut wakeup = [PollFd::new(&*self.commands.waker, PollFlags::IN)];
        let _ = poll(&mut wakeup, timespec(pause).as_ref());
        self.poll(Some(Duration::ZERO))
    }

    fn poll(&self, timeout: Option<Duration>) -> Readiness {
        let (read, mount_table) = (PollFlags::IN, MountTable::CHANGED);
        let mut fds = vec![
            PollFd::new(&*self.commands.waker, read),
            PollFd::from_borrowed_fd(self.root_monitor.events(), read),
            PollFd::from_borrowed_fd(self.root_monitor.mounts(), mount_table),
        ];
        let backends = self.backends.descriptors();
        fds.extend(backends.map(|fd| PollFd::from_borrowed_fd(fd, read)));
        while poll(&mut fds, timeout.and_then(timespec).as_ref()) == Err(Errno::INTR) {}
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Readiness { events: is_ready(1), mount_table: is_ready(2) }
    }

    /// Executes all pending commands. Returns false if the thread should stop.
    fn handle_commands(&mut self) -> bool {
        self.commands.waker.clear();
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                WatchCommand::Stop => return false,
                WatchCommand::Cover(tree, given) => self.cover(&tree, given.as_deref()),
                WatchCommand::Uncover(mirror) => self.uncover(mirror),
                WatchCommand::Ignore(path) => {
                    self.ignored.push(path);
                    let mirrors: Vec<MirrorId> = self.mirrors.keys().copied().collect();
                    for mirror in mirrors {
                        self.update_ignored(mirror);
                    }
                }
                WatchCommand::Barrier(id, sources) => self.begin_barrier(id, &sources),
                WatchCommand::List => self.messages.push(WatchMessage::Listed(self.inventory())),
                WatchCommand::Polled(reports) => self.on_poll_reports(reports),
                WatchCommand::SourceAnswers(source, answers) => {
                    self.messages.push(WatchMessage::SourceAnswers(source, answers));
                }
            }
        }
        true
    }

    fn inventory(&self) -> Inventory {
        let (watched, listed) = self.backends.list(MAX_LISTED);
        let marked = self.backends.marked().collect();
        let polled = self.mirrors.iter().map(|(&id, mirror)| (id, mirror.polled));
        let polled: Vec<_> = polled.filter(|(_, polled)| *polled > 0).collect();
        let is_limited = self.limit_was_logged && !polled.is_empty();
        Inventory {
            watched,
            listed,
            marked,
            polled,
            advice: is_limited.then(|| KernelLimit::Watches.advice()),
        }
    }

    fn cover(&mut self, tree: &WatchTree, given: Option<&Path>) {
        let mirror = tree.mirror;
        self.uncover(mirror);
        // The root monitor first, so that it monitors exactly the directory that is covered.
        let added = self.root_monitor.add(mirror, &tree.root, given);
        let covered = added.and_then(|is_repointed| {
            self.messages.extend(is_repointed.then_some(WatchMessage::RootRepointed(mirror)));
            self.backends.cover(tree)
        });
        if let Err(error) = covered {
            return self.report_cannot_cover(
                mirror,
                &format!("cannot watch {}: {error}", display_root(tree)),
            );
        }
        let root = tree.exact.is_none().then(|| tree.root.clone());
        // One that does not answer is no local disk.
        let is_shared = within_limit_below(&tree.root, is_on_shared_file_system).unwrap_or(true);
        self.mirrors.insert(mirror, CoverProgress { root, is_shared, ..CoverProgress::default() });
        self.update_ignored(mirror);
        self.poll_shared(tree, |_| true);
        self.has_work = true;
    }

    fn report_cannot_cover(&mut self, mirror: MirrorId, why: &str) {
        self.uncover(mirror);
        self.messages.push(WatchMessage::CannotCover { mirror, why: why.into() });
    }

    fn uncover(&mut self, mirror: MirrorId) {
        self.backends.uncover(mirror);
        self.root_monitor.remove(mirror);
        self.mirrors.remove(&mirror);
        for poller in self.pollers.values() {
            let _ = poller.send(PollCommand::Remove(mirror));
        }
    }

    fn update_ignored(&mut self, mirror: MirrorId) {
        let Some(tree) = self.backends.tree(mirror) else { return };
        let root = tree.root.as_os_str().as_bytes();
        let paths = self.ignored.iter().map(|path| path.as_os_str().as_bytes());
        let ignored =
            paths.filter_map(|path| strip_root(root, path)).filter_map(TreePath::new).collect();
        if let Some(mirror) = self.mirrors.get_mut(&mirror) {
            mirror.ignored = ignored;
        }
    }

    /// Drains once, and computes the following pause.
    fn drain(&mut self) -> DrainStatus {
        self.drained.kernel_events = 0;
        let ready = self.backends.drain(&mut self.drained);
        self.pause = next_pause(self.pause, self.drained.kernel_events, ready);
        self.flush_overdue();
        ready
    }

    /// Reports pending halves of renames after their timeout.
    fn flush_overdue(&mut self) {
        let has_pending = self.backends.all().any(|backend| backend.has_pending());
        let now = Instant::now();
        match self.flush_at {
            _ if !has_pending => self.flush_at = None,
            None => self.flush_at = Some(now + RENAME_TIMEOUT),
            Some(end) if end <= now => {
                self.backends.all().for_each(|backend| backend.flush_pending(&mut self.drained));
                self.flush_at = None;
                // New ones may have become pending meanwhile.
                if self.backends.all().any(|backend| backend.has_pending()) {
                    self.flush_at = Some(now + RENAME_TIMEOUT);
                }
            }
            Some(_) => {}
        }
    }

    fn check_roots(&mut self) {
        let changes = self.root_monitor.check();
        for point in changes.unmounted {
            self.backends.all().for_each(|backend| backend.on_unmounted(&point, &mut self.drained));
        }
        for point in changes.mounted {
            self.backends.all().for_each(|backend| backend.on_mounted(&point));
            self.poll_mounted(&point);
            self.has_work = true;
        }
        self.messages.extend(changes.repointed.into_iter().map(WatchMessage::RootRepointed));
        for (mirror, gone) in changes.gone {
            // Earlier events go first.
            self.publish();
            let was_covered = self.mirrors.get(&mirror).is_some_and(|mirror| mirror.is_covered);
            self.uncover(mirror);
            if was_covered {
                self.messages.push(WatchMessage::Event(FsEvent {
                    mirror,
                    kind: FsEventKind::RootGone(gone),
                }));
            } else {
                let why = format!(
                    "the source disappeared while it was being watched: {}",
                    gone.description()
                );
                self.messages.push(WatchMessage::CannotCover { mirror, why });
            }
        }
    }

    /// Publishes the results to the engine.
    fn publish(&mut self) {
        if self.drained.is_empty() && self.messages.is_empty() {
            return;
        }
        let mut drained = std::mem::take(&mut self.drained);
        self.counters.add_overflows(drained.overflows.len());
        drained.overflows.dedup();
        for limit in drained.overflows.drain(..) {
            let [line, more] = limit.overflow_lines();
            self.log.say(Category::Normal, line);
            self.log.say(Category::Warn, more);
        }
        for warning in drained.warnings.drain(..) {
            self.log.say(Category::Warn, warning);
        }
        for detail in drained.details.drain(..) {
            self.log.say(Category::Debug("Watch"), detail);
        }
        for unwatched in drained.unwatched.drain(..) {
            self.on_unwatched(unwatched);
        }
        for (mirror, error) in drained.failed.drain(..) {
            self.report_cannot_cover(mirror, &format!("cannot watch its source: {error}"));
        }
        let mirrors = &self.mirrors;
        mark_open_files(&mut drained, |mirror| mirrors.get(&mirror)?.root.as_deref());
        let events = drained.fs_events.drain(..).filter(|event| {
            let mirror = mirrors.get(&event.mirror);
            mirror.is_some_and(|mirror| mirror.is_covered && !mirror.ignores(&event.kind))
        });
        let mut messages: Vec<WatchMessage> = events.map(WatchMessage::Event).collect();
        drained.path_bytes = 0;
        messages.append(&mut self.messages);
        for (id, directories) in drained.covered.drain(..) {
            let Some(mirror) = self.mirrors.get_mut(&id) else { continue };
            mirror.watched = Some(directories);
            if mirror.is_covered {
                // The backend was restarted, and the events in between are unknown.
                let kind = FsEventKind::Lost(TreePath::root());
                messages.push(WatchMessage::Event(FsEvent { mirror: id, kind }));
            }
        }
        self.messages = messages;
        self.report_covered();
        let polled = self.mirrors.values().map(|mirror| mirror.polled).sum();
        self.counters.set_watches(self.backends.watch_count(), polled);
        // Reuse the memory, except that of a burst.
        drained.shrink();
        self.drained = drained;
        if self.outbox.put(self.messages.drain(..)) {
            (self.wake)();
        }
        self.messages.shrink_to(KEPT_EVENTS);
    }

    fn report_covered(&mut self) {
        for (&id, mirror) in &mut self.mirrors {
            if let (Some(directories), 0, false) =
                (mirror.watched, mirror.pending_subtrees, mirror.is_covered)
            {
                mirror.is_covered = true;
                let coverage = self.backends.coverage(id, directories, mirror.polled);
                self.messages.push(WatchMessage::Covered { mirror: id, coverage });
            }
        }
    }
}

impl CoverProgress {
    /// Returns true if an event concerns only files of the daemon itself.
    fn ignores(&self, kind: &FsEventKind) -> bool {
        if self.ignored.is_empty() {
            return false;
        }
        match kind {
            FsEventKind::Changed(change) => self.ignored.contains(&change.path),
            FsEventKind::Renamed { from, to, .. } => {
                self.ignored.contains(from) && self.ignored.contains(to)
            }
            FsEventKind::Lost(_) | FsEventKind::RootGone(_) => false,
        }
    }
}

/// Readiness of the root monitor's descriptors after a wait.
struct Readiness {
    /// The watches of the root monitor have events.
    events: bool,
    /// The mount table has changed.
    mount_table: bool,
}

fn timespec(duration: Duration) -> Option<Timespec> {
    Timespec::try_from(duration).ok()
}

fn display_root(tree: &WatchTree) -> String {
    Escaped(tree.root.as_os_str().as_bytes()).to_string()
}

/// The pause after a drain of this number of kernel events. `None`: until the next event.
fn next_pause(before: Option<Duration>, events: usize, status: DrainStatus) -> Option<Duration> {
    match (events, before) {
        (0, _) if status == DrainStatus::Empty => None,
        (_, None) => Some(FIRST_PAUSE),
        (BUSY_EVENTS.., Some(pause)) => Some(MAX_PAUSE.min(pause + MIN_PAUSE)),
        (_, Some(_)) => Some(MIN_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_a_burst_and_end_with_it() {
        let mut pause = None;
        let mut next = |events| {
            let status = if events == 0 { DrainStatus::Empty } else { DrainStatus::More };
            pause = next_pause(pause, events, status);
            pause
        };
        assert_eq!(next(1), Some(FIRST_PAUSE));
        assert_eq!(next(1), Some(MIN_PAUSE));
        assert!(next(BUSY_EVENTS) > Some(MIN_PAUSE));
        for _ in 0..10 {
            next(BUSY_EVENTS);
        }
        assert_eq!(next(BUSY_EVENTS), Some(MAX_PAUSE));
        assert_eq!((next(1), next(0)), (Some(MIN_PAUSE), None));
    }
}
