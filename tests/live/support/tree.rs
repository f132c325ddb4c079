//! Comparison of two trees.

use std::path::Path;

use rustix::fs::FileType;

use super::{
    TransferMode,
    snapshot::{MirrorFidelity, SnapshotEntry, entry_difference, path_text, snapshot},
};

/// Maximum number of differences in a report.
const SHOWN: usize = 20;

/// Returns the differences of `target` from `source`, as far as `mode` preserves metadata.
pub(crate) fn differences(mode: TransferMode, source: &Path, target: &Path) -> Vec<String> {
    let (expected, found) = match (snapshot(source), snapshot(target)) {
        (Ok(expected), Ok(found)) => (expected, found),
        (Err(error), _) => return vec![format!("the source cannot be read: {error}")],
        (_, Err(error)) => return vec![format!("the target cannot be read: {error}")],
    };
    let all = mode == TransferMode::Direct;
    let fidelity = MirrorFidelity { all_times: all, attributes: all, hard_links: all };
    let mut lines: Vec<String> = expected
        .iter()
        .filter(|(_, entry)| mode == TransferMode::Direct || is_transferred_by_rsync(entry))
        .filter_map(|(path, entry)| {
            Some(format!(
                "{}: {}",
                path_text(path),
                entry_difference(fidelity, entry, found.get(path))?
            ))
        })
        .collect();
    let surplus = found.keys().filter(|path| !expected.contains_key(*path));
    lines.extend(surplus.map(|path| format!("{}: should not be there", path_text(path))));
    lines.truncate(SHOWN);
    lines
}

/// Returns true if rsync transfers this type without `-D`, which skips devices, sockets and fifos.
fn is_transferred_by_rsync(entry: &SnapshotEntry) -> bool {
    matches!(entry.kind, FileType::RegularFile | FileType::Directory | FileType::Symlink)
}

/// A comparison that finds nothing would prove nothing.
#[test]
fn differences_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
    for tree in [&a, &b] {
        std::fs::create_dir(tree).unwrap();
        std::fs::write(tree.join("same length"), "1").unwrap();
    }
    std::fs::write(b.join("same length"), "2").unwrap();
    std::fs::write(b.join("surplus"), "").unwrap();
    std::fs::write(a.join("missing"), "").unwrap();
    let found = differences(TransferMode::Rsync, &a, &b).join("\n");
    assert!(found.contains("/same length: has another content"), "{found}");
    assert!(found.contains("/surplus: should not be there"), "{found}");
    assert!(found.contains("/missing: is missing"), "{found}");
}
