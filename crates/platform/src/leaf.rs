//! Directories that hold no others, known by the number of their links.
//!
//! On the classical file systems of Unix a directory has one link from above, one from itself, and
//! one from each directory in it, by the name `..`: with two it holds none, and need not be read to
//! know that. `find(1)` relies on it too.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt};

use rustix::fs::{self, AtFlags, FsWord, Statx, StatxFlags};

use crate::dir::{Dir, device};

/// The links of a directory that holds no others.
const LINKS: u32 = 2;

/// The file systems that count links so, by the numbers of `statfs(2)`: ext2 to ext4, XFS and tmpfs.
/// Where ext4 has given it up, since there were 65,000 directories in one, it says 1.
const COUNTING: [FsWord; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

/// Knows the directories of one file system that hold no others, if it counts links.
#[derive(Clone, Copy, Debug)]
pub struct Leaves {
    /// The device of that file system.
    counting: Option<(u32, u32)>,
}

impl Leaves {
    /// Those on the file system of this directory.
    ///
    /// # Errors
    ///
    /// As `statx(2)` and `fstatfs(2)`.
    pub fn on_file_system_of(dir: &Dir) -> io::Result<Self> {
        let device = device(&links(dir, b"")?);
        let counts = COUNTING.contains(&fs::fstatfs(dir)?.f_type);
        Ok(Self { counting: counts.then_some(device) })
    }

    /// Whether the directory `name` in this one surely holds no directory. One that is made in it
    /// after this has begun does not count.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    pub fn contain(&self, dir: &Dir, name: &[u8]) -> io::Result<bool> {
        let Some(counting) = self.counting else { return Ok(false) };
        let stat = links(dir, name)?;
        Ok(stat.stx_nlink == LINKS && device(&stat) == counting)
    }
}

fn links(dir: &Dir, name: &[u8]) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    Ok(fs::statx(dir, OsStr::from_bytes(name), flags, StatxFlags::NLINK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn leaves(place: &Path) -> Vec<&'static str> {
        let dir = Dir::open(place).unwrap();
        let leaves = Leaves::on_file_system_of(&dir).unwrap();
        let names = ["empty", "files", "one", "many"].into_iter();
        names.filter(|name| leaves.contain(&dir, name.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn only_what_holds_no_directory_is_a_leaf() {
        let place = tempfile::tempdir().unwrap();
        for below in ["empty", "files", "one/a", "many/a/b", "many/c", "many/.d"] {
            fs::create_dir_all(place.path().join(below)).unwrap();
        }
        for number in 0..3 {
            fs::write(place.path().join(format!("files/{number}")), "").unwrap();
        }
        let dir = Dir::open(place.path()).unwrap();
        if Leaves::on_file_system_of(&dir).unwrap().counting.is_none() {
            println!("skipped: this file system does not count links");
            return assert!(leaves(place.path()).is_empty());
        }
        assert_eq!(leaves(place.path()), ["empty", "files"]);
        fs::remove_dir(place.path().join("one/a")).unwrap();
        fs::rename(place.path().join("many/c"), place.path().join("empty/c")).unwrap();
        assert_eq!(leaves(place.path()), ["files", "one"]);
        assert!(Leaves::on_file_system_of(&dir).unwrap().contain(&dir, b"none").is_err());
    }

    #[test]
    fn where_links_are_not_counted_nothing_is_said() {
        let proc = Dir::open(Path::new("/proc")).unwrap();
        let leaves = Leaves::on_file_system_of(&proc).unwrap();
        assert!(!leaves.contain(&proc, b"sys").unwrap());
        // Another file system may lie below one that counts them.
        let other = Leaves { counting: Some((0, 0)) };
        assert!(!other.contain(&proc, b"driver").unwrap());
    }
}
