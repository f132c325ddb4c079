//! In what a target is not what its source and the plan want it to be.

use super::{
    snapshot::{Promise, Tree, lack},
    storm::is_left_out,
};

/// A path, and what is wrong with it.
pub(crate) type Difference = (Vec<u8>, String);

/// What holds for a pair of trees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// What the sync keeps.
    pub(crate) promise: Promise,
    /// Whether something is left out.
    pub(crate) excludes: bool,
    /// Whether fifos travel.
    pub(crate) specials: bool,
}

/// In what `target` differs from `source`.
pub(crate) fn differences(terms: Terms, source: &Tree, target: &Tree) -> Vec<Difference> {
    let is_out = |path: &[u8]| terms.excludes && is_left_out(path);
    let mut found: Vec<Difference> = source
        .iter()
        .filter(|(path, entry)| !is_out(path) && (terms.specials || travels(entry.kind)))
        .filter_map(|(path, entry)| {
            Some((path.clone(), lack(terms.promise, entry, target.get(path))?))
        })
        .collect();
    let surplus = target.keys().filter(|path| !source.contains_key(*path) && !is_out(path));
    let surplus = surplus.filter(|path| !(terms.excludes && holds_what_is_left_out(path, target)));
    found.extend(surplus.map(|path| (path.clone(), "should not be there".to_owned())));
    found
}

/// A directory stays as long as something is in it that is left out.
fn holds_what_is_left_out(directory: &[u8], target: &Tree) -> bool {
    let inside = [directory, b"/"].concat();
    target
        .range(inside.clone()..)
        .take_while(|(path, _)| path.starts_with(&inside))
        .any(|(path, _)| is_left_out(path))
}

/// Without `-D` rsync passes over devices, sockets and fifos.
fn travels(kind: rustix::fs::FileType) -> bool {
    use rustix::fs::FileType::{Directory, RegularFile, Symlink};
    matches!(kind, RegularFile | Directory | Symlink)
}

#[cfg(test)]
mod tests {
    use super::{super::snapshot::snapshot, *};
    use std::{fs, path::Path};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let place = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            fs::write(&path, content).unwrap();
            let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            fs::File::open(path).unwrap().set_times(time).unwrap();
        }
        snapshot(place.path()).unwrap()
    }

    fn told(excludes: bool, source: &Tree, target: &Tree) -> Vec<String> {
        let promise = Promise { all_times: false, attributes: true, hard_links: true };
        let found = differences(Terms { promise, excludes, specials: true }, source, target);
        found.into_iter().map(|(path, _)| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn what_lacks_differs_or_is_too_much_is_seen() {
        let source = tree(&[("same", "1"), ("other", "1"), ("lacks", "1")]);
        let target = tree(&[("same", "1"), ("other", "2"), ("too much", "")]);
        assert_eq!(told(false, &source, &target), ["/lacks", "/other", "/too much"]);
    }

    #[test]
    fn what_is_left_out_keeps_its_directory_and_no_other() {
        let source = tree(&[("a/skip/new", ""), ("a/file", "")]);
        let target = tree(&[("a/file", ""), ("b/skip/old", ""), ("c/file", "")]);
        assert_eq!(told(true, &source, &target), ["/c", "/c/file"]);
        assert_eq!(told(false, &source, &target).len(), 7);
    }
}
