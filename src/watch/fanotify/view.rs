//! The mounts of which a tree consists.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_platform::{dir::Dir, mounts::Mounts};

/// A mount through which handles become paths.
///
/// It is opened for each drain anew: a descriptor that is held keeps the mount from being
/// unmounted.
#[derive(Debug)]
pub(super) struct View {
    pub(super) path: PathBuf,
    pub(super) mount: u64,
    pub(super) device: (u32, u32),
    pub(super) open: Option<Dir>,
    /// It is mounted nowhere any more.
    pub(super) lost: bool,
}

impl Clone for View {
    /// The same view, not open.
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), open: None, ..*self }
    }
}

impl View {
    /// The directory, if the mount is still there.
    pub(super) fn open(&mut self) -> Option<&Dir> {
        if self.open.is_none() && !self.lost {
            self.open = self.open_at(&self.path);
        }
        if self.open.is_none() && !self.lost {
            let found = self.look_for();
            self.lost = found.is_none();
            self.open = found.map(|(path, dir)| {
                self.path = path;
                dir
            });
        }
        self.open.as_ref()
    }

    /// If something else is there by now, the sentinel tells that the root is gone.
    fn open_at(&self, path: &Path) -> Option<Dir> {
        let dir = Dir::open(path).ok()?;
        dir.stat(b"").is_ok_and(|stat| stat.stx_mnt_id == self.mount).then_some(dir)
    }

    /// Where a directory above it was renamed, the mount has gone along.
    fn look_for(&self) -> Option<(PathBuf, Dir)> {
        let mounts = Mounts::open().and_then(|mut table| table.read()).ok()?;
        let mount = mounts.into_iter().find(|mount| mount.id == self.mount)?;
        let path = PathBuf::from(OsStr::from_bytes(&mount.point));
        let dir = self.open_at(&path)?;
        Some((path, dir))
    }
}
