//! Names with special characters, and long paths.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode as Permissions, OFlags, fstat, mkdirat, openat};

use crate::support::{LiveMirror, Sandbox, TransferMode, in_both_modes};

in_both_modes!(names_of_any_bytes_are_mirrored, a_path_beyond_path_max_does_not_affect_others);

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] =
    if cfg!(target_os = "linux") { b"not utf-8 \xff\xfe" } else { "\u{e9}".as_bytes() };

const NAMES: [&[u8]; 25] = [
    b"new\nline",
    b"\n",
    b"-leading",
    b"--delete",
    b"*",
    b"?[]\\",
    b"[a-z]",
    b"x]y",
    b"a\\*b",
    b"d*r\\x",
    b"\\#011",
    b"quotes'\"`",
    b"$(touch x) ${y}",
    NOT_UTF8,
    b"#comment",
    b";semicolon",
    b" blanks ",
    b"+ plus",
    b"- minus",
    b"!",
    b"~",
    b"...",
    b"host:path",
    b"\x01\x7f",
    b"{a,b}",
];

/// Creates a file, a directory with a file, and a symbolic link of this name.
fn populate(directory: &Path, name: &[u8]) {
    let path = |prefix: &str| directory.join(prefix).join(OsStr::from_bytes(name));
    fs::write(path("files"), name).unwrap();
    fs::create_dir(path("directories")).unwrap();
    fs::write(path("directories").join(OsStr::from_bytes(name)), name).unwrap();
    symlink(OsStr::from_bytes(name), path("links")).unwrap();
}

fn names_of_any_bytes_are_mirrored(mode: TransferMode) {
    let sandbox = Sandbox::new();
    for directory in ["files", "directories", "links"] {
        sandbox.create_dir(&format!("source/{directory}"));
    }
    let longest = [b'n'; 255];
    let (before, live_names) = NAMES.split_at(12);
    for name in before {
        populate(&sandbox.path("source"), name);
    }
    let live = LiveMirror::start_with(sandbox, mode, &[]);
    live.expect_mirrored();
    for name in live_names.iter().chain([&&longest[..]]) {
        populate(&live.source, name);
    }
    live.expect_mirrored();
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        fs::write(live.source_path("files").join(name), "changed").unwrap();
        fs::remove_file(live.source_path("links").join(name)).unwrap();
        fs::remove_dir_all(live.source_path("directories").join(name)).unwrap();
    }
    live.expect_mirrored();
}

/// Length and number of names for a path beyond `PATH_MAX`.
const LONG: (usize, usize) = (250, 20);

fn make_deep(root: &Path) -> OwnedFd {
    let name = "d".repeat(LONG.0);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let top = openat(CWD, root, flags, Permissions::empty()).unwrap();
    (0..LONG.1).fold(top, |directory, _| {
        mkdirat(&directory, &name, Permissions::from_raw_mode(0o755)).unwrap();
        openat(&directory, &name, flags, Permissions::empty()).unwrap()
    })
}

fn write_at(directory: &OwnedFd, name: &str, content: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = openat(directory, name, flags, Permissions::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(content.as_bytes()).unwrap();
}

fn a_path_beyond_path_max_does_not_affect_others(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let deepest = make_deep(&live.source);
    write_at(&deepest, "file", "far down");
    fs::write(live.source_path("near"), "").unwrap();
    if mode == TransferMode::Direct {
        live.expect_mirrored();
        write_at(&deepest, "file", "far down, changed");
        live.expect_mirrored();
        return;
    }
    // rsync cannot transfer it; it must be reported and must not affect others.
    let first: PathBuf = live.target.join("near");
    live.daemon.wait_until("the near file is mirrored", || first.exists());
    live.daemon.wait_until("the long path is reported", || {
        let log = live.daemon.log();
        log.contains("too long") || log.contains("dddddddddd")
    });
    fs::write(live.source_path("old/another"), "").unwrap();
    let another = live.target.join("old/another");
    live.daemon.wait_until("the next change is mirrored", || another.exists());
    // Keeps the descriptor of the deepest directory open until here.
    assert!(fstat(&deepest).is_ok());
}
