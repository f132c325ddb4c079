//! Mirrored properties of a tree.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fmt::Write as _,
    fs,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use rustix::fs::{lgetxattr, llistxattr};

/// Properties of an entry except its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    content: Vec<u8>,
    device: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// First name of the same file.
    same_as: PathBuf,
    names: u64,
}

/// Returns all entries of a tree by path; the root has the empty path.
pub(super) fn read(root: &Path) -> BTreeMap<PathBuf, TreeEntry> {
    let mut tree = BTreeMap::new();
    let mut paths = Vec::from([PathBuf::new()]);
    let mut first = HashMap::new();
    while let Some(path) = paths.pop() {
        let full = root.join(&path);
        let stat = fs::symlink_metadata(&full).unwrap();
        if stat.is_dir() {
            let entries = fs::read_dir(&full).unwrap();
            paths.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        }
        first
            .entry(stat.ino())
            .and_modify(|f: &mut PathBuf| *f = path.clone().min(f.clone()))
            .or_insert_with(|| path.clone());
        let content = if stat.is_symlink() {
            fs::read_link(&full).unwrap().into_os_string().into_vec()
        } else if stat.is_file() {
            fs::read(&full).unwrap()
        } else {
            Vec::new()
        };
        let entry = TreeEntry {
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            modified: (stat.mtime(), stat.mtime_nsec()),
            content,
            device: stat.rdev(),
            xattrs: xattrs(&full),
            same_as: PathBuf::from(stat.ino().to_string()),
            names: if stat.is_dir() { 1 } else { stat.nlink() },
        };
        tree.insert(path, entry);
    }
    for entry in tree.values_mut() {
        let inode = entry.same_as.to_str().unwrap().parse::<u64>().unwrap();
        entry.same_as.clone_from(&first[&inode]);
    }
    tree
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65536];
    let length = llistxattr(path, &mut *list).unwrap_or(0);
    let names = list[..length].split(|&b| b == 0).filter(|name| !name.is_empty());
    names
        .filter(|name| !name.starts_with(b"security.selinux"))
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = lgetxattr(path, name, &mut *value).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

/// Fails with a list of differences.
#[track_caller]
pub(super) fn assert_same(source: &Path, target: &Path) {
    let (source, target) = (read(source), read(target));
    let mut report = String::new();
    let paths: std::collections::BTreeSet<_> = source.keys().chain(target.keys()).collect();
    for path in paths {
        let (source, target) = (source.get(path), target.get(path));
        if source != target {
            let name = OsString::from(path).into_vec();
            writeln!(report, "{}:\n  {}\n  {}", Escaped(&name), text(source), text(target))
                .unwrap();
        }
    }
    assert!(report.is_empty(), "source and target differ:\n{report}");
}

fn text(entry: Option<&TreeEntry>) -> String {
    let Some(entry) = entry else { return "-".into() };
    let content = &entry.content[..entry.content.len().min(40)];
    format!("{:o} {:?} {} bytes {}", entry.mode, entry, entry.content.len(), Escaped(content))
        .chars()
        .take(600)
        .collect()
}
