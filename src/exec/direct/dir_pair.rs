//! Directory that is open on both sides.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::AsFd,
    sync::OnceLock,
};

use hashbrown::HashMap;
use mirror_core::path::TreePath;
use mirror_platform::{
    dir::Dir, entries::ReadBuffer, file_attributes, metadata::FileRef, stat::Stat,
};
use rustix::fs::fsync;

use super::{
    attributes::{self, EntrySide, EntrySides},
    copy_job::CopyJob,
    dir_node::DirInodes,
    error::{self, EntryError, is_absent},
};
use crate::exec::inode::Inode;

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
    /// Inodes of both directories.
    pub(super) inodes: DirInodes,
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
    pub(super) fn open_child(
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
    pub(super) fn open_parent(&self, inodes: DirInodes) -> Option<Self> {
        let (source, target) = (self.source.open_parent().ok()?, self.target.open_parent().ok()?);
        let is = |dir: &Dir, inode| dir.stat(b"").is_ok_and(|stat| Inode::of(&stat) == inode);
        let is_it = is(&source, inodes.source) && is(&target, inodes.target);
        is_it.then(|| Self::new(source, target, inodes, false))
    }

    fn new(source: Dir, target: Dir, inodes: DirInodes, no_default_acl: bool) -> Self {
        let (new_file, names_by_inode) = (OnceLock::new(), OnceLock::new());
        Self { source, target, no_default_acl, created: false, inodes, new_file, names_by_inode }
    }

    /// Sets whether this job created the target directory.
    pub(super) fn with_created(self, created: bool) -> Self {
        Self { created, ..self }
    }

    /// Prepares a directory that was just opened.
    fn prepare(job: &CopyJob<'_>, source: Dir, target: Dir) -> Result<Self, EntryError> {
        if !job.executor.privileged {
            grant_owner_access(&target);
        }
        let names = FileRef::Open(target.as_fd()).xattr_names();
        let has_none = |wanted: &CStr| {
            let is_it = |name: &CString| name.as_c_str() == wanted;
            names.as_ref().is_ok_and(|names| !names.iter().any(is_it))
        };
        let no_default_acl = has_none(file_attributes::INHERITED_ACL);
        let is_plain = has_none(file_attributes::ACL);
        let stat = source.stat(b"").map_err(error::source_error("stat"))?;
        if job.is_on_other_device(&stat) {
            return Err(EntryError::OtherDevice);
        }
        let target_stat = target.stat(b"").map_err(error::target_error("stat"))?;
        let (from, to) = (FileRef::Open(source.as_fd()), FileRef::Open(target.as_fd()));
        let sides = EntrySides {
            source: EntrySide { file: from, stat: &stat },
            target: EntrySide { file: to, stat: &target_stat },
            is_new: false,
            no_xattrs: is_plain,
        };
        // Excludes users who may not enter the source directory.
        attributes::tighten(job, sides);
        let inodes = DirInodes { source: Inode::of(&stat), target: Inode::of(&target_stat) };
        Ok(Self::new(source, target, inodes, no_default_acl))
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
    pub(super) fn copy_attributes(&self, job: &CopyJob<'_>) -> Result<(), EntryError> {
        let source = self.source.stat(b"").map_err(error::source_error("stat"))?;
        let target = self.target.stat(b"").map_err(error::target_error("stat"))?;
        let (from, to) = (FileRef::Open(self.source.as_fd()), FileRef::Open(self.target.as_fd()));
        let source = EntrySide { file: from, stat: &source };
        let target = EntrySide { file: to, stat: &target };
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
        let mode = stat.mode & 0o7777;
        if mode & ALL != ALL {
            // If this is not allowed, the work itself reports the error.
            let _ = FileRef::Open(dir.as_fd()).chmod(mode | ALL);
        }
    }
}
