//! Reproducible random changes of a tree.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

/// A generator of random changes, determined by its seed.
#[derive(Debug)]
pub(crate) struct LiveChurn {
    root: PathBuf,
    random: u64,
}

/// Few names, so that changes collide often.
const NAMES: [&str; 6] = ["a", "b", "c", "d d", "e\n", "f*"];
/// Maximum depth of the tree.
const DEPTH: u64 = 4;

impl LiveChurn {
    /// Creates a generator for changes below `root`.
    pub(crate) fn new(root: &Path, seed: u64) -> Self {
        Self { root: root.to_owned(), random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// Makes `number` successful changes; impossible ones are skipped.
    pub(crate) fn change(&mut self, number: usize) {
        let mut done = 0;
        while done < number {
            done += usize::from(self.try_change());
        }
    }

    fn try_change(&mut self) -> bool {
        let (path, other) = (self.random_path(), self.random_path());
        match self.below(10) {
            0..=2 => self.write(&path),
            3 => fs::create_dir_all(&path).is_ok(),
            4 => remove(&path),
            // Includes whole trees and existing targets.
            5 | 6 => fs::rename(&path, &other).is_ok(),
            7 => symlink(other.file_name().unwrap_or_default(), &path).is_ok(),
            8 => fs::hard_link(&path, &other).is_ok(),
            _ => remove(&path) && self.write(&path),
        }
    }

    /// Writes a file: in place, or by renaming a new one over it.
    fn write(&mut self, path: &Path) -> bool {
        let content = vec![b'x'; usize::try_from(self.below(5000)).unwrap_or(0)];
        // A write through one of several hard links causes an event for that name only.
        let several_names = fs::symlink_metadata(path).is_ok_and(|it| it.nlink() > 1);
        if path.is_symlink() || several_names || self.below(2) == 0 {
            let new = path.with_extension("new");
            return fs::write(&new, content).is_ok() && fs::rename(&new, path).is_ok();
        }
        fs::File::create(path).and_then(|mut file| file.write_all(&content)).is_ok()
    }

    fn random_path(&mut self) -> PathBuf {
        let depth = 1 + self.below(DEPTH);
        (0..depth).fold(self.root.clone(), |path, _| {
            let name = self.below(NAMES.len() as u64);
            path.join(NAMES[usize::try_from(name).unwrap_or(0)])
        })
    }

    /// Returns a number below `limit`, by xorshift.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }
}

fn remove(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).is_ok(),
        Ok(_) => fs::remove_file(path).is_ok(),
        Err(_) => false,
    }
}
