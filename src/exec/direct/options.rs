//! What the user says in the words of rsync, as far as it is about one entry.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    notice::Kind,
    path::TreePath,
    plan::direct::{Backup, DirectOptions},
};
use mirror_platform::dir::{Dir, Stat};
use rustix::{
    fs::{FileType, Mode, mkdirat, renameat},
    io::Errno,
};

use super::{
    attributes::{Ends, file_type},
    folder::Folder,
    grain::time,
    links::link,
    pass::Pass,
    trouble::{self, Trouble},
};

const MODE: u32 = 0o7777;
/// The bits that a umask can take away.
const PERMISSIONS: u32 = 0o777;

/// Whether something at the target may have to stay that a rename would replace.
pub(super) const fn is_protected(options: &DirectOptions) -> bool {
    let DirectOptions { update, existing, ignore_existing, links, backup, .. } = options;
    let sizes = options.max_size.is_some() || options.min_size.is_some();
    *update || *existing || *ignore_existing || !*links || backup.is_some() || sizes
}

/// Whether the target is left as it is where the source has this: it is not changed, and neither
/// deleted.
pub(super) fn leaves_alone(pass: &Pass<'_>, source: &Stat, target: Option<&Stat>) -> bool {
    let options = &pass.direct.settings.options;
    let is_directory = |stat: &Stat| file_type(stat) == FileType::Directory;
    let is_file = file_type(source) == FileType::RegularFile;
    let size = source.stx_size;
    if file_type(source) == FileType::Symlink && !options.links {
        return true;
    }
    if is_file
        && (options.max_size.is_some_and(|most| size > most)
            || options.min_size.is_some_and(|least| size < least))
    {
        return true;
    }
    let Some(target) = target else { return options.existing };
    let both = is_directory(source) && is_directory(target);
    options.ignore_existing && !both || options.update && is_file && time(target) > time(source)
}

/// Whether contents are read to find out whether they are the same.
pub(super) const fn reads_all(options: &DirectOptions) -> bool {
    options.checksum || options.ignore_times || !options.times
}

/// The source as its attributes are to be at the target.
pub(super) fn wanted(pass: &Pass<'_>, ends: Ends<'_>) -> Stat {
    let ((_, source), (_, target)) = (ends.source, ends.target);
    let options = &pass.direct.settings.options;
    let mut wanted = *source;
    let kind = u32::from(source.stx_mode) & !MODE;
    let mut mode = u32::from(source.stx_mode) & MODE;
    if let Some(chmod) = &options.chmod
        && file_type(source) != FileType::Symlink
    {
        mode =
            chmod.apply(mode, file_type(source) == FileType::Directory, pass.direct.umask) & MODE;
    }
    if !options.perms {
        mode = if ends.is_new {
            mode & PERMISSIONS & !pass.direct.umask
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

/// Whether a name of the target is that of a backup, which is not deleted.
pub(super) fn is_backup(options: &DirectOptions, path: &TreePath, kind: Kind) -> bool {
    let Some(Backup { suffix, directory }) = &options.backup else { return false };
    match directory {
        None => kind == Kind::Other && path.name().is_some_and(|name| name.ends_with(suffix)),
        Some(directory) => {
            let is_within = |root: TreePath| root.contains(path) || path.contains(&root);
            !directory.starts_with(b"/") && TreePath::new(directory).is_some_and(is_within)
        }
    }
}

/// Whether something became a backup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MovedAway {
    /// No backups are wanted.
    No,
    /// In its own directory.
    Beside,
    /// In the directory of the backups.
    Elsewhere,
}

/// Keeps what the target has at `path`, which is about to be deleted and no directory, under the name
/// of a backup.
pub(super) fn move_away(pass: &Pass<'_>, dir: &Dir, path: &TreePath) -> io::Result<MovedAway> {
    let Some(place) = Place::of(pass, path)? else { return Ok(MovedAway::No) };
    let name = path.name().unwrap_or_default();
    renameat(dir, name, place.dir.as_ref().unwrap_or(dir), &*place.name)?;
    Ok(if place.dir.is_some() { MovedAway::Elsewhere } else { MovedAway::Beside })
}

impl Folder<'_> {
    /// Keeps what the target has under the name of an entry that is about to be replaced.
    pub(super) fn back_up(&self, path: &TreePath, target: Option<&Stat>) -> Result<(), Trouble> {
        let Some(target) = target else { return Ok(()) };
        let write = trouble::target("make a backup of");
        let Some(place) = Place::of(self.pass, path).map_err(&write)? else { return Ok(()) };
        if file_type(target) == FileType::Directory {
            return Ok(());
        }
        let (dir, name) = (&self.pair.target, path.name().unwrap_or_default());
        let to = place.dir.as_ref().unwrap_or(dir);
        // The name is never free meanwhile, where the file system has links.
        link((dir, name), (to, &place.name))
            .or_else(|_| Ok(renameat(dir, name, to, &*place.name)?))
            .map_err(write)
    }
}

/// Where a backup goes.
struct Place {
    /// `None` is the directory in which it is already.
    dir: Option<Dir>,
    name: Vec<u8>,
}

impl Place {
    fn of(pass: &Pass<'_>, path: &TreePath) -> io::Result<Option<Self>> {
        let Some(Backup { suffix, directory }) = &pass.direct.settings.options.backup else {
            return Ok(None);
        };
        let name = [path.name().unwrap_or_default(), suffix].concat();
        let Some(directory) = directory else { return Ok(Some(Self { dir: None, name })) };
        let root = if directory.starts_with(b"/") {
            Dir::open(Path::new(OsStr::from_bytes(directory)))?
        } else {
            let path = TreePath::new(directory).ok_or(Errno::INVAL)?;
            make(pass.target.open_below(b"")?, &path)?
        };
        let dir = make(root, &path.parent().unwrap_or_default())?;
        Ok(Some(Self { dir: Some(dir), name }))
    }
}

/// Makes the directories on the way to `path`, which nobody else can look into, and opens the last one.
fn make(root: Dir, path: &TreePath) -> io::Result<Dir> {
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
