//! Identity of directories and file systems.
//!
//! Device numbers and mount numbers are weak identifiers: they are reused for the next file system,
//! and a file system gets new ones each time it is mounted. Inode numbers are reused as well.

mod stored;

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use crate::{file_handle::FileHandle, hex::hex};

/// Identity of a directory as it is currently mounted.
///
/// Two of them are equal as long as nothing was unmounted, mounted over it or replaced.
#[derive(Clone, Debug)]
pub struct DirIdentity {
    pub(crate) mount: u64,
    pub(crate) device: (u32, u32),
    pub(crate) is_mount_root: bool,
    pub(crate) inode: InodeIdentity,
}

impl DirIdentity {
    /// Returns true if a file system, or a part of one, is mounted on the directory.
    #[must_use]
    pub const fn is_mount_root(&self) -> bool {
        self.is_mount_root
    }

    /// Returns the identity of the directory within its file system.
    #[must_use]
    pub const fn inode(&self) -> &InodeIdentity {
        &self.inode
    }
}

impl PartialEq for DirIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.mount == other.mount
            && self.device == other.device
            && self.is_mount_root == other.is_mount_root
            && self.inode.is_same(&other.inode)
    }
}

impl Eq for DirIdentity {}

/// Identity of a directory within its file system, independent of mounts.
#[derive(Clone, Debug)]
pub struct InodeIdentity {
    pub(crate) number: u64,
    /// Birth time in seconds and nanoseconds, where the file system stores it.
    pub(crate) birth: Option<(i64, u32)>,
    /// File handle, which contains the generation of the inode, where the file system has handles.
    pub(crate) handle: Option<FileHandle>,
}

impl InodeIdentity {
    /// Returns true if both are the same directory, given that both are on one file system.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.number == other.number
            && both_equal(self.birth.as_ref(), other.birth.as_ref()) != Some(false)
            && both_equal(self.handle.as_ref(), other.handle.as_ref()) != Some(false)
    }

    /// Returns true if no later directory is taken for this one: without birth time and handle,
    /// another one may get the same number.
    #[must_use]
    pub const fn is_reliable(&self) -> bool {
        self.number != 0 && (self.birth.is_some() || self.handle.is_some())
    }
}

/// Identity of a file system, independent of its device and its mounts.
#[derive(Clone, Debug)]
pub struct FileSystem {
    /// Number of the type.
    pub(crate) magic: u64,
    /// UUID, where the system reports it.
    pub(crate) uuid: Option<[u8; 16]>,
    /// The `f_fsid` of `statfs(2)`, unless it is only the device number. On btrfs each subvolume
    /// has its own.
    pub(crate) fsid: Option<u64>,
    /// Name of the mounted volume: the export of a server, or the name that
    /// udev gives to the device.
    pub(crate) volume: Option<OsString>,
    /// Device number, unless it is the identity of an earlier run.
    pub(crate) device: Option<(u32, u32)>,
}

impl FileSystem {
    /// Returns the identity as text, to be stored. It contains the device number only if nothing
    /// else is known.
    #[must_use]
    pub fn stable_text(&self) -> String {
        let Self { magic, uuid, fsid, volume, device } = self;
        let (major, minor) = device.unwrap_or_default();
        let by_uuid = uuid.map(|uuid| format!("uuid {}", hex(&uuid)));
        let by_fsid = || fsid.map(|fsid| format!("fsid {fsid:016x}"));
        let by_volume = || {
            let name = volume.as_ref()?.as_bytes();
            Some(format!("volume {}", hex(name)))
        };
        let name = by_uuid.or_else(by_fsid).or_else(by_volume);
        format!("{magic:x} {}", name.unwrap_or_else(|| format!("device {major}:{minor}")))
    }

    /// Returns true if both are the same file system. Compares the device numbers if nothing else
    /// is known of both, and only the types if these are unknown, too.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let by_uuid = both_equal(self.uuid.as_ref(), other.uuid.as_ref());
        let by_fsid = || both_equal(self.fsid.as_ref(), other.fsid.as_ref());
        let by_volume = || both_equal(self.volume.as_ref(), other.volume.as_ref());
        let by_device = || both_equal(self.device.as_ref(), other.device.as_ref()) != Some(false);
        self.magic == other.magic
            && by_uuid.or_else(by_fsid).or_else(by_volume).unwrap_or_else(by_device)
    }

    /// Returns true if both are the same part of one file system, for file systems whose parts have
    /// inode numbers of their own.
    #[must_use]
    pub fn is_same_part(&self, other: &Self) -> bool {
        self.is_same(other) && both_equal(self.fsid.as_ref(), other.fsid.as_ref()) != Some(false)
    }
}

/// Compares two optional values. `None` if one of them is unknown.
fn both_equal<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> Option<bool> {
    Some(one? == other?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use std::{fs, path::Path};

    #[test]
    fn a_recreated_directory_has_another_identity() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        fs::create_dir(&path).unwrap();
        let before = DirIdentity::at(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        assert_eq!(DirIdentity::at(&path).unwrap(), before);
        fs::remove_dir_all(&path).unwrap();
        fs::create_dir(&path).unwrap();
        // On ext4 it has the same inode number as before.
        assert_ne!(DirIdentity::at(&path).unwrap(), before);
    }

    #[test]
    fn of_mount_equals_of_for_a_mount_root() {
        for path in ["/", "/proc"] {
            let directory = Dir::open(Path::new(path)).unwrap();
            let mount = DirIdentity::of_mount(&directory).unwrap();
            assert_eq!(mount, DirIdentity::of(&directory).unwrap());
        }
    }

    #[test]
    fn a_file_system_has_one_identity_in_all_its_directories() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("d");
        fs::create_dir(&below).unwrap();
        let of = |path: &Path| FileSystem::of(Dir::open(path).unwrap()).unwrap();
        assert!(
            of(&below).is_same(&of(place.path())) && of(&below).is_same_part(&of(place.path()))
        );
        assert!(!of(Path::new("/proc")).is_same(&of(place.path())));
    }

    #[test]
    fn the_first_property_known_of_both_decides() {
        let device_only =
            FileSystem { magic: 1, uuid: None, fsid: None, volume: None, device: Some((7, 0)) };
        let uuid = |byte| FileSystem { uuid: Some([byte; 16]), ..device_only.clone() };
        let fsid = |fsid| FileSystem { fsid: Some(fsid), ..device_only.clone() };
        let volume = |name: &str| FileSystem { volume: Some(name.into()), ..device_only.clone() };
        let elsewhere = |it: FileSystem| FileSystem { device: Some((8, 1)), ..it };
        assert!(
            device_only.is_same(&device_only)
                && !device_only.is_same(&elsewhere(device_only.clone()))
        );
        assert!(uuid(1).is_same(&elsewhere(uuid(1))) && !uuid(1).is_same(&uuid(2)));
        assert!(fsid(1).is_same(&elsewhere(fsid(1))) && !fsid(1).is_same(&fsid(2)));
        assert!(volume("a").is_same(&elsewhere(volume("a"))) && !volume("a").is_same(&volume("b")));
        assert!(uuid(1).is_same(&device_only));
        let other_type = FileSystem { magic: 2, ..uuid(1) };
        assert!(!uuid(1).is_same(&other_type));
        // Subvolumes of one btrfs file system.
        let part = |fsid| FileSystem { fsid: Some(fsid), ..uuid(1) };
        assert!(part(1).is_same(&part(2)) && !part(1).is_same_part(&part(2)));
    }
}
