//! fanotify backend: one mark for a whole file system, regardless of the number of directories.
//!
//! An event identifies a directory by its handle. The current path of the directory is looked up
//! and cached until any directory is renamed or removed. The kernel merges queued events, so they
//! only say where to look.

mod translation;
mod view;

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use mirror_core::{
    fs_event::{Edit, EntryKind, FsEventKind, MirrorId},
    path::TreePath,
};
use mirror_platform::{
    dir::{Dir, device},
    fanotify::{FanotifyEntry, FanotifyEvent, FanotifyGroup, FanotifyQueue, MIN_BUFFER_SIZE},
    file_handle::{self, FileHandle},
    mounts::MountTable,
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    backend::{Backend, DrainStatus, Drained, Unwatched, WatchTree, strip_root, unmounted_warning},
    limits::KernelLimit,
};
use translation::{ResolvedDir, ResolvedEntry, edits, report_change, report_move};
use view::MountView;

/// Number of bytes of events per read.
const BUFFER_SIZE: usize = 256 * 1024;

/// Maximum duration of a drain, plus the events of one read: each event of a very deep tree takes
/// time, and the thread has other duties.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(100);

/// Maximum number of reads per drain.
const MAX_READS: usize = 256;

/// Maximum number of cached directories.
const MAX_CACHED: usize = 8192;

#[derive(Debug)]
pub(super) struct FanotifyBackend {
    group: FanotifyGroup,
    mirrors: Vec<FanotifyMirror>,
    views: Vec<MountView>,
    cache: HashMap<Box<[u8]>, Arc<ResolvedDir>>,
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
            mirrors: Vec::new(),
            views: Vec::new(),
            cache: HashMap::new(),
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
        let resolved = path_of(&file_handle::open(&dir, handle.as_bytes())?)?;
        if resolved != path.as_os_str().as_bytes() {
            return Err(io::Error::other("a directory cannot be opened by its handle"));
        }
        Ok(MountView {
            path: path.into(),
            mount: stat.stx_mnt_id,
            device: device(&stat),
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
                let is_same = |dir: &Dir| dir.stat(b"").is_ok_and(|it| device(&it) == gone.device);
                if let Some(dir) = Dir::open(&gone.path).ok().filter(is_same) {
                    let _ = self.group.unmark(dir);
                }
            }
        }
        self.views = views;
        self.cache.clear();
    }

    /// Looks up the current paths of a directory.
    fn resolve(&mut self, entry: &FanotifyEntry<'_>, drained: &mut Drained) -> Arc<ResolvedDir> {
        if let Some(known) = self.cache.get(entry.key()) {
            return known.clone();
        }
        let (mut known, mut is_sure) = (ResolvedDir::default(), true);
        for at in 0..self.views.len() {
            match self.path_in_view(at, entry.handle()) {
                Ok(Some((path, is_approximate))) => {
                    known.is_approximate |= is_approximate;
                    self.add_paths(&path, &mut known);
                }
                Ok(None) => {}
                Err(error) => {
                    drained.warnings.push(format!("fanotify: events lost ({error}): rescanning"));
                    self.report_all_lost(drained);
                    is_sure = false;
                }
            }
        }
        let known = Arc::new(known);
        // The other paths are unknown: the next event looks them up again.
        if !is_sure {
            return known;
        }
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(entry.key().into(), known.clone());
        known
    }

    /// Returns the path of a directory through a view, or of its nearest ancestor that the kernel
    /// can name; the flag is true in the latter case. `None` if the view does not contain it.
    fn path_in_view(&mut self, view: usize, handle: &[u8]) -> io::Result<Option<(Vec<u8>, bool)>> {
        let Some(view) = self.views.get_mut(view) else { return Ok(None) };
        let Some(mount) = view.open() else { return Ok(None) };
        let fd = match file_handle::open(mount, handle) {
            Ok(fd) => fd,
            // Deleted, which its parent reports. Or it belongs to another file system.
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::STALE | Errno::INVAL | Errno::NOENT | Errno::OPNOTSUPP)
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match path_of(&fd) {
            // Through a bind mount the kernel reports "/" for everything outside of it.
            Ok(path) if path == b"/" && !is_process_root(&fd) => Ok(None),
            Ok(path) => Ok(Some((path, false))),
            Err(error) if is_too_long(&error) => Ok(Some((nearest_path(fd)?, true))),
            Err(error) => Err(error),
        }
    }

    fn add_paths(&self, path: &[u8], known: &mut ResolvedDir) {
        for mirror in self.mirrors.iter().filter(|mirror| mirror.is_covered) {
            let root = mirror.tree.root.as_os_str().as_bytes();
            let Some(path) = strip_root(root, path).and_then(TreePath::new) else { continue };
            if path.is_root() || !(mirror.tree.skip)(&path) {
                let in_mirror = (mirror.tree.mirror, path);
                if !known.paths.contains(&in_mirror) {
                    known.paths.push(in_mirror);
                }
            }
        }
    }

    fn report_all_lost(&self, drained: &mut Drained) {
        for mirror in self.mirrors.iter().filter(|mirror| mirror.is_covered) {
            drained.push(mirror.tree.mirror, FsEventKind::Lost(TreePath::root()));
        }
    }
}

/// Handling of mounts while the tree is watched.
impl FanotifyBackend {
    fn cover_mount(&mut self, point: &[u8], drained: &mut Drained) {
        let result = self.view(Path::new(OsStr::from_bytes(point)));
        for mirror in &mut self.mirrors {
            let root = mirror.tree.root.as_os_str().as_bytes();
            let Some(path) = strip_root(root, point).and_then(TreePath::new) else { continue };
            let id = mirror.tree.mirror;
            match &result {
                Ok(view) => mirror.views.push(view.clone()),
                Err(error) => {
                    let error = io::Error::from(error.kind());
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
            return self.report_all_lost(drained);
        }
        // Without a name the event is about an inode, and the change was also reported by name.
        let Some(entry) = event.entry else { return };
        if event.mask.is_directory && (event.mask.rename || event.mask.delete) {
            self.invalidate_paths(&entry, event.renamed_to.as_ref());
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

    /// Invalidates cached paths after a directory was renamed or removed: those of directories
    /// below it may be wrong.
    ///
    /// Changes outside of all mirrors can't bring anything into a mirror.
    fn invalidate_paths(&mut self, from: &FanotifyEntry<'_>, to: Option<&FanotifyEntry<'_>>) {
        let is_outside = |entry: &FanotifyEntry<'_>| {
            self.cache.get(entry.key()).is_some_and(|known| known.paths.is_empty())
        };
        if !(is_outside(from) && to.is_none_or(is_outside)) {
            self.cache.clear();
        }
    }
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
        self.views.iter_mut().for_each(|view| view.open = None);
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
        false
    }

    fn flush_pending(&mut self, _drained: &mut Drained) {}

    fn on_mounted(&mut self, directory: &[u8]) {
        self.mounted.push(directory.into());
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
    }
}

fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NAMETOOLONG)
}

/// Returns the path of the nearest ancestor of `below` whose path is not too long.
///
/// In a deep tree each event needs this, and each lookup costs as much as a maximum-length path.
/// Therefore the step is doubled until a path fits, and then halved.
fn nearest_path(mut below: OwnedFd) -> io::Result<Vec<u8>> {
    const LONGEST_STEP: usize = 1024;
    let (mut step, mut is_growing) = (1, true);
    loop {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = rustix::fs::openat(&below, "../".repeat(step), flags, Mode::empty())?;
        match path_of(&above) {
            Ok(path) if step == 1 => return Ok(path),
            Ok(_) => {
                is_growing = false;
                step /= 2;
            }
            Err(error) if is_too_long(&error) => {
                below = above;
                step = if is_growing { (step * 2).min(LONGEST_STEP) } else { (step / 2).max(1) };
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns the path of an open directory, as the kernel currently sees it.
fn path_of(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}

/// Returns true if it is the root directory of this process.
fn is_process_root(fd: &OwnedFd) -> bool {
    let top = rustix::fs::stat("/").map(|stat| (stat.st_dev, stat.st_ino));
    let this = rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    this.is_ok() && this == top
}
