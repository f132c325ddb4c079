//! fanotify as a source: one mark for a whole file system, whatever the number of directories.
//!
//! An event names a directory by its handle. What its path is now, is asked and remembered until
//! any directory is renamed or removed. Events are joined in the kernel's queue, so they only say
//! where to look.

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
    notice::{Change, Edit, Kind, MirrorId, News},
    path::TreePath,
};
use mirror_platform::{
    dir::{Dir, device},
    fanotify::{Event, Group, Place, Queue, SMALLEST_BUFFER},
    handle::{self, Handle},
    mounts::Mounts,
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    limits::Limit,
    source::{Findings, Ready, Source, Tree, Unwatched, below, unmounted},
};
use view::View;

/// How many bytes of events are read at a time.
const BUFFER: usize = 256 * 1024;

/// How long a drain takes at most, and the events of one read more: each event of a very deep tree takes
/// its time, and somebody may want the thread to do something else.
const LONGEST_DRAIN: Duration = Duration::from_millis(100);

/// How many reads a drain does at most.
const MOST_READS: usize = 256;

/// How many directories are remembered.
const MOST_KNOWN: usize = 8192;

/// The source.
#[derive(Debug)]
pub(super) struct Fanotify {
    group: Group,
    mirrors: Vec<Mirror>,
    views: Vec<View>,
    known: HashMap<Box<[u8]>, Arc<Known>>,
    /// Mount points that appeared below roots.
    mounted: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Mirror {
    tree: Tree,
    live: bool,
    /// The mounts that it consists of.
    views: Vec<View>,
}

/// What a directory is called in the mirrors that want it.
#[derive(Debug, Default)]
struct Known {
    places: Vec<(MirrorId, TreePath)>,
    /// Whether these are only directories above it, as its own path is too long for the kernel.
    vague: bool,
}

impl Fanotify {
    /// A source that covers nothing yet.
    ///
    /// # Errors
    ///
    /// As `fanotify_init(2)`: without the rights, or the support of the kernel.
    pub(super) fn new(queue: Queue) -> io::Result<Self> {
        Ok(Self {
            group: Group::new(queue)?,
            mirrors: Vec::new(),
            views: Vec::new(),
            known: HashMap::new(),
            mounted: Vec::new(),
            buffer: vec![0; BUFFER.max(SMALLEST_BUFFER)],
        })
    }

    /// Marks the file system that is mounted at `path`, and sees to it that handles of it can be
    /// resolved.
    fn view(&self, path: &Path) -> io::Result<View> {
        let dir = Dir::open(path)?;
        let stat = dir.stat(b"")?;
        self.group.mark(&dir)?;
        let handle = Handle::of(&dir)?;
        let found = path_of(&handle::open(&dir, handle.as_bytes())?)?;
        if found != path.as_os_str().as_bytes() {
            return Err(io::Error::other("a directory is not found by its handle"));
        }
        Ok(View {
            path: path.into(),
            mount: stat.stx_mnt_id,
            device: device(&stat),
            open: None,
            lost: false,
        })
    }

    /// The views of a tree: its root, and what is mounted below it.
    fn views_of(&self, tree: &Tree) -> io::Result<Vec<View>> {
        let root = tree.root.as_os_str().as_bytes();
        let mut views = vec![self.view(&tree.root)?];
        for mount in Mounts::open()?.read()? {
            if below(root, &mount.point).is_some_and(|path| !path.is_empty()) {
                views.push(self.view(Path::new(OsStr::from_bytes(&mount.point)))?);
            }
        }
        Ok(views)
    }

    /// Finds the views that the mirrors need, one for each mount, and takes away the marks that
    /// none needs.
    fn choose_views(&mut self) {
        let mut views: Vec<View> = Vec::new();
        for view in self.mirrors.iter().flat_map(|mirror| &mirror.views) {
            if !views.iter().any(|known| known.mount == view.mount) {
                views.push(view.clone());
            }
        }
        for gone in &self.views {
            if !views.iter().any(|view| view.device == gone.device) {
                // A mark on what is not mounted any more has gone with it, and below is another file
                // system, whose mark is needed.
                let same = |dir: &Dir| dir.stat(b"").is_ok_and(|it| device(&it) == gone.device);
                if let Some(dir) = Dir::open(&gone.path).ok().filter(same) {
                    let _ = self.group.unmark(dir);
                }
            }
        }
        self.views = views;
        self.known.clear();
    }

    /// What a directory is called now.
    fn resolve(&mut self, place: &Place<'_>, found: &mut Findings) -> Arc<Known> {
        if let Some(known) = self.known.get(place.key()) {
            return known.clone();
        }
        let (mut known, mut is_sure) = (Known::default(), true);
        for at in 0..self.views.len() {
            match self.look_through(at, place.handle()) {
                Ok(Some((path, vague))) => {
                    known.vague |= vague;
                    self.add_places(&path, &mut known);
                }
                Ok(None) => {}
                Err(error) => {
                    let text = format!("fanotify lost sight of a directory: {error}");
                    found.warnings.push(format!("{text}: reading all again"));
                    self.lose_everything(found);
                    is_sure = false;
                }
            }
        }
        let known = Arc::new(known);
        // Where else it may be, the next event has to find out.
        if !is_sure {
            return known;
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(place.key().into(), known.clone());
        known
    }

    /// The path of a directory through a view, or of the nearest one above it that the kernel can
    /// name. `None` if it is not there.
    fn look_through(&mut self, view: usize, handle: &[u8]) -> io::Result<Option<(Vec<u8>, bool)>> {
        let Some(view) = self.views.get_mut(view) else { return Ok(None) };
        let Some(mount) = view.open() else { return Ok(None) };
        let fd = match handle::open(mount, handle) {
            Ok(fd) => fd,
            // Deleted: its parent tells that. Or it belongs to another file system.
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
            // Out of a bind mount all that lies outside is called "/".
            Ok(path) if path == b"/" && !is_top(&fd) => Ok(None),
            Ok(path) => Ok(Some((path, false))),
            Err(error) if is_too_long(&error) => Ok(Some((nearest_path(fd)?, true))),
            Err(error) => Err(error),
        }
    }

    fn add_places(&self, path: &[u8], known: &mut Known) {
        for mirror in self.mirrors.iter().filter(|mirror| mirror.live) {
            let root = mirror.tree.root.as_os_str().as_bytes();
            let Some(path) = below(root, path).and_then(TreePath::new) else { continue };
            if path.is_root() || !(mirror.tree.skip)(&path) {
                let place = (mirror.tree.mirror, path);
                if !known.places.contains(&place) {
                    known.places.push(place);
                }
            }
        }
    }

    fn lose_everything(&self, found: &mut Findings) {
        for mirror in self.mirrors.iter().filter(|mirror| mirror.live) {
            found.tell(mirror.tree.mirror, News::Lost(TreePath::root()));
        }
    }
}

/// File systems that are mounted while they are watched.
impl Fanotify {
    fn on_mounted(&mut self, point: &[u8], found: &mut Findings) {
        let result = self.view(Path::new(OsStr::from_bytes(point)));
        for mirror in &mut self.mirrors {
            let root = mirror.tree.root.as_os_str().as_bytes();
            let Some(path) = below(root, point).and_then(TreePath::new) else { continue };
            let id = mirror.tree.mirror;
            match &result {
                Ok(view) => mirror.views.push(view.clone()),
                Err(error) => {
                    let error = io::Error::from(error.kind());
                    found.unwatched.push(Unwatched { mirror: id, path: path.clone(), error });
                }
            }
            found.tell(id, News::Lost(path));
        }
        self.choose_views();
    }
}

/// Events.
impl Fanotify {
    fn handle(&mut self, event: &Event<'_>, found: &mut Findings) {
        found.events += 1;
        if event.what.overflow {
            found.overflows.push(Limit::FanotifyQueue);
            // Among what is missing there may be renames.
            self.known.clear();
            return self.lose_everything(found);
        }
        // Without a name it is about an inode, and whoever changed that has told it by name.
        let Some(place) = event.place else { return };
        if event.what.is_directory && (event.what.rename || event.what.delete) {
            self.forget_paths(&place, event.renamed_to.as_ref());
        }
        let kind = if event.what.is_directory { Kind::Directory } else { Kind::Other };
        let here = self.resolve(&place, found);
        if let Some(to) = event.renamed_to {
            let there = self.resolve(&to, found);
            tell_move((&here, place.name), (&there, to.name), kind, found);
        } else {
            let may_be_open = kind == Kind::Other && !event.what.close;
            for edit in edits(event) {
                let is_made = may_be_open && edit == Edit::Create;
                tell((&here, place.name), (edit, is_made), kind, found);
            }
        }
    }

    /// A directory got another name, or lost it: what is known of those below it may be wrong.
    ///
    /// What happens where no mirror is, can't bring anything into a mirror.
    fn forget_paths(&mut self, from: &Place<'_>, to: Option<&Place<'_>>) {
        let is_outside = |place: &Place<'_>| {
            self.known.get(place.key()).is_some_and(|known| known.places.is_empty())
        };
        if !(is_outside(from) && to.is_none_or(is_outside)) {
            self.known.clear();
        }
    }
}

/// What an event means. Where it came into being and went, in whatever order, both was seen.
fn edits(event: &Event<'_>) -> impl Iterator<Item = Edit> {
    let what = event.what;
    let came_or_went = what.create || what.delete;
    let content = match (what.close, what.modify) {
        (true, _) => Edit::Modify,
        (false, true) => Edit::Write,
        (false, false) => Edit::Attrib,
    };
    let edits =
        [(what.delete, Edit::Delete), (what.create, Edit::Create), (!came_or_went, content)];
    edits.into_iter().filter_map(|(is_said, edit)| is_said.then_some(edit))
}

/// `is_made`: somebody may have it open.
fn tell(
    (known, name): (&Known, &[u8]),
    (edit, is_made): (Edit, bool),
    kind: Kind,
    found: &mut Findings,
) {
    for (mirror, directory) in &known.places {
        let path = if name == b"." { Some(directory.clone()) } else { directory.join(name) };
        let news = match path {
            Some(path) if !known.vague => News::Changed(Change { edit, kind, path }),
            _ => News::Lost(directory.clone()),
        };
        if is_made && matches!(news, News::Changed(_)) {
            found.tell_made(*mirror, news);
        } else {
            found.tell(*mirror, news);
        }
    }
}

fn tell_move(from: (&Known, &[u8]), to: (&Known, &[u8]), kind: Kind, found: &mut Findings) {
    let is_vague = from.0.vague || to.0.vague;
    for (mirror, directory) in &from.0.places {
        let there = to.0.places.iter().find(|(other, _)| other == mirror);
        let new = there.and_then(|(_, directory)| directory.join(to.1));
        match (directory.join(from.1), new) {
            (Some(from), Some(to)) if !is_vague => {
                found.tell(*mirror, News::Moved { from, to, kind });
            }
            (Some(path), _) if !from.0.vague => {
                found.tell(*mirror, News::Changed(Change { edit: Edit::Delete, kind, path }));
            }
            _ => found.tell(*mirror, News::Lost(directory.clone())),
        }
    }
    for (mirror, directory) in &to.0.places {
        if !is_vague && from.0.places.iter().any(|(other, _)| other == mirror) {
            continue;
        }
        let news = match directory.join(to.1) {
            Some(path) if !to.0.vague => News::Changed(Change { edit: Edit::Create, kind, path }),
            _ => News::Lost(directory.clone()),
        };
        found.tell(*mirror, news);
    }
}

impl AsFd for Fanotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl Source for Fanotify {
    fn name(&self) -> &'static str {
        "fanotify"
    }

    fn cover(&mut self, tree: &Tree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let views = self.views_of(tree)?;
        self.mirrors.push(Mirror { tree: tree.clone(), live: false, views });
        self.choose_views();
        Ok(())
    }

    fn uncover(&mut self, mirror: MirrorId) {
        let before = self.mirrors.len();
        self.mirrors.retain(|known| known.tree.mirror != mirror);
        if self.mirrors.len() != before {
            self.choose_views();
        }
    }

    fn drain(&mut self, found: &mut Findings) -> io::Result<Ready> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut result = Ok(Ready::More);
        let until = Instant::now() + LONGEST_DRAIN;
        for _ in 0..MOST_READS {
            if Instant::now() > until {
                break;
            }
            match self.group.read(&mut buffer) {
                Ok(Some(events)) => events.for_each(|event| self.handle(&event, found)),
                Ok(None) => {
                    result = Ok(Ready::Nothing);
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

    fn work(&mut self, found: &mut Findings) -> bool {
        for point in std::mem::take(&mut self.mounted) {
            self.on_mounted(&point, found);
        }
        for mirror in self.mirrors.iter_mut().filter(|mirror| !mirror.live) {
            mirror.live = true;
            self.known.clear();
            found.covered.push((mirror.tree.mirror, 0));
        }
        false
    }

    fn awaits(&self) -> bool {
        false
    }

    fn settle(&mut self, _found: &mut Findings) {}

    fn mounted(&mut self, directory: &[u8]) {
        self.mounted.push(directory.into());
    }

    fn unmounted(&mut self, directory: &[u8], found: &mut Findings) {
        let path = Path::new(OsStr::from_bytes(directory));
        let is_of = |mirror: &Mirror| {
            path != mirror.tree.root && mirror.views.iter().any(|view| view.path == path)
        };
        if self.mirrors.iter().any(is_of) {
            found.warnings.push(unmounted(directory));
        }
        for mirror in self.mirrors.iter().filter(|mirror| is_of(mirror)) {
            let root = mirror.tree.root.as_os_str().as_bytes();
            if let Some(path) = below(root, directory).and_then(TreePath::new) {
                found.tell(mirror.tree.mirror, News::Lost(path));
            }
        }
        for mirror in &mut self.mirrors {
            mirror.views.retain(|view| view.path != path || view.path == mirror.tree.root);
        }
        self.choose_views();
    }
}

fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NAMETOOLONG)
}

/// The path of the nearest directory above `below` of which the path is not too long.
///
/// In a deep tree each event asks for it, and each look takes as long as a longest path is, so that
/// the steps upward are doubled until they are too long, and then halved.
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

/// The path of an open directory, as the kernel sees it now.
fn path_of(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}

/// Whether it is the root directory of this process.
fn is_top(fd: &OwnedFd) -> bool {
    let top = rustix::fs::stat("/").map(|stat| (stat.st_dev, stat.st_ino));
    let this = rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    this.is_ok() && this == top
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_platform::fanotify::What;

    #[test]
    fn only_what_was_seen_to_go_is_told_as_deleted() {
        let edits = |what: What| -> Vec<Edit> {
            edits(&Event { what, place: None, renamed_to: None }).collect()
        };
        let none = What::default();
        assert_eq!(edits(What { create: true, modify: true, ..none }), [Edit::Create]);
        assert_eq!(edits(What { delete: true, modify: true, ..none }), [Edit::Delete]);
        let both = What { create: true, delete: true, ..none };
        assert_eq!(edits(both), [Edit::Delete, Edit::Create]);
        let closed = What { modify: true, close: true, attrib: true, ..none };
        assert_eq!(edits(closed), [Edit::Modify]);
        assert_eq!(edits(What { close: false, ..closed }), [Edit::Write]);
        assert_eq!(edits(What { attrib: true, ..none }), [Edit::Attrib]);
    }
}
