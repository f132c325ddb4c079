//! Names and paths of any kind.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::PathBuf,
};

use mirror_core::{
    job::{DirtyPath, Outcome, Scope},
    path::TreePath,
};
use mirror_platform::dir::Dir;
use rustix::fs::{Mode, OFlags, mkdirat, openat};

use super::{CopierFixture, work};

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] = if cfg!(target_os = "linux") { b"\xff\xfe" } else { "\u{e9}".as_bytes() };

const ODD: [&[u8]; 14] = [
    b"\n",
    b"-rf",
    b"*",
    b"?[a]\\",
    b"'\"`$(x);&",
    b" ",
    NOT_UTF8,
    b"...",
    b"~",
    b"a\rb",
    b"\x1b[31m",
    b".a.lsyncd",
    b"%s%n",
    &[if cfg!(target_os = "linux") { 0xc3 } else { b'n' }; 255],
];

#[test]
fn names_of_any_bytes_are_copied_changed_and_removed() {
    let mirror = CopierFixture::new();
    let below = |root: &str, name: &[u8]| PathBuf::from(root).join(OsStr::from_bytes(name));
    for name in ODD {
        fs::create_dir(mirror.source.join(below("", name))).unwrap();
        for inner in ODD {
            let path = mirror.source.join(below("", name)).join(OsStr::from_bytes(inner));
            fs::write(path, inner).unwrap();
        }
    }
    mirror.assert_mirrored();
    let mut paths = Vec::new();
    for (n, name) in ODD.into_iter().enumerate() {
        let at = |inner: &[u8]| TreePath::new(&[name, b"/", inner].concat()).unwrap();
        let file = mirror.source.join(below("", name)).join(OsStr::from_bytes(ODD[n]));
        fs::write(file, b"changed").unwrap();
        paths.push(DirtyPath { path: at(ODD[n]), scope: Scope::Entry });
        let next = ODD[(n + 1) % ODD.len()];
        fs::remove_file(mirror.source.join(below("", name)).join(OsStr::from_bytes(next))).unwrap();
        paths.push(DirtyPath { path: at(next), scope: Scope::Entry });
    }
    assert_eq!(mirror.run(work(&paths, &[])), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn paths_longer_than_path_max_are_copied_changed_and_removed() {
    const DEPTH: usize = 60;
    let mirror = CopierFixture::new();
    let name = [b'd'; 200];
    let root = Dir::open(&mirror.source).unwrap();
    let mut path = Vec::new();
    for _ in 0..DEPTH {
        let here = root.open_below(&path).unwrap();
        mkdirat(&here, &name[..], Mode::RWXU).unwrap();
        path = [&path[..], b"/", &name].concat();
        path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
    }
    let deepest = root.open_below(&path).unwrap();
    let write = |dir: &Dir, content: &[u8]| {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
        let file = openat(dir, c"file", flags, Mode::RUSR | Mode::WUSR).unwrap();
        rustix::io::write(&file, content).unwrap();
    };
    let content = |dir: &Dir| {
        let file = openat(dir, c"file", OFlags::RDONLY, Mode::empty()).unwrap();
        let mut bytes = vec![0; 100];
        let length = rustix::io::read(&file, &mut *bytes).unwrap();
        bytes.truncate(length);
        bytes
    };
    write(&deepest, b"deep down");
    assert_eq!(mirror.full(), Outcome::Done);
    let target = Dir::open(&mirror.target).unwrap();
    assert_eq!(content(&target.open_below(&path).unwrap()), b"deep down");
    // A single change in the deepest directory.
    write(&deepest, b"changed down there");
    let dirty = DirtyPath {
        path: TreePath::new(&[&path[..], b"/file"].concat()).unwrap(),
        scope: Scope::Entry,
    };
    assert_eq!(mirror.run(work(&[dirty], &[])), Outcome::Done);
    assert_eq!(content(&target.open_below(&path).unwrap()), b"changed down there");
    // The whole tree is deleted again.
    fs::remove_dir_all(mirror.source.join(OsStr::from_bytes(&name))).unwrap();
    fs::write(mirror.source("left"), b"").unwrap();
    assert_eq!(mirror.full(), Outcome::Done);
    let names: Vec<_> =
        fs::read_dir(&mirror.target).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["left"]);
}

#[test]
fn symlink_loops_are_copied_and_not_followed() {
    let mirror = CopierFixture::new();
    fs::create_dir(mirror.source("a")).unwrap();
    symlink("..", mirror.source("a/up")).unwrap();
    symlink("self", mirror.source("self")).unwrap();
    symlink("two", mirror.source("one")).unwrap();
    symlink("one", mirror.source("two")).unwrap();
    mirror.assert_mirrored();
    // A change reported through such a link is ignored.
    assert_eq!(mirror.batch("a/up/a/up/self self one/x"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_tree_of_3000_levels_is_copied_and_removed() {
    const DEPTH: usize = 3_000;
    let mirror = CopierFixture::new();
    let mut here = Dir::open(&mirror.source).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&here, c"d", Mode::RWXU).unwrap();
        here = here.open_below(b"d").unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    drop(openat(&here, c"file", flags, Mode::RUSR | Mode::WUSR).unwrap());
    let depth = |root: &std::path::Path| {
        let mut here = Dir::open(root).unwrap();
        let mut depth = 0;
        while let Ok(below) = here.open_below(b"d") {
            (here, depth) = (below, depth + 1);
        }
        (depth, here.stat(b"file").is_ok())
    };
    assert_eq!(mirror.full(), Outcome::Done);
    assert_eq!(depth(&mirror.target), (DEPTH, true));
    let aside = mirror.source.with_file_name("aside");
    fs::rename(mirror.source("d"), &aside).unwrap();
    fs::write(mirror.source("left"), b"").unwrap();
    assert_eq!(mirror.batch_observed("d/ left", "d", ""), Outcome::Done);
    assert_eq!(depth(&mirror.target), (0, false));
}
