//! The table of the file systems whose properties matter here.
//!
//! Magic numbers are from statfs(2), the kernel's `<linux/magic.h>` and `stat -f` of GNU coreutils,
//! names of types from `/proc/filesystems` and the manuals of their `mount` programs.

/// A file system and its properties. What is not in the table has those of [`OTHER`].
#[derive(Debug)]
pub(super) struct KnownFileSystem {
    /// Magic number of `statfs(2)`.
    magic: u64,
    /// Name, for messages.
    pub(super) name: &'static str,
    /// Types in the mount table; a subtype may follow after a dot.
    mount_types: &'static [&'static str],
    pub(super) keeper: ContentKeeper,
    /// True if a directory gets a new inode number after it was dropped from the cache.
    pub(super) has_unstable_inodes: bool,
    /// True if a directory has one link from each of its subdirectories, and two others.
    pub(super) counts_subdirectories: bool,
    pub(super) lifetime: FileSystemLifetime,
}

/// Keepers of the content of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentKeeper {
    /// This kernel. Nothing changes the content without it.
    Kernel,
    /// Several machines, with one disk. What the others change, this kernel does not report.
    Cluster,
    /// A server, a program or the host of a virtual machine, which may change the content. The file
    /// system has no identity of its own: the mount table names the server and its export.
    Server,
    /// A program that mounts what a directory stands for, at the first access.
    Automounter,
}

impl ContentKeeper {
    /// Returns true if others may change the content, and set the times of files by their clocks.
    pub(super) const fn is_shared(self) -> bool {
        match self {
            Self::Kernel | Self::Automounter => false,
            Self::Cluster | Self::Server => true,
        }
    }

    /// Returns true if access may take as long as others do not answer.
    pub(super) const fn may_block(self) -> bool {
        match self {
            Self::Kernel => false,
            Self::Cluster | Self::Server | Self::Automounter => true,
        }
    }
}

/// Lifetimes of file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystemLifetime {
    /// Longer than the daemon and the machine run.
    Lasting,
    /// Until the machine restarts.
    Boot,
    /// Until its container is replaced.
    Container,
}

/// A local file system on a disk about which nothing is assumed.
const OTHER: KnownFileSystem = KnownFileSystem {
    magic: 0,
    name: "",
    mount_types: &[],
    keeper: ContentKeeper::Kernel,
    has_unstable_inodes: false,
    counts_subdirectories: false,
    lifetime: FileSystemLifetime::Lasting,
};

const fn local(magic: u64, name: &'static str) -> KnownFileSystem {
    KnownFileSystem { magic, name, ..OTHER }
}

const fn kept(
    keeper: ContentKeeper,
    magic: u64,
    name: &'static str,
    mount_types: &'static [&'static str],
) -> KnownFileSystem {
    KnownFileSystem { magic, name, mount_types, keeper, ..OTHER }
}

const fn served(
    magic: u64,
    name: &'static str,
    mount_types: &'static [&'static str],
) -> KnownFileSystem {
    kept(ContentKeeper::Server, magic, name, mount_types)
}

static TABLE: [KnownFileSystem; 33] = [
    // ext2 and ext3, too.
    KnownFileSystem { counts_subdirectories: true, ..local(0xef53, "ext4") },
    KnownFileSystem { counts_subdirectories: true, ..local(0x5846_5342, "xfs") },
    local(0x9123_683e, "btrfs"),
    local(0xf2f5_2010, "f2fs"),
    local(0x2fc1_2fc1, "zfs"),
    local(0xca45_1a4e, "bcachefs"),
    KnownFileSystem { has_unstable_inodes: true, ..local(0x4d44, "vfat") },
    KnownFileSystem { has_unstable_inodes: true, ..local(0x2011_bab0, "exfat") },
    KnownFileSystem {
        counts_subdirectories: true,
        lifetime: FileSystemLifetime::Boot,
        ..local(0x0102_1994, "tmpfs")
    },
    KnownFileSystem { lifetime: FileSystemLifetime::Boot, ..local(0x8584_58f6, "ramfs") },
    KnownFileSystem { lifetime: FileSystemLifetime::Container, ..local(0x794c_7630, "overlayfs") },
    kept(ContentKeeper::Cluster, 0x7461_636f, "ocfs2", &["ocfs2"]),
    kept(ContentKeeper::Cluster, 0x0116_1970, "gfs2", &["gfs2"]),
    served(0x6969, "nfs", &["nfs", "nfs4"]),
    served(0xff53_4d42, "cifs", &["cifs", "smb3"]),
    served(0xfe53_4d42, "smb2", &["cifs", "smb3"]),
    served(0x517b, "smb", &["smbfs"]),
    served(0x0102_1997, "9p", &["9p"]),
    served(0x00c3_6400, "ceph", &["ceph"]),
    // OpenAFS, and that of the kernel.
    served(0x5346_414f, "afs", &["afs"]),
    served(0x6b41_4653, "afs", &["afs"]),
    served(0x7375_7245, "coda", &["coda"]),
    served(0x564c, "ncpfs", &["ncp", "ncpfs"]),
    served(0x0bd0_0bd0, "lustre", &["lustre"]),
    served(0x4750_4653, "gpfs", &["gpfs"]),
    served(0x1983_0326, "beegfs", &["beegfs", "fhgfs"]),
    served(0x2003_0528, "orangefs", &["orangefs", "pvfs2"]),
    // sshfs, GlusterFS, and many others. virtiofs is one of them inside the kernel.
    KnownFileSystem {
        has_unstable_inodes: true,
        ..served(0x6573_5546, "fuse", &["fuse", "fuseblk", "virtiofs"])
    },
    // Shared folders of VirtualBox, VMware and Parallels. VirtualBox numbers inodes as they are
    // cached.
    KnownFileSystem { has_unstable_inodes: true, ..served(0x786f_4256, "vboxsf", &["vboxsf"]) },
    KnownFileSystem { has_unstable_inodes: true, ..served(0xbacb_acbc, "vmhgfs", &["vmhgfs"]) },
    KnownFileSystem { has_unstable_inodes: true, ..served(0x7c7c_6673, "prl_fs", &["prl_fs"]) },
    // The directories of the host, in User-mode Linux.
    served(0x00c0_ffee, "hostfs", &["hostfs"]),
    kept(ContentKeeper::Automounter, 0x0187, "autofs", &["autofs"]),
];

impl KnownFileSystem {
    /// Returns the file system with this magic number.
    pub(super) fn with_magic(magic: u64) -> Option<&'static Self> {
        TABLE.iter().find(|known| known.magic == magic)
    }

    /// Returns the properties of the file system with this magic number, or what is assumed of an
    /// unknown one.
    pub(super) fn of_magic(magic: u64) -> &'static Self {
        Self::with_magic(magic).unwrap_or(const { &OTHER })
    }

    /// Returns the keeper of the content of mounts of this type.
    pub(super) fn keeper_of(mount_type: &[u8]) -> ContentKeeper {
        let is_it = |name: &&str| {
            let rest = mount_type.strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
        };
        let known = TABLE.iter().find(|known| known.mount_types.iter().any(is_it));
        known.map_or(OTHER.keeper, |known| known.keeper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_number_is_in_the_table_once() {
        for (position, known) in TABLE.iter().enumerate() {
            let found = TABLE.iter().position(|other| other.magic == known.magic);
            assert_eq!(found, Some(position), "{}", known.name);
        }
    }

    #[test]
    fn what_may_block_has_a_type_in_the_mount_table() {
        for known in &TABLE {
            let may_block = known.keeper.may_block();
            assert_eq!(may_block, !known.mount_types.is_empty(), "{}", known.name);
            assert!(may_block || !known.keeper.is_shared(), "{}", known.name);
        }
    }

    #[test]
    fn others_change_the_shared_folders_of_virtual_machines() {
        // vboxsf, vmhgfs, prl_fs, 9p, FUSE (virtiofs), and cluster file systems.
        let magics = [
            0x786f_4256,
            0xbacb_acbc,
            0x7c7c_6673,
            0x0102_1997,
            0x6573_5546,
            0x7461_636f,
            0x0116_1970,
        ];
        for magic in magics {
            assert!(KnownFileSystem::of_magic(magic).keeper.is_shared(), "{magic:x}");
        }
        for mount_type in
            ["fuse.vmhgfs-fuse", "fuse.sshfs", "virtiofs", "nfs4", "smb3", "gfs2", "autofs"]
        {
            let keeper = KnownFileSystem::keeper_of(mount_type.as_bytes());
            assert_eq!((keeper.may_block(), keeper.is_shared()), (true, mount_type != "autofs"));
        }
        for mount_type in ["ext4", "overlay", "tmpfs", "fusectl", "nfsd", ""] {
            let keeper = KnownFileSystem::keeper_of(mount_type.as_bytes());
            assert_eq!(keeper, ContentKeeper::Kernel, "{mount_type}");
        }
    }
}
