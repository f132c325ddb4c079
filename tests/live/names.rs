//! Names that programs stumble over.

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

use rustix::fs::{CWD, Mode as Permissions, OFlags, mkdirat, open, openat};

use crate::support::{Live, Mode, Sandbox, in_both_modes};

in_both_modes!(names_of_any_bytes_are_mirrored, a_path_beyond_the_limit_does_not_stop_the_others);

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
    b"not utf-8 \xff\xfe",
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

/// Makes a file, a directory with a file, and a link, all of them with odd names.
fn populate(directory: &Path, name: &[u8]) {
    let path = |prefix: &str| directory.join(prefix).join(OsStr::from_bytes(name));
    fs::write(path("files"), name).unwrap();
    fs::create_dir(path("directories")).unwrap();
    fs::write(path("directories").join(OsStr::from_bytes(name)), name).unwrap();
    symlink(OsStr::from_bytes(name), path("links")).unwrap();
}

fn names_of_any_bytes_are_mirrored(mode: Mode) {
    let sandbox = Sandbox::new();
    for directory in ["files", "directories", "links"] {
        sandbox.directory(&format!("source/{directory}"));
    }
    let longest = [b'n'; 255];
    let (before, live_names) = NAMES.split_at(12);
    for name in before {
        populate(&sandbox.path("source"), name);
    }
    let live = Live::start_with(sandbox, mode, &[]);
    live.expect_mirrored();
    for name in live_names.iter().chain([&&longest[..]]) {
        populate(&live.source, name);
    }
    live.expect_mirrored();
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        fs::write(live.at("files").join(name), "changed").unwrap();
        fs::remove_file(live.at("links").join(name)).unwrap();
        fs::remove_dir_all(live.at("directories").join(name)).unwrap();
    }
    live.expect_mirrored();
}

/// Long enough names, often enough, for a path beyond `PATH_MAX`.
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

fn a_path_beyond_the_limit_does_not_stop_the_others(mode: Mode) {
    let live = Live::start(mode);
    let deepest = make_deep(&live.source);
    write_at(&deepest, "file", "far down");
    fs::write(live.at("near"), "").unwrap();
    if mode == Mode::Direct {
        live.expect_mirrored();
        write_at(&deepest, "file", "far down, changed");
        live.expect_mirrored();
        return;
    }
    // rsync cannot; what matters is that it is told, and costs the others nothing.
    let first: PathBuf = live.target.join("near");
    live.daemon.wait_until("the near file is mirrored", || first.exists());
    live.daemon.wait_until("the deep one is told of", || {
        let log = live.daemon.log();
        log.contains("too long") || log.contains("dddddddddd")
    });
    fs::write(live.at("old/another"), "").unwrap();
    let another = live.target.join("old/another");
    live.daemon.wait_until("the next change is mirrored", || another.exists());
    // So that the descriptor of the deepest directory is of use to the end.
    assert!(open("/proc/self/fd", OFlags::RDONLY, Permissions::empty()).is_ok());
}
