//! The files of a batch that are too large to go with the others.

use mirror_core::path::TreePath;
use mirror_linux::dir::Dir;
use rustix::fs::FileType;

/// Takes the files of more than `limit` bytes out of `entries`, places below `root`.
///
/// What can't be looked at stays: rsync tells what is wrong with it.
pub(super) fn take_large(root: &Dir, entries: &mut Vec<TreePath>, limit: u64) -> Vec<TreePath> {
    let mut directory: Option<(TreePath, Dir)> = None;
    let mut is_large = |path: &mut TreePath| {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return false };
        // Entries come in the order of a walk.
        if directory.as_ref().is_none_or(|(known, _)| *known != parent) {
            directory = root.search_below(parent.as_bytes()).ok().map(|dir| (parent, dir));
        }
        let stat = directory.as_ref().and_then(|(_, dir)| dir.stat(name).ok());
        stat.is_some_and(|stat| {
            let kind = FileType::from_raw_mode(stat.stx_mode.into());
            kind == FileType::RegularFile && stat.stx_size > limit
        })
    };
    entries.extract_if(.., |path| is_large(path)).collect()
}
