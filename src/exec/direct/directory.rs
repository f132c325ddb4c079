//! Processing of one directory: lists both sides, removes extraneous entries and distributes the
//! rest.

use std::{
    ffi::CString,
    io, mem,
    os::fd::AsFd,
    sync::{Arc, OnceLock},
};

use hashbrown::{HashMap, HashSet};
use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
};
use mirror_platform::{
    dir::{Dir, Stat},
    entries::ReadBuffer,
    metadata::FileRef,
};
use rustix::{
    fs::{FileType, fsync},
    io::Errno,
};

use super::{
    attributes::{self, EntrySides},
    copy_job::CopyJob,
    dir_node::DirNode,
    error::{self, EntryError, is_absent},
    hardlinks::Inode,
    pool::WorkPool,
    temp_file,
};

/// Number of entries of one directory that form a task of their own.
const CHUNK: usize = 256;
/// Number of retries for a directory that turns out to be something else.
const MAX_TRIES: usize = 3;

/// Task in a directory.
#[derive(Debug)]
pub(super) enum DirTask {
    /// All entries that either side lists.
    All(Arc<DirNode>),
    /// Some entries. The directory is not held open, because many tasks can wait.
    Entries(Arc<DirNode>, Vec<Item>),
}

/// Name in a directory.
#[derive(Debug)]
pub(super) struct Item {
    /// File name.
    pub(super) name: Box<[u8]>,
    /// Depth of the comparison: the entry alone, or the tree below it.
    pub(super) scope: Scope,
    /// True if a listing showed that the target lacks the name.
    pub(super) absent: bool,
    /// True if the source lists it as a regular file.
    pub(super) is_file: bool,
}

impl Item {
    /// Creates an item of which only the name is known.
    pub(super) fn new(name: &[u8], scope: Scope) -> Self {
        Self { name: name.into(), scope, absent: false, is_file: false }
    }
}

/// Directory that is open on both sides.
#[derive(Debug)]
pub(super) struct DirPair {
    /// Directory of the source.
    pub(super) source: Dir,
    /// Directory of the target.
    pub(super) target: Dir,
    /// True if the target directory has no default ACL, so that new entries in it get no ACL.
    pub(super) no_default_acl: bool,
    /// True if this job created the target directory, so that nobody else uses it yet.
    pub(super) created: bool,
    /// Inodes of both directories, source first.
    inodes: (Inode, Inode),
    /// Owner and mode of a file that was just created in the target directory.
    pub(super) new_file: OnceLock<Stat>,
    /// Names in the source directory that share an inode, by inode number; listed on first use.
    names_by_inode: OnceLock<HashMap<u64, Vec<Box<[u8]>>>>,
}

impl DirPair {
    /// Opens the directory at `path`. A directory that is missing on either side is reported as
    /// changed.
    pub(super) fn open(job: &CopyJob<'_>, path: &TreePath) -> Result<Self, EntryError> {
        let source = job.source.open_below(path.as_bytes()).map_err(error::source_error("open"))?;
        let target = open_target(job, path).map_err(|error| {
            if is_absent(&error) { EntryError::Changed } else { EntryError::Target("open", error) }
        })?;
        Self::prepare(job, source, target)
    }

    /// Like [`open`](Self::open), for the subdirectory `name`. The cost does not grow with the
    /// depth of the tree.
    fn open_child(
        &self,
        job: &CopyJob<'_>,
        name: &[u8],
        path: &TreePath,
    ) -> Result<Self, EntryError> {
        match (self.source.open_below(name), self.target.open_below(name)) {
            (Ok(source), Ok(target)) => Self::prepare(job, source, target),
            // Retried with the full path.
            _ => Self::open(job, path),
        }
    }

    /// Opens the parent directory and returns it if it has the expected inodes.
    fn open_parent(&self, inodes: (Inode, Inode)) -> Option<Self> {
        let (source, target) = (self.source.open_parent().ok()?, self.target.open_parent().ok()?);
        let is = |dir: &Dir, inode| dir.stat(b"").is_ok_and(|stat| Inode::of(&stat) == inode);
        let is_it = is(&source, inodes.0) && is(&target, inodes.1);
        is_it.then(|| Self::new((source, target), inodes, false))
    }

    fn new((source, target): (Dir, Dir), inodes: (Inode, Inode), no_default_acl: bool) -> Self {
        let (new_file, names_by_inode) = (OnceLock::new(), OnceLock::new());
        Self { source, target, no_default_acl, created: false, inodes, new_file, names_by_inode }
    }

    /// Prepares a directory that was just opened.
    fn prepare(job: &CopyJob<'_>, source: Dir, target: Dir) -> Result<Self, EntryError> {
        if !job.executor.privileged {
            grant_owner_access(&target);
        }
        let names = FileRef::Open(target.as_fd()).xattr_names();
        let has_none = |wanted: &[u8]| {
            let is_it = |name: &CString| name.as_bytes() == wanted;
            names.as_ref().is_ok_and(|names| !names.iter().any(is_it))
        };
        let no_default_acl = has_none(b"system.posix_acl_default");
        let is_plain = has_none(b"system.posix_acl_access");
        let stat = source.stat(b"").map_err(error::source_error("look at"))?;
        if job.is_on_other_device(&stat) {
            return Err(EntryError::OtherDevice);
        }
        let target_stat = target.stat(b"").map_err(error::target_error("look at"))?;
        let (from, to) = (FileRef::Open(source.as_fd()), FileRef::Open(target.as_fd()));
        let sides = EntrySides {
            source: (from, &stat),
            target: (to, &target_stat),
            is_new: false,
            no_xattrs: is_plain,
        };
        // Excludes users who may not enter the source directory.
        attributes::tighten(job, sides);
        let inodes = (Inode::of(&stat), Inode::of(&target_stat));
        Ok(Self::new((source, target), inodes, no_default_acl))
    }

    /// Returns the names in this source directory with this inode number. The result is a hint: it
    /// may be outdated.
    pub(super) fn names_of_inode(&self, inode: u64) -> &[Box<[u8]>] {
        let names = self.names_by_inode.get_or_init(|| {
            let mut names: HashMap<u64, Vec<Box<[u8]>>> = HashMap::new();
            let _ = self.source.read(&mut ReadBuffer::new(), |entry| {
                names.entry(entry.inode).or_default().push(entry.name.into());
                Ok(())
            });
            names.retain(|_, names| names.len() > 1);
            names
        });
        names.get(&inode).map(Vec::as_slice).unwrap_or_default()
    }

    /// Copies the attributes of the source directory to the target directory.
    fn copy_attributes(&self, job: &CopyJob<'_>) -> Result<(), EntryError> {
        let source = self.source.stat(b"").map_err(error::source_error("look at"))?;
        let target = self.target.stat(b"").map_err(error::target_error("look at"))?;
        let (from, to) = (FileRef::Open(self.source.as_fd()), FileRef::Open(self.target.as_fd()));
        let (source, target) = ((from, &source), (to, &target));
        attributes::copy(job, EntrySides { source, target, is_new: false, no_xattrs: false })?;
        if job.executor.settings.durable {
            fsync(&self.target).map_err(error::target_errno("write"))?;
        }
        Ok(())
    }
}

/// Opens a target directory, even if its mode denies access to its owner, who is not root.
fn open_target(job: &CopyJob<'_>, path: &TreePath) -> io::Result<Dir> {
    match job.target.open_below(path.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
                return Err(error);
            };
            let parent = job.target.open_below(parent.as_bytes())?;
            FileRef::Named(parent.as_fd(), name).chmod(0o700)?;
            job.target.open_below(path.as_bytes())
        }
        opened => opened,
    }
}

/// Gives the owner, who is not root, access to a directory. Its final mode is set at the end.
fn grant_owner_access(dir: &Dir) {
    const ALL: u32 = 0o700;
    if let Ok(stat) = dir.stat(b"") {
        let mode = u32::from(stat.stx_mode) & 0o7777;
        if mode & ALL != ALL {
            // If this is not allowed, the work itself reports the error.
            let _ = FileRef::Open(dir.as_fd()).chmod(mode | ALL);
        }
    }
}

/// Context of the work in one directory.
#[derive(Clone, Copy)]
pub(super) struct DirContext<'a> {
    /// Job that the work belongs to.
    pub(super) job: &'a CopyJob<'a>,
    /// Pool that takes the tasks for other threads.
    pub(super) pool: &'a WorkPool<DirTask>,
    /// Node of the directory in the tree of unfinished work.
    pub(super) node: &'a Arc<DirNode>,
    /// Path of the directory.
    pub(super) path: &'a TreePath,
    /// Open handles of the directory.
    pub(super) pair: &'a Arc<DirPair>,
}

/// Runs a task.
pub(super) fn run_task(job: &CopyJob<'_>, pool: &WorkPool<DirTask>, task: DirTask) {
    if !job.should_continue() {
        return;
    }
    let (node, items) = match task {
        DirTask::All(node) => (node, None),
        DirTask::Entries(node, items) => (node, Some(items)),
    };
    let (path, opened) = open(job, &node);
    let mut pair = match opened {
        Ok(pair) => Some(pair),
        Err(error) => {
            sync_from_parent(job, pool, (&node, &path), &error);
            None
        }
    };
    if let Some(pair) = &pair {
        let ctx = DirContext { job, pool, node: &node, path: &path, pair };
        match items {
            None => ctx.sync_all(),
            Some(items) => {
                ctx.remove_stale_temps();
                ctx.distribute(items);
            }
        }
    }
    let mut failed = pair.is_none();
    let mut below = None;
    node.finish_task(|node| {
        if !mem::take(&mut failed) {
            finish_directory(job, node, pair.take(), &mut below);
        }
        job.dir_cache.remove(node);
    });
}

/// Opens a directory, relative to its parent if that is cached.
fn open(
    job: &CopyJob<'_>,
    node: &Arc<DirNode>,
) -> (Arc<TreePath>, Result<Arc<DirPair>, EntryError>) {
    if let Some((path, pair)) = job.dir_cache.get(node) {
        return (path, Ok(pair));
    }
    let above = node.parent().and_then(|parent| job.dir_cache.get(parent));
    let name = node.name().as_bytes();
    let above = above.and_then(|(path, pair)| Some((path.join(name)?, pair)));
    let (path, opened) = if let Some((path, above)) = above {
        let opened = above.open_child(job, name, &path);
        (path, opened)
    } else {
        let path = node.path();
        let opened = DirPair::open(job, &path);
        (path, opened)
    };
    let path = Arc::new(path);
    let opened = opened.map(|pair| Arc::new(DirPair { created: node.created, ..pair }));
    if let Ok(pair) = &opened {
        let _ = node.inodes.set(pair.inodes);
        job.dir_cache.insert(node, &path, pair);
    }
    (path, opened)
}

/// Handles a directory that could not be opened. If it no longer exists, its entry in the parent is
/// synced.
fn sync_from_parent(
    job: &CopyJob<'_>,
    pool: &WorkPool<DirTask>,
    (node, path): (&Arc<DirNode>, &TreePath),
    error: &EntryError,
) {
    if let (EntryError::Changed, Some(parent), Some(name)) = (error, node.parent(), path.name())
        && node.tries < MAX_TRIES
        && let Some(above) = path.parent()
        && let Ok(pair) = DirPair::open(job, &above).map(Arc::new)
    {
        let ctx = DirContext { job, pool, node: parent, path: &above, pair: &pair };
        return ctx.sync_entry(&Item::new(name, Scope::Tree));
    }
    job.record_failure(DirtyPath { path: path.clone(), scope: Scope::Tree }, error);
}

/// Sets the attributes of a directory after all tasks in it. If the directory is no longer open, it
/// is found from `below`, its subdirectory that was finished just before.
fn finish_directory(
    job: &CopyJob<'_>,
    node: &DirNode,
    pair: Option<Arc<DirPair>>,
    below: &mut Option<Arc<DirPair>>,
) {
    if !job.should_continue() {
        return;
    }
    let kept = || job.dir_cache.get(node).map(|(_, pair)| pair);
    let above = || below.as_ref()?.open_parent(*node.inodes.get()?).map(Arc::new);
    let pair = pair.or_else(kept).or_else(above);
    let pair = pair.map_or_else(|| DirPair::open(job, &node.path()).map(Arc::new), Ok);
    // The bare mount point of an unmounted file system would change the access to what the target
    // has of that file system.
    let is_left = !node.created && job.is_lost_mount_point(&node.path());
    let finished = pair.and_then(|pair| {
        let finished = if is_left { Ok(()) } else { pair.copy_attributes(job) };
        *below = Some(pair);
        finished
    });
    match finished {
        // If the directory is gone, its parent reports it.
        Ok(()) | Err(EntryError::Changed) => {}
        Err(error) => {
            job.record_failure(DirtyPath { path: node.path(), scope: Scope::Entry }, &error);
        }
    }
}

impl DirContext<'_> {
    /// Syncs all entries that either side lists.
    fn sync_all(&self) {
        match self.compare() {
            Ok(items) => self.distribute(items),
            Err(error) => {
                self.job.record_failure(
                    DirtyPath { path: self.path.clone(), scope: Scope::Tree },
                    &error,
                );
            }
        }
    }

    /// Lists the source, after extraneous entries were removed from the target.
    fn compare(&self) -> Result<Vec<Item>, EntryError> {
        let mut buffer = ReadBuffer::new();
        let mut items: Vec<Item> = Vec::new();
        let listed = self.pair.source.read(&mut buffer, |entry| {
            let is_file = entry.file_type == FileType::RegularFile;
            items.push(Item { absent: true, is_file, ..Item::new(entry.name, Scope::Tree) });
            Ok(())
        });
        listed.map_err(error::source_error("list"))?;
        let mut extraneous: HashSet<Box<[u8]>> = HashSet::new();
        if !self.node.created {
            let listed = self.pair.target.read(&mut buffer, |entry| {
                extraneous.insert(Box::from(entry.name));
                Ok(())
            });
            listed.map_err(error::target_error("list"))?;
            for item in &mut items {
                item.absent = !extraneous.remove(&item.name);
            }
        }
        self.remove_extraneous(extraneous);
        Ok(items)
    }

    /// Removes entries that only the target has, or counts them for later.
    fn remove_extraneous(&self, rest: HashSet<Box<[u8]>>) {
        for name in rest {
            if !self.job.should_continue() {
                return;
            }
            self.sync_entry(&Item { name, scope: Scope::Tree, absent: false, is_file: false });
        }
    }

    /// Removes temporary files that an interrupted process left in this directory, on file systems
    /// where that can happen: a directory of which only some entries changed is not listed
    /// otherwise. Runs once for each directory.
    fn remove_stale_temps(&self) {
        if !self.job.capabilities().names_temp_files
            || !self.job.executor.state.mark_swept(self.path)
        {
            return;
        }
        let mut names = Vec::new();
        let listed = self.job.target.open_below(self.path.as_bytes()).and_then(|dir| {
            dir.read(&mut ReadBuffer::new(), |entry| {
                if temp_file::is_temp_name(entry.name) && !temp_file::is_in_use(&dir, entry.name) {
                    names.push(Box::<[u8]>::from(entry.name));
                }
                Ok(())
            })
        });
        // If the directory cannot be listed, nothing is known to be stale.
        for name in names.into_iter().filter(|_| listed.is_ok()) {
            if self.pair.source.stat(&name).is_err() {
                self.remove_stale_temp(&name);
            }
        }
    }

    /// Syncs these entries. If there are many, a part becomes tasks for other threads.
    fn distribute(&self, mut items: Vec<Item>) {
        let mut parts = Vec::new();
        if self.job.executor.settings.workers.get() > 1 {
            while items.len() > 2 * CHUNK {
                let part = items.split_off(items.len() - CHUNK);
                parts.push(DirTask::Entries(Arc::clone(self.node), part));
            }
        }
        self.node.add(parts.len());
        self.pool.push(parts);
        self.sync_each(&items);
    }

    fn sync_each(&self, items: &[Item]) {
        for item in items {
            if !self.job.should_continue() {
                return;
            }
            self.sync_entry(item);
        }
    }
}

/// Returns the kind by which filter rules distinguish entries.
pub(super) fn entry_kind(file_type: FileType) -> EntryKind {
    if file_type == FileType::Directory { EntryKind::Directory } else { EntryKind::Other }
}

/// Maps the error "no such entry" to `None`.
pub(super) fn missing_as_none<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
