//! The table of the file systems whose properties matter here, by the `f_fstypename` of statfs(2).

/// A file system and its properties.
#[derive(Debug)]
pub(super) struct KnownFileSystem {
    name: &'static [u8],
    /// True if a server or a program has the content. The file system has no identity of its own:
    /// the mount table names the server and its export.
    pub(super) is_served: bool,
    /// True if a directory gets a new inode number after it was dropped from the cache.
    pub(super) has_unstable_inodes: bool,
    /// True if it is gone after a restart of the machine.
    pub(super) is_in_memory: bool,
}

/// A local file system on a disk.
const OTHER: KnownFileSystem = KnownFileSystem {
    name: b"",
    is_served: false,
    has_unstable_inodes: false,
    is_in_memory: false,
};

const fn served(name: &'static [u8]) -> KnownFileSystem {
    KnownFileSystem { name, is_served: true, ..OTHER }
}

static TABLE: [KnownFileSystem; 10] = [
    KnownFileSystem { name: b"tmpfs", is_in_memory: true, ..OTHER },
    KnownFileSystem { name: b"msdos", has_unstable_inodes: true, ..OTHER },
    KnownFileSystem { name: b"exfat", has_unstable_inodes: true, ..OTHER },
    served(b"nfs"),
    served(b"smbfs"),
    served(b"afpfs"),
    served(b"webdav"),
    KnownFileSystem { has_unstable_inodes: true, ..served(b"ftp") },
    KnownFileSystem { has_unstable_inodes: true, ..served(b"macfuse") },
    KnownFileSystem { has_unstable_inodes: true, ..served(b"osxfuse") },
];

impl KnownFileSystem {
    /// Returns the properties of the file system with this number, or what is assumed of an unknown
    /// one.
    pub(super) fn of_type(number: u64) -> &'static Self {
        TABLE
            .iter()
            .find(|known| encode_type(known.name.iter().copied()) == number)
            .unwrap_or(const { &OTHER })
    }
}

/// Returns the type of a file system as a number. `f_type` is assigned when its driver is loaded,
/// so this is the start of its name.
pub(super) fn type_of(mount: &libc::statfs) -> u64 {
    encode_type(mount.f_fstypename.iter().map(|byte| byte.cast_unsigned()))
}

/// Returns true if others may change the content, and access may take as long as they do not
/// answer: it is not local, or is known to be served by a program.
pub(super) fn is_shared(mount: &libc::statfs) -> bool {
    let is_local = mount.f_flags & libc::MNT_LOCAL.cast_unsigned() != 0;
    !is_local || KnownFileSystem::of_type(type_of(mount)).is_served
}

fn encode_type(name: impl Iterator<Item = u8>) -> u64 {
    let name = name.take_while(|&byte| byte != 0).take(8);
    name.fold(0, |number, byte| number << 8 | u64::from(byte))
}
