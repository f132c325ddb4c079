//! What is at the places that a job has to look at, the moment before it acts.
//!
//! Only looks: what is done about it, and what is below a tree, is left to the executor.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeSet, io};

use mirror_core::{
    filter::Filter,
    job::{Failure, Place, Scope},
    notice::Kind,
    path::TreePath,
    queue::PlaceSet,
};
use mirror_linux::dir::Dir;
use rustix::{fs::FileType, io::Errno};

/// What is at the places of a batch.
///
/// **Invariants.** All lists are sorted, a directory before what is below it, and name nothing
/// twice. No path lies below one of `gone`, and none of `entries` is also in `trees`. The root is
/// in none of the lists. Nothing excluded is in `entries`, `trees` or `gone`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What is there. Of a directory only itself is meant, not what it lists.
    pub entries: Vec<TreePath>,
    /// The directories that are there and are meant with all that is below them.
    pub trees: Vec<TreePath>,
    /// What is missing, the topmost missing path each.
    pub gone: Vec<TreePath>,
    /// How much of the root has to be looked at, if it was marked.
    pub root: Option<Scope>,
    /// The places of which it can't be told whether there is anything. They are not gone.
    pub unreadable: Vec<(Place, Failure)>,
}

impl Survey {
    /// Whether nothing has to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.trees.is_empty()
            && self.gone.is_empty()
            && self.root.is_none()
            && self.unreadable.is_empty()
    }
}

/// Looks at `places` below `root`, without following a symbolic link.
///
/// Each place is replaced by its first ancestor that is missing or not a directory: an rsync that
/// is given a path below such a one aborts (3.1.3) or deletes outside the target (up to 3.4.4).
///
/// What is excluded is left out. Of what is gone it is not known what it was, so it is left out
/// if it would be excluded as a directory *or* as a file: a target may keep something of its own
/// under that name.
///
/// One directory is open at a time, each once, and each place costs one `statx(2)`.
#[must_use]
pub fn survey(root: &Dir, places: &PlaceSet, filter: &Filter) -> Survey {
    let mut surveyor = Surveyor { root, filter, found: Survey::default(), obstacle: None };
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
    filter: &'a Filter,
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
            Ok(dir) => {
                for marked in group {
                    self.look_at(&dir, marked);
                }
            }
            Err(Obstacle::Missing(path)) => self.add_gone(path),
            Err(Obstacle::NotDirectory(path)) => self.add_entry(path),
            Err(Obstacle::Unreadable(path, failure)) => {
                self.obstacle = Some(Obstacle::Unreadable(path, failure.clone()));
                for marked in group {
                    self.found.unreadable.push((marked.place.clone(), failure.clone()));
                }
            }
        }
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
        match kind_of(dir, marked.name()) {
            Ok(Kind::Directory) if self.filter.excludes(path, Kind::Directory) => {}
            Ok(Kind::Directory) if *scope == Scope::Tree => self.found.trees.push(path.clone()),
            Ok(Kind::Directory) => self.found.entries.push(path.clone()),
            Ok(Kind::Other) => self.add_entry(path.clone()),
            Err(error) if is_missing(&error) => self.add_gone(path.clone()),
            Err(error) => {
                let failure = cannot_look(path, &error);
                self.found.unreadable.push((marked.place.clone(), failure));
            }
        }
    }

    fn add_entry(&mut self, path: TreePath) {
        if !self.filter.excludes(&path, Kind::Other) {
            self.found.entries.push(path);
        }
    }

    fn add_gone(&mut self, path: TreePath) {
        let excluded = |kind| self.filter.excludes(&path, kind);
        if !excluded(Kind::Other) && !excluded(Kind::Directory) {
            self.found.gone.push(path);
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
pub(super) fn kind_at(root: &Dir, path: &TreePath) -> io::Result<Option<Kind>> {
    let parent = path.parent().unwrap_or_default();
    let found = root.search_below(parent.as_bytes());
    let found = found.and_then(|dir| kind_of(&dir, path.name().unwrap_or_default()));
    match found {
        Ok(kind) => Ok(Some(kind)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kind_of(dir: &Dir, name: &[u8]) -> io::Result<Kind> {
    let stat = dir.stat(name)?;
    Ok(match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    })
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
        for list in [&mut self.entries, &mut self.trees, &mut self.gone] {
            list.sort_by(|a, b| in_order_of_walk(a.as_bytes(), b.as_bytes()));
            list.dedup();
        }
        let mut last: Option<TreePath> = None;
        self.gone.retain(|path| {
            let covered = last.as_ref().is_some_and(|last| last.contains(path));
            if !covered {
                last = Some(path.clone());
            }
            !covered
        });
        drop_covered(&mut self.entries, &self.gone);
        drop_covered(&mut self.trees, &self.gone);
        let trees: BTreeSet<&TreePath> = self.trees.iter().collect();
        self.entries.retain(|path| !trees.contains(path));
    }
}

/// Drops the paths that are, or lie below, one of `above`.
fn drop_covered(paths: &mut Vec<TreePath>, above: &[TreePath]) {
    if above.is_empty() {
        return;
    }
    let above: BTreeSet<&[u8]> = above.iter().map(TreePath::as_bytes).collect();
    paths.retain(|path| {
        let mut path = Cow::Borrowed(path);
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
#[path = "survey_tests.rs"]
mod tests;
