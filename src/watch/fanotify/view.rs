//! The mounts of a tree.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_platform::{dir::Dir, mounts::MountTable};

/// A mount through which handles are resolved to paths.
///
/// It is opened again for each drain: an open descriptor would keep it from being unmounted.
#[derive(Debug)]
pub(super) struct MountView {
    pub(super) path: PathBuf,
    pub(super) mount: u64,
    pub(super) device: (u32, u32),
    pub(super) open: Option<Dir>,
    /// True if it is no longer mounted, or hidden by another mount.
    pub(super) is_gone: bool,
}

impl Clone for MountView {
    /// Clones the view without its open descriptor.
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), open: None, ..*self }
    }
}

impl MountView {
    /// Returns the directory. `None` if it is no longer mounted, or hidden by another mount.
    ///
    /// # Errors
    ///
    /// If it is mounted, as far as is known, and can't be opened now.
    pub(super) fn open(&mut self) -> io::Result<Option<&Dir>> {
        if self.open.is_none() && !self.is_gone {
            // A directory above it may have been renamed.
            let found = match self.open_at(&self.path) {
                Ok(Some(dir)) => Some((self.path.clone(), dir)),
                Ok(None) | Err(_) => self.find_moved()?,
            };
            self.is_gone = found.is_none();
            self.open = found.map(|(path, dir)| {
                self.path = path;
                dir
            });
        }
        Ok(self.open.as_ref())
    }

    /// Opens the mount at a path. `None` if another mount is there by now; if that hides a root,
    /// the root monitor reports that it is gone.
    fn open_at(&self, path: &Path) -> io::Result<Option<Dir>> {
        let dir = Dir::open(path)?;
        let mount = dir.stat(b"")?.mount;
        Ok((mount == self.mount).then_some(dir))
    }

    /// Finds the mount by its id.
    fn find_moved(&self) -> io::Result<Option<(PathBuf, Dir)>> {
        let mounts = MountTable::open()?.read()?;
        let Some(mount) = mounts.into_iter().find(|mount| mount.id == self.mount) else {
            return Ok(None);
        };
        let path = PathBuf::from(OsStr::from_bytes(&mount.point));
        let dir = self.open_at(&path)?;
        Ok(dir.map(|dir| (path, dir)))
    }
}
