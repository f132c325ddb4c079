//! Reading of identities: `statx(2)`, `fstatfs(2)`, `FS_IOC_GETFSUUID` and udev.

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

use super::{
    known_file_systems::{ContentKeeper, FileSystemLifetime, KnownFileSystem},
    read_file_system_type::magic,
};
use crate::{
    file_handle::FileHandle,
    identity::{DirIdentity, FileSystem, InodeIdentity},
    mounts::MountTable,
};

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: a mount id that is never reused. Older kernels ignore
/// the bit and return the reusable id.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Directory in which udev links the UUID of each volume to its block device.
const BY_UUID_DIR: &str = "/dev/disk/by-uuid";

impl DirIdentity {
    /// Reads the identity of an open directory, which may be opened with `O_PATH`.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        let directory = directory.as_fd();
        let has_unstable_inodes =
            KnownFileSystem::of_magic(magic_of(directory)?).has_unstable_inodes;
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
        let volume = if KnownFileSystem::of_magic(magic).keeper == ContentKeeper::Server {
            mount_source(stat.stx_mnt_id)
        } else if uuid.is_none() && fsid.is_none() {
            volume_name(major, minor)
        } else {
            None
        };
        Ok(Self { magic, uuid, fsid, volume, device: Some((major, minor)) })
    }

    /// Returns true if other machines use it, or may do so, whose clocks set the times of files.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        KnownFileSystem::of_magic(self.magic).keeper.is_shared()
    }

    /// Returns true if a later run may find the same file system: unless that is in the same boot
    /// of the machine, another one has the place of a file system in memory. Each new container has
    /// another overlayfs.
    #[must_use]
    pub fn is_lasting(&self, is_same_boot: bool) -> bool {
        match KnownFileSystem::of_magic(self.magic).lifetime {
            FileSystemLifetime::Lasting => true,
            FileSystemLifetime::Boot => is_same_boot,
            FileSystemLifetime::Container => false,
        }
    }
}

fn magic_of(directory: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(magic(&fstatfs(directory)?))
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

    #[test]
    fn device_numbers_are_encoded_as_in_f_fsid() {
        assert_eq!(encode_device(7, 0), 0x700);
        assert_eq!(encode_device(8, 0x1_23), 0x10_0823);
    }
}
