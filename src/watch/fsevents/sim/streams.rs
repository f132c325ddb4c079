//! A played FSEvents service, which merges, repeats, delays and drops events.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard},
};

use mirror_platform::event_streams::{EventStreamId, EventStreams, StreamEvent, StreamRequest};

use super::{
    super::flags::EventFlags,
    Mistake,
    tree::{KernelReport, PlayedTree, TOP_PATH},
};

/// The id with which a stream begins at its latest event.
const SINCE_NOW: u64 = u64::MAX;

/// Rates of what the service does to events, in chances out of 100.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServiceFaults {
    pub(super) drops: usize,
    pub(super) coalesces: usize,
    pub(super) repeats: usize,
    pub(super) delays: usize,
    pub(super) is_sticky: bool,
    pub(super) moves_root: bool,
    pub(super) ignores_case: bool,
}

/// A stream as the service keeps it.
#[derive(Debug)]
struct PlayedStream {
    id: EventStreamId,
    root: String,
    /// Number of deliveries until it begins.
    starts_after: usize,
    pending: Vec<StreamEvent>,
    sticky: BTreeMap<Vec<u8>, EventFlags>,
    reported: Vec<StreamEvent>,
}

/// The machine: its file system and its service.
#[derive(Debug)]
pub(super) struct SimMachine {
    pub(super) tree: PlayedTree,
    pub(super) faults: ServiceFaults,
    pub(super) mistake: Mistake,
    /// Number of changes that are left.
    pub(super) changes: usize,
    /// Chances out of twelve that something changes during a call.
    pub(super) busy: usize,
    streams: Vec<PlayedStream>,
    delivered: Vec<(EventStreamId, StreamEvent)>,
    history: Vec<KernelReport>,
    /// Id before the first event.
    first_id: u64,
    last_stream: u64,
    /// Merged flags of the entries in the taken events.
    pub(super) taken: BTreeMap<String, EventFlags>,
}

impl SimMachine {
    pub(super) fn new(tree: PlayedTree, faults: ServiceFaults, first_id: u64) -> Self {
        Self {
            tree,
            faults,
            mistake: Mistake::None,
            changes: 0,
            busy: 0,
            streams: Vec::new(),
            delivered: Vec::new(),
            history: Vec::new(),
            first_id,
            last_stream: 0,
            taken: BTreeMap::new(),
        }
    }

    /// Lets something change while the backend makes a call.
    pub(super) fn tick(&mut self) {
        if self.tree.rng.roll(12) < self.busy {
            self.change();
        }
    }

    pub(super) fn change(&mut self) {
        if self.changes > 0 {
            self.changes -= 1;
            self.tree.change();
            self.record();
        }
    }

    /// Makes the last change: the root has its name again.
    pub(super) fn end_changes(&mut self) {
        self.changes = 0;
        self.tree.return_root();
        self.record();
    }

    fn last_id(&self) -> u64 {
        self.first_id.wrapping_add(self.history.len() as u64)
    }

    /// Passes the reports of the kernel to the streams.
    fn record(&mut self) {
        for report in std::mem::take(&mut self.tree.reports) {
            self.history.push(report.clone());
            let id = self.last_id();
            for at in 0..self.streams.len() {
                if id == 0 {
                    let flags = EventFlags::EVENT_IDS_WRAPPED.0;
                    let path = self.streams[at].root.clone().into_bytes();
                    self.streams[at].pending.push(StreamEvent { path, flags, id, inode: None });
                }
                self.record_for(at, &report, id);
            }
        }
    }

    fn record_for(&mut self, at: usize, report: &KernelReport, id: u64) {
        let stream = &mut self.streams[at];
        if stream.starts_after > 0 {
            return;
        }
        let KernelReport { path, flags, inode } = report;
        if flags.has(EventFlags::ROOT_CHANGED) {
            let path = stream.root.clone().into_bytes();
            stream.pending.push(StreamEvent { path, flags: flags.0, id: 0, inode: None });
            return;
        }
        let is_below = path.strip_prefix(&*stream.root).is_some_and(|rest| rest.starts_with('/'));
        if !is_below {
            return;
        }
        let path = path.clone().into_bytes();
        let mut flags = *flags;
        if self.faults.is_sticky && inode.is_some() {
            let sticky = stream.sticky.entry(path.clone()).or_default();
            if self.tree.rng.roll(8) == 0 {
                *sticky = EventFlags::default();
            }
            *sticky = *sticky | flags;
            flags = *sticky;
        }
        let known = stream.pending.iter_mut().find(|known| known.path == path);
        match known.filter(|_| inode.is_some() && self.tree.rng.roll(8) > 0) {
            Some(known) => {
                known.flags |= flags.0;
                (known.id, known.inode) = (id, *inode);
            }
            None => stream.pending.push(StreamEvent { path, flags: flags.0, id, inode: *inode }),
        }
    }

    pub(super) fn has_undelivered(&self) -> bool {
        let is_quiet =
            |stream: &PlayedStream| stream.pending.is_empty() && stream.starts_after == 0;
        !self.streams.iter().all(is_quiet)
    }

    /// Delivers pending events of all streams: all of them, or the first ones.
    pub(super) fn deliver(&mut self, all: bool) {
        for at in 0..self.streams.len() {
            self.streams[at].starts_after = self.streams[at].starts_after.saturating_sub(1);
            let count = self.streams[at].pending.len();
            let count = if all { count } else { self.tree.rng.roll(count + 1) };
            let mut batch: Vec<StreamEvent> = self.streams[at].pending.drain(..count).collect();
            if !all && self.tree.rng.roll(100) < self.faults.delays {
                self.delay(at, &mut batch);
            }
            self.spoil(at, &mut batch);
            let id = self.streams[at].id;
            for event in batch {
                self.streams[at].reported.push(event.clone());
                self.tree.note(|| format!("deliver {id:?} {} {event:x?}", display(&event)));
                self.delivered.push((id, event));
            }
        }
    }

    /// Keeps one event for later. Those of volumes keep their order.
    fn delay(&mut self, at: usize, batch: &mut Vec<StreamEvent>) {
        if !batch.is_empty() && batch.iter().all(|event| event.inode.is_some()) {
            let late = batch.remove(self.tree.rng.roll(batch.len()));
            self.streams[at].pending.push(late);
        }
    }

    /// Drops, coalesces, repeats and disguises events of a batch.
    fn spoil(&mut self, at: usize, batch: &mut Vec<StreamEvent>) {
        let root = self.streams[at].root.clone();
        let (rng, faults) = (&mut self.tree.rng, self.faults);
        let is_entry = |event: &mut StreamEvent| event.inode.is_some();
        if !batch.is_empty() && rng.roll(100) < faults.drops {
            let (path, id) = ([&*root, "/", TOP_PATH][rng.roll(3)], batch[0].id);
            let how = [EventFlags::USER_DROPPED, EventFlags::KERNEL_DROPPED][rng.roll(2)];
            let _ = batch.extract_if(.., is_entry).count();
            let flags = (EventFlags::MUST_SCAN_SUBDIRS | how).0;
            batch.push(StreamEvent { path: path.into(), flags, id, inode: None });
        } else if !batch.is_empty() && rng.roll(100) < faults.coalesces {
            let path = &batch[rng.roll(batch.len())].path;
            let path = String::from_utf8_lossy(path).into_owned();
            let mut above = path.rsplit_once('/').map_or("", |(above, _)| above);
            if rng.roll(3) == 0 {
                above = above.rsplit_once('/').map_or("", |(above, _)| above);
            }
            let id = batch[0].id;
            let is_below = |event: &mut StreamEvent| {
                event.inode.is_some()
                    && event
                        .path
                        .strip_prefix(above.as_bytes())
                        .is_some_and(|it| it.starts_with(b"/"))
            };
            let _ = batch.extract_if(.., is_below).count();
            let flags = EventFlags::MUST_SCAN_SUBDIRS.0;
            batch.push(StreamEvent { path: above.into(), flags, id, inode: None });
        }
        let reported = &self.streams[at].reported;
        if !reported.is_empty() && rng.roll(100) < faults.repeats {
            batch.push(reported[rng.roll(reported.len())].clone());
        }
        if rng.roll(20) == 0 {
            let flags = EventFlags::HISTORY_DONE.0;
            batch.push(StreamEvent { path: root.into(), flags, ..StreamEvent::default() });
        }
        for event in batch {
            disguise(&mut event.path, rng.roll(8));
        }
    }
}

fn display(event: &StreamEvent) -> String {
    String::from_utf8_lossy(&event.path).into_owned()
}

/// Gives a path another form that leads to the same entry.
fn disguise(path: &mut Vec<u8>, how: usize) {
    match how {
        0 if !path.ends_with(b"/") => path.push(b'/'),
        1 if path.starts_with(b"/private/") => drop(path.drain(.."/private".len())),
        2 if path.starts_with(b"/private/") => {
            path.splice(..0, *b"/System/Volumes/Data");
        }
        _ => {}
    }
}

/// The service, as the backend uses it.
#[derive(Debug)]
pub(super) struct PlayedStreams {
    machine: Arc<Mutex<SimMachine>>,
    descriptor: File,
}

impl PlayedStreams {
    pub(super) fn new(machine: Arc<Mutex<SimMachine>>) -> Self {
        Self { machine, descriptor: File::open("/dev/null").unwrap() }
    }

    fn machine(&self) -> MutexGuard<'_, SimMachine> {
        self.machine.lock().unwrap()
    }
}

impl AsFd for PlayedStreams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl EventStreams for PlayedStreams {
    fn current_id(&mut self) -> u64 {
        let mut machine = self.machine();
        machine.tick();
        let id = if machine.mistake == Mistake::SinceNow { SINCE_NOW } else { machine.last_id() };
        machine.tick();
        id
    }

    fn open(&mut self, request: StreamRequest<'_>) -> io::Result<EventStreamId> {
        let mut machine = self.machine();
        machine.last_stream += 1;
        let id = EventStreamId(machine.last_stream);
        let root = request.root.to_str().expect("a path of the simulation").to_owned();
        let is_now = request.since == SINCE_NOW && machine.mistake == Mistake::SinceNow;
        let starts_after = if is_now { machine.tree.rng.roll(3) } else { 0 };
        machine.streams.push(PlayedStream {
            id,
            root,
            starts_after,
            pending: Vec::new(),
            sticky: BTreeMap::new(),
            reported: Vec::new(),
        });
        let at = machine.streams.len() - 1;
        let known = request.since.wrapping_sub(machine.first_id);
        let known = if is_now { machine.history.len() } else { usize::try_from(known).unwrap() };
        let later = machine.history[known..].to_vec();
        for (report, after) in later.iter().zip(1..) {
            machine.record_for(at, report, request.since.wrapping_add(after));
        }
        machine.tick();
        Ok(id)
    }

    fn close(&mut self, stream: EventStreamId) {
        self.machine().streams.retain(|known| known.id != stream);
    }

    fn flush(&mut self) {
        let mut machine = self.machine();
        if machine.mistake != Mistake::CatchUp {
            machine.deliver(true);
        }
    }

    fn take(&mut self) -> Vec<(EventStreamId, StreamEvent)> {
        let mut machine = self.machine();
        machine.tick();
        let mut events = std::mem::take(&mut machine.delivered);
        let mistake = machine.mistake;
        events.retain_mut(|(_, event)| mistake.passes(event));
        machine.taken.clear();
        for (_, event) in &events {
            let path = display(event).trim_end_matches('/').to_owned();
            let flags = machine.taken.entry(path).or_default();
            *flags = *flags | EventFlags(event.flags);
        }
        events
    }
}
