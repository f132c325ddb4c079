//! In what two trees differ.

use std::path::Path;

use rustix::fs::FileType;

use super::{
    Mode,
    snapshot::{Entry, Promise, lack, snapshot, text},
};

/// How many differences are shown.
const SHOWN: usize = 20;

/// In what `target` differs from `source`, as far as `mode` promises that it does not.
pub(crate) fn differences(mode: Mode, source: &Path, target: &Path) -> Vec<String> {
    let (wanted, found) = match (snapshot(source), snapshot(target)) {
        (Ok(wanted), Ok(found)) => (wanted, found),
        (Err(error), _) => return vec![format!("the source cannot be read: {error}")],
        (_, Err(error)) => return vec![format!("the target cannot be read: {error}")],
    };
    let all = mode == Mode::Direct;
    let promise = Promise { all_times: all, attributes: all, hard_links: all };
    let mut lines: Vec<String> = wanted
        .iter()
        .filter(|(_, entry)| mode == Mode::Direct || travels_with_rsync(entry))
        .filter_map(|(path, entry)| {
            Some(format!("{}: {}", text(path), lack(promise, entry, found.get(path))?))
        })
        .collect();
    let surplus = found.keys().filter(|path| !wanted.contains_key(*path));
    lines.extend(surplus.map(|path| format!("{}: should not be there", text(path))));
    lines.truncate(SHOWN);
    lines
}

/// Without `-D` rsync passes over devices, sockets and fifos.
fn travels_with_rsync(entry: &Entry) -> bool {
    matches!(entry.kind, FileType::RegularFile | FileType::Directory | FileType::Symlink)
}

/// Makes sure that a comparison would notice: a test that compares nothing proves nothing.
#[test]
fn a_difference_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
    for tree in [&a, &b] {
        std::fs::create_dir(tree).unwrap();
        std::fs::write(tree.join("same length"), "1").unwrap();
    }
    std::fs::write(b.join("same length"), "2").unwrap();
    std::fs::write(b.join("surplus"), "").unwrap();
    std::fs::write(a.join("missing"), "").unwrap();
    let found = differences(Mode::Rsync, &a, &b).join("\n");
    assert!(found.contains("/same length: has another content"), "{found}");
    assert!(found.contains("/surplus: should not be there"), "{found}");
    assert!(found.contains("/missing: is missing"), "{found}");
}
