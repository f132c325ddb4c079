//! Identity of directories and file systems.
//!
//! A device number and a mount number say little: they are given again to the next file system,
//! and one file system gets others when it is mounted once more. Inode numbers are given again, too.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        linux::fs::MetadataExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, fstatfs, makedev, open, statx},
    ioctl::{Getter, Opcode, ioctl, opcode},
};

use crate::{dir::device, handle::Handle, mounts::Mounts};

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: a number of the mount that no later one gets. Older kernels
/// pass over it, and give the other one.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// File systems that give a directory another number after they forgot it for a while: FAT, exFAT,
/// and those that are programs (`statfs(2)`).
const FORGETFUL: [u64; 3] = [0x4d44, 0x2011_bab0, 0x6573_5546];

/// File systems without an identity of their own, of which the mount table names the server and
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

/// The links to block devices by the identity of what they hold, as udev makes them.
const VOLUMES: &str = "/dev/disk/by-uuid";

/// Directory as it is mounted now.
///
/// It is equal to another one as long as nothing was unmounted, mounted over it or replaced.
#[derive(Clone, Debug)]
pub struct Instance {
    mount: u64,
    device: (u32, u32),
    is_mount_root: bool,
    node: Node,
}

impl Instance {
    /// Looks at an open directory, which may have been opened as a path.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let is_forgetful = FORGETFUL.contains(&kind_of(directory)?);
        Self::look(directory, AtFlags::EMPTY_PATH, is_forgetful)
    }

    /// As [`of`](Self::of), for the root of a mount, which no file system forgets: a server that is
    /// away is not asked, and does not hold anything up.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    pub fn of_mount(directory: impl AsFd) -> io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        Self::look(directory.as_fd(), flags, false)
    }

    fn look(directory: BorrowedFd<'_>, flags: AtFlags, is_forgetful: bool) -> io::Result<Self> {
        let mask = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MNT_ID | UNIQUE_MOUNT;
        let stat = statx(directory, c"", flags, mask)?;
        let node = if is_forgetful {
            Node { inode: 0, birth: None, handle: None }
        } else {
            let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
            Node {
                inode: stat.stx_ino,
                birth: has_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
                handle: Handle::of(directory).ok(),
            }
        };
        Ok(Self {
            mount: stat.stx_mnt_id,
            device: device(&stat),
            is_mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            node,
        })
    }

    /// Looks at the directory at a path. Links in it are followed.
    ///
    /// # Errors
    ///
    /// As `open(2)` and [`of`](Self::of).
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(open(path, flags, Mode::empty())?)
    }

    /// Returns true if a file system, or a part of one, is mounted on it.
    #[must_use]
    pub const fn is_mount_root(&self) -> bool {
        self.is_mount_root
    }

    /// The directory within its file system.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }
}

impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        self.mount == other.mount
            && self.device == other.device
            && self.is_mount_root == other.is_mount_root
            && self.node.is(&other.node)
    }
}

impl Eq for Instance {}

/// Directory within its file system, wherever that is mounted.
#[derive(Clone, Debug)]
pub struct Node {
    inode: u64,
    /// Seconds and nanoseconds, where the file system keeps them.
    birth: Option<(i64, u32)>,
    /// It has the generation of the inode, where the file system has handles.
    handle: Option<Handle>,
}

impl Node {
    /// Returns true if both are the same directory, both of one file system.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.inode == other.inode
            && agree(self.birth.as_ref(), other.birth.as_ref()) != Some(false)
            && agree(self.handle.as_ref(), other.handle.as_ref()) != Some(false)
    }
}

/// File system, whatever device it is on and wherever it is mounted.
#[derive(Clone, Debug)]
pub struct FileSystem {
    /// The magic number of its type.
    kind: u64,
    /// Its UUID, which Linux tells since 6.9.
    uuid: Option<[u8; 16]>,
    /// The `f_fsid` of `statfs(2)`, unless that is only the number of the device. On btrfs each
    /// subvolume has its own.
    fsid: Option<u64>,
    /// The name of what is mounted: the export of a server, or the link in [`VOLUMES`].
    volume: Option<OsString>,
    device: (u32, u32),
}

impl FileSystem {
    /// The file system of an open directory. Its UUID is only told of one that was opened for
    /// reading.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let stat = statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let device = device(&stat);
        let kind = kind_of(directory)?;
        let uuid = uuid_of(directory);
        let fsid = fsid_of(directory)?.filter(|&fsid| fsid != encoded(device));
        let volume = if NAMED_BY_SERVER.contains(&kind) {
            export(stat.stx_mnt_id)
        } else if uuid.is_none() && fsid.is_none() {
            volume(device)
        } else {
            None
        };
        Ok(Self { kind, uuid, fsid, volume, device })
    }

    /// Returns true if both are the same file system. Where nothing else is known of them, the
    /// number of the device decides.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let by_uuid = agree(self.uuid.as_ref(), other.uuid.as_ref());
        let by_fsid = || agree(self.fsid.as_ref(), other.fsid.as_ref());
        let by_volume = || agree(self.volume.as_ref(), other.volume.as_ref());
        let by_device = || self.device == other.device;
        self.kind == other.kind
            && by_uuid.or_else(by_fsid).or_else(by_volume).unwrap_or_else(by_device)
    }

    /// Returns true if both are the same part of one file system, for those that have parts with
    /// numbers of inodes of their own.
    #[must_use]
    pub fn is_same_part(&self, other: &Self) -> bool {
        self.is(other) && agree(self.fsid.as_ref(), other.fsid.as_ref()) != Some(false)
    }
}

/// `None` if one of both is not known.
fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> Option<bool> {
    Some(one? == other?)
}

fn kind_of(directory: BorrowedFd<'_>) -> io::Result<u64> {
    // Magic numbers have 32 bits, whatever the sign of the field.
    Ok(fstatfs(directory)?.f_type.cast_unsigned() & 0xffff_ffff)
}

fn fsid_of(directory: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let fsid = fstatfs(directory)?.f_fsid;
    // SAFETY: whichever library declares it, it is the kernel's `__kernel_fsid_t`, two numbers of 32
    // bits, and any bits are such numbers. The compiler holds both to the same size.
    let [low, high] =
        unsafe { std::mem::transmute::<rustix::fs::Fsid, [u32; 2]>(fsid) }.map(u64::from);
    Ok(Some(low | high << 32).filter(|&fsid| fsid != 0))
}

/// A device number as file systems without a better identity put it into `f_fsid`.
const fn encoded((major, minor): (u32, u32)) -> u64 {
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
    // SAFETY: this call only fills in a `struct fsuuid2`, whose size is a part of its number: a
    // file system that gives that number another meaning would break the rules of the kernel.
    let found = unsafe { ioctl(directory, Getter::<GET_UUID, FsUuid>::new()) }.ok()?;
    (found.length > 0 && found.uuid != [0; 16]).then_some(found.uuid)
}

/// What the mount table says of where the mount of this number comes from.
fn export(mount: u64) -> Option<OsString> {
    let table = Mounts::open().and_then(|mut mounts| mounts.read()).ok()?;
    let mount = table.into_iter().find(|it| it.id == mount)?;
    Some(std::os::unix::ffi::OsStringExt::from_vec(mount.source))
}

/// The name that udev gives to what this block device holds.
fn volume((major, minor): (u32, u32)) -> Option<OsString> {
    let device = makedev(major, minor);
    let is_it = |name: &OsStr| {
        let found = fs::metadata(Path::new(VOLUMES).join(name));
        found.is_ok_and(|found| found.st_rdev() == device)
    };
    let names = fs::read_dir(VOLUMES).ok()?.flatten().map(|entry| entry.file_name());
    names.into_iter().find(|name| is_it(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;

    #[test]
    fn a_directory_is_told_from_one_that_was_made_in_its_place() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        fs::create_dir(&path).unwrap();
        let before = Instance::at(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        assert_eq!(Instance::at(&path).unwrap(), before);
        fs::remove_dir_all(&path).unwrap();
        fs::create_dir(&path).unwrap();
        // On ext4 it has the same inode number.
        assert_ne!(Instance::at(&path).unwrap(), before);
    }

    #[test]
    fn the_root_of_a_mount_is_the_same_without_asking_its_file_system() {
        for path in ["/", "/proc"] {
            let directory = Dir::open(Path::new(path)).unwrap();
            let mount = Instance::of_mount(&directory).unwrap();
            assert_eq!(mount, Instance::of(&directory).unwrap());
        }
    }

    #[test]
    fn a_file_system_is_the_same_through_any_directory() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("d");
        fs::create_dir(&below).unwrap();
        let of = |path: &Path| FileSystem::of(Dir::open(path).unwrap()).unwrap();
        assert!(of(&below).is(&of(place.path())) && of(&below).is_same_part(&of(place.path())));
        assert!(!of(Path::new("/proc")).is(&of(place.path())));
    }

    #[test]
    fn what_is_known_of_both_decides() {
        let device_only =
            FileSystem { kind: 1, uuid: None, fsid: None, volume: None, device: (7, 0) };
        let uuid = |byte| FileSystem { uuid: Some([byte; 16]), ..device_only.clone() };
        let fsid = |fsid| FileSystem { fsid: Some(fsid), ..device_only.clone() };
        let volume = |name: &str| FileSystem { volume: Some(name.into()), ..device_only.clone() };
        let elsewhere = |it: FileSystem| FileSystem { device: (8, 1), ..it };
        assert!(device_only.is(&device_only) && !device_only.is(&elsewhere(device_only.clone())));
        assert!(uuid(1).is(&elsewhere(uuid(1))) && !uuid(1).is(&uuid(2)));
        assert!(fsid(1).is(&elsewhere(fsid(1))) && !fsid(1).is(&fsid(2)));
        assert!(volume("a").is(&elsewhere(volume("a"))) && !volume("a").is(&volume("b")));
        assert!(uuid(1).is(&device_only));
        let other_kind = FileSystem { kind: 2, ..uuid(1) };
        assert!(!uuid(1).is(&other_kind));
        // Subvolumes of one btrfs.
        let part = |fsid| FileSystem { fsid: Some(fsid), ..uuid(1) };
        assert!(part(1).is(&part(2)) && !part(1).is_same_part(&part(2)));
    }

    #[test]
    fn a_device_number_in_the_place_of_an_identity_is_seen() {
        assert_eq!(encoded((7, 0)), 0x700);
        assert_eq!(encoded((8, 0x1_23)), 0x10_0823);
    }
}
