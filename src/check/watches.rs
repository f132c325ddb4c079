//! Whether the kernel can watch as many directories as there are.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{filter::Filter, path::TreePath};

use super::shown;
use crate::config::{Setup, Sync, Watch};

/// What is to be said if the sources have more directories than inotify may watch.
///
/// What other programs of the same user watch is not known here.
pub(super) fn too_many(setup: &Setup, can_mark: fn(&Path) -> bool) -> Option<String> {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    beyond(limit.trim().parse().ok()?, setup, can_mark)
}

fn beyond(limit: usize, setup: &Setup, can_mark: fn(&Path) -> bool) -> Option<String> {
    let by_inotify = |sync: &&Sync| setup.daemon.watch == Watch::Inotify || !can_mark(&sync.source);
    // A directory of two sources is watched once.
    let mut watched: Vec<&Sync> = setup.syncs.iter().filter(by_inotify).collect();
    watched.sort_unstable_by_key(|sync| &sync.source);
    watched.dedup_by(|inner, outer| inner.source.starts_with(&outer.source));
    let mut left = limit;
    for sync in watched {
        let there = directories(&sync.source, &sync.filter, left + 1);
        let Some(rest) = left.checked_sub(there) else {
            return Some(format!(
                "{} has more directories than fs.inotify.max_user_watches = {limit} lets be \
                 watched: what is left would be polled; raise it with sysctl, or run as root, so \
                 that a file system can be watched as a whole",
                shown(&sync.source)
            ));
        };
        left = rest;
    }
    None
}

/// How many directories are watched below `root` and with it, counted up to `most`.
fn directories(root: &Path, filter: &Filter, most: usize) -> usize {
    let mut found = 1;
    let mut waiting = vec![TreePath::root()];
    while let Some(directory) = waiting.pop() {
        let path = root.join(std::ffi::OsStr::from_bytes(directory.as_bytes()));
        // What can't be read can't be watched either.
        let Ok(listing) = fs::read_dir(path) else { continue };
        let entries = listing.flatten();
        let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in inner {
            let Some(path) = directory.join(entry.file_name().as_bytes()) else { continue };
            if filter.prunes(&path) {
                continue;
            }
            found += 1;
            if found >= most {
                return found;
            }
            waiting.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::odd::tests::sync, config::Daemon};

    #[test]
    fn more_directories_than_inotify_may_watch_are_told_where_nothing_else_can() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("d")).unwrap();
        // The second source lies in the first one, and costs nothing more.
        let syncs = vec![sync(1, root, "/t/"), sync(2, &root.join("a"), "/u/")];
        let mut setup = Setup { daemon: Daemon::default(), syncs, tunnels: Vec::new() };
        assert_eq!(beyond(5, &setup, |_| false), None);
        let why = beyond(4, &setup, |_| false).unwrap();
        assert!(why.contains("has more directories than fs.inotify.max_user_watches = 4"), "{why}");
        assert_eq!(beyond(4, &setup, |_| true), None);
        setup.daemon.watch = Watch::Inotify;
        assert!(beyond(4, &setup, |_| true).is_some());
    }

    #[test]
    fn directories_are_counted_without_what_is_excluded_and_behind_links() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for directory in ["a/b/c", "cache/x/y", "d"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        let mut builder = Filter::builder();
        builder.exclude(b"/cache/").unwrap();
        let filter = builder.build();
        assert_eq!(directories(root, &filter, 100), 5);
        assert_eq!(directories(root, &Filter::default(), 100), 8);
        assert_eq!(directories(root, &Filter::default(), 3), 3);
    }
}
