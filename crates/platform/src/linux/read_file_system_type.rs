//! Reading of [`FileSystemType`]: `statfs(2)`.

use std::{io, path::Path};

use rustix::fs::{StatFs, statfs};

use crate::file_system_type::FileSystemType;

impl FileSystemType {
    /// Determines the type of the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// As `statfs(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let kind = magic(&statfs(path)?);
        let known = KNOWN.into_iter().find(|(magic, ..)| *magic == kind);
        let (name, is_shared) =
            known.map_or((None, false), |(_, name, is_shared)| (Some(name), is_shared));
        Ok(Self { name: name.map(Into::into), is_shared })
    }
}

/// Returns the magic number of a file system.
pub(super) const fn magic(found: &StatFs) -> u64 {
    // It has 32 bits, whatever the sign of the field.
    found.f_type.cast_unsigned() & 0xffff_ffff
}

/// Known file systems: magic number, name, and true if other machines or programs may change the
/// content without this kernel. From statfs(2) and the kernel's <linux/magic.h>.
const KNOWN: [(u64, &str, bool); 17] = [
    (0xef53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683e, "btrfs", false),
    (0x0102_1994, "tmpfs", false),
    (0x794c_7630, "overlayfs", false),
    (0xf2f5_2010, "f2fs", false),
    (0x2fc1_2fc1, "zfs", false),
    (0xca45_1a4e, "bcachefs", false),
    (0x6969, "nfs", true),
    (0xff53_4d42, "cifs", true),
    (0xfe53_4d42, "smb2", true),
    (0x517b, "smb", true),
    (0x6573_5546, "fuse", true),
    (0x0102_1997, "9p", true),
    (0x00c3_6400, "ceph", true),
    (0x5346_414f, "afs", true),
    (0x7461_636f, "ocfs2", true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_known_has_no_name() {
        let found = FileSystemType::of(Path::new("/proc")).unwrap();
        assert_eq!(found, FileSystemType { name: None, is_shared: false });
        FileSystemType::of(Path::new("/nowhere")).unwrap_err();
    }
}
