//! Renames at the target that save copies. All of them are hints: both names are compared
//! afterwards like any other path.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::AsFd as _,
};

use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, Rename, Scope},
    path::TreePath,
    plan::renames::coalesce_renames,
};
use mirror_platform::{dir::Dir, metadata::FileRef, stat::Stat};
use rustix::fs::{FileType, Mode, RenameFlags, mkdirat, renameat_with};

use super::{
    attributes::{self, EntrySide, EntrySides},
    copy_job::CopyJob,
    remove::count,
    temp_file,
    timestamps::TimestampGranularity,
};
use crate::exec::{inode::EntryType, lookup::stat_at};

/// Applies the hints that are still valid. Returns the paths that have to be synced because of it.
pub(super) fn apply(job: &CopyJob<'_>, renames: &[Rename]) -> Vec<DirtyPath> {
    let mut hints = coalesce_renames(renames);
    let mut made = Vec::new();
    let mut tightened = BTreeSet::new();
    let mut applied = BTreeMap::new();
    while !hints.is_empty() && job.should_continue() {
        let hint = hints.remove(0);
        let back = hints.iter().position(|other| other.from == hint.to && other.to == hint.from);
        let step = apply_one(job, &hint, back.is_some(), &mut made, &mut tightened);
        applied.retain(|path, _| !hint.from.contains(path) && !hint.to.contains(path));
        applied.insert(hint.to, step.is_some());
        if let Some(RenameStep::Exchanged) = step {
            // The other half of the exchange, or the entry that had the name.
            applied.insert(hint.from, back.is_some());
            if let Some(back) = back {
                hints.remove(back);
            }
        }
    }
    job.applied_renames.set(applied);
    made
}

/// Effect of an applied hint.
enum RenameStep {
    Renamed,
    Exchanged,
}

/// One name of a rename, on both sides.
struct RenameEnd<'a> {
    name: &'a [u8],
    /// Target directory that contains the name.
    dir: Dir,
    source: Option<Stat>,
    target: Option<Stat>,
}

/// Applies a hint if both sides confirm it. Returns `None` and changes nothing otherwise.
fn apply_one(
    job: &CopyJob<'_>,
    hint: &Rename,
    is_swap: bool,
    made: &mut Vec<DirtyPath>,
    tightened: &mut BTreeSet<TreePath>,
) -> Option<RenameStep> {
    let from = RenameEnd::new(job, &hint.from).ok()?;
    let moved = from.target?;
    let kind = EntryType::of(&moved).kind();
    let ends = [&hint.from, &hint.to];
    if ends.into_iter().any(|path| is_not_mirrored(job, path, kind)) {
        return None;
    }
    let to = if let Ok(end) = RenameEnd::new(job, &hint.to) {
        end
    } else {
        // Checked before parent directories are created: the source must have the new name.
        stat_at(&job.source, &hint.to).ok()??;
        made.push(make_parents(job, &hint.to)?);
        RenameEnd::new(job, &hint.to).ok()?
    };
    let wanted = to.source.filter(|stat| stat.file_type() == moved.file_type())?;
    let flags = match EntryType::of(&moved) {
        EntryType::Directory => {
            let flags = directory_flags(&from, &to, is_swap)?;
            let ends = [(&from, &hint.from), (&to, &hint.to)];
            if ends.into_iter().any(|(end, path)| end.holds_protected(job, path)) {
                return None;
            }
            flags
        }
        EntryType::File => file_flags(job.granularity(), &from, &to, &wanted)?,
        EntryType::Symlink | EntryType::Other => return None,
    };
    tighten_parents(job, &hint.to, tightened);
    tighten_moved(job, &hint.to, &from, &wanted);
    if let Some(other) = from.source.as_ref().filter(|_| flags == RenameFlags::EXCHANGE) {
        tighten_parents(job, &hint.from, tightened);
        tighten_moved(job, &hint.from, &to, other);
    }
    renameat_with(&from.dir, from.name, &to.dir, to.name, flags).ok()?;
    Some(if flags == RenameFlags::EXCHANGE { RenameStep::Exchanged } else { RenameStep::Renamed })
}

/// Removes access from the directories of the target above this path that those of the source do
/// not grant: what is moved there may have been private so far. `done` are those that were compared
/// before.
fn tighten_parents(job: &CopyJob<'_>, path: &TreePath, done: &mut BTreeSet<TreePath>) {
    // Most renames of a batch lead to few directories. Those above one are done before it.
    let Some(parent) = path.parent().filter(|parent| !done.contains(parent)) else { return };
    let mut here = TreePath::root();
    for name in parent.components() {
        if here.push(name).is_none() {
            return;
        }
        let open = |root: &Dir| {
            let directory = root.open_below(here.as_bytes())?;
            let stat = directory.stat(b"")?;
            Ok::<_, io::Error>((directory, stat))
        };
        if done.insert(here.clone())
            && let (Ok((source, wanted)), Ok((target, stat))) =
                (open(&job.source), open(&job.target))
        {
            let source = EntrySide { file: FileRef::Open(source.as_fd()), stat: &wanted };
            let target = EntrySide { file: FileRef::Open(target.as_fd()), stat: &stat };
            let sides = EntrySides { source, target, is_new: false, no_xattrs: false };
            attributes::tighten(job, sides);
        }
    }
}

/// Removes access from an entry that is about to be moved to `path` if the source does not grant it
/// there: the directory in which it is may have been private so far.
fn tighten_moved(job: &CopyJob<'_>, path: &TreePath, moved: &RenameEnd<'_>, wanted: &Stat) {
    let (Some(parent), Some(name), Some(stat)) = (path.parent(), path.name(), &moved.target) else {
        return;
    };
    let Ok(source) = job.source.open_below(parent.as_bytes()) else { return };
    let source = EntrySide { file: FileRef::Named(source.as_fd(), name), stat: wanted };
    let target = EntrySide { file: FileRef::Named(moved.dir.as_fd(), moved.name), stat };
    attributes::tighten(job, EntrySides { source, target, is_new: false, no_xattrs: false });
}

/// Returns the flags for the rename of a directory. Only the existence of the names is compared,
/// because the content of the directory is unknown.
fn directory_flags(from: &RenameEnd<'_>, to: &RenameEnd<'_>, is_swap: bool) -> Option<RenameFlags> {
    let is_directory =
        |stat: &Option<Stat>| stat.as_ref().is_some_and(|s| s.file_type() == FileType::Directory);
    match (from.source.is_some(), to.target.is_some()) {
        (false, false) => Some(RenameFlags::NOREPLACE),
        (true, true) if is_swap && is_directory(&from.source) && is_directory(&to.target) => {
            Some(RenameFlags::EXCHANGE)
        }
        _ => None,
    }
}

/// Returns the flags for the rename of a file. Size and time decide whether it is the file that
/// belongs to the new name, and whether the file that it replaces, or its old name, is still
/// needed.
fn file_flags(
    granularity: TimestampGranularity,
    from: &RenameEnd<'_>,
    to: &RenameEnd<'_>,
    wanted: &Stat,
) -> Option<RenameFlags> {
    let same = |source: &Option<Stat>, target: &Option<Stat>| match (source, target) {
        (Some(source), Some(target)) => {
            source.file_type() == target.file_type()
                && source.size == target.size
                && granularity.same_time(source, target)
        }
        _ => false,
    };
    if !same(&Some(*wanted), &from.target)
        || same(&from.source, &from.target)
        || same(&to.source, &to.target)
    {
        return None;
    }
    match &to.target {
        None => Some(RenameFlags::NOREPLACE),
        Some(_) if same(&from.source, &to.target) => Some(RenameFlags::EXCHANGE),
        Some(existing) if existing.file_type() == FileType::Directory => None,
        Some(_) => Some(RenameFlags::empty()),
    }
}

fn is_not_mirrored(job: &CopyJob<'_>, path: &TreePath, kind: EntryKind) -> bool {
    job.filter().excludes(path, kind) || path.name().is_none_or(temp_file::is_temp_name)
}

impl<'a> RenameEnd<'a> {
    fn new(job: &CopyJob<'_>, path: &'a TreePath) -> io::Result<Self> {
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        let (parent, name) = path.parent().zip(path.name()).ok_or_else(absent)?;
        let dir = job.target.open_below(parent.as_bytes())?;
        let target = dir.stat(name).ok();
        Ok(Self { name, dir, source: stat_at(&job.source, path).ok().flatten(), target })
    }

    /// Returns true if the target directory contains excluded entries, which must stay in place.
    fn holds_protected(&self, job: &CopyJob<'_>, path: &TreePath) -> bool {
        let Some(stat) = self.target.as_ref().filter(|_| !job.filter().is_empty()) else {
            return false;
        };
        count(job, &self.dir, path, stat).is_ok_and(|counted| counted.kept)
    }
}

/// Creates the missing parent directories of `path`. Returns the topmost one, which has to be
/// synced.
fn make_parents(job: &CopyJob<'_>, path: &TreePath) -> Option<DirtyPath> {
    let (mut here, mut first) = (TreePath::root(), None);
    for name in path.parent()?.components() {
        let dir = job.target.open_below(here.as_bytes()).ok()?;
        here.push(name)?;
        if job.filter().excludes(&here, EntryKind::Directory) {
            return None;
        }
        match mkdirat(&dir, name, Mode::RWXU) {
            Ok(()) => first = first.or_else(|| Some(here.clone())),
            Err(rustix::io::Errno::EXIST) => {}
            Err(_) => return None,
        }
    }
    first.map(|path| DirtyPath { path, scope: Scope::Tree })
}
