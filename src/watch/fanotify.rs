//! fanotify backend: one mark for a whole file system, regardless of the number of directories.
//!
//! An event identifies a directory by its handle. The current path of the directory is looked up
//! and cached until any directory is renamed. The kernel merges queued events, so they only say
//! where to look.
//!
//! Only a certain answer is cached. If the kernel does not find a directory, it was probably
//! deleted, which its parent reports. It is looked up once more after a few milliseconds, and is
//! rescanned if it exists. If the kernel can't answer, all mirrors are rescanned.

mod drops;
mod location;
mod lookup;
mod translation;
mod view;

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use mirror_core::{
    fs_event::{Edit, EntryKind, FsEventKind, MirrorId},
    path::TreePath,
};
use mirror_platform::{
    dir::Dir,
    fanotify::{FanotifyEntry, FanotifyEvent, FanotifyGroup, FanotifyQueue, MIN_BUFFER_SIZE},
    file_handle::FileHandle,
    mounts::MountTable,
};

use super::{
    backend::{Backend, DrainStatus, Drained, Unwatched, WatchTree, strip_root, unmounted_warning},
    limits::KernelLimit,
};
use drops::{DropCounts, DropReason};
use location::Location;
use translation::{ResolvedDir, ResolvedEntry, edits, report_change, report_move};
use view::MountView;

/// Number of bytes of events per read.
const BUFFER_SIZE: usize = 256 * 1024;

/// Maximum duration of a drain, plus the events of one read: each event of a very deep tree takes
/// time, and the thread has other duties.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(100);

/// Maximum number of reads per drain.
const MAX_READS: usize = 256;

/// Lookup of a handle through a mount; tests replace it.
type LocateFn = fn(&Dir, &[u8]) -> io::Result<Location>;

#[derive(Debug)]
pub(super) struct FanotifyBackend {
    group: FanotifyGroup,
    locate: LocateFn,
    mirrors: Vec<FanotifyMirror>,
    views: Vec<MountView>,
    /// Certain answers, by the key of the directory.
    cache: HashMap<Box<[u8]>, Arc<ResolvedDir>>,
    /// The keys of directories that were not found, and are to be looked up again.
    missing: HashSet<Box<[u8]>>,
    dropped: DropCounts,
    /// True if this drain has reported a rescan of all mirrors.
    is_all_lost: bool,
    /// Mount points that have appeared below roots.
    mounted: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct FanotifyMirror {
    tree: WatchTree,
    is_covered: bool,
    /// The mounts of the tree.
    views: Vec<MountView>,
}

impl FanotifyBackend {
    /// Creates a backend that covers nothing yet.
    ///
    /// # Errors
    ///
    /// As `fanotify_init(2)`: missing privileges, or no support in the kernel.
    pub(super) fn new(queue: FanotifyQueue) -> io::Result<Self> {
        Ok(Self {
            group: FanotifyGroup::new(queue)?,
            locate: location::locate,
            mirrors: Vec::new(),
            views: Vec::new(),
            cache: HashMap::new(),
            missing: HashSet::new(),
            dropped: DropCounts::default(),
            is_all_lost: false,
            mounted: Vec::new(),
            buffer: vec![0; BUFFER_SIZE.max(MIN_BUFFER_SIZE)],
        })
    }

    /// Marks the file system mounted at `path`, and checks that its handles can be resolved.
    fn view(&self, path: &Path) -> io::Result<MountView> {
        let dir = Dir::open(path)?;
        let stat = dir.stat(b"")?;
        self.group.mark(&dir)?;
        let handle = FileHandle::of(&dir)?;
        let location = location::locate(&dir, handle.as_bytes())?;
        if location != Location::At(path.as_os_str().as_bytes().into()) {
            return Err(io::Error::other("a directory cannot be opened by its handle"));
        }
        Ok(MountView {
            path: path.into(),
            mount: stat.mount,
            device: stat.device,
            open: None,
            is_gone: false,
        })
    }

    /// Returns the views of a tree: its root, and the mounts below it.
    fn views_of(&self, tree: &WatchTree) -> io::Result<Vec<MountView>> {
        let root = tree.root.as_os_str().as_bytes();
        let mut views = vec![self.view(&tree.root)?];
        for mount in MountTable::open()?.read()? {
            if strip_root(root, &mount.point).is_some_and(|path| !path.is_empty()) {
                views.push(self.view(Path::new(OsStr::from_bytes(&mount.point)))?);
            }
        }
        Ok(views)
    }

    /// Updates the views that the mirrors need, one for each mount, and removes marks that none
    /// needs.
    fn update_views(&mut self) {
        let mut views: Vec<MountView> = Vec::new();
        for view in self.mirrors.iter().flat_map(|mirror| &mirror.views) {
            if !views.iter().any(|known| known.mount == view.mount) {
                views.push(view.clone());
            }
        }
        for gone in &self.views {
            if !views.iter().any(|view| view.device == gone.device) {
                // The mark of an unmounted file system is gone with it. The directory now visible
                // belongs to another file system, whose mark is needed.
                let is_same = |dir: &Dir| dir.stat(b"").is_ok_and(|it| it.device == gone.device);
                if let Some(dir) = Dir::open(&gone.path).ok().filter(is_same) {
                    let _ = self.group.unmark(dir);
                }
            }
        }
        self.views = views;
        self.cache.clear();
    }

    /// Reports a rescan of all mirrors, because of an error of the kernel.
    fn report_all_lost(&mut self, error: &str, drained: &mut Drained) {
        if !std::mem::replace(&mut self.is_all_lost, true) {
            drained.warnings.push(format!("fanotify: events lost ({error}): rescanning"));
            self.rescan_all(drained);
        }
    }

    fn rescan_all(&self, drained: &mut Drained) {
        for mirror in self.mirrors.iter().filter(|mirror| mirror.is_covered) {
            drained.push(mirror.tree.mirror, FsEventKind::Lost(TreePath::root()));
        }
    }
}

/// Handling of mounts while the tree is watched.
impl FanotifyBackend {
    /// Closes the mounts, which an open descriptor keeps from being unmounted.
    fn close_views(&mut self) {
        self.views.iter_mut().for_each(|view| view.open = None);
    }

    fn cover_mount(&mut self, point: &[u8], drained: &mut Drained) {
        let result = self.view(Path::new(OsStr::from_bytes(point)));
        for mirror in &mut self.mirrors {
            let root = mirror.tree.root.as_os_str().as_bytes();
            let Some(path) = strip_root(root, point).and_then(TreePath::new) else { continue };
            let id = mirror.tree.mirror;
            match &result {
                Ok(view) => mirror.views.push(view.clone()),
                Err(error) => {
                    let error = match error.raw_os_error() {
                        Some(code) => io::Error::from_raw_os_error(code),
                        None => io::Error::new(error.kind(), error.to_string()),
                    };
                    drained.unwatched.push(Unwatched { mirror: id, path: path.clone(), error });
                }
            }
            drained.push(id, FsEventKind::Lost(path));
        }
        self.update_views();
    }
}

/// Translation of kernel events.
impl FanotifyBackend {
    fn handle(&mut self, event: &FanotifyEvent<'_>, drained: &mut Drained) {
        drained.kernel_events += 1;
        if event.mask.overflow {
            drained.overflows.push(KernelLimit::FanotifyQueue);
            // The lost events may include renames.
            self.cache.clear();
            return self.rescan_all(drained);
        }
        let Some(entry) = event.entry.filter(|_| !is_incomplete(event)) else {
            return self.handle_nameless(event, drained);
        };
        if event.mask.is_directory {
            self.invalidate_paths(&entry, event);
        }
        let kind = if event.mask.is_directory { EntryKind::Directory } else { EntryKind::Other };
        let here = self.resolve(&entry, drained);
        let from = ResolvedEntry { directory: &here, name: entry.name };
        if let Some(to) = event.renamed_to {
            let there = self.resolve(&to, drained);
            let to = ResolvedEntry { directory: &there, name: to.name };
            report_move(from, to, kind, drained);
        } else {
            let may_be_open = kind == EntryKind::Other && !event.mask.close;
            for edit in edits(event) {
                let may_be_open = may_be_open && edit == Edit::Create;
                report_change(from, edit, kind, may_be_open, drained);
            }
        }
    }

    /// Handles an event without a name.
    ///
    /// The change of a link count has none: it is also reported by name. Content that is changed by
    /// a handle, as a server of NFS does, may have none either. In any other event the kernel could
    /// not encode the handle of a directory.
    fn handle_nameless(&mut self, event: &FanotifyEvent<'_>, drained: &mut Drained) {
        let mask = event.mask;
        if event.object.is_none() || mask.create || mask.delete || mask.rename {
            self.cache.clear();
            return self.report_all_lost("an event without a directory", drained);
        }
        self.dropped.add(DropReason::Nameless);
    }

    /// Invalidates the cached paths that a change of a directory affects.
    fn invalidate_paths(&mut self, from: &FanotifyEntry<'_>, event: &FanotifyEvent<'_>) {
        if event.mask.delete {
            // Nothing is below it any more, so only the directory itself is affected.
            match event.object {
                Some(key) => drop(self.cache.remove(key)),
                None => self.cache.clear(),
            }
        }
        // Directories below a renamed one have other paths. A change outside of all mirrors can't
        // bring anything into a mirror.
        let is_outside = |entry: &FanotifyEntry<'_>| {
            self.cache.get(entry.key()).is_some_and(|known| known.paths.is_empty())
        };
        let is_all_outside = is_outside(from) && event.renamed_to.as_ref().is_none_or(is_outside);
        if event.mask.rename && !is_all_outside {
            self.cache.clear();
        }
    }
}

/// Returns true if it lacks the new name of a renamed entry.
fn is_incomplete(event: &FanotifyEvent<'_>) -> bool {
    event.mask.rename && event.renamed_to.is_none()
}

impl AsFd for FanotifyBackend {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl Backend for FanotifyBackend {
    fn name(&self) -> &'static str {
        "fanotify"
    }

    fn cover(&mut self, tree: &WatchTree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let views = self.views_of(tree)?;
        self.mirrors.push(FanotifyMirror { tree: tree.clone(), is_covered: false, views });
        self.update_views();
        Ok(())
    }

    fn uncover(&mut self, mirror: MirrorId) {
        let before = self.mirrors.len();
        self.mirrors.retain(|known| known.tree.mirror != mirror);
        if self.mirrors.len() != before {
            self.update_views();
        }
    }

    fn drain(&mut self, drained: &mut Drained) -> io::Result<DrainStatus> {
        self.is_all_lost = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut result = Ok(DrainStatus::More);
        let until = Instant::now() + MAX_DRAIN_TIME;
        for _ in 0..MAX_READS {
            if Instant::now() > until {
                break;
            }
            match self.group.read(&mut buffer) {
                Ok(Some(events)) => events.for_each(|event| self.handle(&event, drained)),
                Ok(None) => {
                    result = Ok(DrainStatus::Empty);
                    break;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.close_views();
        drained.details.extend(self.dropped.take_report());
        result
    }

    fn advance(&mut self, drained: &mut Drained) -> bool {
        for point in std::mem::take(&mut self.mounted) {
            self.cover_mount(&point, drained);
        }
        for mirror in self.mirrors.iter_mut().filter(|mirror| !mirror.is_covered) {
            mirror.is_covered = true;
            self.cache.clear();
            drained.covered.push((mirror.tree.mirror, 0));
        }
        false
    }

    fn has_pending(&self) -> bool {
        !self.missing.is_empty()
    }

    fn flush_pending(&mut self, drained: &mut Drained) {
        self.verify_missing(drained);
        self.close_views();
    }

    fn on_mounted(&mut self, directory: &[u8]) {
        if !self.mounted.iter().any(|point| point == directory) {
            self.mounted.push(directory.into());
        }
    }

    fn on_unmounted(&mut self, directory: &[u8], drained: &mut Drained) {
        let path = Path::new(OsStr::from_bytes(directory));
        let is_of = |mirror: &FanotifyMirror| {
            path != mirror.tree.root && mirror.views.iter().any(|view| view.path == path)
        };
        if self.mirrors.iter().any(is_of) {
            drained.warnings.push(unmounted_warning(directory));
        }
        for mirror in self.mirrors.iter().filter(|mirror| is_of(mirror)) {
            let root = mirror.tree.root.as_os_str().as_bytes();
            if let Some(path) = strip_root(root, directory).and_then(TreePath::new) {
                drained.push(mirror.tree.mirror, FsEventKind::Lost(path));
            }
        }
        for mirror in &mut self.mirrors {
            mirror.views.retain(|view| view.path != path || view.path == mirror.tree.root);
        }
        self.update_views();
        // It may have hidden another mount, whose view and mark are gone now. Without the table
        // that is unknown, and the path is taken for a mount.
        let table = MountTable::open().and_then(|mut table| table.read());
        if table.map_or(true, |table| table.iter().any(|mount| mount.point == directory)) {
            self.on_mounted(directory);
        }
    }
}

#[cfg(test)]
mod tests;
