//! Watches of a few single directories.

pub use crate::dir_watches::{DirWatchId, DirWatches};

/// The changes of a directory that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirInterest {
    /// Deletion and renaming of the directory itself.
    Itself,
    /// These, and names that appear in the directory or disappear from it.
    Names,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::{fs, path::Path};

    fn is_readable(watches: &DirWatches) -> bool {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut [PollFd::new(watches, PollFlags::IN)], Some(&second)).unwrap() == 1
    }

    fn open(path: &Path) -> Dir {
        Dir::open(path).unwrap()
    }

    #[test]
    fn a_renamed_directory_is_reported_whatever_is_watched() {
        let temp_dir = tempfile::tempdir().unwrap();
        let mut watches = DirWatches::new().unwrap();
        for (name, interest) in [("a", DirInterest::Itself), ("b", DirInterest::Names)] {
            let [before, after] =
                [name.to_owned(), format!("{name}2")].map(|it| temp_dir.path().join(it));
            fs::create_dir(&before).unwrap();
            watches.watch(&open(&before), interest).unwrap();
            assert!(!watches.read(|_, _| true));
            fs::rename(&before, &after).unwrap();
            assert!(is_readable(&watches));
            assert!(watches.read(|_, _| false), "{interest:?}");
            fs::remove_dir(&after).unwrap();
            assert!(is_readable(&watches));
            assert!(watches.read(|_, _| false), "{interest:?}");
        }
    }

    #[test]
    fn names_are_reported_if_they_are_watched() {
        let temp_dir = tempfile::tempdir().unwrap();
        let mut watches = DirWatches::new().unwrap();
        let itself = watches.watch(&open(temp_dir.path()), DirInterest::Itself).unwrap();
        fs::write(temp_dir.path().join("a"), "").unwrap();
        assert!(!watches.read(|_, _| true));
        let names = watches.watch(&open(temp_dir.path()), DirInterest::Names).unwrap();
        assert_eq!(itself, names);
        fs::write(temp_dir.path().join("b"), "").unwrap();
        assert!(is_readable(&watches));
        assert!(watches.read(|watch, _| watch == names));
        watches.unwatch(names);
        fs::write(temp_dir.path().join("c"), "").unwrap();
        assert!(!watches.read(|_, _| true));
    }
}
