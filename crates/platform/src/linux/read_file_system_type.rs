//! Reading of [`FileSystemType`]: `statfs(2)`.

use std::{io, path::Path};

use rustix::fs::{StatFs, statfs};

use super::known_file_systems::KnownFileSystem;
use crate::file_system_type::FileSystemType;

impl FileSystemType {
    /// Determines the type of the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// As `statfs(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let known = KnownFileSystem::with_magic(magic(&statfs(path)?));
        let is_shared = known.is_some_and(|known| known.keeper.is_shared());
        Ok(Self { name: known.map(|known| known.name.into()), is_shared })
    }
}

/// Returns the magic number of a file system.
pub(super) const fn magic(found: &StatFs) -> u64 {
    // It has 32 bits, whatever the sign of the field.
    found.f_type.cast_unsigned() & 0xffff_ffff
}

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
