//! Identity of directories and file systems.
//!
//! Device numbers and mount numbers are weak identifiers: they are reused for the next file system,
//! and a file system gets new ones each time it is mounted. Inode numbers are reused as well.

mod stored;

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        linux::fs::MetadataExt,
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, fstatfs, makedev, open, statx},
    ioctl::{Getter, Opcode, ioctl, opcode},
};

use crate::{file_handle::FileHandle, hex::hex, mounts::MountTable};

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: a mount id that is never reused. Older kernels ignore
/// the bit and return the reusable id.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// File systems that assign a new inode number to a directory after dropping it from their cache:
/// FAT, exFAT and FUSE (magic numbers of `statfs(2)`).
const UNSTABLE_INODES: [u64; 3] = [0x4d44, 0x2011_bab0, 0x6573_5546];

/// File systems without an identity of their own, for which the mount table names the server and
/// its export: NFS, CIFS, SMB2, SMB, FUSE, 9p, Ceph, AFS and vboxsf.
const NAMED_BY_SERVER: [u64; 9] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x517b,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x786f_4256,
];

/// Directory in which udev links the UUID of each volume to its block device.
const BY_UUID_DIR: &str = "/dev/disk/by-uuid";

/// Identity of a directory as it is currently mounted.
///
/// Two of them are equal as long as nothing was unmounted, mounted over it or replaced.
#[derive(Clone, Debug)]
pub struct DirIdentity {
    mount: u64,
    device: (u32, u32),
    is_mount_root: bool,
    inode: InodeIdentity,
}

impl DirIdentity {
    /// Reads the identity of an open directory, which may be opened with `O_PATH`.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let has_unstable_inodes = UNSTABLE_INODES.contains(&magic_of(directory)?);
        Self::read(directory, AtFlags::EMPTY_PATH, has_unstable_inodes)
    }

    /// As [`of`](Self::of), for the root of a mount, whose inode number is always stable. Does not
    /// contact the server of a network file system, so it does not block if the server is
    /// unreachable.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    pub fn of_mount(directory: impl AsFd) -> io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        Self::read(directory.as_fd(), flags, false)
    }

    fn read(
        directory: BorrowedFd<'_>,
        flags: AtFlags,
        has_unstable_inodes: bool,
    ) -> io::Result<Self> {
        let mask = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MNT_ID | UNIQUE_MOUNT;
        let stat = statx(directory, c"", flags, mask)?;
        let inode = if has_unstable_inodes {
            InodeIdentity { number: 0, birth: None, handle: None }
        } else {
            let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
            InodeIdentity {
                number: stat.stx_ino,
                birth: has_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
                handle: FileHandle::of(directory).ok(),
            }
        };
        Ok(Self {
            mount: stat.stx_mnt_id,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            is_mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            inode,
        })
    }

    /// Reads the identity of the directory at a path. Follows symbolic links.
    ///
    /// # Errors
    ///
    /// As `open(2)` and [`of`](Self::of).
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(open(path, flags, Mode::empty())?)
    }

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
    number: u64,
    /// Birth time in seconds and nanoseconds, where the file system stores it.
    birth: Option<(i64, u32)>,
    /// File handle, which contains the generation of the inode, where the file system has handles.
    handle: Option<FileHandle>,
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
    /// Magic number of the type.
    magic: u64,
    /// UUID, which Linux reports since 6.9.
    uuid: Option<[u8; 16]>,
    /// The `f_fsid` of `statfs(2)`, unless it is only the device number. On btrfs each subvolume
    /// has its own.
    fsid: Option<u64>,
    /// Name of the mounted volume: the export of a server, or the link in [`BY_UUID_DIR`].
    volume: Option<OsString>,
    /// Device number, unless it is the identity of an earlier run.
    device: Option<(u32, u32)>,
}

impl FileSystem {
    /// Reads the identity of the file system of an open directory. The UUID is available only if
    /// the directory is open for reading.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let stat = statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let (major, minor) = (stat.stx_dev_major, stat.stx_dev_minor);
        let magic = magic_of(directory)?;
        let uuid = uuid_of(directory);
        let fsid = fsid_of(directory)?.filter(|&fsid| fsid != encode_device(major, minor));
        let volume = if NAMED_BY_SERVER.contains(&magic) {
            mount_source(stat.stx_mnt_id)
        } else if uuid.is_none() && fsid.is_none() {
            volume_name(major, minor)
        } else {
            None
        };
        Ok(Self { magic, uuid, fsid, volume, device: Some((major, minor)) })
    }

    /// Returns true if it is on another machine, or may be, whose clock sets the times of files.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        NAMED_BY_SERVER.contains(&self.magic)
    }

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

fn magic_of(directory: BorrowedFd<'_>) -> io::Result<u64> {
    // Magic numbers have 32 bits, whatever the sign of the field.
    Ok(fstatfs(directory)?.f_type.cast_unsigned() & 0xffff_ffff)
}

fn fsid_of(directory: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let fsid = fstatfs(directory)?.f_fsid;
    // SAFETY: whichever library declares it, it is the kernel's `__kernel_fsid_t`, two numbers of
    // 32 bits, and all bit patterns are valid. The compiler checks that both have the same size.
    let [low, high] =
        unsafe { std::mem::transmute::<rustix::fs::Fsid, [u32; 2]>(fsid) }.map(u64::from);
    Ok(Some(low | high << 32).filter(|&fsid| fsid != 0))
}

/// Encodes a device number as file systems without a better identity store it in `f_fsid`.
const fn encode_device(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u64
}

/// `struct fsuuid2`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FsUuid {
    length: u8,
    uuid: [u8; 16],
}

fn uuid_of(directory: BorrowedFd<'_>) -> Option<[u8; 16]> {
    /// `FS_IOC_GETFSUUID`.
    const GET_UUID: Opcode = opcode::read::<FsUuid>(0x15, 0);
    // SAFETY: this call only fills in a `struct fsuuid2`, whose size is part of the request number.
    // A file system that gave that number another meaning would violate the rules of the kernel.
    let found = unsafe { ioctl(directory, Getter::<GET_UUID, FsUuid>::new()) }.ok()?;
    (found.length > 0 && found.uuid != [0; 16]).then_some(found.uuid)
}

/// Returns the source of the mount with this id from the mount table.
fn mount_source(mount: u64) -> Option<OsString> {
    let table = MountTable::open().and_then(|mut mounts| mounts.read()).ok()?;
    let mount = table.into_iter().find(|it| it.id == mount)?;
    Some(std::os::unix::ffi::OsStringExt::from_vec(mount.source))
}

/// Returns the name that udev gives to the volume on this block device.
fn volume_name(major: u32, minor: u32) -> Option<OsString> {
    let device = makedev(major, minor);
    let is_it = |name: &OsStr| {
        let found = fs::metadata(Path::new(BY_UUID_DIR).join(name));
        found.is_ok_and(|found| found.st_rdev() == device)
    };
    let names = fs::read_dir(BY_UUID_DIR).ok()?.flatten().map(|entry| entry.file_name());
    names.into_iter().find(|name| is_it(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;

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

    #[test]
    fn device_numbers_are_encoded_as_in_f_fsid() {
        assert_eq!(encode_device(7, 0), 0x700);
        assert_eq!(encode_device(8, 0x1_23), 0x10_0823);
    }
}
