//! Options in rsync's syntax that concern single entries.

use mirror_core::{
    fs_event::EntryKind,
    path::TreePath,
    plan::direct::{BackupOptions, DirectOptions},
};
use mirror_platform::stat::Stat;
use rustix::fs::FileType;

use super::timestamps::mtime;

/// Returns true if an option may protect target entries that a rename would replace.
pub(super) const fn may_protect_target(options: &DirectOptions) -> bool {
    let DirectOptions { update, existing, ignore_existing, links, backup, .. } = options;
    let sizes = options.max_size.is_some() || options.min_size.is_some();
    *update || *existing || *ignore_existing || !*links || backup.is_some() || sizes
}

/// Returns true if the target entry is neither updated nor deleted, because an option excludes this
/// source entry.
pub(super) fn is_skipped(options: &DirectOptions, source: &Stat, target: Option<&Stat>) -> bool {
    let is_directory = |stat: &Stat| stat.file_type() == FileType::Directory;
    let is_file = source.file_type() == FileType::RegularFile;
    let size = source.size;
    if source.file_type() == FileType::Symlink && !options.links {
        return true;
    }
    if is_file
        && (options.max_size.is_some_and(|max| size > max)
            || options.min_size.is_some_and(|min| size < min))
    {
        return true;
    }
    let Some(target) = target else { return options.existing };
    let both = is_directory(source) && is_directory(target);
    options.ignore_existing && !both || options.update && is_file && mtime(target) > mtime(source)
}

/// Returns true if files are compared by content.
pub(super) const fn compares_content(options: &DirectOptions) -> bool {
    options.checksum || options.ignore_times || !options.times
}

/// Returns true if the path is a backup, which is never deleted.
pub(super) fn is_backup(options: &DirectOptions, path: &TreePath, kind: EntryKind) -> bool {
    let Some(BackupOptions { suffix, directory }) = &options.backup else { return false };
    match directory {
        None => kind == EntryKind::Other && path.name().is_some_and(|name| name.ends_with(suffix)),
        Some(directory) => {
            let is_within = |root: TreePath| root.contains(path) || path.contains(&root);
            !directory.starts_with(b"/") && TreePath::new(directory).is_some_and(is_within)
        }
    }
}
