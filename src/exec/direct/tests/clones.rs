//! Files that share their blocks with the source.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use mirror_core::job::Outcome;
use mirror_platform::{clone_file, dir::Dir};

use super::{ALWAYS, CopierFixture, age, executor};
use crate::exec::test_mounts::{TestMount, make_image};

/// Creates a mirror on a file system that can share blocks, which makes clones as on macOS.
fn cloning() -> Option<(CopierFixture, TestMount)> {
    let mut mirror = CopierFixture::new();
    let at = mirror.source.with_file_name("disk");
    let image = at.with_extension("btrfs");
    fs::create_dir(&at).unwrap();
    let mounted = make_image("btrfs", &image).then(|| TestMount::image(&image, &at)).flatten();
    if mounted.is_none() {
        println!("not tried: no btrfs can be mounted here");
    }
    (mirror.source, mirror.target) = (at.join("source"), at.join("target"));
    for root in [&mirror.source, &mirror.target] {
        fs::create_dir(root).unwrap();
    }
    mirror.executor = executor(&mirror.source, &mirror.target, ALWAYS);
    mirror.executor.clones = true;
    Some((mirror, mounted?))
}

#[test]
fn clones_have_all_that_copies_have() {
    let Some((mirror, _mounted)) = cloning() else { return };
    let mut wanted = Vec::new();
    let modes = [0o644, 0o600, 0o640, 0o755, 0o4755, 0o2755, 0o444, 0o000];
    for (n, mode) in modes.into_iter().enumerate() {
        let path = mirror.source(&format!("file{n}"));
        fs::write(&path, vec![b'a' + u8::try_from(n).unwrap(); 100_000]).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        std::os::unix::fs::lchown(&path, Some(1000), Some(1001)).unwrap();
        age(&path, i64::try_from(n).unwrap());
        wanted.push(path);
    }
    let set = |what: &str| Command::new("sh").args(["-c", what]).arg("sh").arg(&wanted[0]).status();
    set("setfattr -n user.colour -v red \"$1\"").unwrap();
    let set = |what: &str| Command::new("sh").args(["-c", what]).arg("sh").arg(&wanted[1]).status();
    set("setfacl -m u:1002:r \"$1\"").unwrap();
    mirror.assert_mirrored();
    // Replaced, and with attributes of the old file that the new one does not have.
    fs::write(&wanted[0], vec![b'z'; 200_000]).unwrap();
    age(&wanted[0], 77);
    let set = |what: &str| {
        Command::new("sh").args(["-c", what]).arg("sh").arg(mirror.target("file0")).status()
    };
    set("setfattr -n user.size -v small \"$1\"").unwrap();
    assert_eq!(mirror.batch("file0"), Outcome::Done);
    mirror.assert_same();
    assert_eq!(fs::read(mirror.target("file0")).unwrap().len(), 200_000);
}

#[test]
fn a_clone_has_the_content_and_an_existing_name_stays() {
    let Some((mirror, _mounted)) = cloning() else { return };
    fs::write(mirror.source("file"), vec![7; 100_000]).unwrap();
    let file = fs::File::open(mirror.source("file")).unwrap();
    let dir = Dir::open(&mirror.target).unwrap();
    let clone = || {
        use std::os::fd::AsFd as _;
        clone_file::clone_at(file.as_fd(), dir.as_fd(), b"clone")
    };
    clone().unwrap();
    assert_eq!(fs::read(mirror.target("clone")).unwrap(), vec![7; 100_000]);
    assert_eq!(clone().unwrap_err(), rustix::io::Errno::EXIST);
    assert_eq!(fs::read(mirror.target("clone")).unwrap().len(), 100_000);
}

#[test]
fn where_no_blocks_can_be_shared_files_are_copied() {
    let mut mirror = CopierFixture::new();
    mirror.executor.clones = true;
    fs::write(mirror.source("file"), vec![7; 100_000]).unwrap();
    mirror.assert_mirrored();
    assert_eq!(fs::read_dir(&mirror.target).unwrap().count(), 1);
}
