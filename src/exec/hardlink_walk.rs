//! Walk through a source in search of files with several names.
//!
//! No system call returns the other names of a file.

use mirror_core::{filter::Filter, fs_event::EntryKind, path::TreePath};
use mirror_platform::{dir::Dir, entries::ReadBuffer, stat::Stat};
use rustix::fs::FileType;

use super::inode::LinkedInode;

/// Source in which names are searched.
#[derive(Clone, Copy)]
pub(super) struct HardlinkWalk<'a> {
    /// Root of the source.
    pub(super) root: &'a Dir,
    /// Filter of the mirror: excluded names are left out.
    pub(super) filter: &'a Filter,
    /// Returns false once the walk is to end early.
    pub(super) should_continue: &'a dyn Fn() -> bool,
}

impl HardlinkWalk<'_> {
    /// Passes each name of a file with several names below `directories` to `each`, if its inode
    /// number is wanted. The listings contain the inode numbers, so no other file is touched.
    /// Unreadable directories are skipped: nothing in them can be sent or linked either.
    pub(super) fn run(
        self,
        mut directories: Vec<TreePath>,
        wanted: impl Fn(u64) -> bool,
        mut each: impl FnMut(TreePath, &Stat),
    ) {
        let mut buffer = ReadBuffer::new();
        while let Some(path) = directories.pop().filter(|_| (self.should_continue)()) {
            let Ok(directory) = self.root.open_below(path.as_bytes()) else { continue };
            let _ = directory.read(&mut buffer, |listed| {
                let Some(path) = path.join(listed.name) else { return Ok(()) };
                if listed.file_type == FileType::Directory {
                    if !self.filter.excludes_entry(&path, EntryKind::Directory) {
                        directories.push(path);
                    }
                } else if wanted(listed.inode)
                    && let Ok(stat) = directory.stat(listed.name)
                    && LinkedInode::of(&stat).is_some()
                    && !self.filter.excludes_entry(&path, EntryKind::Other)
                {
                    each(path, &stat);
                }
                Ok(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
    };

    use super::*;

    #[test]
    fn the_walk_finds_wanted_names_of_files_with_several_names() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("d/e")).unwrap();
        for name in ["a", "b", "single"] {
            fs::write(at(name), "").unwrap();
        }
        symlink("a", at("l")).unwrap();
        for (from, to) in [("a", "d/a"), ("a", "d/e/a"), ("b", "d/b"), ("l", "d/l")] {
            fs::hard_link(at(from), at(to)).unwrap();
        }
        let root = Dir::open(place.path()).unwrap();
        let filter = Filter::default();
        let found =
            |below: &str, wanted: &dyn Fn(u64) -> bool, should_continue: &dyn Fn() -> bool| {
                let mut names = Vec::new();
                let walk = HardlinkWalk { root: &root, filter: &filter, should_continue };
                walk.run(vec![TreePath::new(below.as_bytes()).unwrap()], wanted, |path, _| {
                    names.push(path.to_string());
                });
                names.sort();
                names
            };
        let all = ["/a", "/b", "/d/a", "/d/b", "/d/e/a", "/d/l", "/l"];
        assert_eq!(found("", &|_| true, &|| true), all);
        assert_eq!(found("d", &|_| true, &|| true), ["/d/a", "/d/b", "/d/e/a", "/d/l"]);
        let inode = fs::metadata(at("a")).unwrap().ino();
        assert_eq!(found("", &|number| number == inode, &|| true), ["/a", "/d/a", "/d/e/a"]);
        assert!(found("", &|_| true, &|| false).is_empty());
    }
}
