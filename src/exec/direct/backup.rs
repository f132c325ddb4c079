//! Backups of target entries that are deleted or replaced.

use std::{
    ffi::OsStr,
    fs::DirBuilder,
    io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::Path,
};

use mirror_core::{path::TreePath, plan::direct::BackupOptions};
use mirror_platform::{dir::Dir, stat::Stat};
use rustix::{
    fs::{FileType, Mode, mkdirat, renameat},
    io::Errno,
};

use super::{
    copy_job::CopyJob,
    error::{self, EntryError},
    temp_file::{EntryName, link},
};

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

/// Makes a backup of the target entry at `path`, which is in `dir` and is about to be replaced.
pub(super) fn link_to_backup(
    job: &CopyJob<'_>,
    dir: &Dir,
    path: &TreePath,
    target: &Stat,
) -> Result<(), EntryError> {
    let write = error::target_error("back up");
    let Some(location) = BackupLocation::of(job, path).map_err(&write)? else { return Ok(()) };
    if target.file_type() == FileType::Directory {
        return Ok(());
    }
    let from = EntryName { dir, name: path.name().unwrap_or_default() };
    let to = EntryName { dir: location.dir.as_ref().unwrap_or(dir), name: &location.name };
    // With hard links, the name is never missing in between.
    link(from, to).or_else(|_| Ok(renameat(from.dir, from.name, to.dir, to.name)?)).map_err(write)
}

/// Gives a backup directory that is in the target a relative path: backups there are not deleted.
pub(super) fn name_within_target(backup: &mut BackupOptions, target: &Path) {
    let directory = backup.directory.as_mut();
    if let Some(path) = directory.filter(|path| path.starts_with(b"/"))
        && let Ok(inner) = Path::new(OsStr::from_bytes(path)).strip_prefix(target)
        && !inner.as_os_str().is_empty()
    {
        *path = inner.as_os_str().as_bytes().to_vec();
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
        let Some(BackupOptions { suffix, directory }) = &job.options().backup else {
            return Ok(None);
        };
        let name = [path.name().unwrap_or_default(), suffix].concat();
        let Some(directory) = directory else { return Ok(Some(Self { dir: None, name })) };
        let root = if directory.starts_with(b"/") {
            open_or_make(Path::new(OsStr::from_bytes(directory)))?
        } else {
            let path = TreePath::new(directory).ok_or(Errno::INVAL)?;
            make_dirs(job.target.open_below(b"")?, &path)?
        };
        let dir = make_dirs(root, &path.parent().unwrap_or_default())?;
        Ok(Some(Self { dir: Some(dir), name }))
    }
}

/// Opens a backup directory outside of the target, and creates it as rsync does.
fn open_or_make(path: &Path) -> io::Result<Dir> {
    match Dir::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            Dir::open(path)
        }
        opened => opened,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_directory_in_the_target_is_relative() {
        for (directory, expected) in [
            ("/t/old", "old"),
            ("/t/a/old/", "a/old"),
            ("/t", "/t"),
            ("/tt/old", "/tt/old"),
            ("old", "old"),
        ] {
            let directory = Some(directory.as_bytes().to_vec());
            let mut backup = BackupOptions { suffix: Vec::new(), directory };
            name_within_target(&mut backup, Path::new("/t/"));
            assert_eq!(backup.directory.unwrap(), expected.as_bytes());
        }
    }
}
