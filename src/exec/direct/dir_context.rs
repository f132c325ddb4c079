//! Context of the work in one directory: its tasks and entries.

use std::{os::fd::OwnedFd, sync::Arc};

use mirror_core::{job::Scope, path::TreePath};
use mirror_platform::stat::Stat;
use rustix::fs::FileType;

use super::{
    copy_job::CopyJob, dir_node::DirNode, dir_pair::DirPair, pool::WorkPool, temp_file::EntryName,
};

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
    /// Number of attempts to open it as a directory that found something else.
    pub(super) tries: u8,
}

impl Item {
    /// Creates an item of which only the name is known.
    pub(super) fn new(name: impl Into<Box<[u8]>>, scope: Scope) -> Self {
        Self { name: name.into(), scope, absent: false, is_file: false, tries: 0 }
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

impl DirContext<'_> {
    /// Returns a name in the target directory.
    pub(super) fn target_name<'b>(&'b self, name: &'b [u8]) -> EntryName<'b> {
        EntryName { dir: &self.pair.target, name }
    }
}

/// Entry that the source has.
pub(super) struct SourceEntry<'a> {
    /// Path below the root.
    pub(super) path: &'a TreePath,
    /// Name: the last component of the path.
    pub(super) name: &'a [u8],
    /// Metadata of the source.
    pub(super) source: Stat,
    /// Metadata of the target, if it has the entry.
    pub(super) target: Option<Stat>,
    /// Open file of the source, if it was opened already.
    pub(super) file: Option<OwnedFd>,
}

impl SourceEntry<'_> {
    /// Returns true if the target has nothing under the name, or a directory, which is removed
    /// first.
    pub(super) fn is_new(&self) -> bool {
        self.target.as_ref().is_none_or(|stat| stat.file_type() == FileType::Directory)
    }
}
