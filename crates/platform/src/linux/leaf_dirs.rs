//! Detection of directories without subdirectories by their link count.
//!
//! On the classical Unix file systems a directory has one link from its parent, one from itself,
//! and one (`..`) from each subdirectory. A directory with two links therefore has no subdirectory,
//! and need not be read to know that. `find(1)` relies on it, too.

use std::io;

use rustix::fs::fstatfs;

use super::{known_file_systems::KnownFileSystem, read_file_system_type::magic};
use crate::dir::Dir;

/// Link count of a directory without subdirectories. ext4 stops counting at 65,000 subdirectories
/// and reports 1 then.
const LEAF_LINKS: u32 = 2;

/// Test for directories without subdirectories on one file system, if that counts links.
#[derive(Clone, Copy, Debug)]
pub struct LeafDirs {
    /// Device of the file system, if it counts links.
    counting: Option<(u32, u32)>,
}

impl LeafDirs {
    /// Creates the test for the file system of this directory.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn for_file_system_of(dir: &Dir) -> io::Result<Self> {
        let device = dir.stat(b"")?.device;
        let counts = KnownFileSystem::of_magic(magic(&fstatfs(dir)?)).counts_subdirectories;
        Ok(Self { counting: counts.then_some(device) })
    }

    /// Returns true if the subdirectory `name` certainly has no subdirectory. One that is created
    /// after the start of this call is not taken into account.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    pub fn is_leaf(&self, dir: &Dir, name: &[u8]) -> io::Result<bool> {
        let Some(counting) = self.counting else { return Ok(false) };
        let stat = dir.stat(name)?;
        Ok(stat.links == LEAF_LINKS && stat.device == counting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn leaves(place: &Path) -> Vec<&'static str> {
        let dir = Dir::open(place).unwrap();
        let leaves = LeafDirs::for_file_system_of(&dir).unwrap();
        let names = ["empty", "files", "one", "many"].into_iter();
        names.filter(|name| leaves.is_leaf(&dir, name.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn only_directories_without_subdirectories_are_leaves() {
        let place = tempfile::tempdir().unwrap();
        for below in ["empty", "files", "one/a", "many/a/b", "many/c", "many/.d"] {
            fs::create_dir_all(place.path().join(below)).unwrap();
        }
        for number in 0..3 {
            fs::write(place.path().join(format!("files/{number}")), "").unwrap();
        }
        let dir = Dir::open(place.path()).unwrap();
        if LeafDirs::for_file_system_of(&dir).unwrap().counting.is_none() {
            println!("skipped: this file system does not count links");
            return assert!(leaves(place.path()).is_empty());
        }
        assert_eq!(leaves(place.path()), ["empty", "files"]);
        fs::remove_dir(place.path().join("one/a")).unwrap();
        fs::rename(place.path().join("many/c"), place.path().join("empty/c")).unwrap();
        assert_eq!(leaves(place.path()), ["files", "one"]);
        assert!(LeafDirs::for_file_system_of(&dir).unwrap().is_leaf(&dir, b"none").is_err());
    }

    #[test]
    fn without_link_counts_no_directory_is_a_leaf() {
        let proc = Dir::open(Path::new("/proc")).unwrap();
        let leaves = LeafDirs::for_file_system_of(&proc).unwrap();
        assert!(!leaves.is_leaf(&proc, b"sys").unwrap());
        // A file system that does not count links may be mounted below one that does.
        let other = LeafDirs { counting: Some((0, 0)) };
        assert!(!other.is_leaf(&proc, b"driver").unwrap());
    }
}
