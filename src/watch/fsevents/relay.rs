//! Streams that relay the events of inotify, so that the backend can watch real directories.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::PathBuf,
};

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId},
    path::TreePath,
};
use mirror_platform::event_streams::{EventStreamId, EventStreams, StreamEvent, StreamRequest};

use super::{
    super::{
        backend::{Backend, DrainStatus, Drained, WatchTree},
        inotify::{InotifyBackend, InotifyLimits},
        tests::backend_contract::WatchRng,
    },
    flags::EventFlags,
};

/// Streams with the events of inotify, merged and with flags of earlier events.
#[derive(Debug)]
pub(in crate::watch) struct RelayedStreams {
    inotify: InotifyBackend,
    drained: Drained,
    roots: BTreeMap<MirrorId, PathBuf>,
    sticky: BTreeMap<Vec<u8>, EventFlags>,
    last_id: u64,
    last_stream: u32,
    rng: WatchRng,
}

impl RelayedStreams {
    pub(in crate::watch) fn new(rng: WatchRng) -> Self {
        Self {
            inotify: InotifyBackend::new(InotifyLimits::default()).unwrap(),
            drained: Drained::default(),
            roots: BTreeMap::new(),
            sticky: BTreeMap::new(),
            last_id: 0,
            last_stream: 0,
            rng,
        }
    }

    /// Makes an event of a changed path.
    fn event(
        &mut self,
        mirror: MirrorId,
        path: &TreePath,
        kind: EntryKind,
        change: EventFlags,
    ) -> (EventStreamId, StreamEvent) {
        let root = self.roots[&mirror].as_os_str().as_bytes();
        let path = [root, path.as_bytes()].join(&b'/');
        let kind = match kind {
            EntryKind::Directory => EventFlags::ITEM_IS_DIR,
            EntryKind::Other => EventFlags::ITEM_IS_FILE,
        };
        let sticky = self.sticky.entry(path.clone()).or_default();
        if self.rng.roll(4) == 0 {
            *sticky = EventFlags::default();
        }
        *sticky = *sticky | change | kind;
        self.last_id += 1;
        let (flags, id) = (sticky.0, self.last_id);
        (stream_of(mirror), StreamEvent { path, flags, id, inode: None })
    }

    fn events(
        &mut self,
        mirror: MirrorId,
        kind: &FsEventKind,
    ) -> Vec<(EventStreamId, StreamEvent)> {
        match kind {
            FsEventKind::Changed(Change { edit, kind, path }) => {
                let flags = match edit {
                    Edit::Attrib => EventFlags::ITEM_INODE_META_MOD,
                    Edit::Create => EventFlags::ITEM_CREATED,
                    Edit::Modify | Edit::Write => EventFlags::ITEM_MODIFIED,
                    Edit::Delete => EventFlags::ITEM_REMOVED,
                };
                vec![self.event(mirror, path, *kind, flags)]
            }
            FsEventKind::Renamed { from, to, kind } => {
                let place = self.roots[&mirror].join(std::ffi::OsStr::from_bytes(to.as_bytes()));
                let inode = fs::symlink_metadata(place).ok().map(|it| it.ino());
                let mut half = |path| {
                    let (id, event) = self.event(mirror, path, *kind, EventFlags::ITEM_RENAMED);
                    (id, StreamEvent { inode, ..event })
                };
                vec![half(from), half(to)]
            }
            FsEventKind::Lost(path) => {
                let (id, event) =
                    self.event(mirror, path, EntryKind::Directory, EventFlags::default());
                let flags = EventFlags::MUST_SCAN_SUBDIRS.0;
                vec![(id, StreamEvent { flags, ..event })]
            }
            FsEventKind::RootGone(_) => Vec::new(),
        }
    }
}

const fn stream_of(mirror: MirrorId) -> EventStreamId {
    EventStreamId(mirror.0 as u64)
}

impl AsFd for RelayedStreams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl EventStreams for RelayedStreams {
    fn current_id(&mut self) -> u64 {
        self.last_id
    }

    fn open(&mut self, request: StreamRequest<'_>) -> io::Result<EventStreamId> {
        self.last_stream += 1;
        let mirror = MirrorId(self.last_stream);
        self.inotify.cover(&WatchTree::whole(mirror.0, request.root))?;
        while !self.drained.covered.iter().any(|(covered, _)| *covered == mirror) {
            self.inotify.advance(&mut self.drained);
        }
        self.roots.insert(mirror, request.root.to_owned());
        Ok(stream_of(mirror))
    }

    fn close(&mut self, stream: EventStreamId) {
        self.inotify.uncover(MirrorId(u32::try_from(stream.0).unwrap()));
    }

    fn flush(&mut self) {}

    fn take(&mut self) -> Vec<(EventStreamId, StreamEvent)> {
        while self.inotify.drain(&mut self.drained).unwrap() == DrainStatus::More {}
        while self.inotify.advance(&mut self.drained) {}
        self.inotify.flush_pending(&mut self.drained);
        while self.inotify.advance(&mut self.drained) {}
        let events = std::mem::take(&mut self.drained.fs_events);
        events.iter().flat_map(|event| self.events(event.mirror, &event.kind)).collect()
    }
}
