//! Compares the number of directories with the kernel's limit of inotify watches.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{filter::Filter, path::TreePath};

use super::shown;
use crate::config::{Config, SyncConfig, WatchBackend};

/// Warns if the sources have more directories than inotify may watch.
///
/// Watches of other programs of the same user are not counted.
pub(super) fn warning(config: &Config, can_mark: fn(&Path) -> bool) -> Option<String> {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    warning_for_limit(limit.trim().parse().ok()?, config, can_mark)
}

fn warning_for_limit(limit: usize, config: &Config, can_mark: fn(&Path) -> bool) -> Option<String> {
    let by_inotify = |sync: &&SyncConfig| {
        config.daemon.watch == WatchBackend::Inotify || !can_mark(&sync.source)
    };
    // A directory that belongs to two sources takes one watch.
    let mut watched: Vec<&SyncConfig> = config.syncs.iter().filter(by_inotify).collect();
    watched.sort_unstable_by_key(|sync| &sync.source);
    watched.dedup_by(|subdirectories, outer| subdirectories.source.starts_with(&outer.source));
    let mut left = limit;
    for sync in watched {
        let count = directories(&sync.source, &sync.filter, left + 1);
        let Some(rest) = left.checked_sub(count) else {
            return Some(format!(
                "{} has more directories than fs.inotify.max_user_watches = {limit} allows: the \
                 others would be polled; raise the limit with sysctl, or run as root to use \
                 fanotify",
                shown(&sync.source)
            ));
        };
        left = rest;
    }
    None
}

/// Counts the directories to watch from `root` down, up to `most`.
fn directories(root: &Path, filter: &Filter, max: usize) -> usize {
    let mut found = 1;
    let mut waiting = vec![TreePath::root()];
    while let Some(directory) = waiting.pop() {
        let path = root.join(std::ffi::OsStr::from_bytes(directory.as_bytes()));
        // An unreadable directory cannot be watched either.
        let Ok(listing) = fs::read_dir(path) else { continue };
        let entries = listing.flatten();
        let subdirectories =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in subdirectories {
            let Some(path) = directory.join(entry.file_name().as_bytes()) else { continue };
            if filter.prunes(&path) {
                continue;
            }
            found += 1;
            if found >= max {
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
    use crate::{check::lints::tests::sync, config::DaemonConfig};

    #[test]
    fn too_many_directories_for_inotify_cause_a_warning() {
        let temp_dir = tempfile::tempdir().unwrap();
        let root = temp_dir.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("d")).unwrap();
        // The second source lies in the first one and needs no more watches.
        let syncs = vec![sync(1, root, "/t/"), sync(2, &root.join("a"), "/u/")];
        let mut config = Config { daemon: DaemonConfig::default(), syncs, tunnels: Vec::new() };
        assert_eq!(warning_for_limit(5, &config, |_| false), None);
        let why = warning_for_limit(4, &config, |_| false).unwrap();
        assert!(why.contains("has more directories than fs.inotify.max_user_watches = 4"), "{why}");
        assert_eq!(warning_for_limit(4, &config, |_| true), None);
        config.daemon.watch = WatchBackend::Inotify;
        assert!(warning_for_limit(4, &config, |_| true).is_some());
    }

    #[test]
    fn excluded_and_linked_directories_are_not_counted() {
        let temp_dir = tempfile::tempdir().unwrap();
        let root = temp_dir.path();
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
