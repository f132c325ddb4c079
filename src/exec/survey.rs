//! What is at the places that a job has to look at, the moment before it acts.
//!
//! Only looks: what is done about it, and what is below a tree, is left to the executor.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeSet, io};

use super::linked::Linked;
use mirror_core::{
    filter::Filter,
    job::{Failure, Place, Scope},
    notice::Kind,
    path::TreePath,
    plan::rsync::Unwanted,
    queue::{Heard, PlaceSet},
};
use mirror_platform::{
    dir::{Dir, Stat, device},
    entries::ReadBuffer,
};
use rustix::{fs::FileType, io::Errno};

/// What is at the places of a batch.
///
/// **Invariants.** All lists are sorted, a directory before what is below it, and name nothing
/// twice. No path lies below one of `gone`, and none of `entries` is also in `trees`. The root is
/// in none of the lists. Nothing excluded is in `entries`, `trees` or `gone`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What is there. Of a directory only itself is meant, not what it lists.
    pub entries: Vec<Entry>,
    /// The directories that are there and are meant with all that is below them.
    pub trees: Vec<TreePath>,
    /// What is missing, the topmost missing path each.
    pub gone: Vec<TreePath>,
    /// Names under which the target may have something that has to go, but not whatever it is: as
    /// something else it is excluded.
    pub unwanted: Vec<(TreePath, Unwanted)>,
    /// How much of the root has to be looked at, if it was marked.
    pub root: Option<Scope>,
    /// The places of which it can't be told whether there is anything. They are not gone.
    pub unreadable: Vec<(Place, Failure)>,
}

/// An entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: TreePath,
    /// What it is.
    pub what: What,
    /// Its size in bytes.
    pub size: u64,
    /// Which file it is, if that has more names.
    pub linked: Option<Linked>,
}

impl Entry {
    /// What is at `path`. `None` if it has no other names.
    pub(super) fn linked(path: &TreePath, stat: &Stat) -> Option<Self> {
        let linked = Some(Linked::of(stat)?);
        Some(Self { path: path.clone(), what: what(stat), size: stat.stx_size, linked })
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A regular file.
    File,
    /// Something else.
    Other,
}

impl What {
    /// The kind that rules tell apart.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Directory => Kind::Directory,
            Self::Link | Self::File | Self::Other => Kind::Other,
        }
    }
}

impl Survey {
    /// Whether nothing has to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.trees.is_empty()
            && self.gone.is_empty()
            && self.unwanted.is_empty()
            && self.root.is_none()
            && self.unreadable.is_empty()
    }
}

/// Looks at `places` below `root`, of which this was `heard`, without following a symbolic link.
///
/// Each place is replaced by its first ancestor that is missing or not a directory: an rsync that
/// is given a path below such a one aborts (3.1.3) or deletes outside the target (up to 3.4.4).
///
/// What is excluded is left out. What is gone, or became something that is excluded, is judged as
/// what the target may have: it is left out only if that would be excluded as a directory *and* as
/// something else.
///
/// If it stays `on_device`, that of the root, what lies in a directory of another one is left out,
/// and of such a directory only itself is meant.
///
/// One directory is open at a time, each once, and each place costs one `statx(2)`.
#[must_use]
pub fn survey(
    root: &Dir,
    places: &PlaceSet,
    heard: &Heard,
    filter: &Filter,
    on_device: bool,
) -> Survey {
    let device = root.stat(b"").ok().filter(|_| on_device).map(|stat| device(&stat));
    let found = Survey::default();
    let mut surveyor = Surveyor { root, device, filter, heard, found, obstacle: None };
    let mut below: Vec<Marked> = Vec::with_capacity(places.len());
    for place in places {
        match Marked::new(place) {
            Ok(marked) => below.push(marked),
            Err(root) => surveyor.found.root = Some(root),
        }
    }
    // The places come in the order of a walk, which is nearly that of their directories.
    below.sort_by(|a, b| in_order_of_walk(a.directory(), b.directory()));
    for group in below.chunk_by(|a, b| a.directory() == b.directory()) {
        surveyor.look_at_group(group);
    }
    surveyor.found.tidy();
    surveyor.found
}

/// Returns true if a source lists nothing that is its own: it is more likely a disk that is not
/// mounted, or a new one, than a wish to lose the mirror.
///
/// # Errors
///
/// If it can't be read, and what could be read is not its own.
pub fn lists_nothing(root: &Dir, filter: &Filter) -> io::Result<bool> {
    let mut found = false;
    let read = root.read(&mut ReadBuffer::new(), |entry| {
        let kind = match entry.file_type {
            FileType::Directory => Kind::Directory,
            _ => Kind::Other,
        };
        let excluded = || {
            let path = TreePath::new(entry.name);
            path.is_some_and(|path| filter.excludes_entry(&path, kind))
        };
        found = !is_of_the_system(entry.name) && !excluded();
        if found { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    });
    if found { Ok(false) } else { read.map(|()| true) }
}

/// Whether systems make an entry of this name by themselves at the top of a disk.
fn is_of_the_system(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] =
        [b"lost+found", b".Trash", b"System Volume Information", b"$RECYCLE.BIN"];
    NAMES.contains(&name) || name.starts_with(b".Trash-")
}

/// A place that is not the root, and where its name starts.
struct Marked {
    place: Place,
    name_at: usize,
}

impl Marked {
    /// `Err` with the scope if it is the root.
    fn new(place: Place) -> Result<Self, Scope> {
        let name = place.path.name().ok_or(place.scope)?.len();
        let name_at = place.path.as_bytes().len() - name;
        Ok(Self { place, name_at })
    }

    fn directory(&self) -> &[u8] {
        let path = self.place.path.as_bytes();
        path.get(..self.name_at.saturating_sub(1)).unwrap_or_default()
    }

    fn name(&self) -> &[u8] {
        self.place.path.as_bytes().get(self.name_at..).unwrap_or_default()
    }
}

/// Why a directory can't be entered.
#[derive(Clone)]
enum Obstacle {
    /// This path is missing.
    Missing(TreePath),
    /// This path is something else than a directory.
    NotDirectory(TreePath),
    /// It can't be told what is at this path.
    Unreadable(TreePath, Failure),
}

impl Obstacle {
    const fn path(&self) -> &TreePath {
        match self {
            Self::Missing(path) | Self::NotDirectory(path) | Self::Unreadable(path, _) => path,
        }
    }
}

struct Surveyor<'a> {
    root: &'a Dir,
    /// The only device that is looked at, if there is only one.
    device: Option<(u32, u32)>,
    filter: &'a Filter,
    heard: &'a Heard,
    found: Survey,
    /// The last one: the directories below it come right after it.
    obstacle: Option<Obstacle>,
}

impl Surveyor<'_> {
    /// Looks at places of one directory.
    fn look_at_group(&mut self, group: &[Marked]) {
        let Some(path) = group.first().map(Marked::directory).and_then(TreePath::new) else {
            return;
        };
        match self.enter(&path) {
            Ok(dir) if self.is_elsewhere(&dir) => {}
            Ok(dir) => {
                for marked in group {
                    self.look_at(&dir, marked);
                }
            }
            Err(Obstacle::Missing(path) | Obstacle::NotDirectory(path))
                if self.lies_elsewhere(&path) => {}
            Err(Obstacle::Missing(path)) => self.add_gone(path),
            Err(Obstacle::NotDirectory(path)) => match stat_at(self.root, &path) {
                Ok(Some(stat)) => self.add(path, Scope::Entry, &stat),
                Ok(None) => self.add_gone(path),
                Err(error) => self.cannot_enter(group, &cannot_look(&path, &error)),
            },
            Err(Obstacle::Unreadable(path, failure)) => {
                self.obstacle = Some(Obstacle::Unreadable(path, failure.clone()));
                self.cannot_enter(group, &failure);
            }
        }
    }

    /// Returns true if this directory lies on a device that is not looked at.
    fn is_elsewhere(&self, dir: &Dir) -> bool {
        self.device.is_some_and(|only| dir.stat(b"").is_ok_and(|stat| device(&stat) != only))
    }

    /// Returns true if the directory of this path lies on a device that is not looked at.
    fn lies_elsewhere(&self, path: &TreePath) -> bool {
        let directory = || self.root.search_below(path.parent().unwrap_or_default().as_bytes());
        self.device.is_some() && directory().is_ok_and(|dir| self.is_elsewhere(&dir))
    }

    fn cannot_enter(&mut self, group: &[Marked], failure: &Failure) {
        let places = group.iter().map(|marked| (marked.place.clone(), failure.clone()));
        self.found.unreadable.extend(places);
    }

    fn enter(&mut self, path: &TreePath) -> Result<Dir, Obstacle> {
        if let Some(obstacle) = self.obstacle.as_ref().filter(|it| it.path().contains(path)) {
            return Err(obstacle.clone());
        }
        let dir = match self.root.search_below(path.as_bytes()) {
            Ok(dir) => return Ok(dir),
            Err(_) => walk(self.root, path),
        };
        self.obstacle = dir.as_ref().err().cloned();
        dir
    }

    fn look_at(&mut self, dir: &Dir, marked: &Marked) {
        let Place { path, scope } = &marked.place;
        match dir.stat(marked.name()) {
            Ok(stat) => self.add(path.clone(), *scope, &stat),
            Err(error) if is_missing(&error) => self.add_gone(path.clone()),
            Err(error) => {
                let failure = cannot_look(path, &error);
                self.found.unreadable.push((marked.place.clone(), failure));
            }
        }
    }

    /// Adds what is there.
    fn add(&mut self, path: TreePath, scope: Scope, stat: &Stat) {
        let what = what(stat);
        if self.filter.excludes(&path, what.kind()) {
            self.add_unwanted(path, what.kind());
        } else if what == What::Directory
            && scope == Scope::Tree
            && self.device.is_none_or(|only| device(stat) == only)
        {
            self.found.trees.push(path);
        } else {
            let (size, linked) = (stat.stx_size, Linked::of(stat));
            self.found.entries.push(Entry { path, what, size, linked });
        }
    }

    /// Adds a name of which the source has something that is excluded as `kind`.
    ///
    /// Who only writes there has not taken something else away before.
    fn add_unwanted(&mut self, path: TreePath, kind: Kind) {
        let replaces = self.heard.is_gone(&path)
            || self.heard.moved.covers(&path, Scope::Entry)
            || !self.heard.written.covers(&path, Scope::Entry);
        let unwanted = match kind {
            Kind::Directory => Unwanted::Other,
            Kind::Other => Unwanted::Directory,
        };
        let other = match kind {
            Kind::Directory => Kind::Other,
            Kind::Other => Kind::Directory,
        };
        if replaces && !self.filter.excludes(&path, other) {
            self.found.unwanted.push((path, unwanted));
        }
    }

    fn add_gone(&mut self, path: TreePath) {
        let excluded = |kind| self.filter.excludes(&path, kind);
        match (excluded(Kind::Directory), excluded(Kind::Other)) {
            (true, true) => {}
            (false, false) => self.found.gone.push(path),
            (false, true) => self.found.unwanted.push((path, Unwanted::Directory)),
            (true, false) => self.found.unwanted.push((path, Unwanted::Other)),
        }
    }
}

/// Enters the directory at `path` step by step, to find out at which one it fails.
fn walk(root: &Dir, path: &TreePath) -> Result<Dir, Obstacle> {
    let unreadable =
        |at: &TreePath, error: &io::Error| Obstacle::Unreadable(at.clone(), cannot_look(at, error));
    let mut at = TreePath::root();
    let mut dir = root.search_below(b"").map_err(|error| unreadable(&at, &error))?;
    for name in path.components() {
        let kind = kind_of(&dir, name);
        if at.push(name).is_none() {
            break;
        }
        match kind {
            Ok(Kind::Directory) => {}
            Ok(Kind::Other) => return Err(Obstacle::NotDirectory(at)),
            Err(error) if is_missing(&error) => return Err(Obstacle::Missing(at)),
            Err(error) => return Err(unreadable(&at, &error)),
        }
        // Where it was replaced since that look, an event about it is on its way.
        dir = dir.search_below(name).map_err(|error| unreadable(&at, &error))?;
    }
    Ok(dir)
}

/// What is at a path below `root`. `None` if there is certainly nothing.
pub(super) fn what_at(root: &Dir, path: &TreePath) -> io::Result<Option<What>> {
    Ok(stat_at(root, path)?.as_ref().map(what))
}

/// The same, as far as rules tell it apart.
pub(super) fn kind_at(root: &Dir, path: &TreePath) -> io::Result<Option<Kind>> {
    Ok(what_at(root, path)?.map(What::kind))
}

/// What is known of the entry at a path below `root`. `None` if there is certainly nothing.
pub(super) fn stat_at(root: &Dir, path: &TreePath) -> io::Result<Option<Stat>> {
    let parent = path.parent().unwrap_or_default();
    let found = root.search_below(parent.as_bytes());
    match found.and_then(|dir| dir.stat(path.name().unwrap_or_default())) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kind_of(dir: &Dir, name: &[u8]) -> io::Result<Kind> {
    Ok(what(&dir.stat(name)?).kind())
}

pub(super) fn what(stat: &Stat) -> What {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => What::Directory,
        FileType::Symlink => What::Link,
        FileType::RegularFile => What::File,
        _ => What::Other,
    }
}

/// Whether there is certainly nothing. A name that is too long for the file system can't be there.
fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NAMETOOLONG))
}

fn cannot_look(path: &TreePath, error: &io::Error) -> Failure {
    Failure::new(format!("cannot look at {path}: {error}"))
}

impl Survey {
    /// Makes the invariants true: what was looked at by way of several places is there several
    /// times, and while it was looked at a directory may have gone.
    fn tidy(&mut self) {
        tidy(&mut self.entries, |entry| &entry.path);
        tidy(&mut self.trees, |path| path);
        tidy(&mut self.gone, |path| path);
        tidy(&mut self.unwanted, |(path, _)| path);
        let mut last: Option<TreePath> = None;
        self.gone.retain(|path| {
            let covered = last.as_ref().is_some_and(|last| last.contains(path));
            if !covered {
                last = Some(path.clone());
            }
            !covered
        });
        drop_covered(&mut self.entries, &self.gone, |entry| &entry.path);
        drop_covered(&mut self.trees, &self.gone, |path| path);
        drop_covered(&mut self.unwanted, &self.gone, |(path, _)| path);
        let trees: BTreeSet<&TreePath> = self.trees.iter().collect();
        self.entries.retain(|entry| !trees.contains(&entry.path));
    }

    /// Adds what was found at other places, some of which may lie in trees of this one.
    pub(super) fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.trees.extend(other.trees);
        self.gone.extend(other.gone);
        self.unwanted.extend(other.unwanted);
        self.unreadable.extend(other.unreadable);
        self.root = self.root.max(other.root);
        self.tidy();
    }
}

fn tidy<T>(list: &mut Vec<T>, path: impl Fn(&T) -> &TreePath) {
    list.sort_by(|a, b| in_order_of_walk(path(a).as_bytes(), path(b).as_bytes()));
    list.dedup_by(|a, b| path(a) == path(b));
}

/// Drops what is, or lies below, one of `above`.
fn drop_covered<T>(list: &mut Vec<T>, above: &[TreePath], path: impl Fn(&T) -> &TreePath) {
    if above.is_empty() {
        return;
    }
    let above: BTreeSet<&[u8]> = above.iter().map(TreePath::as_bytes).collect();
    list.retain(|item| {
        let mut path = Cow::Borrowed(path(item));
        while !path.is_root() {
            if above.contains(path.as_bytes()) {
                return false;
            }
            path.to_mut().pop();
        }
        true
    });
}

/// The order in which a walk meets paths: by components, so that all below a directory comes
/// right after it.
fn in_order_of_walk(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    // No name has a NUL, so a slash in its place is less than any byte of a name.
    let key = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests;
