//! ACLs, privileged attributes, devices and sockets, as Linux has them.

use std::{os::unix::net::UnixListener, process::Command};

use nix::sys::stat::{SFlag, mknod};
use rustix::fs::{lsetxattr, makedev};

use super::*;

#[test]
fn fifos_sockets_and_devices_are_created() {
    if !is_root() {
        return;
    }
    let mirror = CopierFixture::new();
    let _socket = UnixListener::bind(mirror.source("socket")).unwrap();
    let device = makedev(1, 3);
    for (name, file_type, device) in [
        ("fifo", SFlag::S_IFIFO, 0),
        ("null", SFlag::S_IFCHR, device),
        ("disk", SFlag::S_IFBLK, makedev(7, 200)),
    ] {
        let mode = Mode::from_bits_truncate(0o642);
        mknod(&mirror.source(name), file_type, mode, device).unwrap();
        chown(mirror.source(name), Some(5), Some(6)).unwrap();
        age(&mirror.source(name), 7);
    }
    mirror.assert_mirrored();
    // Another device under the same name.
    fs::remove_file(mirror.source("null")).unwrap();
    let zero = makedev(1, 5);
    mknod(&mirror.source("null"), SFlag::S_IFCHR, Mode::S_IRUSR, zero).unwrap();
    chmod(&mirror.source("fifo"), 0o600);
    assert_eq!(mirror.batch("null fifo"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn extended_attributes_and_acls_are_added_changed_and_removed() {
    let mirror = CopierFixture::new();
    fs::write(mirror.source("file"), b"content").unwrap();
    fs::create_dir(mirror.source("directory")).unwrap();
    for name in ["file", "directory"] {
        let path = mirror.source(name);
        setxattr(&path, "user.one", b"1", XattrFlags::empty()).unwrap();
        setxattr(&path, "user.large", &[7; 2000], XattrFlags::empty()).unwrap();
    }
    let acl = |words: &[&str]| {
        assert!(Command::new("setfacl").args(words).status().unwrap().success(), "{words:?}");
    };
    let (file, directory) = (mirror.source("file"), mirror.source("directory"));
    let (file, directory) = (file.to_str().unwrap(), directory.to_str().unwrap());
    acl(&["-m", "u:1234:rw,g:99:r", file]);
    acl(&["-m", "u:1234:rwx,d:g:99:rwx", directory]);
    mirror.assert_mirrored();
    // A new file in a directory with a default ACL gets an ACL, even if its source has none.
    fs::write(mirror.source("directory/inherits"), b"").unwrap();
    fs::write(mirror.source("directory/bare"), b"").unwrap();
    acl(&["-b", mirror.source("directory/bare").to_str().unwrap()]);
    assert_eq!(mirror.batch("directory/inherits directory/bare"), Outcome::Done);
    mirror.assert_same();
    acl(&["-b", file]);
    acl(&["-k", directory]);
    rustix::fs::removexattr(file, "user.large").unwrap();
    setxattr(file, "user.one", b"2", XattrFlags::empty()).unwrap();
    assert_eq!(mirror.batch("file directory"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn privileged_attributes_are_copied_by_root() {
    if !is_root() {
        return;
    }
    let mirror = CopierFixture::new();
    fs::write(mirror.source("program"), b"").unwrap();
    symlink("program", mirror.source("link")).unwrap();
    // cap_net_raw=ep, in the format of the kernel.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let path = mirror.source("program");
    setxattr(&path, "security.capability", &capability, XattrFlags::empty()).unwrap();
    setxattr(&path, "trusted.mine", b"1", XattrFlags::empty()).unwrap();
    lsetxattr(mirror.source("link"), "trusted.mine", b"2", XattrFlags::empty()).unwrap();
    mirror.assert_mirrored();
    // A new owner clears the capability, in the source and at the target: it is set again.
    chown(&path, Some(1000), None).unwrap();
    setxattr(&path, "security.capability", &capability, XattrFlags::empty()).unwrap();
    assert_eq!(mirror.batch("program"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn files_that_would_gain_rights_are_copied_despite_equal_size_and_time() {
    type RightsChange = fn(&Path);
    if !is_root() {
        return;
    }
    let changes: [RightsChange; 3] = [
        // Root's file now belongs to another user.
        |path| chown(path, Some(1234), None).unwrap(),
        // It now runs with the rights of its owner.
        |path| chmod(path, 0o4755),
        |path| {
            let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            setxattr(path, "security.capability", &capability, XattrFlags::empty()).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for names in [&["file"][..], &["file", "other"]] {
            for whole in [true, false] {
                let mirror = CopierFixture::new();
                fs::write(mirror.source("file"), b"secret").unwrap();
                age(&mirror.source("file"), 0);
                for name in &names[1..] {
                    fs::hard_link(mirror.source("file"), mirror.source(name)).unwrap();
                }
                mirror.assert_mirrored();
                // Written by another user, with the same size and time.
                fs::write(mirror.source("file"), b"public").unwrap();
                age(&mirror.source("file"), 0);
                change(&mirror.source("file"));
                let outcome = if whole { mirror.full() } else { mirror.batch("file") };
                assert_eq!(outcome, Outcome::Done);
                let content = fs::read(mirror.target("file")).unwrap();
                assert_eq!(content, b"public", "{number} {names:?} {whole}");
                mirror.assert_same();
            }
        }
    }
}
