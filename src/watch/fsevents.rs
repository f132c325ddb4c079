//! FSEvents backend: one stream for each source, regardless of the number of directories.
//!
//! The service merges all changes of a path, repeats flags of earlier ones, and may report an event
//! late or twice. So an event only says where to look: each reported entry is looked up below the
//! open root, and what is seen there is reported.
//!
//! A missing entry counts as deleted only if the root is the same directory as at the beginning,
//! the volume that held the entry is still mounted, and no events were dropped.

mod flags;
#[cfg(test)]
#[cfg(target_os = "linux")]
pub(super) mod relay;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod translation;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
};

use hashbrown::HashMap;
use mirror_core::{
    fs_event::{EntryKind, FsEventKind, MirrorId},
    path::{Escaped, TreePath},
};
use mirror_platform::event_streams::{EventStreamId, EventStreams, StreamEvent, StreamRequest};

use super::backend::{Backend, DrainStatus, Drained, WatchTree, strip_root, unmounted_warning};
use flags::EventFlags;
use translation::{EntryNotice, Notice, report, translate};
use view::{DiskView, SeenEntry, Sighting, TreeView};

/// Number of entries that are looked at in a step: some milliseconds.
const ENTRIES_PER_STEP: usize = 1000;

#[derive(Debug)]
pub(super) struct FsEventsBackend<S: EventStreams, V: TreeView = DiskView> {
    streams: S,
    view: V,
    sources: Vec<StreamedSource>,
    entries_per_step: usize,
}

/// The source of a mirror, and its stream.
#[derive(Debug)]
struct StreamedSource {
    tree: WatchTree,
    stream: EventStreamId,
    /// Device and inode of the root.
    identity: (u64, u64),
    is_covered: bool,
    /// The directories below the root at which volumes are or were mounted, with the device while
    /// they are.
    volumes: BTreeMap<TreePath, Option<u64>>,
    pending: PendingNotices,
}

/// Reports about a source that are to be looked at.
#[derive(Debug, Default)]
struct PendingNotices {
    /// Entries, in the order of their first event.
    order: VecDeque<TreePath>,
    /// Their flags, and the inode that the last event names.
    entries: HashMap<TreePath, (EventFlags, Option<u64>)>,
    lost: BTreeSet<TreePath>,
    /// Directories at which a volume was mounted or unmounted.
    volumes: BTreeSet<TreePath>,
    is_root_changed: bool,
    /// True if events were dropped that belong to these.
    is_incomplete: bool,
}

impl<S: EventStreams> FsEventsBackend<S> {
    /// Creates a backend that covers nothing yet.
    pub(super) fn new(streams: S) -> Self {
        Self::with_view(streams, DiskView)
    }
}

impl<S: EventStreams, V: TreeView> FsEventsBackend<S, V> {
    fn with_view(streams: S, view: V) -> Self {
        Self { streams, view, sources: Vec::new(), entries_per_step: ENTRIES_PER_STEP }
    }

    /// Opens a stream from now on.
    fn open_stream(streams: &mut S, tree: &WatchTree) -> io::Result<EventStreamId> {
        // A stream that begins at its latest event begins at some time after this call.
        let since = streams.current_id();
        streams.open(StreamRequest { root: &tree.root, since, latency: tree.latency })
    }

    /// Takes the events of the streams, and notes what they say.
    fn take_events(&mut self, drained: &mut Drained) {
        let mut events = self.streams.take();
        drained.kernel_events += events.len();
        let is_wrap = |(_, event): &(_, StreamEvent)| {
            EventFlags(event.flags).has(EventFlags::EVENT_IDS_WRAPPED)
        };
        if !events.iter().any(is_wrap) {
            events.sort_by_key(|(_, event)| event.id);
        }
        for (stream, event) in events {
            let source = self.sources.iter_mut().find(|source| source.stream == stream);
            if let Some(source) = source {
                let root = source.tree.root.as_os_str().as_bytes();
                let flags = EventFlags(event.flags);
                let notice = translate(root, &event.path, flags);
                if notice.is_dropped && !source.pending.is_incomplete {
                    let root = Escaped(root);
                    let warning = format!("FSEvents has dropped events: rescanning {root}");
                    drained.warnings.push(warning);
                }
                source.note(notice, &event);
            }
        }
    }

    /// Replaces the streams of roots that were renamed or replaced. A root that has its name again
    /// is watched from now on, whatever the old stream does.
    fn reopen_streams(&mut self, drained: &mut Drained) {
        for source in &mut self.sources {
            if !std::mem::take(&mut source.pending.is_root_changed) {
                continue;
            }
            drained.checks_roots = true;
            match Self::open_stream(&mut self.streams, &source.tree) {
                Ok(stream) => self.streams.close(std::mem::replace(&mut source.stream, stream)),
                Err(error) => drained.failed.push((source.tree.mirror, error)),
            }
        }
    }

    /// Looks at a limited number of entries of each source. Returns true if there are more.
    fn look_at_pending(&mut self, drained: &mut Drained) -> bool {
        let mut has_more = false;
        for source in self.sources.iter_mut().filter(|source| source.pending.has_any()) {
            if let Some(root) = source.open(&mut self.view) {
                source.look_at_volumes(&mut self.view, &root);
                let lost = source.pending.take_lost(&mut self.view, &root);
                let entries = source.look(&mut self.view, &root, self.entries_per_step);
                source.report(report(&entries), drained);
                source.report(lost.into_iter().map(FsEventKind::Lost), drained);
            } else {
                drained.checks_roots = true;
                source.pending = PendingNotices::default();
                source.volumes.values_mut().for_each(|device| *device = None);
                source.report([FsEventKind::Lost(TreePath::root())], drained);
            }
            has_more |= source.pending.has_any();
        }
        has_more
    }
}

impl StreamedSource {
    /// Notes what an event says.
    fn note(&mut self, notice: Notice, event: &StreamEvent) {
        let Notice { entry, lost, volume, checks_root, is_dropped } = notice;
        self.pending.is_root_changed |= checks_root;
        self.pending.is_incomplete |= is_dropped;
        self.pending.volumes.extend(volume);
        self.pending.lost.extend(lost.filter(|path| !self.skips(path)));
        if let Some(path) = entry.filter(|path| !self.skips(path)) {
            let PendingNotices { order, entries, .. } = &mut self.pending;
            let (flags, inode) = entries.entry(path).or_insert_with_key(|path| {
                order.push_back(path.clone());
                (EventFlags::default(), None)
            });
            *flags = *flags | EventFlags(event.flags);
            *inode = event.inode.or(*inode);
        }
    }

    /// Returns true if the mirror does not want the directory of an entry.
    fn skips(&self, path: &TreePath) -> bool {
        let parent = path.parent().filter(|parent| !parent.is_root());
        parent.is_some_and(|parent| (self.tree.skip)(&parent))
    }

    /// Opens the root, if it is the same directory as at the beginning.
    fn open<V: TreeView>(&self, view: &mut V) -> Option<V::Root> {
        let root = view.open(&self.tree.root).ok()?;
        (identity(view, &root) == Some(self.identity)).then_some(root)
    }

    /// Notes the devices at the directories where volumes were mounted or unmounted. Their content
    /// is another one.
    fn look_at_volumes<V: TreeView>(&mut self, view: &mut V, root: &V::Root) {
        for path in std::mem::take(&mut self.pending.volumes) {
            let device = mounted_device(view, root, &path);
            self.pending.lost.insert(path.clone());
            self.volumes.insert(path, device);
        }
    }

    /// Looks at pending entries.
    fn look<V: TreeView>(
        &mut self,
        view: &mut V,
        root: &V::Root,
        limit: usize,
    ) -> Vec<EntryNotice> {
        let is_incomplete = self.pending.is_incomplete;
        let mut looked = Vec::new();
        while looked.len() < limit {
            let Some(path) = self.pending.order.pop_front() else {
                self.pending.is_incomplete = false;
                break;
            };
            let (flags, inode) = self.pending.entries.remove(&path).unwrap_or_default();
            let sighting = view.look(root, &path);
            let is_deletion_certain = !is_incomplete && self.is_on_its_volume(&sighting);
            looked.push(EntryNotice { path, flags, inode, sighting, is_deletion_certain });
        }
        looked
    }

    /// Returns true if the place of an entry is on the volume that is known there.
    fn is_on_its_volume(&self, sighting: &Sighting) -> bool {
        let above = self.volumes.iter().filter(|(point, _)| point.contains(&sighting.path));
        let deepest = above.max_by_key(|(point, _)| point.as_bytes().len());
        let device = deepest.map_or(Some(self.identity.0), |(_, device)| *device);
        device == Some(sighting.device)
    }

    fn report(&self, events: impl IntoIterator<Item = FsEventKind>, drained: &mut Drained) {
        if self.is_covered {
            events.into_iter().for_each(|event| drained.push(self.tree.mirror, event));
        }
    }
}

impl PendingNotices {
    fn has_any(&self) -> bool {
        !(self.order.is_empty() && self.lost.is_empty() && self.volumes.is_empty())
    }

    /// Takes the places to be read again, without those below another one.
    fn take_lost<V: TreeView>(&mut self, view: &mut V, root: &V::Root) -> BTreeSet<TreePath> {
        let mut lost: BTreeSet<TreePath> = BTreeSet::new();
        for path in std::mem::take(&mut self.lost) {
            // The place of an outdated name would be read as if it had that name.
            let path = view.look(root, &path).other_name_in.unwrap_or(path);
            if !lost.iter().any(|above| above.contains(&path)) {
                lost.insert(path);
            }
        }
        lost
    }
}

/// Returns the device and the inode of an open root.
fn identity<V: TreeView>(view: &mut V, root: &V::Root) -> Option<(u64, u64)> {
    let Sighting { device, entry, .. } = view.look(root, &TreePath::root());
    match entry {
        SeenEntry::Found { kind: EntryKind::Directory, inode } => Some((device, inode)),
        SeenEntry::Found { .. } | SeenEntry::Missing | SeenEntry::Unknown => None,
    }
}

/// Returns the device of the volume that is mounted at a directory, if there is one.
fn mounted_device<V: TreeView>(view: &mut V, root: &V::Root, path: &TreePath) -> Option<u64> {
    let above = view.look(root, &path.parent()?).device;
    let Sighting { device, entry, .. } = view.look(root, path);
    (matches!(entry, SeenEntry::Found { .. }) && device != above).then_some(device)
}

impl<S: EventStreams, V: TreeView> AsFd for FsEventsBackend<S, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.streams.as_fd()
    }
}

impl<S: EventStreams, V: TreeView> Backend for FsEventsBackend<S, V> {
    fn name(&self) -> &'static str {
        "fsevents"
    }

    fn cover(&mut self, tree: &WatchTree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let stream = Self::open_stream(&mut self.streams, tree)?;
        let source = StreamedSource::new(&mut self.view, tree, stream);
        match source {
            Ok(source) => self.sources.push(source),
            Err(error) => {
                self.streams.close(stream);
                return Err(error);
            }
        }
        Ok(())
    }

    fn uncover(&mut self, mirror: MirrorId) {
        for source in self.sources.extract_if(.., |source| source.tree.mirror == mirror) {
            self.streams.close(source.stream);
        }
    }

    fn drain(&mut self, drained: &mut Drained) -> io::Result<DrainStatus> {
        self.take_events(drained);
        self.reopen_streams(drained);
        self.look_at_pending(drained);
        Ok(DrainStatus::Empty)
    }

    fn advance(&mut self, drained: &mut Drained) -> bool {
        for source in self.sources.iter_mut().filter(|source| !source.is_covered) {
            source.is_covered = true;
            drained.covered.push((source.tree.mirror, 0));
        }
        self.look_at_pending(drained)
    }

    fn catch_up(&mut self) {
        self.streams.flush();
    }

    fn has_pending(&self) -> bool {
        false
    }

    fn flush_pending(&mut self, _: &mut Drained) {}

    fn on_mounted(&mut self, directory: &[u8]) {
        for source in &mut self.sources {
            let point = source.path_below(directory);
            source.pending.volumes.extend(point);
        }
    }

    fn on_unmounted(&mut self, directory: &[u8], drained: &mut Drained) {
        let mut is_below = false;
        for source in &mut self.sources {
            let point = source.path_below(directory);
            is_below |= point.is_some();
            source.pending.volumes.extend(point);
        }
        if is_below {
            drained.warnings.push(unmounted_warning(directory));
        }
    }
}

impl StreamedSource {
    fn new<V: TreeView>(view: &mut V, tree: &WatchTree, stream: EventStreamId) -> io::Result<Self> {
        let root = view.open(&tree.root)?;
        let identity = identity(view, &root).ok_or(io::ErrorKind::NotADirectory)?;
        let points = view.mounts_below(&tree.root)?.into_iter();
        let volumes = points.map(|point| {
            let device = mounted_device(view, &root, &point);
            (point, device)
        });
        Ok(Self {
            tree: tree.clone(),
            stream,
            identity,
            is_covered: false,
            volumes: volumes.collect(),
            pending: PendingNotices::default(),
        })
    }

    /// Returns the path of a directory below the root.
    fn path_below(&self, directory: &[u8]) -> Option<TreePath> {
        let root = self.tree.root.as_os_str().as_bytes();
        let path = strip_root(root, directory).and_then(TreePath::new)?;
        (!path.is_root()).then_some(path)
    }
}
