//! Looks at the entries of a source.

use std::{io, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{fs_event::EntryKind, path::TreePath};
use mirror_platform::{
    dir::Dir, mounts::MountTable, stored_entry::StoredEntry, stored_name::stored_entry,
};
use rustix::io::Errno;

use super::super::backend::strip_root;

/// Result of a look at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Sighting {
    /// The path, with the names as their directories keep them, as far as they exist.
    pub(super) path: TreePath,
    /// The directory in which an entry was found under another name than the requested one, since
    /// case or the form of Unicode make no difference there. The topmost one, if there are several.
    pub(super) other_name_in: Option<TreePath>,
    /// The device of the deepest entry that exists.
    pub(super) device: u64,
    pub(super) entry: SeenEntry,
}

/// An entry that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) enum SeenEntry {
    Found {
        kind: EntryKind,
        inode: u64,
    },
    Missing,
    /// The look has failed.
    Unknown,
}

/// The file system below the roots, as the backend looks at it.
pub(in crate::watch) trait TreeView: Send {
    /// An open root: the same directory, whatever its path is.
    type Root;

    /// Opens a root.
    ///
    /// # Errors
    ///
    /// If there is no directory, or a symbolic link in its path.
    fn open(&mut self, root: &Path) -> io::Result<Self::Root>;

    /// Looks at an entry. Links are not followed.
    fn look(&mut self, root: &Self::Root, path: &TreePath) -> Sighting;

    /// Returns the directories below a root at which volumes are mounted.
    ///
    /// # Errors
    ///
    /// If the mounts are unknown.
    fn mounts_below(&mut self, root: &Path) -> io::Result<Vec<TreePath>>;
}

/// The file systems of this machine.
#[derive(Debug)]
pub(in crate::watch) struct DiskView;

impl TreeView for DiskView {
    type Root = Dir;

    fn open(&mut self, root: &Path) -> io::Result<Dir> {
        Dir::open_no_symlinks(root)
    }

    fn look(&mut self, root: &Dir, path: &TreePath) -> Sighting {
        look_with(path, |path| stored_entry(root, path))
    }

    fn mounts_below(&mut self, root: &Path) -> io::Result<Vec<TreePath>> {
        let root = root.as_os_str().as_bytes();
        let mounts = MountTable::open()?.read()?.into_iter();
        let below = mounts.filter_map(|mount| TreePath::new(strip_root(root, &mount.point)?));
        Ok(below.filter(|path| !path.is_root()).collect())
    }
}

/// Looks at an entry, by reading it and all directories above it up to the root.
pub(super) fn look_with(
    path: &TreePath,
    read: impl Fn(&[u8]) -> io::Result<StoredEntry>,
) -> Sighting {
    let mut sighting = Sighting {
        path: TreePath::root(),
        other_name_in: None,
        device: 0,
        entry: SeenEntry::Unknown,
    };
    let Ok(mut found) = read(b"") else { return Sighting { path: path.clone(), ..sighting } };
    let mut names = path.components();
    for name in names.by_ref() {
        sighting.device = found.device;
        let next = sighting.path.join(name);
        let result = match &next {
            Some(next) if found.is_directory => read(next.as_bytes()),
            Some(_) | None => Err(Errno::NOTDIR.into()),
        };
        match result {
            Ok(next) => found = next,
            Err(error) => {
                let error = Errno::from_io_error(&error);
                let is_missing = matches!(error, Some(Errno::NOENT | Errno::NOTDIR));
                sighting.entry = if is_missing { SeenEntry::Missing } else { SeenEntry::Unknown };
                push_all(&mut sighting.path, std::iter::once(name).chain(names));
                return sighting;
            }
        }
        // The root of a volume may have the name of the volume instead of that of its directory.
        if found.device != sighting.device || found.name == name {
            push_all(&mut sighting.path, [name]);
        } else {
            sighting.other_name_in.get_or_insert_with(|| sighting.path.clone());
            push_all(&mut sighting.path, [&*found.name]);
        }
    }
    let kind = if found.is_directory { EntryKind::Directory } else { EntryKind::Other };
    let entry = SeenEntry::Found { kind, inode: found.inode };
    Sighting { device: found.device, entry, ..sighting }
}

/// Appends names that are valid, since they were read from a directory or are those of a path.
fn push_all<'a>(path: &mut TreePath, names: impl IntoIterator<Item = &'a [u8]>) {
    for name in names {
        let _ = path.push(name);
    }
}
