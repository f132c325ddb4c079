//! Compares a target with its source.

use super::{
    mutator::is_excluded,
    snapshot::{MirrorFidelity, TreeSnapshot, entry_difference},
};

/// A path and a description of what is wrong with it.
pub(crate) type Difference = (Vec<u8>, String);

/// Options of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompareOptions {
    /// The metadata that the sync preserves.
    pub(crate) fidelity: MirrorFidelity,
    /// True if the sync has excludes.
    pub(crate) excludes: bool,
    /// True if fifos are transferred.
    pub(crate) specials: bool,
}

/// Returns the differences of `target` from `source`.
pub(crate) fn differences(
    options: CompareOptions,
    source: &TreeSnapshot,
    target: &TreeSnapshot,
) -> Vec<Difference> {
    let is_left_out = |path: &[u8]| options.excludes && is_excluded(path);
    let mut found: Vec<Difference> = source
        .iter()
        .filter(|(path, entry)| {
            !is_left_out(path) && (options.specials || is_transferred(entry.kind))
        })
        .filter_map(|(path, entry)| {
            Some((path.clone(), entry_difference(options.fidelity, entry, target.get(path))?))
        })
        .collect();
    let surplus = target.keys().filter(|path| !source.contains_key(*path) && !is_left_out(path));
    let surplus = surplus.filter(|path| !(options.excludes && contains_excluded(path, target)));
    found.extend(surplus.map(|path| (path.clone(), "should not be there".to_owned())));
    found
}

/// Returns true if an excluded entry keeps a directory from being deleted.
fn contains_excluded(directory: &[u8], target: &TreeSnapshot) -> bool {
    let inside = [directory, b"/"].concat();
    target
        .range(inside.clone()..)
        .take_while(|(path, _)| path.starts_with(&inside))
        .any(|(path, _)| is_excluded(path))
}

/// Returns true if rsync transfers this type without `-D`, which skips devices, sockets and fifos.
fn is_transferred(kind: rustix::fs::FileType) -> bool {
    use rustix::fs::FileType::{Directory, RegularFile, Symlink};
    matches!(kind, RegularFile | Directory | Symlink)
}

#[cfg(test)]
mod tests {
    use super::{super::snapshot::snapshot, *};
    use std::{fs, path::Path};

    fn tree(files: &[(&str, &str)]) -> TreeSnapshot {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            fs::write(&path, content).unwrap();
            let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            fs::File::open(path).unwrap().set_times(time).unwrap();
        }
        snapshot(directory.path()).unwrap()
    }

    fn different_paths(
        excludes: bool,
        source: &TreeSnapshot,
        target: &TreeSnapshot,
    ) -> Vec<String> {
        let fidelity = MirrorFidelity { all_times: false, attributes: true, hard_links: true };
        let found =
            differences(CompareOptions { fidelity, excludes, specials: true }, source, target);
        found.into_iter().map(|(path, _)| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn missing_different_and_surplus_entries_are_found() {
        let source = tree(&[("same", "1"), ("other", "1"), ("lacks", "1")]);
        let target = tree(&[("same", "1"), ("other", "2"), ("too much", "")]);
        assert_eq!(different_paths(false, &source, &target), ["/lacks", "/other", "/too much"]);
    }

    #[test]
    fn an_excluded_entry_keeps_only_its_own_directory() {
        let source = tree(&[("a/skip/new", ""), ("a/file", "")]);
        let target = tree(&[("a/file", ""), ("b/skip/old", ""), ("c/file", "")]);
        assert_eq!(different_paths(true, &source, &target), ["/c", "/c/file"]);
        assert_eq!(different_paths(false, &source, &target).len(), 7);
    }
}
