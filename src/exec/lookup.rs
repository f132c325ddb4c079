//! Look-ups of entries by their path below a root: relative to their opened parent, so that no
//! symbolic link is followed and the path may have any length.

use std::io;

use mirror_core::{job::Rename, path::TreePath};
use mirror_platform::{dir::Dir, stat::Stat};
use rustix::io::Errno;

use super::inode::EntryType;

/// Returns the metadata of the entry at a path below `root`; `None` if there certainly is none.
pub(super) fn stat_at(root: &Dir, path: &TreePath) -> io::Result<Option<Stat>> {
    let parent = path.parent().unwrap_or_default();
    let found = root.open_below_for_lookup(parent.as_bytes());
    match found.and_then(|dir| dir.stat(path.name().unwrap_or_default())) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns true if these renames gave the entry at `path` a name that the source, open as `root`,
/// lacks: it was deleted or moved away since, and that event is still to come.
pub(super) fn has_lost_new_name(root: &Dir, renames: &[Rename], path: &TreePath) -> bool {
    let mut name = path.clone();
    for Rename { from, to } in renames {
        if let Some(moved) = name.rebase(from, to) {
            name = moved;
        }
    }
    name != *path && stat_at(root, &name).is_ok_and(|found| found.is_none())
}

/// Returns the type of the entry at a path below `root`; `None` if there certainly is none.
pub(super) fn entry_type_at(root: &Dir, path: &TreePath) -> io::Result<Option<EntryType>> {
    Ok(stat_at(root, path)?.as_ref().map(EntryType::of))
}

/// Returns true unless there certainly is no entry at a path below `root`.
pub(super) fn may_exist(root: &Dir, path: &TreePath) -> bool {
    match stat_at(root, path) {
        Ok(found) => found.is_some(),
        // An ancestor is a file or a symbolic link.
        Err(error) => Errno::from_io_error(&error) != Some(Errno::NOTDIR),
    }
}

/// Returns true if there certainly is no entry. A name that is too long for the file system cannot
/// exist.
pub(super) fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NAMETOOLONG))
}
