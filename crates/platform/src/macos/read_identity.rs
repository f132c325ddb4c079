//! Reading of identities: `fstat(2)`, `fstatfs(2)` and `getattrlist(2)`.

use std::{
    ffi::OsString,
    io, mem,
    os::{
        fd::AsFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

use rustix::fs::{Mode, OFlags, fstat, fstatfs, major, minor, open};

use super::known_file_systems::{KnownFileSystem, type_of};
use crate::{
    identity::{DirIdentity, FileSystem, InodeIdentity},
    lookup::{LOOKUP, path_of},
    mount_table::{mount_id, text},
};

impl DirIdentity {
    /// Reads the identity of an open directory, which may be opened only for lookups.
    ///
    /// # Errors
    ///
    /// As `fstat(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let (stat, mount) = (fstat(directory)?, fstatfs(directory)?);
        let is_mount_root = path_of(directory)
            .is_ok_and(|path| path.as_os_str().as_bytes() == text(&mount.f_mntonname));
        let has_number =
            is_mount_root || !KnownFileSystem::of_type(type_of(&mount)).has_unstable_inodes;
        let birth = (stat.st_birthtime, u32::try_from(stat.st_birthtime_nsec).unwrap_or_default());
        let inode = InodeIdentity {
            number: if has_number { stat.st_ino } else { 0 },
            // 0 or -1 where the file system does not store it.
            birth: (has_number && birth.0 > 0).then_some(birth),
            handle: None,
        };
        let device = (major(stat.st_dev), minor(stat.st_dev));
        Ok(Self { mount: mount_id(&mount), device, is_mount_root, inode })
    }

    /// As [`of`](Self::of), for the root of a mount. The system has no call that does not ask the
    /// server of a network file system.
    ///
    /// # Errors
    ///
    /// As `fstat(2)` and `fstatfs(2)`.
    pub fn of_mount(directory: impl AsFd) -> io::Result<Self> {
        Self::of(directory)
    }

    /// Reads the identity of the directory at a path. Follows symbolic links.
    ///
    /// # Errors
    ///
    /// As `open(2)` and [`of`](Self::of).
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(open(path, flags, Mode::empty())?)
    }
}

impl FileSystem {
    /// Reads the identity of the file system of an open directory.
    ///
    /// # Errors
    ///
    /// As `fstat(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let (stat, mount) = (fstat(directory)?, fstatfs(directory)?);
        let magic = type_of(&mount);
        let is_remote = KnownFileSystem::of_type(magic).is_served;
        let uuid = if is_remote { None } else { uuid_of(&mount) };
        // The source of a local mount is a device node, whose name changes like its number.
        let volume = is_remote.then(|| OsString::from_vec(text(&mount.f_mntfromname)));
        let device = Some((major(stat.st_dev), minor(stat.st_dev)));
        // `f_fsid` is only the device number.
        Ok(Self { magic, uuid, fsid: None, volume, device })
    }

    /// Returns true if other machines use it, or may do so, whose clocks set the times of files.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        KnownFileSystem::of_type(self.magic).is_served
    }

    /// Returns true if a later run may find the same file system: unless that is in the same boot
    /// of the machine, another one has the place of a file system in memory.
    #[must_use]
    pub fn is_lasting(&self, is_same_boot: bool) -> bool {
        is_same_boot || !KnownFileSystem::of_type(self.magic).is_in_memory
    }
}

/// Reply to a request for `ATTR_VOL_UUID`.
#[repr(C, packed(4))]
struct VolumeUuid {
    length: u32,
    uuid: [u8; 16],
}

/// Returns the UUID of a volume.
fn uuid_of(mount: &libc::statfs) -> Option<[u8; 16]> {
    // SAFETY: `attrlist` is plain memory.
    let mut wanted: libc::attrlist = unsafe { mem::zeroed() };
    wanted.bitmapcount = libc::ATTR_BIT_MAP_COUNT;
    wanted.volattr = libc::ATTR_VOL_INFO | libc::ATTR_VOL_UUID;
    let mut found = VolumeUuid { length: 0, uuid: [0; 16] };
    // SAFETY: the path is an array of the kernel with a NUL, and both structs are writable for the
    // stated size. The call keeps none of them.
    let done = unsafe {
        libc::getattrlist(
            mount.f_mntonname.as_ptr(),
            (&raw mut wanted).cast(),
            (&raw mut found).cast(),
            size_of::<VolumeUuid>(),
            0,
        )
    };
    let is_complete = done == 0 && found.length as usize == size_of::<VolumeUuid>();
    (is_complete && found.uuid != [0; 16]).then_some(found.uuid)
}
