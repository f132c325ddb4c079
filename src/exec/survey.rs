//! Survey: the state of the dirty paths in the source, immediately before a job acts.
//!
//! It only reads. The executor acts on it and walks the trees.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeSet, io, ops::RangeInclusive};

use super::{
    inode::{EntryType, LinkedInode},
    lookup::{is_missing, stat_at},
};
use mirror_core::{
    filter::Filter,
    fs_event::EntryKind,
    job::{DirtyPath, Failure, Scope},
    path::TreePath,
    plan::rsync::UnwantedKind,
    queue::{ObservedChanges, PathSet},
};
use mirror_platform::{dir::Dir, entries::ReadBuffer, stat::Stat};

/// State of the paths of a batch.
///
/// **Invariants.** All lists are sorted, a directory before everything below it, without
/// duplicates. No path is below one of `gone`, and none of `entries` is also in `trees`. The root
/// is in none of the lists. Nothing excluded is in `entries`, `trees` or `gone`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Existing entries. For a directory, only the directory itself is meant, not its entries.
    pub(super) entries: Vec<SurveyedEntry>,
    /// Existing directories with everything below them.
    pub(super) trees: Vec<TreePath>,
    /// Topmost missing paths.
    pub(super) gone: Vec<TreePath>,
    /// Names under which the target may have an entry of one kind that has to be deleted. Entries
    /// of the other kind are excluded.
    pub(super) unwanted: Vec<(TreePath, UnwantedKind)>,
    /// Scope of the root, if the root is dirty.
    pub(super) root: Option<Scope>,
    /// Paths whose state cannot be determined. They do not count as missing.
    pub(super) unreadable: Vec<(DirtyPath, Failure)>,
}

/// Existing entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SurveyedEntry {
    /// Path below the root.
    pub(super) path: TreePath,
    pub(super) entry_type: EntryType,
    /// Size in bytes.
    pub(super) size: u64,
    /// Inode, if the file has other names.
    pub(super) linked: Option<LinkedInode>,
}

impl SurveyedEntry {
    /// Creates the entry at `path` if it has other names.
    pub(super) fn linked(path: TreePath, stat: &Stat) -> Option<Self> {
        let linked = Some(LinkedInode::of(stat)?);
        Some(Self { path, entry_type: EntryType::of(stat), size: stat.size, linked })
    }
}

/// Surveys `paths` below `root` without following symbolic links. `observed` are the changes
/// reported for them.
///
/// Each path is replaced by its first ancestor that is missing or not a directory: an rsync that is
/// given a path below such an ancestor aborts (3.1.3) or deletes outside the target (up to 3.4.4).
///
/// Excluded entries are left out. An entry that is missing, or was replaced by an excluded one, is
/// judged by what the target may have: it is left out only if it would be excluded as a directory
/// *and* as another entry.
///
/// With `on_device`, only the file system of the root is surveyed. Of a directory on another one,
/// only the directory itself is meant.
///
/// One directory is open at a time, each one once, and each path costs one `statx(2)`.
#[must_use]
pub(super) fn survey(
    root: &Dir,
    paths: &PathSet,
    observed: &ObservedChanges,
    filter: &Filter,
    on_device: bool,
) -> Survey {
    let device = root.stat(b"").ok().filter(|_| on_device).map(|stat| stat.device);
    let found = Survey::default();
    let mut surveyor = Surveyor { root, device, filter, observed, found, obstacle: None };
    let mut below: Vec<MarkedPath> = Vec::with_capacity(paths.len());
    for dirty in paths {
        match MarkedPath::new(dirty) {
            Ok(marked) => below.push(marked),
            Err(root) => surveyor.found.root = Some(root),
        }
    }
    // The paths are in walk order, which is nearly the order of their directories.
    below.sort_by(|a, b| walk_order(a.directory(), b.directory()));
    for group in below.chunk_by(|a, b| a.directory() == b.directory()) {
        surveyor.survey_group(group);
    }
    surveyor.found.normalize();
    surveyor.found
}

/// The entries of a source that are transferred.
pub(super) struct MirroredKinds<'a> {
    pub(super) filter: &'a Filter,
    /// Symbolic links are transferred.
    pub(super) links: bool,
    /// Directories without anything to transfer in them are left out.
    pub(super) prunes_empty_dirs: bool,
    /// File systems mounted in the source are left out.
    pub(super) stays_on_file_system: bool,
    /// The sizes of the files that are transferred, in bytes.
    pub(super) sizes: RangeInclusive<u64>,
}

impl MirroredKinds<'_> {
    /// Returns true if a source lists no entries of its own that are transferred. The cause is more
    /// likely an unmounted or new disk than an intended deletion of everything.
    ///
    /// # Errors
    ///
    /// If the listing fails before it returns an entry of the source's own.
    pub(super) fn finds_nothing(&self, root: &Dir) -> io::Result<bool> {
        self.finds_nothing_in(root, &TreePath::root())
    }

    /// Like [`finds_nothing`](Self::finds_nothing), for a directory at this path.
    pub(super) fn finds_nothing_in(&self, dir: &Dir, path: &TreePath) -> io::Result<bool> {
        let (mut found, mut below) = (false, Vec::new());
        let read = dir.read(&mut ReadBuffer::new(), |entry| {
            let Some(inner) = path.join(entry.name) else { return Ok(()) };
            let entry_type = EntryType::from(entry.file_type);
            if path.is_root() && is_system_entry(entry.name)
                || self.filter.excludes_entry(&inner, entry_type.kind())
                || !self.transfers(dir, entry.name, entry_type)
            {
                return Ok(());
            }
            if entry_type == EntryType::Directory && self.prunes_empty_dirs {
                below.push(inner);
                return Ok(());
            }
            found = true;
            Err(io::ErrorKind::AlreadyExists.into())
        });
        if found {
            return Ok(false);
        }
        read?;
        for path in below {
            let dir = dir.open_below(path.name().unwrap_or_default())?;
            if !self.finds_nothing_in(&dir, &path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn transfers(&self, dir: &Dir, name: &[u8], entry_type: EntryType) -> bool {
        match entry_type {
            EntryType::Symlink => self.links,
            EntryType::Other => false,
            EntryType::File if self.sizes == ALL_SIZES => true,
            EntryType::File => dir.stat(name).is_ok_and(|stat| self.sizes.contains(&stat.size)),
            EntryType::Directory if !self.stays_on_file_system => true,
            EntryType::Directory => {
                let [inner, outer] = [dir.stat(name), dir.stat(b"")].map(Result::ok);
                inner.map(|stat| stat.device) == outer.map(|stat| stat.device)
            }
        }
    }
}

/// The sizes of files without a limit.
pub(super) const ALL_SIZES: RangeInclusive<u64> = 0..=u64::MAX;

/// Returns true if operating systems create an entry of this name at the top of a disk.
fn is_system_entry(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] =
        [b"lost+found", b".Trash", b"System Volume Information", b"$RECYCLE.BIN"];
    NAMES.contains(&name) || name.starts_with(b".Trash-")
}

/// Dirty path other than the root, and the offset of its name.
struct MarkedPath {
    dirty: DirtyPath,
    name_at: usize,
}

impl MarkedPath {
    /// Returns the scope as `Err` if the path is the root.
    fn new(dirty: DirtyPath) -> Result<Self, Scope> {
        let name = dirty.path.name().ok_or(dirty.scope)?.len();
        let name_at = dirty.path.as_bytes().len() - name;
        Ok(Self { dirty, name_at })
    }

    fn directory(&self) -> &[u8] {
        let path = self.dirty.path.as_bytes();
        path.get(..self.name_at.saturating_sub(1)).unwrap_or_default()
    }

    fn name(&self) -> &[u8] {
        self.dirty.path.as_bytes().get(self.name_at..).unwrap_or_default()
    }
}

/// Reason why a directory cannot be entered.
#[derive(Clone)]
enum Obstacle {
    /// This path is missing.
    Missing(TreePath),
    /// This path is not a directory.
    NotDirectory(TreePath),
    /// The state of this path cannot be determined.
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
    /// Device to which the survey is limited.
    device: Option<(u32, u32)>,
    filter: &'a Filter,
    observed: &'a ObservedChanges,
    found: Survey,
    /// Last obstacle. The directories below it follow immediately.
    obstacle: Option<Obstacle>,
}

impl Surveyor<'_> {
    /// Surveys the paths in one directory.
    fn survey_group(&mut self, group: &[MarkedPath]) {
        let Some(path) = group.first().map(MarkedPath::directory).and_then(TreePath::new) else {
            return;
        };
        match self.enter(&path) {
            Ok(dir) if self.is_on_other_device(&dir) => {}
            Ok(dir) => {
                for marked in group {
                    self.survey_path(&dir, marked);
                }
            }
            Err(Obstacle::Missing(path) | Obstacle::NotDirectory(path))
                if self.parent_is_on_other_device(&path) => {}
            Err(Obstacle::Missing(path)) => self.add_missing(path),
            Err(Obstacle::NotDirectory(path)) => match stat_at(self.root, &path) {
                Ok(Some(stat)) => self.add(path, Scope::Entry, &stat),
                Ok(None) => self.add_missing(path),
                Err(error) => self.cannot_enter(group, &stat_failure(&path, &error)),
            },
            Err(Obstacle::Unreadable(path, failure)) => {
                self.obstacle = Some(Obstacle::Unreadable(path, failure.clone()));
                self.cannot_enter(group, &failure);
            }
        }
    }

    /// Returns true if this directory is on an excluded device.
    fn is_on_other_device(&self, dir: &Dir) -> bool {
        self.device.is_some_and(|only| dir.stat(b"").is_ok_and(|stat| stat.device != only))
    }

    /// Returns true if the parent directory of this path is on an excluded device.
    fn parent_is_on_other_device(&self, path: &TreePath) -> bool {
        let directory =
            || self.root.open_below_for_lookup(path.parent().unwrap_or_default().as_bytes());
        self.device.is_some() && directory().is_ok_and(|dir| self.is_on_other_device(&dir))
    }

    fn cannot_enter(&mut self, group: &[MarkedPath], failure: &Failure) {
        let paths = group.iter().map(|marked| (marked.dirty.clone(), failure.clone()));
        self.found.unreadable.extend(paths);
    }

    fn enter(&mut self, path: &TreePath) -> Result<Dir, Obstacle> {
        if let Some(obstacle) = self.obstacle.as_ref().filter(|it| it.path().contains(path)) {
            return Err(obstacle.clone());
        }
        let dir = match self.root.open_below_for_lookup(path.as_bytes()) {
            Ok(dir) => return Ok(dir),
            Err(_) => walk(self.root, path),
        };
        self.obstacle = dir.as_ref().err().cloned();
        dir
    }

    fn survey_path(&mut self, dir: &Dir, marked: &MarkedPath) {
        let DirtyPath { path, scope } = &marked.dirty;
        match dir.stat(marked.name()) {
            Ok(stat) => self.add(path.clone(), *scope, &stat),
            Err(error) if is_missing(&error) => self.add_missing(path.clone()),
            Err(error) => {
                let failure = stat_failure(path, &error);
                self.found.unreadable.push((marked.dirty.clone(), failure));
            }
        }
    }

    /// Adds an existing entry.
    fn add(&mut self, path: TreePath, scope: Scope, stat: &Stat) {
        let entry_type = EntryType::of(stat);
        if self.filter.excludes(&path, entry_type.kind()) {
            self.add_unwanted(path, entry_type.kind());
        } else if entry_type == EntryType::Directory
            && scope == Scope::Tree
            && self.device.is_none_or(|only| stat.device == only)
        {
            self.found.trees.push(path);
        } else {
            let (size, linked) = (stat.size, LinkedInode::of(stat));
            self.found.entries.push(SurveyedEntry { path, entry_type, size, linked });
        }
    }

    /// Adds a name that the source uses for something that is excluded as `kind`.
    ///
    /// A write alone has not replaced an entry of another kind.
    fn add_unwanted(&mut self, path: TreePath, kind: EntryKind) {
        let replaces = self.observed.is_deleted(&path)
            || self.observed.renamed_to.covers(&path, Scope::Entry)
            || !self.observed.written.covers(&path, Scope::Entry);
        let unwanted = match kind {
            EntryKind::Directory => UnwantedKind::NonDirectory,
            EntryKind::Other => UnwantedKind::Directory,
        };
        let other = match kind {
            EntryKind::Directory => EntryKind::Other,
            EntryKind::Other => EntryKind::Directory,
        };
        if replaces && !self.keeps(&path, other) {
            self.found.unwanted.push((path, unwanted));
        }
    }

    fn add_missing(&mut self, path: TreePath) {
        match (self.keeps(&path, EntryKind::Directory), self.keeps(&path, EntryKind::Other)) {
            (true, true) => {}
            (false, false) => self.found.gone.push(path),
            (false, true) => self.found.unwanted.push((path, UnwantedKind::Directory)),
            (true, false) => self.found.unwanted.push((path, UnwantedKind::NonDirectory)),
        }
    }

    /// Returns true if the target keeps an entry of this kind. rsync does not know the kind of a
    /// missing entry when it decides on a listed deletion.
    fn keeps(&self, path: &TreePath, kind: EntryKind) -> bool {
        self.filter.excludes(path, kind) || self.filter.certainly_protects(path, kind)
    }
}

/// Enters the directory at `path` component by component, to find the one that fails.
fn walk(root: &Dir, path: &TreePath) -> Result<Dir, Obstacle> {
    let unreadable = |at: &TreePath, error: &io::Error| {
        Obstacle::Unreadable(at.clone(), stat_failure(at, error))
    };
    let mut at = TreePath::root();
    let mut dir = root.open_below_for_lookup(b"").map_err(|error| unreadable(&at, &error))?;
    for name in path.components() {
        let kind = kind_of(&dir, name);
        if at.push(name).is_none() {
            break;
        }
        match kind {
            Ok(EntryKind::Directory) => {}
            Ok(EntryKind::Other) => return Err(Obstacle::NotDirectory(at)),
            Err(error) if is_missing(&error) => return Err(Obstacle::Missing(at)),
            Err(error) => return Err(unreadable(&at, &error)),
        }
        // If it was replaced since the `stat`, an event about it is on the way.
        dir = dir.open_below_for_lookup(name).map_err(|error| unreadable(&at, &error))?;
    }
    Ok(dir)
}

fn kind_of(dir: &Dir, name: &[u8]) -> io::Result<EntryKind> {
    Ok(EntryType::of(&dir.stat(name)?).kind())
}

fn stat_failure(path: &TreePath, error: &io::Error) -> Failure {
    Failure::new(format!("cannot stat {path}: {error}"))
}

impl Survey {
    /// Establishes the invariants: entries found by several paths are duplicates, and a directory
    /// may have disappeared during the survey.
    fn normalize(&mut self) {
        sort_by_path(&mut self.entries, |entry| &entry.path);
        sort_by_path(&mut self.trees, |path| path);
        sort_by_path(&mut self.gone, |path| path);
        sort_by_path(&mut self.unwanted, |(path, _)| path);
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

    /// Adds the survey of other paths, some of which may be in trees of this one.
    pub(super) fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.trees.extend(other.trees);
        self.gone.extend(other.gone);
        self.unwanted.extend(other.unwanted);
        self.unreadable.extend(other.unreadable);
        self.root = self.root.max(other.root);
        self.normalize();
    }
}

fn sort_by_path<T>(list: &mut Vec<T>, path: impl Fn(&T) -> &TreePath) {
    list.sort_by(|a, b| walk_order(path(a).as_bytes(), path(b).as_bytes()));
    list.dedup_by(|a, b| path(a) == path(b));
}

/// Drops entries that are one of `above` or below one.
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

/// Compares paths in walk order: by components, so that everything below a directory follows it
/// immediately.
fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    // No name contains a NUL, so a slash mapped to it is less than any byte of a name.
    let key = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests;
