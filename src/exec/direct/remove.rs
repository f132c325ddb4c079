//! Removing from the target what the source does not have.

use std::os::fd::AsFd;

use mirror_core::{notice::Kind, path::TreePath};
use mirror_linux::{
    dir::{Dir, Stat},
    entries::ReadBuffer,
    spot::Spot,
};
use rustix::{
    fs::{AtFlags, FileType, unlinkat},
    io::Errno,
};

use super::{
    attributes::file_type,
    folder::kind,
    pass::Pass,
    trouble::{self, Trouble, is_absent},
};

/// How much could be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// The entry is gone.
    All,
    /// What the filter protects is still there, with the directories that hold it.
    Some,
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
    let name = path.name().unwrap_or_default();
    if file_type(stat) == FileType::Directory {
        if parent.stat(b"").is_ok_and(|parent| parent.stx_mnt_id != stat.stx_mnt_id) {
            return Err(Trouble::Mounted);
        }
        let (mount, buffer) = (stat.stx_mnt_id, ReadBuffer::new());
        return Removal { pass, top: path, mount, buffer, trouble: None }.tree(parent);
    }
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Removed::All),
        Err(error) => Err(Trouble::Target("remove", error.into())),
    }
}

/// A tree that is removed, from its leaves up.
struct Removal<'a> {
    pass: &'a Pass<'a>,
    /// Its root.
    top: &'a TreePath,
    /// The mount that it lies in, and that is not left.
    mount: u64,
    buffer: ReadBuffer,
    /// What went wrong first.
    trouble: Option<Trouble>,
}

/// What a directory lists.
type Listed = Vec<(Box<[u8]>, Kind)>;

/// A directory on the way down. It is not held open: the tree may be deeper than there are
/// descriptors.
struct Level {
    path: TreePath,
    /// The directories in it that are still to be removed.
    below: Vec<Box<[u8]>>,
    kept: bool,
}

impl Removal<'_> {
    fn tree(mut self, parent: &Dir) -> Result<Removed, Trouble> {
        let mut levels = vec![self.enter(self.top.clone())];
        let mut kept = false;
        while let Some(level) = levels.last_mut() {
            if !self.pass.goes_on() {
                return Err(Trouble::Stopped);
            }
            if let Some(path) = level.below.pop().and_then(|name| level.path.join(&name)) {
                levels.push(self.enter(path));
                continue;
            }
            let Some(done) = levels.pop() else { break };
            kept = done.kept || !self.leave(parent, &done.path, levels.last());
            if let Some(above) = levels.last_mut() {
                above.kept |= kept;
            }
        }
        match (self.trouble, kept) {
            (Some(trouble), _) => Err(trouble),
            (None, true) => Ok(Removed::Some),
            (None, false) => Ok(Removed::All),
        }
    }

    /// Removes what a directory lists but for its directories.
    fn enter(&mut self, path: TreePath) -> Level {
        let mut level = Level { path, below: Vec::new(), kept: false };
        match self.list(&level.path) {
            Ok((dir, entries)) => {
                for (name, kind) in entries {
                    self.entry(&dir, (name, kind), &mut level);
                }
            }
            Err(Trouble::Changed) => {}
            Err(trouble) => {
                level.kept = true;
                self.trouble.get_or_insert(trouble);
            }
        }
        level
    }

    fn list(&mut self, path: &TreePath) -> Result<(Dir, Listed), Trouble> {
        let absent = |error| {
            if is_absent(&error) { Trouble::Changed } else { Trouble::Target("remove", error) }
        };
        let dir = self.pass.target.open_below(path.as_bytes()).map_err(absent)?;
        let stat = dir.stat(b"").map_err(trouble::target("look at"))?;
        if stat.stx_mnt_id != self.mount {
            return Err(Trouble::Mounted);
        }
        if !self.pass.direct.privileged && stat.stx_mode & 0o700 != 0o700 {
            // If this is not allowed, the removal itself will tell.
            let _ = Spot::Open(dir.as_fd()).chmod(0o700);
        }
        let mut entries = Vec::new();
        let listed = dir.read(&mut self.buffer, |entry| {
            entries.push((Box::from(entry.name), kind(entry.file_type)));
            Ok(())
        });
        listed.map_err(trouble::target("list"))?;
        Ok((dir, entries))
    }

    fn entry(&mut self, dir: &Dir, (name, kind): (Box<[u8]>, Kind), level: &mut Level) {
        let Some(path) = level.path.join(&name) else { return };
        if self.pass.filter().protects_in_removed(self.top, &path, kind) {
            level.kept = true;
        } else if kind == Kind::Directory {
            level.below.push(name);
        } else {
            match unlinkat(dir, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => {
                    level.kept = true;
                    self.trouble.get_or_insert(Trouble::Target("remove", error.into()));
                }
            }
        }
    }

    /// Removes an empty directory, of which `above` is the parent, or `parent` for the first one.
    /// Whether it is gone.
    fn leave(&mut self, parent: &Dir, path: &TreePath, above: Option<&Level>) -> bool {
        let name = path.name().unwrap_or_default();
        let result = match above {
            None => unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(Into::into),
            Some(above) => self
                .pass
                .target
                .open_below(above.path.as_bytes())
                .and_then(|dir| Ok(unlinkat(&dir, name, AtFlags::REMOVEDIR)?)),
        };
        match result {
            Err(error) if !is_absent(&error) => {
                self.trouble.get_or_insert(Trouble::Target("remove", error));
                false
            }
            _ => true,
        }
    }
}
