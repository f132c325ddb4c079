//! The mounts of a tree.

use std::{
    ffi::OsStr,
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
    /// True if it is no longer mounted.
    pub(super) is_gone: bool,
}

impl Clone for MountView {
    /// Clones the view without its open descriptor.
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), open: None, ..*self }
    }
}

impl MountView {
    /// Returns the directory, if it is still mounted.
    pub(super) fn open(&mut self) -> Option<&Dir> {
        if self.open.is_none() && !self.is_gone {
            self.open = self.open_at(&self.path);
        }
        if self.open.is_none() && !self.is_gone {
            let found = self.find_moved();
            self.is_gone = found.is_none();
            self.open = found.map(|(path, dir)| {
                self.path = path;
                dir
            });
        }
        self.open.as_ref()
    }

    /// If another mount is there by now, the root monitor reports that the root is gone.
    fn open_at(&self, path: &Path) -> Option<Dir> {
        let dir = Dir::open(path).ok()?;
        dir.stat(b"").is_ok_and(|stat| stat.stx_mnt_id == self.mount).then_some(dir)
    }

    /// Finds the mount after a directory above it was renamed.
    fn find_moved(&self) -> Option<(PathBuf, Dir)> {
        let mounts = MountTable::open().and_then(|mut table| table.read()).ok()?;
        let mount = mounts.into_iter().find(|mount| mount.id == self.mount)?;
        let path = PathBuf::from(OsStr::from_bytes(&mount.point));
        let dir = self.open_at(&path)?;
        Some((path, dir))
    }
}
