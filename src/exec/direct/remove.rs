//! Removing from the target what the source does not have.

use std::{io, os::fd::AsFd};

use mirror_core::{notice::Kind, path::TreePath};
use mirror_platform::{
    dir::{Dir, Stat},
    entries::ReadBuffer,
    spot::Spot,
};
use rustix::fs::{AtFlags, FileType, unlinkat};

use super::{
    attributes::file_type,
    folder::kind,
    links::Inode,
    options::{self, MovedAway},
    pass::Pass,
    trouble::{self, Trouble, is_absent},
};

/// What came of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// How many entries went, or would go.
    pub(super) count: u64,
    /// Whether something is left: what the filter protects, with the directories that hold it.
    pub(super) kept: bool,
}

/// Removes the entry at `path` from `parent`, the directory of the target that lists it, with all
/// that is in it, links not followed. What is mounted there stays.
///
/// # Errors
///
/// The first trouble, after all else has been removed.
pub(super) fn remove(
    pass: &Pass<'_>,
    parent: &Dir,
    path: &TreePath,
    stat: &Stat,
) -> Result<Removed, Trouble> {
    if file_type(stat) == FileType::Directory {
        if parent.stat(b"").is_ok_and(|parent| parent.stx_mnt_id != stat.stx_mnt_id) {
            return Err(Trouble::Mounted);
        }
        return Removal::new(pass, path, stat, false).tree(parent);
    }
    let removed = unlink(pass, parent, path).map_err(trouble::target("remove"))?;
    let has_gone = matches!(removed, Unlinked::Yes | Unlinked::Renamed);
    Ok(Removed { count: has_gone.into(), kept: removed == Unlinked::No })
}

/// As [`remove`], but nothing is removed: what would be.
///
/// # Errors
///
/// If the job was asked to end. What can't be read, or is mounted, would stay.
pub(super) fn count(
    pass: &Pass<'_>,
    parent: &Dir,
    path: &TreePath,
    stat: &Stat,
) -> Result<Removed, Trouble> {
    if file_type(stat) != FileType::Directory {
        return Ok(Removed { count: 1, kept: false });
    }
    match Removal::new(pass, path, stat, true).tree(parent) {
        Err(Trouble::Stopped) => Err(Trouble::Stopped),
        counted => Ok(counted.unwrap_or(Removed { count: 1, kept: true })),
    }
}

/// What came of an entry that is no directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unlinked {
    Yes,
    /// It has become a backup in the same directory.
    Renamed,
    /// The user allows no more deletions.
    No,
    Gone,
}

/// Removes the entry at `path`, which `dir` lists and which is no directory, or makes it a backup.
fn unlink(pass: &Pass<'_>, dir: &Dir, path: &TreePath) -> io::Result<Unlinked> {
    let name = path.name().unwrap_or_default();
    if !pass.may_remove() {
        return Ok(Unlinked::No);
    }
    let removed = match options::move_away(pass, dir, path) {
        Ok(MovedAway::Beside) => Ok(Unlinked::Renamed),
        Ok(MovedAway::Elsewhere) => Ok(Unlinked::Yes),
        Ok(MovedAway::No) => match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => Ok(Unlinked::Yes),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error),
    };
    match removed {
        Ok(how) => {
            pass.tally.removed(1);
            Ok(how)
        }
        Err(error) if is_absent(&error) => Ok(Unlinked::Gone),
        Err(error) => Err(error),
    }
}

/// A tree that is removed, from its leaves up.
///
/// One directory is open at a time, however deep the tree is, and each is found from the one before.
struct Removal<'a> {
    pass: &'a Pass<'a>,
    /// Its root.
    top: &'a TreePath,
    /// Where the walk is.
    path: TreePath,
    /// The mount that it lies in, and that is not left.
    mount: u64,
    /// Whether it is only counted.
    dry: bool,
    buffer: ReadBuffer,
    count: u64,
    /// What went wrong first.
    trouble: Option<Trouble>,
}

/// A directory on the way down.
struct Level {
    /// Which directory it is.
    inode: Inode,
    /// The directories in it that are still to be removed.
    below: Vec<Box<[u8]>>,
    kept: bool,
}

impl<'a> Removal<'a> {
    fn new(pass: &'a Pass<'a>, top: &'a TreePath, stat: &Stat, dry: bool) -> Self {
        let (path, mount, buffer) = (top.clone(), stat.stx_mnt_id, ReadBuffer::new());
        Self { pass, top, path, mount, dry, buffer, count: 0, trouble: None }
    }

    fn tree(mut self, parent: &Dir) -> Result<Removed, Trouble> {
        let name = self.top.name().unwrap_or_default();
        let (mut here, first) = self.enter(parent, name)?;
        let mut levels = vec![first];
        while let Some(level) = levels.last_mut() {
            if !self.pass.goes_on() {
                return Err(Trouble::Stopped);
            }
            if let Some(name) = level.below.pop() {
                if let Some((dir, below)) = self.descend(&here, &name, level) {
                    levels.push(below);
                    here = dir;
                }
                continue;
            }
            let Some(done) = levels.pop() else { break };
            let Some(above) = levels.last_mut() else {
                let kept = done.kept || !self.leave(parent, name);
                return self.end(kept);
            };
            here = self.above(&here, above.inode)?;
            let name = self.path.name().map(Box::from).unwrap_or_default();
            self.path.pop();
            above.kept |= done.kept || !self.leave(&here, &name);
        }
        self.end(true)
    }

    fn end(self, kept: bool) -> Result<Removed, Trouble> {
        match self.trouble {
            Some(trouble) => Err(trouble),
            None => Ok(Removed { count: self.count, kept }),
        }
    }

    /// Goes down into the directory `name` of `here`, if that is possible.
    fn descend(&mut self, here: &Dir, name: &[u8], level: &mut Level) -> Option<(Dir, Level)> {
        self.path.push(name)?;
        match self.enter(here, name) {
            Ok(entered) => return Some(entered),
            Err(Trouble::Changed) => {}
            Err(trouble) => {
                level.kept = true;
                self.note(trouble);
            }
        }
        self.path.pop();
        None
    }

    /// Opens the directory `name` of `parent`, which is at the path, and removes what it lists but for
    /// its directories.
    fn enter(&mut self, parent: &Dir, name: &[u8]) -> Result<(Dir, Level), Trouble> {
        let absent = |error| {
            if is_absent(&error) { Trouble::Changed } else { Trouble::Target("remove", error) }
        };
        let dir = parent.open_below(name).map_err(absent)?;
        let stat = dir.stat(b"").map_err(trouble::target("look at"))?;
        if stat.stx_mnt_id != self.mount {
            return Err(Trouble::Mounted);
        }
        if !self.dry && !self.pass.direct.privileged && stat.stx_mode & 0o700 != 0o700 {
            // If this is not allowed, the removal itself will tell.
            let _ = Spot::Open(dir.as_fd()).chmod(0o700);
        }
        let mut entries = Vec::new();
        let listed = dir.read(&mut self.buffer, |entry| {
            entries.push((Box::from(entry.name), kind(entry.file_type)));
            Ok(())
        });
        listed.map_err(trouble::target("list"))?;
        let mut level = Level { inode: Inode::of(&stat), below: Vec::new(), kept: false };
        for (name, kind) in entries {
            self.entry(&dir, (name, kind), &mut level);
        }
        Ok((dir, level))
    }

    /// Removes an entry, or leaves it for later if it is a directory.
    fn entry(&mut self, dir: &Dir, (name, kind): (Box<[u8]>, Kind), level: &mut Level) {
        if self.is_protected(&name, kind) {
            level.kept = true;
        } else if kind == Kind::Directory {
            level.below.push(name);
        } else if self.dry {
            self.count += 1;
        } else if let Some(path) = self.path.join(&name) {
            match unlink(self.pass, dir, &path) {
                Ok(Unlinked::Yes) => self.count += 1,
                Ok(Unlinked::Renamed) => {
                    self.count += 1;
                    level.kept = true;
                }
                Ok(Unlinked::Gone) => {}
                Ok(Unlinked::No) => level.kept = true,
                Err(error) => {
                    level.kept = true;
                    self.note(Trouble::Target("remove", error));
                }
            }
        }
    }

    fn is_protected(&self, name: &[u8], kind: Kind) -> bool {
        let path = if self.pass.protects_nothing() { None } else { self.path.join(name) };
        path.is_some_and(|path| self.pass.protects_in(self.top, &path, kind))
    }

    /// The directory above `here`. It is found by its path if `here` was moved or removed.
    fn above(&self, here: &Dir, inode: Inode) -> Result<Dir, Trouble> {
        let is_it = |dir: &Dir| dir.stat(b"").is_ok_and(|stat| Inode::of(&stat) == inode);
        if let Some(dir) = here.up().ok().filter(is_it) {
            return Ok(dir);
        }
        let path = self.path.parent().unwrap_or_default();
        let dir = self.pass.target.open_below(path.as_bytes());
        dir.ok().filter(is_it).ok_or(Trouble::Changed)
    }

    /// Removes the empty directory `name` of `parent`. Returns false if it is still there.
    fn leave(&mut self, parent: &Dir, name: &[u8]) -> bool {
        if self.dry {
            self.count += 1;
            return true;
        }
        if !self.pass.may_remove() {
            return false;
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.count += 1;
                self.pass.tally.removed(1);
                true
            }
            Err(error) if is_absent(&error.into()) => true,
            Err(error) => {
                self.note(Trouble::Target("remove", error.into()));
                false
            }
        }
    }

    /// Takes note of trouble, which is none for whoever only counts.
    fn note(&mut self, trouble: Trouble) {
        if !self.dry {
            self.trouble.get_or_insert(trouble);
        }
    }
}
