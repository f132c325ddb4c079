//! Options in rsync's syntax that concern single entries.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    fs_event::EntryKind,
    path::TreePath,
    plan::direct::{BackupOptions, DirectOptions},
};
use mirror_platform::dir::{Dir, Stat};
use rustix::{
    fs::{FileType, Mode, mkdirat, renameat},
    io::Errno,
};

use super::{
    attributes::{EntrySides, file_type},
    copy_job::CopyJob,
    directory::DirContext,
    error::{self, EntryError},
    hardlinks::link,
    timestamps::mtime,
};

const MODE: u32 = 0o7777;
/// Mode bits that a umask affects.
const PERMISSIONS: u32 = 0o777;

/// Returns true if an option may protect target entries that a rename would replace.
pub(super) const fn may_protect_target(options: &DirectOptions) -> bool {
    let DirectOptions { update, existing, ignore_existing, links, backup, .. } = options;
    let sizes = options.max_size.is_some() || options.min_size.is_some();
    *update || *existing || *ignore_existing || !*links || backup.is_some() || sizes
}

/// Returns true if the target entry is neither updated nor deleted, because an option excludes this
/// source entry.
pub(super) fn is_skipped(job: &CopyJob<'_>, source: &Stat, target: Option<&Stat>) -> bool {
    let options = &job.executor.settings.options;
    let is_directory = |stat: &Stat| file_type(stat) == FileType::Directory;
    let is_file = file_type(source) == FileType::RegularFile;
    let size = source.stx_size;
    if file_type(source) == FileType::Symlink && !options.links {
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

/// Returns the metadata of the source, with the attributes that the target is to have.
pub(super) fn wanted_stat(job: &CopyJob<'_>, sides: EntrySides<'_>) -> Stat {
    let ((_, source), (_, target)) = (sides.source, sides.target);
    let options = &job.executor.settings.options;
    let mut wanted = *source;
    let kind = u32::from(source.stx_mode) & !MODE;
    let mut mode = u32::from(source.stx_mode) & MODE;
    if let Some(chmod) = &options.chmod
        && file_type(source) != FileType::Symlink
    {
        mode =
            chmod.apply(mode, file_type(source) == FileType::Directory, job.executor.umask) & MODE;
    }
    if !options.perms {
        mode = if sides.is_new {
            mode & PERMISSIONS & !job.executor.umask
        } else {
            u32::from(target.stx_mode) & MODE
        };
    }
    wanted.stx_mode = u16::try_from(kind | mode).unwrap_or(source.stx_mode);
    if !options.owner {
        wanted.stx_uid = target.stx_uid;
    }
    if !options.group {
        wanted.stx_gid = target.stx_gid;
    }
    wanted
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

/// Location of a new backup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BackedUp {
    /// Backups are disabled.
    No,
    /// Same directory.
    Beside,
    /// Backup directory.
    Elsewhere,
}

/// Renames the target entry at `path`, which is about to be deleted and is not a directory, to its
/// backup name.
pub(super) fn move_to_backup(
    job: &CopyJob<'_>,
    dir: &Dir,
    path: &TreePath,
) -> io::Result<BackedUp> {
    let Some(location) = BackupLocation::of(job, path)? else { return Ok(BackedUp::No) };
    let name = path.name().unwrap_or_default();
    renameat(dir, name, location.dir.as_ref().unwrap_or(dir), &*location.name)?;
    Ok(if location.dir.is_some() { BackedUp::Elsewhere } else { BackedUp::Beside })
}

impl DirContext<'_> {
    /// Makes a backup of a target entry that is about to be replaced.
    pub(super) fn back_up(&self, path: &TreePath, target: Option<&Stat>) -> Result<(), EntryError> {
        let Some(target) = target else { return Ok(()) };
        let write = error::target_error("make a backup of");
        let Some(location) = BackupLocation::of(self.job, path).map_err(&write)? else {
            return Ok(());
        };
        if file_type(target) == FileType::Directory {
            return Ok(());
        }
        let (dir, name) = (&self.pair.target, path.name().unwrap_or_default());
        let to = location.dir.as_ref().unwrap_or(dir);
        // With hard links, the name is never missing in between.
        link((dir, name), (to, &location.name))
            .or_else(|_| Ok(renameat(dir, name, to, &*location.name)?))
            .map_err(write)
    }
}

/// Directory and name of a backup.
struct BackupLocation {
    /// `None` if the backup stays in its directory.
    dir: Option<Dir>,
    name: Vec<u8>,
}

impl BackupLocation {
    fn of(job: &CopyJob<'_>, path: &TreePath) -> io::Result<Option<Self>> {
        let Some(BackupOptions { suffix, directory }) = &job.executor.settings.options.backup
        else {
            return Ok(None);
        };
        let name = [path.name().unwrap_or_default(), suffix].concat();
        let Some(directory) = directory else { return Ok(Some(Self { dir: None, name })) };
        let root = if directory.starts_with(b"/") {
            Dir::open(Path::new(OsStr::from_bytes(directory)))?
        } else {
            let path = TreePath::new(directory).ok_or(Errno::INVAL)?;
            make_dirs(job.target.open_below(b"")?, &path)?
        };
        let dir = make_dirs(root, &path.parent().unwrap_or_default())?;
        Ok(Some(Self { dir: Some(dir), name }))
    }
}

/// Creates the directories on the way to `path`, accessible by their owner only, and opens the last
/// one.
fn make_dirs(root: Dir, path: &TreePath) -> io::Result<Dir> {
    let mut here = root;
    for name in path.components() {
        here = match here.open_below(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&here, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                here.open_below(name)?
            }
            opened => opened?,
        };
    }
    Ok(here)
}
